//! What runs inside the machine, one program after another, and the lines that frame its output.

use anyhow::{Context, Result};

/// Where the initramfs lists the steps.
pub(super) const LIST: &str = "governd-vm.steps";
/// What every line begins with that PID 1 itself writes.
const MARK: &str = "governd-vm: ";

/// A program to run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Step {
    /// One word.
    pub(super) name: String,
    /// Program and arguments.
    pub(super) arguments: Vec<String>,
}

impl Step {
    pub(super) fn new(name: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { name: name.to_owned(), arguments }
    }
}

/// The list as a file: a line per step, its parts separated by tabs.
pub(super) fn write(steps: &[Step]) -> String {
    let line = |step: &Step| format!("{}\t{}\n", step.name, step.arguments.join("\t"));
    steps.iter().map(line).collect()
}

/// Reads what [`write`] wrote.
pub(super) fn read(list: &str) -> Result<Vec<Step>> {
    let step = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        let name = parts.next().context("a step has no name")?;
        Ok(Step { name, arguments: parts.collect() })
    };
    list.lines().map(step).collect()
}

/// What PID 1 tells the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Message {
    /// User space runs, on this kernel.
    Kernel(String),
    /// A step begins; what follows is its output.
    Begin(String),
    /// A step succeeded.
    Pass(String),
    /// A step failed, and how it ended.
    Fail(String, String),
    /// Every step ran.
    End,
}

impl Message {
    /// The line that carries it.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Kernel(release) => format!("{MARK}KERNEL {release}"),
            Self::Begin(step) => format!("{MARK}BEGIN {step}"),
            Self::Pass(step) => format!("{MARK}PASS {step}"),
            Self::Fail(step, reason) => format!("{MARK}FAIL {step} {reason}"),
            Self::End => format!("{MARK}END"),
        }
    }

    /// The message that a line carries, if it is PID 1's.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let message = line.strip_prefix(MARK)?;
        let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
        match word {
            "KERNEL" => Some(Self::Kernel(rest.to_owned())),
            "BEGIN" => Some(Self::Begin(rest.to_owned())),
            "PASS" => Some(Self::Pass(rest.to_owned())),
            "FAIL" => {
                let (step, reason) = rest.split_once(' ').unwrap_or((rest, "without a reason"));
                Some(Self::Fail(step.to_owned(), reason.to_owned()))
            }
            "END" => Some(Self::End),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_survive_their_file() {
        let steps = [
            Step::new("doctor", &["/bin/governd", "doctor", "--json"]),
            Step::new("a", &["/bin/sh", "-c", "echo a b"]),
        ];
        assert_eq!(read(&write(&steps)).unwrap(), steps);
    }

    #[test]
    fn messages_survive_their_line() {
        for message in [
            Message::Kernel("6.1.0-50-amd64".to_owned()),
            Message::Begin("doctor".to_owned()),
            Message::Pass("doctor".to_owned()),
            Message::Fail("doctor".to_owned(), "exit status: 4".to_owned()),
            Message::End,
        ] {
            assert_eq!(Message::parse(&message.line()), Some(message));
        }
        assert_eq!(Message::parse("PASS doctor"), None);
        assert_eq!(Message::parse("governd-vm: SOMETHING else"), None);
    }
}
