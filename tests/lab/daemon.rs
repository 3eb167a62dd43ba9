//! Runs the built `governd` on the lab's cgroup and asks it, from outside, as a user would.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    Lab,
    command::{Finished, Running, run},
    leftover,
    residue::Residue,
    wait,
};

/// Files and arguments of one governd: its policies, state and socket.
#[derive(Debug)]
pub struct Place {
    governd: PathBuf,
    cgroup: PathBuf,
    directory: PathBuf,
    pins: PathBuf,
}

impl Place {
    /// Makes the directories, with no policy in them yet.
    ///
    /// # Errors
    ///
    /// Fails if governd is not built or a directory cannot be made.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let place = Self {
            governd: lab.tools().governd()?.to_owned(),
            cgroup: lab.cgroup().path().to_owned(),
            directory: lab.directory(name)?,
            pins: leftover::pins(name),
        };
        for directory in [place.policies(), place.catalog(), place.state()] {
            fs::create_dir(&directory)
                .with_context(|| format!("making {}", directory.display()))?;
        }
        Ok(place)
    }

    /// The same place for another build of governd.
    pub fn of_build(&self, governd: PathBuf) -> Self {
        let Self { governd: _, cgroup, directory, pins } = self;
        let (cgroup, directory, pins) = (cgroup.clone(), directory.clone(), pins.clone());
        Self { governd, cgroup, directory, pins }
    }

    /// Another governd's directories, with the pins of this one.
    ///
    /// # Errors
    ///
    /// As [`Place::new`].
    pub fn beside(lab: &Lab, name: &str, other: &Self) -> Result<Self> {
        let mut place = Self::new(lab, name)?;
        place.pins.clone_from(&other.pins);
        Ok(place)
    }

    /// Runs `governd run` or `governd up` to its end.
    ///
    /// # Errors
    ///
    /// Fails if it does not end in time; the exit code is the caller's to judge.
    pub fn run(&self, verb: &str) -> Result<Finished> {
        run(&mut self.command(self.arguments(verb)))
    }

    /// Directory of the policies.
    pub fn policies(&self) -> PathBuf {
        self.directory.join("policies")
    }

    /// Directory of what extends the catalogue.
    pub fn catalog(&self) -> PathBuf {
        self.directory.join("catalog.d")
    }

    /// Directory of the state.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Where the link of a program is pinned.
    ///
    /// # Errors
    ///
    /// Fails if nothing is pinned.
    pub fn link(&self, program: &str) -> Result<PathBuf> {
        let below = |path: &Path| -> Result<PathBuf> {
            let first = fs::read_dir(path)?.next();
            Ok(first.with_context(|| format!("nothing in {}", path.display()))??.path())
        };
        Ok(below(&below(&self.pins)?)?.join("links").join(program))
    }

    /// Control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// Writes the policy, in one step, as an editor would.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn write_policy(&self, text: &str) -> Result<PathBuf> {
        let path = self.policies().join("lab.yaml");
        let draft = self.directory.join("draft");
        fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// The arguments of `governd run` or `governd up`, after the program.
    pub fn arguments(&self, verb: &str) -> Vec<PathBuf> {
        let mut arguments = vec![PathBuf::from(verb)];
        for (flag, value) in [
            ("--cgroup", self.cgroup.clone()),
            ("--policy", self.policies()),
            ("--catalog", self.catalog()),
            ("--state-dir", self.state()),
            ("--socket", self.socket()),
            ("--pins", self.pins.clone()),
        ] {
            arguments.extend([PathBuf::from(flag), value]);
        }
        arguments
    }

    /// The `governd` under test.
    pub fn program(&self) -> &Path {
        &self.governd
    }

    /// A command that runs `governd` with these arguments and dies with the test.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.governd).args(arguments);
        command.env("NO_COLOR", "1");
        command
    }

    /// Asks a running governd: `verb`, its arguments, and the socket.
    ///
    /// # Errors
    ///
    /// Fails if it does not end in time; the exit code is the caller's to judge.
    pub fn ask(&self, arguments: &[&str]) -> Result<Finished> {
        run(self.command(arguments).arg("--socket").arg(self.socket()))
    }

    /// Starts a verb that keeps running, such as `watch`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be started.
    pub fn follow(&self, arguments: &[&str]) -> Result<Running> {
        Running::start(self.command(arguments).arg("--socket").arg(self.socket()))
    }

    /// Starts `governd run` and waits until it answers.
    ///
    /// # Errors
    ///
    /// Fails with all it said if it ends instead.
    pub fn start(&self) -> Result<Daemon<'_>> {
        self.start_as("run", &[])
    }

    /// Starts `governd run` or `governd up` with further arguments and waits until it answers.
    ///
    /// # Errors
    ///
    /// Fails with all it said if it ends instead.
    pub fn start_as(&self, verb: &str, further: &[&str]) -> Result<Daemon<'_>> {
        let mut running = Running::start(self.command(self.arguments(verb)).args(further))?;
        let ready = wait::until("governd: ready", wait::PATIENCE, || {
            if !running.is_running()? {
                return Ok(Some(false));
            }
            let is_ready = self.socket().exists() && self.ask(&["status"])?.code == Some(0);
            Ok(is_ready.then_some(true))
        });
        match ready {
            Ok(true) => {
                let held = Residue::held_by(running.pid())?;
                Ok(Daemon { place: self, running, held })
            }
            Ok(false) => bail!("governd ended: {}", running.finish(wait::PATIENCE)?),
            Err(error) => Err(match running.signal(Signal::KILL) {
                Ok(()) => error.context(running.finish(wait::PATIENCE)?.to_string()),
                Err(_) => error,
            }),
        }
    }

    /// Ends the daemon, if one runs, and takes what it left out of the kernel.
    ///
    /// # Errors
    ///
    /// Fails if something stays.
    pub fn detach(&self) -> Result<Finished> {
        let finished = self.ask(&["stop", "--detach", "--pins", &self.pins.to_string_lossy()])?;
        ensure!(finished.code == Some(0), "governd did not detach: {finished}");
        ensure!(!self.pins.exists(), "{} is left", self.pins.display());
        Ok(finished)
    }

    /// Takes everything of an ended daemon out of the kernel without asking it, as a reboot does.
    ///
    /// # Errors
    ///
    /// Fails if something stays.
    pub fn forget_kernel(&self) -> Result<()> {
        leftover::unpin(&self.pins)?;
        ensure!(!self.pins.exists(), "{} is left", self.pins.display());
        Ok(())
    }

    /// Every record in the log, oldest first.
    ///
    /// # Errors
    ///
    /// Fails if a segment cannot be read or a complete line is not JSON.
    pub fn records(&self) -> Result<Vec<Value>> {
        let mut segments = Vec::new();
        find_segments(&self.state(), &mut segments)?;
        segments.sort();
        let mut records = Vec::new();
        for segment in segments {
            let text = fs::read_to_string(&segment)
                .with_context(|| format!("reading {}", segment.display()))?;
            // What follows the last line feed is still being written.
            let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
            for line in complete.lines() {
                let record = serde_json::from_str(line)
                    .with_context(|| format!("{}: {line}", segment.display()))?;
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Waits for a record.
    ///
    /// # Errors
    ///
    /// Fails when the log has none that fits in time.
    pub fn record(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(&format!("a record of {what}"), wait::PATIENCE, || {
            Ok(self.records()?.into_iter().find(|record| fits(record)))
        })
        .with_context(|| self.records().map_or_else(|e| e.to_string(), |all| last_lines(&all)))
    }
}

impl Drop for Place {
    /// A test that fails must not go on enforcing.
    fn drop(&mut self) {
        leftover::unpin(&self.pins).ok();
    }
}

fn last_lines(records: &[Value]) -> String {
    let lines: Vec<String> = records.iter().rev().take(12).map(Value::to_string).collect();
    format!("{} records, the last of them:\n{}", records.len(), lines.join("\n"))
}

fn find_segments(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find_segments(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            found.push(path);
        }
    }
    Ok(())
}

/// A running governd; killed when dropped.
#[derive(Debug)]
pub struct Daemon<'a> {
    place: &'a Place,
    running: Running,
    held: Residue,
}

impl Daemon<'_> {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The programs, maps and links that it holds since it was ready.
    pub fn held(&self) -> &Residue {
        &self.held
    }

    /// Waits for a line of its output.
    ///
    /// # Errors
    ///
    /// Fails when the limit is over.
    pub fn line(&mut self, limit: Duration, fits: impl Fn(&str) -> bool) -> Result<String> {
        self.running.line(limit, fits)
    }

    /// `governd status --json`.
    ///
    /// # Errors
    ///
    /// Fails if it does not answer with JSON.
    pub fn status(&self) -> Result<Value> {
        let text = self.place.ask(&["status", "--json"])?.success()?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Makes it read its policies again.
    ///
    /// # Errors
    ///
    /// Fails if it is gone.
    pub fn reload(&self) -> Result<()> {
        self.running.signal(Signal::HUP)
    }

    /// Stops it for good: exit code 0, and nothing is left in the kernel.
    ///
    /// # Errors
    ///
    /// Fails if it does not end, ends badly, or leaves a program, map or link.
    pub fn stop(self) -> Result<Finished> {
        self.stop_within(wait::PATIENCE)
    }

    /// Stops it as [`Self::stop`] does, where it may have much to write before it ends.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`].
    pub fn stop_within(self, limit: Duration) -> Result<Finished> {
        let Self { place, running, held } = self;
        running.signal(Signal::INT)?;
        let finished = running.finish(limit)?;
        ensure!(finished.code == Some(0), "governd did not end well: {finished}");
        place.detach()?;
        held.must_vanish()?;
        Ok(finished)
    }

    /// Stops it as a service manager does: what it enforces goes on.
    ///
    /// # Errors
    ///
    /// Fails if it does not end or ends badly.
    pub fn terminate(self) -> Result<Residue> {
        let Self { running, held, .. } = self;
        running.signal(Signal::TERM)?;
        let finished = running.finish(3 * wait::PATIENCE)?;
        ensure!(finished.code == Some(0), "governd did not end well: {finished}");
        Ok(held)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be waited for.
    pub fn is_running(&mut self) -> Result<bool> {
        self.running.is_running()
    }

    /// Kills it without a chance to clean up; what it enforces goes on, and is what is given.
    ///
    /// # Errors
    ///
    /// Fails if it does not end.
    pub fn kill(self) -> Result<Residue> {
        let Self { running, held, .. } = self;
        running.signal(Signal::KILL)?;
        running.finish(wait::PATIENCE)?;
        Ok(held)
    }
}
