//! The daemon without work, with other policies, and on a host with many processes.

use std::{
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    Bench, RULES_USUAL, SETTLE,
    daemon::Place,
    field::Cgroup,
    figure::{Bound, Single},
    report::Report,
};
use crate::say;

/// Rules of the policies that are swapped.
const RULES_SWAPPED: usize = 10_000;
const SWAPS: usize = 6;
/// Processes on the host while the daemon has nothing to do, and for how long it has not.
const PROCESSES: usize = 500;
/// Processes on a host that has many: half are older than the daemon, half are an agent's.
const PROCESSES_MANY: usize = 5_000;
const IDLE: Duration = Duration::from_secs(20);

impl Bench {
    /// What the daemon takes while nothing happens, and how long another policy needs.
    pub(super) fn idle_and_swaps(&self, report: &mut Report) -> Result<()> {
        let cgroup = Cgroup::create("idle")?;
        let place = self.place("idle", RULES_USUAL)?;
        let _processes = Sleepers::start("sleepers", PROCESSES, Path::new("sleep"))?;
        let (daemon, _) = place.start(cgroup.path())?;
        thread::sleep(SETTLE);
        say::note(format_args!("idle for {} s", IDLE.as_secs()));
        let before = daemon.processor_time()?;
        thread::sleep(IDLE);
        let share = (daemon.processor_time()? - before).as_secs_f64() / IDLE.as_secs_f64();
        let title = format!("idle, {PROCESSES} more processes: share of a core");
        report.singles.push(Single::new(&title, "%", Bound::Most(0.1), vec![share * 100.0]));
        let megabytes = daemon.resident_bytes()? / 1e6;
        let title = "idle: resident memory, 1,000 rules";
        report.singles.push(Single::new(title, "MB", Bound::Most(40.0), vec![megabytes]));
        let mut swaps = Vec::new();
        for swap in 0..SWAPS {
            // Another policy each time, one rule larger or smaller.
            let taken = daemon.reload(|| place.write(RULES_SWAPPED + swap % 2))?;
            swaps.push(taken.as_secs_f64() * 1e3);
        }
        let title = "policy swap, 10,000 rules: signal to in force, as `governd status` sees it";
        report.singles.push(Single::new(title, "ms", Bound::Most(150.0), swaps));
        Ok(())
    }

    /// What the daemon holds when the host has many processes.
    pub(super) fn processes(&self, report: &mut Report) -> Result<()> {
        let cgroup = Cgroup::create("processes")?;
        let scratch = self.files().join("processes");
        let place = Place::create(&self.governd, &self.sleeper, &scratch, RULES_USUAL)?;
        say::note(format_args!("{PROCESSES_MANY} processes"));
        let _older = Sleepers::start("older", PROCESSES_MANY / 2, Path::new("sleep"))?;
        let (daemon, _) = place.start(cgroup.path())?;
        let count = PROCESSES_MANY - PROCESSES_MANY / 2;
        let _agents = Sleepers::start("sleeping-agents", count, &self.sleeper)?;
        thread::sleep(IDLE);
        let megabytes = daemon.resident_bytes()? / 1e6;
        let title = "5,000 live processes, half an agent's: resident memory, 1,000 rules";
        report.singles.push(Single::new(title, "MB", Bound::Most(60.0), vec![megabytes]));
        Ok(())
    }
}

/// Processes that do nothing; they end when this is dropped.
struct Sleepers {
    children: Vec<Child>,
    cgroup: Cgroup,
}

impl Sleepers {
    /// Starts so many, in a cgroup that nothing is attached to.
    fn start(what: &str, count: usize, program: &Path) -> Result<Self> {
        let mut all = Self { children: Vec::new(), cgroup: Cgroup::create(what)? };
        let children = &mut all.children;
        all.cgroup.inside(|| {
            for _ in 0..count {
                let mut command = Command::new(program);
                children.push(command.arg("1000").spawn().context("starting one that sleeps")?);
            }
            Ok(())
        })?;
        Ok(all)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
