//! The daemon, attached to a cgroup of the bench's own, with directories of its own.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{field, janitor, policy};
use crate::{run, say};

/// Longest time that anything here may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Its program, and where one of it keeps its files.
pub(super) struct Place {
    program: PathBuf,
    agent: PathBuf,
    directory: PathBuf,
    pins: PathBuf,
}

impl Place {
    /// Makes the directories below `scratch` and a policy of so many rules.
    pub(super) fn create(
        program: &Path,
        agent: &Path,
        scratch: &Path,
        rules: usize,
    ) -> Result<Self> {
        let directory = scratch.join(format!("rules-{rules}"));
        for part in ["policies", "catalog.d", "state"] {
            fs::create_dir_all(directory.join(part))?;
        }
        policy::write(&directory.join("policies"), agent, rules)?;
        // Records go nowhere else, whatever this host has configured.
        fs::write(directory.join("exporters.toml"), "")?;
        let pins = Path::new(janitor::PINS).join(field::name(&format!("rules-{rules}")));
        Ok(Self { program: program.to_owned(), agent: agent.to_owned(), directory, pins })
    }

    /// Starts it, and says how long it took until its policy was in force.
    pub(super) fn start(&self, cgroup: &Path) -> Result<(Daemon<'_>, Duration)> {
        let notify = self.directory.join("notify.sock");
        fs::remove_file(&notify).or_else(absent)?;
        let service = UnixDatagram::bind(&notify).context("making the notification socket")?;
        service.set_read_timeout(Some(PATIENCE))?;
        let log = fs::File::create(self.directory.join("daemon.log"))?;
        let mut command = run::command("setpriv")?;
        command.args(["--pdeathsig", "KILL"]).arg(&self.program).arg("run");
        command.arg("--cgroup").arg(cgroup).arg("--pins").arg(&self.pins);
        command.arg("--policy").arg(self.directory.join("policies"));
        command.arg("--catalog").arg(self.directory.join("catalog.d"));
        command.arg("--state-dir").arg(self.directory.join("state"));
        command.arg("--exporters").arg(self.directory.join("exporters.toml"));
        command.arg("--socket").arg(self.socket()).env("NOTIFY_SOCKET", &notify);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let began = Instant::now();
        let child = command.spawn().context("starting governd")?;
        let mut daemon = Daemon { place: self, child };
        let mut said = [0; 64];
        match service.recv(&mut said) {
            Ok(_) if said.starts_with(b"READY=1") => Ok((daemon, began.elapsed())),
            other => {
                daemon.child.kill()?;
                let log = fs::read_to_string(self.directory.join("daemon.log"))?;
                bail!("governd is not ready ({other:?}): {log}")
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// Puts a policy of another size there.
    pub(super) fn write(&self, rules: usize) -> Result<()> {
        policy::write(&self.directory.join("policies"), &self.agent, rules)
    }
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A running daemon; when it is dropped nothing of it is left in the kernel.
pub(super) struct Daemon<'a> {
    place: &'a Place,
    child: Child,
}

impl Daemon<'_> {
    /// `governd status --json`.
    pub(super) fn status(&self) -> Result<Value> {
        let mut command = Command::new(&self.place.program);
        command.args(["status", "--json", "--socket"]).arg(self.place.socket());
        serde_json::from_str(&run::read(&mut command)?).context("the status is no JSON")
    }

    pub(super) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Makes it read its policy, and says how long it took until `governd status` said that
    /// another one was in force.
    pub(super) fn reload(&self, write: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let digest = |status: &Value| status.pointer("/policy/digest").cloned();
        // It looks by itself once a second: perhaps before it is told to.
        let before = digest(&self.status()?);
        write()?;
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let began = Instant::now();
        kill_process(pid.context("governd has no process id")?, Signal::HUP)?;
        while began.elapsed() < PATIENCE {
            let now = digest(&self.status()?);
            if now.is_some() && now != before {
                return Ok(began.elapsed());
            }
            thread::sleep(Duration::from_millis(2));
        }
        bail!("governd did not take another policy in {} s", PATIENCE.as_secs())
    }

    /// Processor time of all its threads so far.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let word = text.split(' ').next().context("an empty schedstat")?;
            nanoseconds += word.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Memory that is resident, in bytes.
    pub(super) fn resident_bytes(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes =
            line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
        Ok(kilobytes.trim().parse::<f64>()? * 1_024.0)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let mut command = Command::new(&self.place.program);
        command.args(["stop", "--detach", "--socket"]).arg(self.place.socket());
        command.arg("--pins").arg(&self.place.pins);
        if let Err(error) = run::read(&mut command) {
            say::warn(format_args!("governd does not detach: {error:#}"));
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}
