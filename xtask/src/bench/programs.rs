//! What the kernel counts of a program: its runs and the time in them, with
//! `kernel.bpf_stats_enabled` (Documentation/admin-guide/sysctl/kernel.rst).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    Bench, RULES_USUAL,
    daemon::Daemon,
    field::{Cgroup, Namespace, Servant, Worker},
    figure::{Bound, Single},
    put,
    report::Report,
    site::MANY_ADDRESSES,
    work::{Chore, Work},
};
use crate::{run, say};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Where the switch's former value is kept, in the bench's directory, while it is on.
const FORMER: &str = "bpf_stats_enabled";
/// The program that sees packets come in; what it calls counts as its own.
const PROGRAM: &str = "skb_ingress";
/// Programs that run more seldom for one operation are left out: what happens on the host besides.
const RUNS_MIN: f64 = 0.5;
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

/// Runs, and nanoseconds in them.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    runs: f64,
    time_ns: f64,
}

/// What the daemon's programs have run, by name.
fn counts(daemon: &Daemon<'_>) -> Result<BTreeMap<String, Count>> {
    let own = held(daemon.process_id())?;
    let text = run::read(run::command("bpftool")?.args(["-j", "prog", "show"]))?;
    let listed: Value = serde_json::from_str(&text).context("reading bpftool")?;
    let mut counts = BTreeMap::<String, Count>::new();
    for program in listed.as_array().into_iter().flatten() {
        let id = program.get("id").and_then(Value::as_u64);
        let name = program.get("name").and_then(Value::as_str);
        if let (Some(name), true) = (name, id.is_some_and(|id| own.contains(&id))) {
            let number = |field| program.get(field).and_then(Value::as_f64).unwrap_or(0.0);
            let count = counts.entry(name.to_owned()).or_default();
            count.runs += number("run_cnt");
            count.time_ns += number("run_time_ns");
        }
    }
    Ok(counts)
}

/// What ran between two looks.
fn between(
    before: &BTreeMap<String, Count>,
    after: BTreeMap<String, Count>,
) -> BTreeMap<String, Count> {
    let more = after.into_iter().map(|(name, count)| {
        let former = before.get(&name).copied().unwrap_or_default();
        let (runs, time_ns) = (count.runs - former.runs, count.time_ns - former.time_ns);
        (name, Count { runs, time_ns })
    });
    more.collect()
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

/// What a work takes in a program.
pub(super) struct Part {
    pub(super) work: Work,
    pub(super) program: String,
    /// Runs for one operation.
    pub(super) runs: f64,
    /// Nanoseconds of a run, of a process that is no agent and of an agent; none where it does not
    /// run.
    pub(super) other_ns: Option<f64>,
    pub(super) agent_ns: Option<f64>,
}

impl Bench {
    /// Time in the programs: of each work of the network, and of DNS answers.
    pub(super) fn programs(&self, report: &mut Report) -> Result<()> {
        let cgroup = Cgroup::create("programs")?;
        let namespace = Namespace::create("programs", self.files())?;
        let _server = Servant::serve(&namespace, "programs", &self.other)?;
        let place = self.place("programs", RULES_USUAL)?;
        let (daemon, _) = place.start(cgroup.path())?;
        let mut other = self.worker(&self.other, &cgroup, &namespace)?;
        let mut agent = self.worker(&self.agent, &cgroup, &namespace)?;
        agent.act(Chore::Judged, 1)?;
        let _counting = Counting::start(self.files())?;
        for work in Work::NETWORK {
            let others = profile(&daemon, &mut other, work)?;
            let agents = profile(&daemon, &mut agent, work)?;
            report.parts.extend(parts(work, &others, &agents));
        }
        answers(&daemon, &mut agent, report)
    }
}

/// What programs run for a batch; for one operation.
fn profile(
    daemon: &Daemon<'_>,
    worker: &mut Worker,
    work: Work,
) -> Result<BTreeMap<String, Count>> {
    say::note(format_args!("time in programs: {}", work.title()));
    worker.measure(work)?;
    let before = counts(daemon)?;
    worker.measure(work)?;
    let mut all = between(&before, counts(daemon)?);
    for count in all.values_mut() {
        count.runs /= work.operations();
        count.time_ns /= work.operations();
    }
    all.retain(|_, count| count.runs >= RUNS_MIN);
    Ok(all)
}

fn parts(
    work: Work,
    others: &BTreeMap<String, Count>,
    agents: &BTreeMap<String, Count>,
) -> Vec<Part> {
    let names: BTreeSet<&String> = others.keys().chain(agents.keys()).collect();
    let part = |program: &String| {
        let [other, agent] = [others, agents].map(|counts| counts.get(program));
        let time = |count: &Count| count.time_ns / count.runs;
        Part {
            work,
            program: program.clone(),
            runs: agent.or(other).map_or(0.0, |count| count.runs),
            other_ns: other.map(time),
            agent_ns: agent.map(time),
        }
    };
    names.into_iter().map(part).collect()
}

/// The time that a DNS answer with many addresses takes in the program that reads it. Nobody else
/// gets packets in the cgroup meanwhile: the resolver is in another.
fn answers(daemon: &Daemon<'_>, agent: &mut Worker, report: &mut Report) -> Result<()> {
    for (chore, which) in [(Chore::AskNew, "new"), (Chore::AskAgain, "known")] {
        say::note(format_args!("DNS answers with {MANY_ADDRESSES} {which} addresses"));
        agent.act(chore, ANSWERS)?;
        let mut times = Vec::new();
        for _ in 0..BATCHES {
            let before = counts(daemon)?;
            agent.act(chore, ANSWERS)?;
            let ran = between(&before, counts(daemon)?);
            let Count { runs, time_ns } = ran.get(PROGRAM).copied().unwrap_or_default();
            let others = runs - f64::from(ANSWERS);
            ensure!((0.0..=OTHERS_MAX).contains(&others), "{PROGRAM} ran {runs} times");
            times.push(time_ns / runs);
        }
        let title = format!(
            "DNS answer with {MANY_ADDRESSES} {which} addresses, time in the program, with its \
             counting"
        );
        report.singles.push(Single::new(&title, "ns", Bound::Most(3_000.0), times));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_time_of_one_run() {
        let count = |runs, time_ns| Count { runs, time_ns };
        let names = |all: &[(&str, Count)]| -> BTreeMap<String, Count> {
            all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let before = names(&[("wire", count(10.0, 100.0))]);
        let after = names(&[("wire", count(14.0, 180.0)), ("connect4", count(1.0, 300.0))]);
        let agents = between(&before, after);
        let found = parts(Work::TcpCycle, &BTreeMap::new(), &agents);
        let rows: Vec<_> = found
            .iter()
            .map(|part| (part.program.as_str(), part.runs, part.other_ns, part.agent_ns))
            .collect();
        assert_eq!(rows, [("connect4", 1.0, None, Some(300.0)), ("wire", 4.0, None, Some(20.0))]);
    }
}
