//! What a machine's lines say about the kernel.

use std::time::Duration;

use serde_json::Value;

use super::{machine::Run, step::Message};
use crate::test::tally::Tally;

/// The step that runs `governd doctor`.
pub(super) const DOCTOR: &str = "doctor";
/// The step that runs the tests of the room `kernel`.
pub(super) const TESTS: &str = "kernel";
/// The step that runs the bypass table.
pub(super) const TECHNIQUES: &str = "bypass";
/// The step that looks for shadow agents.
pub(super) const DISCOVERY: &str = "discovery";
/// How the table's program begins what an outcome is that differs.
const DIFFERENCE: &str = " governd: ";
/// And what it says before the number of packets that were seen.
const WITNESSED: &str = " packets: ";
/// How it ends the line that counts.
const COUNTED: &str = " stopped";
/// How the doctor names what it found out about a program.
const PROGRAM: &str = "program ";
/// What it calls a finding that is as it should be.
const OK: &str = "ok";
/// What it calls one that governd runs with, though less well.
const DEGRADED: &str = "degraded";
/// Of what it says about others.
const DETAIL_CHARS_MAX: usize = 400;

/// What one machine did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The kernel's release and the time to user space.
    pub(super) booted: Option<(String, Duration)>,
    pub(super) steps: Vec<StepOutcome>,
    /// Why the machine did not get to its end.
    pub(super) fault: Option<String>,
}

/// What one step did.
#[derive(Debug, Default)]
pub(super) struct StepOutcome {
    pub(super) name: String,
    /// Why it failed; the step that was running when the machine stopped failed too.
    pub(super) fault: Option<String>,
    pub(super) output: Vec<String>,
}

/// What came of the bypass table.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Techniques {
    pub(super) tried: usize,
    /// A line for each outcome that is not as on the kernel that the table is about.
    pub(super) differences: Vec<String>,
}

impl Techniques {
    /// The names of those that end otherwise, each once.
    pub(super) fn differing(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.differences.iter().filter_map(|line| line.split(' ').next()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// What the verifier said about a program.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) trial: Trial,
}

/// How the trial of a program came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trial {
    /// It was loaded, and the verifier looked at so many instructions; kernels before 5.16 do not
    /// tell.
    Accepted(Option<u64>),
    /// The kernel lacks something without which it is nothing, and governd runs without it.
    LeftOut,
    Refused,
}

impl Outcome {
    /// Sorts a machine's lines.
    pub(super) fn of(run: &Run, limit: Duration) -> Self {
        let mut outcome = Self::default();
        let mut is_whole = false;
        for line in &run.lines {
            match Message::parse(&line.text) {
                Some(Message::Kernel(release)) => outcome.booted = Some((release, line.after)),
                Some(Message::Begin(name)) => {
                    let fault = Some("the machine stopped while it ran".to_owned());
                    outcome.steps.push(StepOutcome { name, fault, output: Vec::new() });
                }
                Some(Message::Pass(_)) => outcome.end_step(None),
                Some(Message::Fail(_, reason)) => outcome.end_step(Some(reason)),
                Some(Message::End) => is_whole = true,
                None => {
                    if let Some(step) = outcome.steps.last_mut() {
                        step.output.push(line.text.clone());
                    }
                }
            }
        }
        outcome.fault = match (run.is_in_time, is_whole) {
            (false, _) => Some(format!("did not end within {} s", limit.as_secs())),
            (true, false) if outcome.booted.is_none() => Some("did not boot".to_owned()),
            (true, false) => Some("stopped before its end".to_owned()),
            (true, true) => None,
        };
        outcome
    }

    fn end_step(&mut self, fault: Option<String>) {
        if let Some(step) = self.steps.last_mut() {
            step.fault = fault;
        }
    }

    /// What kept the machine or a step from its end.
    pub(super) fn step_faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self.fault.iter().cloned().collect();
        for step in &self.steps {
            faults.extend(step.fault.iter().map(|fault| format!("{}: {fault}", step.name)));
        }
        faults
    }

    /// What keeps the kernel from passing. That nothing was tried is no success.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = self.step_faults();
        let programs = self.programs();
        let refused = programs.iter().filter(|program| program.trial == Trial::Refused);
        faults.extend(refused.map(|program| format!("{} was refused", program.name)));
        if programs.is_empty() {
            faults.push(format!("{DOCTOR}: no program was loaded"));
        }
        if self.step(TESTS).is_some() && self.tests().passed == 0 {
            faults.push("no test passed".to_owned());
        }
        faults
    }

    pub(super) fn step(&self, name: &str) -> Option<&StepOutcome> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// What the doctor looked at.
    fn probes(&self) -> Vec<Value> {
        let output = self.step(DOCTOR).map(|step| step.output.join("\n")).unwrap_or_default();
        let report = serde_json::from_str::<Value>(&output).unwrap_or_default();
        report.get("probes").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// The programs that the doctor loaded, or tried to.
    pub(super) fn programs(&self) -> Vec<Program> {
        self.probes().iter().filter_map(program).collect()
    }

    /// What the doctor found that is not as it should be, one line each.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.probes().iter().filter_map(complaint).collect()
    }

    /// What came of the bypass table, if it got to its end.
    pub(super) fn techniques(&self) -> Option<Techniques> {
        let output = &self.step(TECHNIQUES)?.output;
        let counted = output.iter().rfind(|line| line.ends_with(COUNTED))?;
        let differences = output.iter().filter(|line| line.contains(DIFFERENCE));
        Some(Techniques {
            tried: counted.split(' ').next()?.parse().ok()?,
            differences: differences.map(|line| difference(line).to_owned()).collect(),
        })
    }

    pub(super) fn tests(&self) -> Tally {
        let mut tally = Tally::default();
        let output = self.step(TESTS).map(|step| step.output.as_slice()).unwrap_or_default();
        output.iter().for_each(|line| tally.read(line));
        tally
    }
}

/// What differs, without what was said meanwhile, which is another thing each time.
fn difference(line: &str) -> &str {
    let what = line.trim().split_once(WITNESSED).and_then(|(what, _)| what.rsplit_once(", "));
    what.map_or(line.trim(), |(what, _)| what)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

/// A finding about a program; its detail tells the instructions in words.
fn program(probe: &Value) -> Option<Program> {
    let name = text(probe, "name")?.strip_prefix(PROGRAM)?.to_owned();
    let mut words = text(probe, "detail")?.split(' ');
    let trial = match text(probe, "outcome")? {
        OK => Trial::Accepted(words.find_map(|word| word.parse().ok())),
        DEGRADED => Trial::LeftOut,
        _ => Trial::Refused,
    };
    Some(Program { name, trial })
}

fn complaint(probe: &Value) -> Option<String> {
    let (name, outcome) = (text(probe, "name")?, text(probe, "outcome")?);
    let detail = text(probe, "detail").unwrap_or_default();
    (outcome != OK).then(|| format!("{name} is {outcome}: {}", ending(detail)))
}

/// The end of a long text: a verifier's last words say why.
fn ending(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(DETAIL_CHARS_MAX);
    let ending: String = text.chars().skip(skipped).collect();
    if skipped == 0 { ending } else { format!("… {ending}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::machine::Line;

    fn outcome(lines: &[&str], is_in_time: bool) -> Outcome {
        let lines = lines.iter().zip(1..).map(|(text, second)| Line {
            text: (*text).to_owned(),
            after: Duration::from_secs(second),
        });
        Outcome::of(&Run { lines: lines.collect(), is_in_time }, Duration::from_secs(60))
    }

    #[test]
    fn steps_own_what_is_printed_while_they_run() {
        let outcome = outcome(
            &[
                "noise",
                "governd-vm: KERNEL 6.1.0",
                "governd-vm: BEGIN doctor",
                r#"{"can_run":true,"probes":[{"name":"jit","outcome":"degraded","detail":"off"},"#,
                r#"{"name":"btf","outcome":"ok","detail":"/sys"},"#,
                r#"{"name":"program connect4","outcome":"ok","#,
                r#""detail":"loads, 9 instructions verified"}]}"#,
                "governd-vm: PASS doctor",
                "governd-vm: BEGIN kernel",
                "test a ... FAILED",
                "test result: FAILED. 1 passed; 1 failed; 0 ignored",
                "governd-vm: FAIL kernel ended with exit status 101",
                "governd-vm: END",
            ],
            true,
        );
        assert_eq!(outcome.booted, Some(("6.1.0".to_owned(), Duration::from_secs(2))));
        assert_eq!(outcome.fault, None);
        assert_eq!(outcome.faults(), ["kernel: ended with exit status 101"]);
        let program = Program { name: "connect4".to_owned(), trial: Trial::Accepted(Some(9)) };
        assert_eq!(outcome.programs(), [program]);
        assert_eq!(outcome.complaints(), ["jit is degraded: off"]);
        let tests = outcome.tests();
        assert_eq!((tests.passed, tests.failed, tests.failures), (1, 1, vec!["a".to_owned()]));
        let fault = outcome.step("kernel").unwrap().fault.as_deref();
        assert_eq!(fault, Some("ended with exit status 101"));
    }

    #[test]
    fn what_the_verifier_said_is_read() {
        for (outcome, detail, trial) in [
            ("ok", "loads, 1234 instructions verified", Trial::Accepted(Some(1_234))),
            ("ok", "loads, unknown instructions verified", Trial::Accepted(None)),
            ("degraded", "left out, see names", Trial::LeftOut),
            ("missing", "refused after 77 instructions", Trial::Refused),
        ] {
            let probe = serde_json::json!(
                {"name": "program a", "outcome": outcome, "detail": detail}
            );
            let name = "a".to_owned();
            assert_eq!(program(&probe), Some(Program { name, trial }));
        }
        assert_eq!(program(&serde_json::json!({"name": "btf", "outcome": "ok"})), None);
        assert_eq!(ending("short"), "short");
        assert_eq!(ending(&"a".repeat(401)), format!("… {}", "a".repeat(400)));
    }

    #[test]
    fn a_machine_that_stops_early_is_a_fault() {
        let begun = ["governd-vm: KERNEL 6.1.0", "governd-vm: BEGIN kernel", "test a ... ok"];
        let whole = ["governd-vm: KERNEL 6.1.0", "governd-vm: END"];
        for (lines, is_in_time, fault) in [
            (&[][..], true, Some("did not boot")),
            (&begun[..], true, Some("stopped before its end")),
            (&begun[..], false, Some("did not end within 60 s")),
            (&whole[..], true, None),
        ] {
            let outcome = outcome(lines, is_in_time);
            assert_eq!(outcome.fault.as_deref(), fault, "{lines:?}");
            assert!(outcome.faults().contains(&"doctor: no program was loaded".to_owned()));
            let began = lines.iter().any(|line| line.ends_with("BEGIN kernel"));
            assert_eq!(outcome.faults().contains(&"no test passed".to_owned()), began);
        }
        let step = &outcome(&begun, true).steps[0];
        assert_eq!(step.fault.as_deref(), Some("the machine stopped while it ran"));
    }
}
