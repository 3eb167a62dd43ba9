//! `cargo xtask bench`: what governd costs, beside nothing and beside what people use instead.
//!
//! Every variant has its measured process in a cgroup of its own, all at the same time; each round
//! asks every one of them for a batch, one after the other, so that whatever else the machine does
//! hits all alike. A cost is the median over rounds of the difference to "nothing attached" in the
//! same round. Some programs are attached to the whole host, or to every interface, and run for
//! "nothing attached", too: so everything is also measured by attaching and detaching in turns.

mod beside;
mod client;
mod daemon;
mod dns;
mod field;
mod figure;
mod idle;
mod janitor;
mod nftables;
mod peers;
mod plot;
mod policy;
mod programs;
mod records;
mod report;
mod server;
mod site;
mod stats;
mod tcpconnect;
mod turns;
mod work;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use tempfile::TempDir;

use self::{
    client::Route,
    daemon::Place,
    field::{Cgroup, Namespace, Worker},
    janitor::Janitor,
    report::Report,
};
use crate::{place, run as command, say, setup};

pub(crate) use self::{
    client::Route as WorkArguments,
    janitor::{Arguments as JanitorArguments, run as janitor},
    server::{Arguments as ServeArguments, serve},
    work::run as work,
};

/// Rules of the policies that are compared.
const RULES: [usize; 3] = [10, 1_000, 100_000];
/// Rules where there is only one policy, and of the packet filter.
const RULES_USUAL: usize = 1_000;
/// How long a daemon may settle before it counts as idle.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds in which every variant is asked for a batch
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(2..))]
    rounds: u32,
    /// Turns in which it is attached and detached
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    turns: u32,
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
    /// Fork and exec, the network, and the start of the daemon, attached and detached; proxies
    Turns,
    /// The network, all variants side by side
    Beside,
    /// The daemon without work, and other policies
    Idle,
    /// The daemon's memory on a host with many processes
    Processes,
    /// The time in each program, and that of DNS answers
    Programs,
    /// Decisions that become durable records
    Records,
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
    let mut failed = 0;
    for part in Part::value_variants().iter().filter(|part| arguments.has(**part)) {
        if let Err(error) = bench.measure(*part, arguments, &mut report) {
            // The others are worth their time all the same.
            report.notes.push(format!("{part:?}: failed; {error:#}"));
            failed += 1;
        }
    }
    drop(bench);
    say::line(report.markdown());
    if failed > 0 {
        bail!("{failed} parts of the bench failed; the report says why");
    }
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
    turns: u32,
    files: TempDir,
    // Behind everything else.
    _janitor: Janitor,
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
        let files = TempDir::with_prefix(field::PREFIX).context("making a directory")?;
        let janitor = Janitor::start(files.path())?;
        server::certificates(files.path())?;
        let copy = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = files.path().join(name);
            fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
            Ok(to)
        };
        let (other, agent) = (copy(&worker, "other")?, copy(&worker, "agent")?);
        let sleeper = copy(Path::new("/bin/sleep"), "sleeper")?;
        let turns = arguments.turns;
        Ok(Self { governd, other, agent, sleeper, turns, files, _janitor: janitor })
    }

    fn measure(&self, part: Part, arguments: &Arguments, report: &mut Report) -> Result<()> {
        match part {
            Part::Turns => self.turns(report),
            Part::Beside => self.beside(arguments.rounds, report),
            Part::Idle => self.idle_and_swaps(report),
            Part::Processes => self.processes(report),
            Part::Programs => self.programs(report),
            Part::Records => self.records(report),
        }
    }

    fn place(&self, part: &str, rules: usize) -> Result<Place> {
        let scratch = self.files.path().join(part);
        Place::create(&self.governd, &self.agent, &scratch, rules)
    }

    /// The directory of everything that the bench writes.
    fn files(&self) -> &Path {
        self.files.path()
    }

    /// A measured process that goes straight to the server.
    fn worker(&self, program: &Path, cgroup: &Cgroup, namespace: &Namespace<'_>) -> Result<Worker> {
        let (name, ca) = (site::NAME.to_owned(), server::authority(self.files()));
        Worker::start(program, cgroup, namespace, &Route { name, ca, proxy: None })
    }
}

fn run_cargo(package: &str) -> Result<()> {
    command::loud(command::cargo()?.args(["build", "--release", "--locked", "--package", package]))
}

/// Writes a file of the report.
fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
