//! What the sink has of a host after daemon and sink were killed at moments that nobody chose,
//! counted against what a client did; and what happens to who rewrites or erases.

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{Finished, Running, run},
    daemon::{Daemon, Place},
    site, wait,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{Test, audit::audit, client, disk::Small, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("crash::whoever_is_killed_the_sink_has_what_happened", whoever_is_killed),
    ("crash::a_sink_without_room_takes_everything_later", a_sink_without_room),
    ("crash::a_history_that_is_rewritten_is_found_on_both_sides", a_rewritten_history),
    ("crash::values_are_erased_from_log_and_sink", values_are_erased),
];

/// How often the daemon or the sink is killed; more of it on request.
const KILLS: &str = "CRASH_KILLS";
const KILLS_DEFAULT: u32 = 6;
const EXIT_NO: i32 = 1;
/// Ports below those that the kernel chooses (`ip_local_port_range`).
const SINK_PORT_MIN: u16 = 20_000;
const SINK_PORTS: u16 = 6_000;
/// A word on a command line.
const PERSONAL: &str = "of-dana-and-nobody-else";
pub(crate) const HOST: &str = "web-1";
/// Longest time that one of them is left to work.
const WORK_MAX: Duration = Duration::from_millis(1_500);
/// Between two looks at what takes a process to look at.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the sink may take to have everything: a host waits for up to a minute after failures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Destinations of the client: networks that nothing routes to.
const NETWORK: &str = "10.78.";
const PORTS: u64 = 50_000;
const PORT_MIN: u64 = 10_000;

/// Tries connections that are all denied, each to a place of its own, for as long as its standard
/// input is open, so many at once, and says how many it tried.
const SCRIPT: &str = r#"
import select, socket, sys, time
at_once, tried = int(sys.argv[1]), 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(at_once):
        place = ("10.78.%d.%d" % divmod(tried // 50000, 256), 10000 + tried % 50000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.connect(place)
                sys.exit("passed")
            except PermissionError:
                tried += 1
    time.sleep(0.01)
print("tried", tried)
"#;

/// A sink on this machine, as its own process.
pub(crate) struct Sink<'p> {
    place: &'p Place,
    directory: PathBuf,
    address: String,
    /// The network namespace that it is in, where it has one of its own.
    network: Option<PathBuf>,
    running: Option<Running>,
}

impl<'p> Sink<'p> {
    /// Where the sink of a place is.
    fn place(place: &Place) -> PathBuf {
        place.socket().with_file_name("of-sink")
    }

    /// Makes it and starts it.
    pub(crate) fn new(place: &'p Place) -> Result<Self> {
        // Free, and asked for again each time that the sink starts: none that the kernel may give
        // to somebody's connection meanwhile.
        let first = SINK_PORT_MIN + u16::try_from(process::id() % u32::from(SINK_PORTS))?;
        let mut ports = first..first + SINK_PORTS;
        let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let free = free.context("no port is free")?;
        Self::start_at(place, SocketAddr::from(([127, 0, 0, 1], free)), None)
    }

    /// Makes it and starts it at an address of another network namespace.
    pub(crate) fn start_at(
        place: &'p Place,
        address: SocketAddr,
        network: Option<PathBuf>,
    ) -> Result<Self> {
        let directory = Self::place(place);
        let (name, address) = (address.ip().to_string(), address.to_string());
        let mut sink = Self { place, directory, address, network, running: None };
        sink.ask(&["init", "--name", &name])?.success()?;
        sink.start()?;
        Ok(sink)
    }

    /// `governd sink` with a verb.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Finished> {
        self.ask_in(&self.directory, arguments)
    }

    /// The same for a sink in another directory.
    pub(crate) fn ask_in(&self, directory: &Path, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.place.command(["sink"]);
        Running::start(command.args(arguments).arg("--dir").arg(directory))?.finish(PATIENCE)
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it with these environment variables.
    pub(crate) fn start_with(&mut self, variables: &[(&str, &Path)]) -> Result<()> {
        let arguments = ["sink", "run", "--listen", &self.address, "--dir"];
        let mut command = self.place.command(arguments);
        command.arg(&self.directory);
        if let Some(network) = &self.network {
            let mut inside = Command::new("nsenter");
            inside.arg(format!("--net={}", network.display())).arg(command.get_program());
            inside.args(command.get_args());
            command = inside;
        }
        command.envs(variables.iter().copied());
        let mut running = Running::start(&mut command)?;
        running.line(wait::PATIENCE, |line| line.contains("listens on"))?;
        self.running = Some(running);
        Ok(())
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let running = self.running.take().context("the sink does not run")?;
        running.signal(Signal::KILL)?;
        running.finish(wait::PATIENCE).map(drop)
    }

    /// Ends it, and starts it again.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let running = self.running.take().context("the sink does not run")?;
        running.signal(Signal::TERM)?;
        running.finish(wait::PATIENCE)?.success()?;
        self.start()
    }

    /// What hosts reach it by.
    pub(crate) fn name(&self) -> &str {
        self.address.rsplit_once(':').map_or("", |(name, _)| name)
    }

    /// Lets the host of the place in.
    pub(crate) fn enroll(&self) -> Result<()> {
        let token = self.ask(&["token", "--host", HOST, "--sink", &self.address])?.success()?;
        let state = self.place.state();
        let mut enroll = self.place.command(["enroll", token.trim(), "--state-dir"]);
        run(enroll.arg(state))?.success().map(drop)
    }

    /// Lets the host in, which has a key from its first start on, and starts it again.
    pub(crate) fn start_enrolled(&self) -> Result<Daemon<'p>> {
        self.place.start()?.terminate()?;
        self.enroll()?;
        self.place.start()
    }

    /// What it says of the host.
    pub(crate) fn host(&self) -> Result<Value> {
        let hosts = self.ask(&["hosts", "--json"])?;
        let line = hosts.stdout.lines().next().with_context(|| format!("no host: {hosts}"))?;
        Ok(serde_json::from_str(line)?)
    }

    /// Waits until it has everything that the log has.
    pub(crate) fn wait_for_log(&self, daemon: &Daemon<'_>) -> Result<u64> {
        wait::until("every record in the sink", PATIENCE, || {
            thread::sleep(PAUSE);
            let size = record::number(&self.host()?, "/records").unwrap_or(0);
            let status = daemon.status()?;
            let number = |name| record::number(&status, name);
            let is_all = number("/log/durable") == Some(size);
            let is_idle = number("/log/next_index") == Some(size);
            Ok((size > 0 && is_all && is_idle).then_some(size))
        })
    }

    /// Counts what it has of the host, which must be so many records, each once and in order. They
    /// are read one by one: of a long run there are too many to have them all.
    pub(crate) fn tally(&self, size: u64, tried: u64) -> Result<Tally> {
        let path = self.directory.with_file_name("shown");
        let mut show = self.place.command(["sink", "show", HOST, "--dir"]);
        let shown = show.arg(&self.directory).stdout(File::create(&path)?).status()?;
        ensure!(shown.success(), "what the sink has cannot be shown: {shown}");
        let mut count = 0;
        let records = BufReader::new(File::open(&path)?).lines().map(|line| {
            let record: Value = serde_json::from_str(&line?)?;
            let index = record::number(&record, "/metadata/sequence");
            ensure!(index == Some(count), "{count}: {record}");
            count += 1;
            Ok(record)
        });
        let tally = tally(records, tried)?;
        ensure!(count == size, "{count} records of {size} shown");
        Ok(tally)
    }
}

/// Puts a policy into place that denies everything to agents.
pub(crate) fn policy_of(lab: &Lab, place: &Place) -> Result<()> {
    place.write_policy(&policy::both_agents(lab, "enforce", &[])).map(drop)
}

/// Verifies the log against what the sink saw; of a long run that takes its time.
pub(crate) fn verify(place: &Place) -> Result<Finished> {
    let mut command = place.command(["audit", "verify", "--against", "sink", "--state-dir"]);
    Running::start(command.arg(place.state()))?.finish(PATIENCE)
}

/// Up to a number, from the clock: a run says how it ended, not how it began.
fn any(limit: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    limit.mul_f64(f64::from(now.subsec_nanos() % 1_000_003) / 1_000_003.0)
}

fn whoever_is_killed(lab: &Lab) -> Result<()> {
    let kills = match env::var(KILLS) {
        Ok(text) => text.parse().with_context(|| format!("{KILLS}={text}"))?,
        Err(_) => KILLS_DEFAULT,
    };
    let place = Place::new(lab, "crash")?;
    policy_of(lab, &place)?;
    let mut sink = Sink::new(&place)?;
    let mut daemon = sink.start_enrolled()?;
    // Who has nothing to record loses nothing.
    sink.wait_for_log(&daemon)?;
    daemon.kill()?;
    daemon = place.start()?;
    let idle = place.records()?.iter().filter_map(lost).sum::<u64>();
    ensure!(idle == 0, "{idle} lost while nothing happened");
    let client = tries(lab, "4")?;
    for kill in 0..kills {
        thread::sleep(any(WORK_MAX));
        if kill % 2 == 0 {
            daemon.kill()?;
            daemon = place.start()?;
        } else {
            sink.kill()?;
            sink.start()?;
        }
    }
    let tried = tried(client)?;
    let size = sink.wait_for_log(&daemon)?;
    let Tally { seen, missing, lost } = sink.tally(size, tried)?;
    measured(format!(
        "{kills} kills: {tried} tries, {seen} in the sink, {missing} missing, {lost} told as lost"
    ));
    ensure!(missing <= lost, "{missing} of {tried} are missing, and {lost} are told as lost");
    daemon.stop_within(3 * wait::PATIENCE)?;
    verify(&place)?.success()?;
    sink.ask(&["verify"])?.success()?;
    Ok(())
}

/// Starts the client that tries so many connections at once, again and again.
pub(crate) fn tries(lab: &Lab, at_once: &str) -> Result<Running> {
    lab.client(Family::V4, lab.tools().agent()).args(["-c", SCRIPT, at_once]).start()
}

/// Ends it, and says how many it tried.
pub(crate) fn tried(mut client: Running) -> Result<u64> {
    client.close_input();
    let finished = client.finish(wait::PATIENCE)?;
    let tried = finished.stdout.trim().strip_prefix("tried ").and_then(|text| text.parse().ok());
    tried.with_context(|| format!("no number: {finished}"))
}

/// What records have of a client's tries.
pub(crate) struct Tally {
    /// Tries that have one.
    pub(crate) seen: u64,
    /// Tries that have none.
    pub(crate) missing: u64,
    /// Events and records of which they say that they were lost.
    pub(crate) lost: u64,
}

/// Counts, and sees that every try is there once at most, and in order.
pub(crate) fn tally(records: impl IntoIterator<Item = Result<Value>>, tried: u64) -> Result<Tally> {
    let (mut seen, mut told, mut last) = (0, 0, None);
    for record in records {
        let record = record?;
        told += lost(&record).unwrap_or(0);
        let Some(number) = number_of_try(&record) else { continue };
        ensure!(last.is_none_or(|last| last < number), "twice, or out of order: {record}");
        (seen, last) = (seen + 1, Some(number));
    }
    ensure!(last.is_none_or(|last| last < tried), "more than the client did");
    Ok(Tally { seen, missing: tried - seen, lost: told })
}

/// Which try of the client a record is of.
fn number_of_try(each: &Value) -> Option<u64> {
    let place = record::text(each, "/dst_endpoint/ip").strip_prefix(NETWORK)?;
    let (third, fourth) = place.split_once('.')?;
    let network = third.parse::<u64>().ok()? * 256 + fourth.parse::<u64>().ok()?;
    Some(network * PORTS + record::number(each, "/dst_endpoint/port")? - PORT_MIN)
}

/// How many events or records this one says were lost.
fn lost(each: &Value) -> Option<u64> {
    let of_bytes = record::text(each, "/unmapped/governd/loss/reason") == "torn-tail";
    record::number(each, "/unmapped/governd/loss/count").filter(|_| !of_bytes)
}

fn a_sink_without_room(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "room")?;
    policy_of(lab, &place)?;
    fs::create_dir(Sink::place(&place))?;
    let small = Small::over(Sink::place(&place), 48)?;
    let sink = Sink::new(&place)?;
    let daemon = sink.start_enrolled()?;
    let before = sink.wait_for_log(&daemon)?;
    small.fill()?;
    let client = tries(lab, "10")?;
    wait::until("a host that waits", PATIENCE, || {
        let status = daemon.status()?;
        let exporters = status.pointer("/exporters").and_then(Value::as_array);
        let failing = exporters.into_iter().flatten().find_map(|one| one.get("failing")?.as_str());
        Ok(failing.filter(|reason| reason.contains("full")).map(drop))
    })
    .with_context(|| daemon.status().map_or_else(|e| e.to_string(), |all| all.to_string()))?;
    let tried = tried(client)?;
    small.free()?;
    let size = sink.wait_for_log(&daemon)?;
    let Tally { seen, missing, lost } = sink.tally(size, tried)?;
    measured(format!(
        "a full sink: {before} records before, {size} after, {seen} of {tried} tries"
    ));
    ensure!(missing == 0 && lost == 0, "{missing} of {tried} missing, {lost} told as lost");
    daemon.stop()?;
    sink.ask(&["verify"])?.success()?;
    Ok(())
}

fn a_rewritten_history(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "rewritten")?;
    policy_of(lab, &place)?;
    let sink = Sink::new(&place)?;
    let daemon = sink.start_enrolled()?;
    client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 5)?;
    sink.wait_for_log(&daemon)?;
    daemon.terminate()?;
    verify(&place)?.success()?;
    // The same key, and another past.
    for entry in fs::read_dir(place.state().join("log"))? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| stem != "key") {
            fs::remove_file(path)?;
        }
    }
    let daemon = place.start()?;
    wait::until("a finding of the sink", PATIENCE, || {
        thread::sleep(PAUSE);
        let host = sink.host()?;
        let what = record::text(&host, "/findings/0/what");
        Ok(["rewind", "root", "fork"].contains(&what).then_some(()))
    })?;
    ensure!(sink.ask(&["hosts"])?.code == Some(EXIT_NO), "the sink is content");
    daemon.stop()?;
    sink.ask(&["settle", HOST])?.success()?;
    sink.ask(&["hosts"])?.success().context("somebody said that it is over")?;
    let alone = audit(&place, &["verify"])?;
    ensure!(alone.code == Some(0), "by itself the other past is a log like any: {alone}");
    let against = verify(&place)?;
    let is_found = against.code == Some(EXIT_NO) && against.stdout.contains("rewritten:");
    ensure!(is_found, "{against}");
    Ok(())
}

fn values_are_erased(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "erased")?;
    policy_of(lab, &place)?;
    let sink = Sink::new(&place)?;
    let daemon = sink.start_enrolled()?;
    let arguments = ["-c", "import os; os.execv('/bin/true', ['true', 'of-a-person'])", PERSONAL];
    lab.client(Family::V4, lab.tools().agent()).args(arguments).run()?.success()?;
    sink.wait_for_log(&daemon)?;
    let log = place.state().join("log");
    let shown = || audit(&place, &["query", "--json", "--limit", "100000"])?.success();
    let at_sink = || sink.ask(&["show", HOST])?.success();
    ensure!(is_in_files(&log, PERSONAL)?, "nothing beside the log");
    ensure!(shown()?.contains(PERSONAL) && at_sink()?.contains(PERSONAL), "it is not shown");
    let of_inventory = |what: &str, wanted: bool| {
        wait::until(what, wait::PATIENCE, || {
            Ok((is_in_files(&place.state(), PERSONAL)? == wanted).then_some(()))
        })
    };
    of_inventory("the inventory has it", true)?;

    let socket = place.socket().display().to_string();
    let erased = audit(&place, &["erase", "--user", "root", "--socket", &socket])?.success()?;
    ensure!(erased.starts_with("erased: "), "{erased}");
    ensure!(!is_in_files(&log, PERSONAL)?, "it is in a file of the log");
    of_inventory("it is gone from the inventory", false)?;
    let text = shown()?;
    ensure!(!text.contains(PERSONAL) && text.contains("[erased]"), "it is shown");
    ensure!(at_sink()?.contains(PERSONAL), "a sink does not follow a host");
    sink.ask(&["erase", "--user", "root"])?.success()?;
    let text = at_sink()?;
    ensure!(!text.contains(PERSONAL) && text.contains("[erased]"), "the sink shows it");
    // Who did it is a record, and does not say whose values they were.
    let told = place
        .record("the erasure", |each| record::text(each, "/api/operation") == "audit.erase")?;
    ensure!(!record::text(&told, "/message").contains("root"), "{told}");
    client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    sink.wait_for_log(&daemon)?;
    daemon.stop()?;
    // With no daemon there is less to ask, and as much to erase.
    audit(&place, &["erase", "--before", "0m"])?.success()?;
    let again = audit(&place, &["erase", "--before", "2001-01-01"])?;
    ensure!(again.code == Some(EXIT_NO), "{again}");
    verify(&place)?.success()?;
    sink.ask(&["verify"])?.success()?;
    Ok(())
}

/// Whether a text is in any file of a directory.
fn is_in_files(directory: &Path, text: &str) -> Result<bool> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let content = fs::read(path)?;
        if content.windows(text.len()).any(|window| window == text.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
