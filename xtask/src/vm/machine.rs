//! One virtual machine at a time, emulated, so that it runs wherever QEMU does.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::step::Message;
use crate::{place, run, say};

const QEMU: &str = "qemu-system-x86_64";

/// What is booted, and how.
pub(super) struct Boot<'a> {
    /// The compressed kernel.
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// The folder that `steps.log` and `console.log` are written to.
    pub(super) logs: &'a Path,
    /// As QEMU calls it.
    pub(super) cpu: &'a str,
    /// The same.
    pub(super) memory: &'a str,
    /// Of the kernel.
    pub(super) arguments: &'a str,
    /// The file that the third serial line writes to.
    pub(super) kept: Option<&'a Path>,
}

/// A line of the machine, and how long after its start it came.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) after: Duration,
}

/// What a machine said, and how it ended.
pub(super) struct Run {
    pub(super) lines: Vec<Line>,
    pub(super) is_in_time: bool,
}

/// Boots a kernel and collects what it says until it ends or time is up.
pub(super) fn boot(boot: &Boot<'_>, limit: Duration) -> Result<Run> {
    let mut command = command(boot)?;
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot run {}", run::text(&command)))?;
    let mut machine = Machine(child);
    let stdout = machine.0.stdout.take().context("the machine has no output")?;
    let lines = follow(BufReader::new(stdout), started);
    // Written as it comes, for whoever wonders how far the machine is.
    let mut log = File::create(boot.logs.join("steps.log"))?;
    let mut run = Run { lines: Vec::new(), is_in_time: true };
    loop {
        match lines.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(line) => {
                if let Some(message) = Message::parse(&line.text) {
                    let after = line.after.as_secs_f64();
                    say::note(format_args!("{after:6.1} s  {}", message.line()));
                }
                writeln!(log, "{}", line.text)?;
                run.lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(run),
            Err(RecvTimeoutError::Timeout) => {
                run.is_in_time = false;
                return Ok(run);
            }
        }
    }
}

fn command(boot: &Boot<'_>) -> Result<Command> {
    let Boot { kernel, initramfs, logs, cpu, memory, arguments, kept } = boot;
    // `nice` would say only that it cannot run it, and that on its own stderr.
    place::program(QEMU)
        .with_context(|| format!("no {QEMU}; hint: as root, `cargo xtask setup --only vm`"))?;
    let console = logs.join("console.log");
    let mut command = run::command("nice")?;
    command
        .args([QEMU, "-accel", "tcg", "-cpu", cpu, "-smp", "1", "-m", memory])
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", arguments])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(kept) = kept {
        command.arg("-serial").arg(format!("file:{}", kept.display()));
    }
    Ok(command)
}

/// Reads lines in a thread of their own, so that waiting for one can end in time.
fn follow(mut output: impl BufRead + Send + 'static, started: Instant) -> Receiver<Line> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        while output.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if sender.send(Line { text, after: started.elapsed() }).is_err() {
                return; // Time is up: nobody listens.
            }
            bytes.clear();
        }
    });
    receiver
}

/// Ends with its owner.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself, which is no failure.
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            say::warn(format_args!("cannot end the machine: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_over_without_the_terminals_line_ends() {
        let lines = follow(&b"a b\r\n\xffc\n"[..], Instant::now());
        let texts: Vec<_> = lines.iter().map(|line| line.text).collect();
        assert_eq!(texts, ["a b", "\u{fffd}c"]);
    }
}
