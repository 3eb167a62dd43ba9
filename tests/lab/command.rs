//! Running programs: to their end with a limit, or beside the test.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Finished {
    /// The standard output of a program that must succeed.
    ///
    /// # Errors
    ///
    /// Fails with all it said if its exit code is not 0.
    pub fn success(self) -> Result<String> {
        match self.code {
            Some(0) => Ok(self.stdout),
            _ => bail!("{self}"),
        }
    }

    /// The last line of standard output as JSON.
    ///
    /// # Errors
    ///
    /// Fails with all it said if there is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        let line = self.stdout.lines().last().with_context(|| format!("no output: {self}"))?;
        serde_json::from_str(line).with_context(|| format!("not JSON: {self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit code {code}")?,
            None => write!(f, "ended by a signal")?,
        }
        write!(f, " after {:?}", self.took)?;
        write!(
            f,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// Runs a program to its end, for at most [`wait::PATIENCE`].
///
/// # Errors
///
/// Fails if it cannot be started or does not end in time.
pub fn run(command: &mut Command) -> Result<Finished> {
    Running::start(command)?.finish(wait::PATIENCE)
}

/// Runs a program that must succeed, and returns its standard output.
///
/// # Errors
///
/// As [`run`], and if its exit code is not 0.
pub fn must(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    let finished = run(command.args(args))?;
    finished.success().with_context(|| format!("{program} {}", args.join(" ")))
}

#[derive(Debug)]
enum Line {
    Out(String),
    Err(String),
}

/// A program that runs beside the test; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<Line>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    started: Instant,
    what: String,
}

impl Running {
    /// Starts a program. Its standard input is a pipe that stays open until it is dropped.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let what = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("starting {what}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone(), Line::Out);
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender, Line::Err);
        }
        Ok(Self { child, lines, stdout: Vec::new(), stderr: Vec::new(), started, what })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for a line on standard output or standard error, counting those already read.
    ///
    /// # Errors
    ///
    /// Fails when the limit is over, or when the program closed both before.
    pub fn line(&mut self, limit: Duration, fits: impl Fn(&str) -> bool) -> Result<String> {
        if let Some(line) = self.stdout.iter().chain(&self.stderr).find(|line| fits(line)) {
            return Ok(line.clone());
        }
        let limit = wait::allowed(limit);
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let text = self.keep(line);
                    if fits(&text) {
                        return Ok(text);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}: no such line within {limit:?}{}", self.what, self.said());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{}: ended without such a line{}", self.what, self.said());
                }
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// Fails if the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{}: no pid", self.what))?;
        kill_process(pid, signal).with_context(|| format!("{}: sending {signal:?}", self.what))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// Fails if the process cannot be waited for.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Fails, and kills it, when the limit is over.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let limit = wait::allowed(limit);
        let deadline = self.started.max(Instant::now()) + limit;
        let status = loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => drop(self.keep(line)),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}: did not end within {limit:?}{}", self.what, self.said());
                }
                Err(RecvTimeoutError::Disconnected) => break self.exit_status(deadline)?,
            }
        };
        Ok(Finished {
            code: status.code(),
            stdout: joined(&self.stdout),
            stderr: joined(&self.stderr),
            took: self.started.elapsed(),
        })
    }

    fn exit_status(&mut self, deadline: Instant) -> Result<ExitStatus> {
        let left = deadline.saturating_duration_since(Instant::now());
        wait::until(&format!("{}: end", self.what), left, || Ok(self.child.try_wait()?))
    }

    fn keep(&mut self, line: Line) -> String {
        let (kept, text) = match line {
            Line::Out(text) => (&mut self.stdout, text),
            Line::Err(text) => (&mut self.stderr, text),
        };
        kept.push(text.clone());
        text
    }

    fn said(&self) -> String {
        format!("\n--- stdout\n{}--- stderr\n{}", joined(&self.stdout), joined(&self.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only for a process that already ended, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn forward(pipe: impl Read + Send + 'static, to: Sender<Line>, kind: fn(String) -> Line) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            if to.send(kind(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    });
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
