//! `cargo xtask bench`: what governd costs, beside nothing and beside what people use instead.
//!
//! Every variant has its measured process in a cgroup of its own, all at the same time; each round
//! asks every one of them for a batch, one after the other, so that whatever else the machine does
//! hits all alike. A cost is the median over rounds of the difference to "nothing attached" in the
//! same round. Some programs are attached to the whole host, or to every interface, and run for
//! "nothing attached", too: so everything is also measured by attaching and detaching in turns.

mod daemon;
mod field;
mod figure;
mod nftables;
mod plot;
mod policy;
mod report;
mod stats;
mod work;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use self::{
    daemon::{Daemon, Place},
    field::{Cgroup, Namespace, Worker},
    figure::{Beside, Figure, Single},
    report::Report,
    work::Work,
};
use crate::{place, run as command, say, setup};

pub(crate) use work::run as work;

/// Rules of the policies that are compared.
const RULES: [usize; 3] = [10, 1_000, 100_000];
/// Rules where there is only one policy, and of the packet filter.
const RULES_USUAL: usize = 1_000;
/// Rules of the policies that are swapped.
const RULES_SWAPPED: usize = 10_000;
const SWAPS: usize = 6;
/// Turns of attaching and detaching.
const TURNS: usize = 10;
/// Batches of each work in a turn.
const BATCHES: usize = 5;
/// Processes on the host while the daemon has nothing to do, and for how long it has not.
const PROCESSES: usize = 500;
/// Processes on a host that has many: half are older than the daemon, half are an agent's.
const PROCESSES_MANY: usize = 5_000;
const IDLE: Duration = Duration::from_secs(20);
/// How long a daemon may settle before it counts as idle.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds in which every variant is asked for a batch
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Measure this governd rather than build one
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// Measure with this xtask rather than build one
    #[arg(long, value_name = "PATH")]
    worker: Option<PathBuf>,
    /// Measure this part alone; may be given several times
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "write")]
    only: Vec<Part>,
    /// Put the report and its plots into docs/performance
    #[arg(long)]
    write: bool,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Part {
    /// Fork and exec, the network, and the start of the daemon, attached and detached
    Turns,
    /// The network, all variants side by side
    Beside,
    /// The daemon without work, and other policies
    Idle,
    /// The daemon's memory on a host with many processes
    Processes,
}

impl Arguments {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !command::is_root() {
        bail!("attaching programs needs root; hint: sudo cargo xtask bench");
    }
    let bench = Bench::prepare(arguments)?;
    let mut report = Report::new(arguments.rounds, arguments.daemon.is_some());
    if arguments.has(Part::Turns) {
        bench.turns(&mut report)?;
    }
    if arguments.has(Part::Beside) {
        bench.beside(arguments.rounds, &mut report)?;
    }
    if arguments.has(Part::Idle) {
        bench.idle_and_swaps(&mut report)?;
    }
    if arguments.has(Part::Processes) {
        bench.processes(&mut report)?;
    }
    say::line(report.markdown());
    if arguments.write { report.write(&place::root()?) } else { Ok(()) }
}

/// What all parts of a run share.
struct Bench {
    governd: PathBuf,
    /// The measured program: one copy that no policy knows, and one that is the agent.
    other: PathBuf,
    agent: PathBuf,
    /// `sleep` as an agent.
    sleeper: PathBuf,
    files: TempDir,
}

impl Bench {
    fn prepare(arguments: &Arguments) -> Result<Self> {
        setup::provide(&[setup::Part::Build, setup::Part::Bench])?;
        let release = place::target()?.join("release");
        // The daemon and the measured program both are optimised.
        let optimised = |given: &Option<PathBuf>, package: &str| match given {
            Some(path) => Ok(path.clone()),
            None => run_cargo(package).map(|()| release.join(package)),
        };
        let governd = optimised(&arguments.daemon, "governd")?;
        let worker = optimised(&arguments.worker, "xtask")?;
        let files = TempDir::with_prefix("governd-bench-").context("making a directory")?;
        let copy = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = files.path().join(name);
            fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
            Ok(to)
        };
        let (other, agent) = (copy(&worker, "other")?, copy(&worker, "agent")?);
        let sleeper = copy(Path::new("/bin/sleep"), "sleeper")?;
        Ok(Self { governd, other, agent, sleeper, files })
    }

    fn place(&self, part: &str, rules: usize) -> Result<Place> {
        let scratch = self.files.path().join(part);
        Place::create(&self.governd, &self.agent, &scratch, rules)
    }

    /// Attached and detached in turns.
    fn turns(&self, report: &mut Report) -> Result<()> {
        let (cgroup, namespace) = (Cgroup::create("turns")?, Namespace::create("turns")?);
        let place = self.place("turns", RULES_USUAL)?;
        let attached = format!("governd, {} rules", figure::grouped(RULES_USUAL as f64));
        let mut forks = Figure::in_turns(Work::ForkExec, [figure::NOTHING.to_owned(), attached]);
        let [other, agent] =
            [figure::OTHER, figure::AGENT].map(|who| figure::governd(RULES_USUAL, who));
        let labels = [figure::NOTHING.to_owned(), other, agent];
        let mut figures = Work::BESIDE.map(|work| Figure::in_turns(work, labels.clone()));
        let mut worker = Worker::start(&self.other, &cgroup, &namespace)?;
        let mut starts = Vec::new();
        for turn in 0..TURNS {
            say::note(format_args!("turn {} of {TURNS}: attached and detached", turn + 1));
            // What was attached in the turn before is still being freed, which is work, too.
            thread::sleep(SETTLE);
            let nothing = worker.measure(Work::ForkExec)?;
            let nothings = measure_each(&mut worker)?;
            let (daemon, took) = place.start(cgroup.path())?;
            let mut agent = Worker::start(&self.agent, &cgroup, &namespace)?;
            thread::sleep(SETTLE);
            forks.round(vec![nothing, worker.measure(Work::ForkExec)?]);
            let (others, agents) = (measure_each(&mut worker)?, measure_each(&mut agent)?);
            for (index, figure) in figures.iter_mut().enumerate() {
                let all = [&nothings, &others, &agents];
                figure.round(all.iter().filter_map(|values| values.get(index).copied()).collect());
            }
            starts.push(took.as_secs_f64() * 1e3);
            drop((agent, daemon));
        }
        report.figures.push(forks);
        report.figures.extend(figures);
        let title = "start to policy in force, 1,000 rules";
        report.singles.push(Single::new(title, "ms", Some(300.0), starts));
        Ok(())
    }

    /// All variants side by side.
    fn beside(&self, rounds: u32, report: &mut Report) -> Result<()> {
        // Programs at interfaces are there for everybody in a namespace, agent or not.
        let (namespace, apart) = (Namespace::create("beside")?, Namespace::create("apart")?);
        let nothing = Cgroup::create("nothing")?;
        let cgroups = RULES.map(|rules| Cgroup::create(&format!("rules-{rules}")));
        let cgroups = cgroups.into_iter().collect::<Result<Vec<_>>>()?;
        let places = RULES.map(|rules| self.place("beside", rules));
        let places = places.into_iter().collect::<Result<Vec<_>>>()?;
        let (filtered, filter) = (Cgroup::create("nftables")?, Namespace::create("nftables")?);
        let mut daemons: Vec<Daemon<'_>> = Vec::new();
        let mut variants = Beside::default();
        variants.add(figure::NOTHING, Worker::start(&self.other, &nothing, &apart)?);
        for ((place, cgroup), rules) in places.iter().zip(&cgroups).zip(RULES) {
            daemons.push(place.start(cgroup.path())?.0);
            for (program, who) in [(&self.other, figure::OTHER), (&self.agent, figure::AGENT)] {
                let label = figure::governd(rules, who);
                variants.add(&label, Worker::start(program, cgroup, &namespace)?);
            }
        }
        nftables::filter(&filter, filtered.path(), RULES_USUAL)?;
        variants.add(nftables::LABEL, Worker::start(&self.other, &filtered, &filter)?);
        let mut figures = Work::BESIDE.map(|work| Figure::new(work, variants.labels()));
        for round in 0..rounds {
            say::note(format_args!("round {} of {rounds}", round + 1));
            for figure in &mut figures {
                let values = variants.measure(figure.work, round)?;
                figure.round(values);
            }
        }
        report.figures.extend(figures);
        drop(variants);
        Ok(())
    }

    /// What the daemon takes while nothing happens, and how long another policy needs.
    fn idle_and_swaps(&self, report: &mut Report) -> Result<()> {
        let cgroup = Cgroup::create("idle")?;
        let place = self.place("idle", RULES_USUAL)?;
        let _processes = Sleepers::start(PROCESSES, Path::new("sleep"))?;
        let (daemon, _) = place.start(cgroup.path())?;
        thread::sleep(SETTLE);
        say::note(format_args!("idle for {} s", IDLE.as_secs()));
        let before = daemon.processor_time()?;
        thread::sleep(IDLE);
        let share = (daemon.processor_time()? - before).as_secs_f64() / IDLE.as_secs_f64();
        let title = format!("idle, {PROCESSES} more processes: share of a core");
        report.singles.push(Single::new(&title, "%", Some(0.1), vec![share * 100.0]));
        let megabytes = daemon.resident_bytes()? / 1e6;
        let title = "idle: resident memory, 1,000 rules";
        report.singles.push(Single::new(title, "MB", Some(40.0), vec![megabytes]));
        let mut swaps = Vec::new();
        for swap in 0..SWAPS {
            // Another policy each time, one rule larger or smaller.
            place.write(RULES_SWAPPED + swap % 2)?;
            swaps.push(daemon.reload()?.as_secs_f64() * 1e3);
        }
        let title = "policy swap, 10,000 rules: signal to in force, as `governd status` sees it";
        report.singles.push(Single::new(title, "ms", Some(150.0), swaps));
        Ok(())
    }

    /// What the daemon holds when the host has many processes.
    fn processes(&self, report: &mut Report) -> Result<()> {
        let cgroup = Cgroup::create("processes")?;
        let scratch = self.files.path().join("processes");
        let place = Place::create(&self.governd, &self.sleeper, &scratch, RULES_USUAL)?;
        say::note(format_args!("{PROCESSES_MANY} processes"));
        let _older = Sleepers::start(PROCESSES_MANY / 2, Path::new("sleep"))?;
        let (daemon, _) = place.start(cgroup.path())?;
        let _agents = Sleepers::start(PROCESSES_MANY - PROCESSES_MANY / 2, &self.sleeper)?;
        thread::sleep(IDLE);
        let megabytes = daemon.resident_bytes()? / 1e6;
        let title = "5,000 live processes, half an agent's: resident memory, 1,000 rules";
        report.singles.push(Single::new(title, "MB", Some(60.0), vec![megabytes]));
        Ok(())
    }
}

/// What a worker takes for each work of the network: the median of some batches.
fn measure_each(worker: &mut Worker) -> Result<Vec<f64>> {
    let mut medians = Vec::new();
    for work in Work::BESIDE {
        let batches = (0..BATCHES).map(|_| worker.measure(work)).collect::<Result<Vec<_>>>()?;
        medians.push(stats::median(&batches).context("no batches")?);
    }
    Ok(medians)
}

fn run_cargo(package: &str) -> Result<()> {
    command::loud(command::cargo()?.args(["build", "--release", "--locked", "--package", package]))
}

/// Processes that do nothing; they end when this is dropped.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start(count: usize, program: &Path) -> Result<Self> {
        let mut all = Self(Vec::new());
        for _ in 0..count {
            let mut command = Command::new(program);
            all.0.push(command.arg("1000").spawn().context("starting a process that sleeps")?);
        }
        Ok(all)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Writes a file of the report.
fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
