//! What the kernel counts of a program: its runs and the time in them, with
//! `kernel.bpf_stats_enabled` (Documentation/admin-guide/sysctl/kernel.rst).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    Bench, RULES_USUAL,
    daemon::Daemon,
    field::{Cgroup, Namespace, Servant},
    figure::{Bound, Single},
    put,
    report::Report,
    site::MANY_ADDRESSES,
    work::Chore,
};
use crate::{run, say};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Where the switch's former value is kept, in the bench's directory, while it is on.
const FORMER: &str = "bpf_stats_enabled";
/// The program that sees packets come in; what it calls counts as its own.
const PROGRAM: &str = "skb_ingress";
/// Answers of a batch, and batches.
const ANSWERS: u32 = 100;
const BATCHES: usize = 10;
/// Runs of a batch that may be somebody else's: the daemon tries its own sockets each second.
const OTHERS_MAX: f64 = 3.0;

/// The counters are on until this is dropped.
struct Counting<'a>(&'a Path);

impl<'a> Counting<'a> {
    fn start(files: &'a Path) -> Result<Self> {
        let former = fs::read_to_string(SWITCH).with_context(|| format!("reading {SWITCH}"))?;
        put(&files.join(FORMER), &former)?;
        put(Path::new(SWITCH), "1")?;
        Ok(Self(files))
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Err(error) = restore(self.0) {
            say::warn(format_args!("{error:#}"));
        }
    }
}

/// Puts the counters back to what they were, if they are on.
pub(super) fn restore(files: &Path) -> Result<()> {
    let kept = files.join(FORMER);
    if let Ok(former) = fs::read_to_string(&kept) {
        put(Path::new(SWITCH), former.trim())?;
        fs::remove_file(kept)?;
    }
    Ok(())
}

/// Runs of the daemon's program, and nanoseconds in them.
fn counted(daemon: &Daemon<'_>) -> Result<(f64, f64)> {
    let own = held(daemon.process_id())?;
    let text = run::read(run::command("bpftool")?.args(["-j", "prog", "show"]))?;
    let listed: Value = serde_json::from_str(&text).context("reading bpftool")?;
    let mut programs = listed.as_array().into_iter().flatten();
    let program = programs.find(|program| {
        let number = |field| program.get(field).and_then(Value::as_u64);
        let is_own = number("id").is_some_and(|id| own.contains(&id));
        is_own && program.get("name").and_then(Value::as_str) == Some(PROGRAM)
    });
    let program = program.with_context(|| format!("the daemon has no program {PROGRAM}"))?;
    let number = |field| program.get(field).and_then(Value::as_f64);
    Ok((number("run_cnt").unwrap_or(0.0), number("run_time_ns").unwrap_or(0.0)))
}

/// Ids of the programs that a process has open.
fn held(process_id: u32) -> Result<BTreeSet<u64>> {
    let directory = PathBuf::from(format!("/proc/{process_id}/fdinfo"));
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        // A file that was closed in between holds nothing.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(lines.filter_map(|id| id.trim().parse::<u64>().ok()));
    }
    Ok(ids)
}

impl Bench {
    /// The time that a DNS answer with many addresses takes in the program that reads it. Nobody
    /// else gets packets in the cgroup: the resolver is in another.
    pub(super) fn answers(&self, report: &mut Report) -> Result<()> {
        let cgroup = Cgroup::create("dns")?;
        let namespace = Namespace::create("dns", self.files())?;
        let _server = Servant::serve(&namespace, "dns", &self.other)?;
        let place = self.place("dns", RULES_USUAL)?;
        let (daemon, _) = place.start(cgroup.path())?;
        let mut agent = self.worker(&self.agent, &cgroup, &namespace)?;
        let _counting = Counting::start(self.files())?;
        for (chore, which) in [(Chore::AskNew, "new"), (Chore::AskAgain, "known")] {
            say::note(format_args!("DNS answers with {MANY_ADDRESSES} {which} addresses"));
            agent.act(chore, ANSWERS)?;
            let mut times = Vec::new();
            for _ in 0..BATCHES {
                let before = counted(&daemon)?;
                agent.act(chore, ANSWERS)?;
                let after = counted(&daemon)?;
                let (runs, time) = (after.0 - before.0, after.1 - before.1);
                let others = runs - f64::from(ANSWERS);
                ensure!((0.0..=OTHERS_MAX).contains(&others), "{PROGRAM} ran {runs} times");
                times.push(time / runs);
            }
            let title = format!(
                "DNS answer with {MANY_ADDRESSES} {which} addresses, time in the program, with its \
                 counting"
            );
            report.singles.push(Single::new(&title, "ns", Bound::Most(3_000.0), times));
        }
        Ok(())
    }
}
