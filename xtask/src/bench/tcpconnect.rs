//! What people watch connections with: bpftrace's `tcpconnect`, a program at a kernel probe.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::report::Report;
use crate::{place, run};

/// Its name in the report.
pub(super) const LABEL: &str = "bpftrace's tcpconnect, on the whole host";
/// The script, as Debian's package has it.
const SCRIPT: &str = "tcpconnect.bt";
const PACKAGE: &str = "Debian's bpftrace";
/// What the script says first, when it is attached.
const READY: &str = "Tracing tcp connections";
/// It compiles the script first.
const PATIENCE: Duration = Duration::from_secs(30);

/// One that can run on this kernel.
pub(super) struct Tracer {
    script: PathBuf,
    log: PathBuf,
}

/// One that runs; stopped when dropped.
pub(super) struct Running(Child);

impl Tracer {
    /// Looks whether it is there and runs; the report says why not.
    pub(super) fn find(files: &Path, report: &mut Report) -> Result<Option<Self>> {
        let (Some(_), Some(script)) = (place::program("bpftrace"), place::program(SCRIPT)) else {
            report.notes.push(format!("{LABEL}: left out; {PACKAGE} brings it"));
            return Ok(None);
        };
        let tracer = Self { script, log: files.join("tcpconnect.log") };
        match tracer.start() {
            Ok(_) => Ok(Some(tracer)),
            Err(error) => {
                report.notes.push(format!("{LABEL}: left out; {error:#}"));
                Ok(None)
            }
        }
    }

    /// Starts it, and waits until it is attached.
    pub(super) fn start(&self) -> Result<Running> {
        let log = File::create(&self.log)?;
        let mut command = run::command("setpriv")?;
        command.args(["--pdeathsig", "KILL", "bpftrace"]).arg(&self.script);
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let mut running = Running(command.spawn()?);
        let began = Instant::now();
        loop {
            let said = fs::read_to_string(&self.log)?;
            if said.contains(READY) {
                // Its first line comes as it is attached.
                thread::sleep(Duration::from_millis(500));
            }
            let is_gone = running.0.try_wait()?.is_some();
            if is_gone || began.elapsed() > PATIENCE {
                // What failed, and what could not be attached for that.
                let lines: Vec<&str> = said.lines().collect();
                let last = lines.get(lines.len().saturating_sub(2)..).unwrap_or_default();
                bail!("it does not run here: {}", last.join("; "));
            }
            if said.contains(READY) {
                return Ok(running);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
