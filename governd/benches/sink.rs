//! How many records a second one sink takes: `cargo bench -p governd --bench sink`.
//!
//! A sink runs as a process of its own with its store on disk; hosts in this one send it what hosts
//! send, over mutual TLS and HTTP/2, as fast as it answers: real records, compressed, in batches.
//! Batches are made before the clock runs. Prints figures and asserts none: a rate is records for
//! each second of processor time that the sink took in all its threads, beside what passed. When an
//! answer comes the records are verified and durable. `SINK_RECORDS` sends another number, or none,
//! and `SINK_PROGRAM` measures the sink of a `governd` that is there already.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

mod hostile;
mod sample;

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use governd::{
    app::uplink::{self, client::Client},
    audit::{
        checkpoint::Signer,
        log::{Disk, Log, Options},
        record::{Host, Record, Stamp},
        tree::Frontier,
    },
    sink::{
        authority::{self, Authority},
        pack, server,
        store::Store,
        wire::{self, Appended, Head},
    },
};
use hostile::Hostile;
use tokio::{net::TcpListener, runtime::Builder};

const PLACE: &str = "GOVERND_BENCH_SINK";
const PROGRAM: &str = "SINK_PROGRAM";
const RECORDS: u64 = 400_000;
const HOSTS: u64 = 8;
/// Records of a batch: what a host sends of a log that grows fast.
const BATCH: u64 = wire::BATCH_RECORDS_MAX;
const TICKS_PER_S: f64 = 100.0;
/// Turns with, and as many without, those who would hurt it.
const TURNS: u64 = 24;
const SENT_IN_TURN: u64 = 40;
/// Records of a batch where the answer is waited for.
const SMALL_BATCH: u64 = 64;
const PAUSE: Duration = Duration::from_millis(25);

fn main() {
    if let Some(place) = std::env::var_os(PLACE) {
        return sink(place.as_ref());
    }
    // `cargo test --all-targets` starts this, too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let records = std::env::var("SINK_RECORDS").ok().and_then(|text| text.parse().ok());
    if records != Some(0) {
        ingest(records.unwrap_or(RECORDS) / HOSTS);
    }
    besieged();
}

/// A sink until its standard input ends.
fn sink(place: &Path) {
    thread::spawn(|| {
        io::stdin().read_exact(&mut [0]).ok();
        std::process::exit(0);
    });
    let authority = Arc::new(Authority::open(place).unwrap());
    let store = Store::open(place).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        io::stderr().write_all(format!("the sink listens on {address}\n").as_bytes()).unwrap();
        server::serve(listener, authority, store, Arc::new(|_| ())).await.unwrap();
    });
}

fn say(line: &str) {
    writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()).unwrap();
}

/// This program as a sink, or the one that is named; and where it listens.
fn start(place: &Path) -> (Child, String) {
    let mut command = match std::env::var_os(PROGRAM) {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(["sink", "run", "--listen", "127.0.0.1:0", "--dir"]).arg(place);
            command
        }
        None => Command::new(std::env::current_exe().unwrap()),
    };
    let piped = command.env(PLACE, place).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    // What else it says must not hold it up.
    thread::spawn(move || io::copy(&mut said, &mut io::sink()));
    let address = line.rsplit(' ').next().unwrap_or_default().trim().to_owned();
    (child, address)
}

/// What one host sends.
struct Sender {
    client: Client,
    batches: Vec<Vec<u8>>,
}

/// A sink as a process of its own.
struct Sink {
    place: tempfile::TempDir,
    child: Child,
    address: String,
}

impl Sink {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        authority::create(place.path(), &["127.0.0.1".to_owned()]).unwrap();
        let (child, address) = start(place.path());
        Self { place, child, address }
    }

    /// Records that are stored.
    fn stored(&self) -> u64 {
        let hosts = Store::open(self.place.path()).unwrap().hosts().unwrap();
        hosts.iter().map(|host| host.size).sum()
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn ingest(of_host: u64) {
    let sink = Sink::start();
    let (mut plain, mut sent) = (0, 0);
    let senders: Vec<Sender> = (0..HOSTS)
        .map(|number| {
            let (client, signer, _) = enroll(&sink, number);
            let (batches, bytes) = batches(&signer, number, of_host, BATCH);
            plain += bytes;
            sent += batches.iter().map(Vec::len).sum::<usize>();
            Sender { client, batches }
        })
        .collect();
    let (begin, before) = (Instant::now(), usage(&sink.child));
    let threads = senders.into_iter().map(|mut sender| {
        thread::spawn(move || {
            for batch in sender.batches {
                sender.client.post::<Appended>(wire::APPEND, batch).unwrap();
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    let (wall_s, after) = (begin.elapsed().as_secs_f64(), usage(&sink.child));
    let records = of_host * HOSTS;
    assert_eq!(sink.stored(), records);
    let [of_two, of_wall] =
        [(after.cpu_s - before.cpu_s) / 2.0, wall_s].map(|seconds| records as f64 / seconds);
    say(&format!(
        "{records} records of {} bytes from {HOSTS} hosts, {} bytes each when compressed: \
         {of_two:.0} records/s of two cores, {of_wall:.0}/s passed, {}",
        plain / records,
        sent as u64 / records,
        after.memory,
    ));
    for (name, cpu_s) in after.threads {
        say(&format!("  {name}: {:.2} us of each record", cpu_s * 1e6 / records as f64));
    }
    sink.end();
}

/// A host that is let in: its way to the sink, its key and its certificate.
fn enroll(sink: &Sink, number: u64) -> (Client, Signer, String) {
    let (place, address) = (sink.place.path(), &sink.address);
    let state = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(Disk, Options::new(state.path().join("log"))).unwrap();
    drop(log);
    let secret = fs::read_to_string(state.path().join("log/key")).unwrap();
    let signer = Signer::parse(secret.trim()).unwrap();
    let (host, secret) = (format!("host-{number}"), format!("secret-{number}"));
    Store::open(place).unwrap().add_token(&secret, &host, 1 << 40).unwrap();
    let ca = fs::read_to_string(place.join("ca.pem")).unwrap();
    uplink::enroll(state.path(), &uplink::token(address, &ca, &secret)).unwrap();
    let identity = fs::read_to_string(state.path().join("sink/identity.pem")).unwrap();
    (Client::new(address, &ca, Some((&identity, &identity))).unwrap(), signer, identity)
}

/// The batches of a host, and the bytes of its records.
fn batches(signer: &Signer, number: u64, records: u64, of_batch: u64) -> (Vec<Vec<u8>>, u64) {
    let host = Host::new(sample::context());
    let (mut tree, mut all, mut plain) = (Frontier::default(), Vec::new(), 0);
    let mut line = String::new();
    while tree.size() < records {
        let (first, mut lines) = (tree.size(), String::new());
        for index in first..records.min(first + of_batch) {
            let record: Record = sample::record_of(number * 7_919 + index);
            let time_ms = 1_763_640_000_000 + index * 3;
            let tokens = sample::tokens(number, index);
            let stamp = Stamp { time_ms, logged_ms: time_ms + 2, sequence: index, tokens };
            record.write_line(&mut line, &host, &stamp);
            lines.push_str(&line);
            lines.push('\n');
        }
        plain += lines.len() as u64;
        pack::leaves(&lines).into_iter().for_each(|leaf| tree.push(leaf));
        let checkpoint = signer.sign(tree.size(), tree.root());
        let head = Head { first, checkpoint, before: None, session: None, lines_bytes: None };
        all.push(pack::pack(&head, lines.as_bytes()).unwrap());
    }
    (all, plain)
}

/// How long a host waits for the answer to a batch while nobody else is there, and while the sink
/// gets everything that it must not be hurt by, in many short turns: what else loads the machine
/// loads both. Each turn is compared with the one before it.
fn besieged() {
    let sink = Sink::start();
    let (mut client, signer, _) = enroll(&sink, 0);
    let (all, _) = batches(&signer, 0, TURNS * 2 * SENT_IN_TURN * SMALL_BATCH, SMALL_BATCH);
    let siege = Hostile::new(&sink).gather();
    let before = sink.stored();
    // Alone, and besieged.
    let mut turns: [Turns; 2] = Default::default();
    for (turn, batches) in all.chunks(SENT_IN_TURN as usize).enumerate() {
        let is_loud = turn % 2 == 1;
        if is_loud {
            siege.go_on()
        } else {
            siege.pause()
        }
        let used = usage(&sink.child).cpu_s;
        let mut times: Vec<f64> = batches
            .iter()
            .map(|batch| {
                let (batch, begin) = (batch.clone(), Instant::now());
                client.post::<Appended>(wire::APPEND, batch).unwrap();
                let took = begin.elapsed();
                thread::sleep(PAUSE);
                took.as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let [alone, loud] = &mut turns;
        let turns = if is_loud { loud } else { alone };
        turns.cpu_s += usage(&sink.child).cpu_s - used;
        turns.times.push(times);
    }
    say(&format!("  besieged by {}", siege.end()));
    for of in [50, 90] {
        say(&compared(&turns, of));
    }
    let sent = (TURNS * SENT_IN_TURN) as f64;
    let [alone, loud] = turns.map(|turns| turns.cpu_s * 1e3 / sent);
    say(&format!(
        "  processor time of the sink: {alone:.2} ms an answer alone, {loud:.2} besieged"
    ));
    assert_eq!(sink.stored(), before + TURNS * 2 * SENT_IN_TURN * SMALL_BATCH);
    say(&format!("  {}", usage(&sink.child).memory));
    sink.end();
}

/// Turns of one kind.
#[derive(Default)]
struct Turns {
    /// How long each answer of each turn took in milliseconds, sorted.
    times: Vec<Vec<f64>>,
    /// What the sink took of the processor meanwhile.
    cpu_s: f64,
}

/// What stands at so many of a hundred of sorted numbers.
fn at(sorted: &[f64], of: usize) -> f64 {
    *sorted.get(sorted.len() * of / 100).or(sorted.last()).unwrap()
}

/// The time within which so many of a hundred answers came, in turns alone and besieged, and how
/// the two of a pair compare.
fn compared([first, second]: &[Turns; 2], of: usize) -> String {
    let sorted = |mut numbers: Vec<f64>| {
        numbers.sort_by(f64::total_cmp);
        numbers
    };
    let [alone, loud] = [first, second].map(|turns| at(&sorted(turns.times.concat()), of));
    let pairs = first.times.iter().zip(&second.times);
    let ratios = pairs.map(|(alone, loud)| at(loud, of) / at(alone, of));
    let ratios = sorted(ratios.collect());
    format!(
        "{of} of 100 answers within {alone:.2} ms alone, {loud:.2} besieged: {:.3} of all, and of \
         {} pairs of turns {:.3} ({:.3} to {:.3} the middle half)",
        loud / alone,
        ratios.len(),
        at(&ratios, 50),
        at(&ratios, 25),
        at(&ratios, 75),
    )
}

struct Usage {
    cpu_s: f64,
    memory: String,
    threads: Vec<(String, f64)>,
}

/// What a process has used so far.
fn usage(child: &Child) -> Usage {
    let of = |path: String| {
        let text = fs::read_to_string(path).unwrap();
        let (name, rest) = text.rsplit_once(')').unwrap();
        let ticks: f64 =
            rest.split(' ').skip(12).take(2).map(|text| text.parse::<f64>().unwrap()).sum();
        (name.split_once('(').unwrap().1.to_owned(), ticks / TICKS_PER_S)
    };
    let root = format!("/proc/{}", child.id());
    let tasks = fs::read_dir(format!("{root}/task")).unwrap();
    let tasks = tasks.map(|task| of(format!("{}/stat", task.unwrap().path().display())));
    let mut threads: Vec<(String, f64)> = Vec::new();
    for (name, cpu_s) in tasks {
        match threads.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += cpu_s,
            None => threads.push((name, cpu_s)),
        }
    }
    let status = fs::read_to_string(format!("{root}/status")).unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    Usage { cpu_s: of(format!("{root}/stat")).1, memory: memory.replace('\t', " "), threads }
}
