//! `kill -9` of host and sink, and connections that end or dawdle, at moments that nobody chose:
//! what the host has said to be durable is in the sink once and in order.

use std::{
    io::{BufRead as _, BufReader, Lines, Read, Write},
    net::{Shutdown, TcpListener as Listener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
};

use super::*;

const PLACE: &str = "GOVERND_TEST_PLACE";
/// How often something is killed; `GOVERND_TEST_KILLS` kills more often.
const KILLS: u64 = 8;
/// Of so many pieces that pass the network, one is followed by nothing.
const PIECES_TO_A_CUT: u64 = 80;

/// Where a child works. Without a parent there is nothing to do: a run of every test ends here.
fn place() -> Option<PathBuf> {
    let place = std::env::var_os(PLACE).map(PathBuf::from)?;
    // It ends with its parent, however that ends.
    thread::spawn(|| {
        std::io::stdin().read_exact(&mut [0]).ok();
        std::process::exit(0);
    });
    Some(place)
}

/// After failures in a row a host waits for up to a minute before it tries again, so this takes as
/// many times as it has to, on however busy a machine.
fn wait(what: &str, state: &dyn Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE * 5;
    while !state() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A log of a few segments, which get many records.
fn long_journal(state: &Path) -> Journal {
    journal_with(state, KeeperOptions::default(), 1 << 20)
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

#[test]
#[ignore = "a process that the test below kills"]
fn a_sink_that_never_ends() {
    let Some(place) = place() else { return };
    let authority = Arc::new(Authority::open(&place).unwrap());
    let store = Store::open(&place).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        say(&format!("port {}", listener.local_addr().unwrap().port()));
        server::serve(listener, authority, store, Arc::new(|_| ())).await.unwrap();
    });
}

#[test]
#[ignore = "a process that the test below kills"]
fn a_host_that_never_ends() {
    let Some(place) = place() else { return };
    let journal = long_journal(&place);
    let _uplink = Uplink::start(&place, &journal).unwrap().unwrap();
    say("started 0");
    for pid in 0.. {
        append(&journal, pid * 5..pid * 5 + 5);
        say(&format!("durable {}", journal.progress().durable()));
        // So that the sink can keep up, and is at work when it is killed.
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process that can be killed.
struct Victim {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    fn start(name: &str, place: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("app::uplink::tests::kills::{name}")])
            .args(["--ignored", "--nocapture"])
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    /// The number behind a word, once it is said.
    fn hear(&mut self, word: &str) -> Option<u64> {
        let mut lines = self.said.by_ref().map_while(Result::ok);
        // The harness may have begun the line.
        lines.find_map(|line| line.rsplit_once(word)?.1.trim().parse().ok())
    }

    /// Kills it, and gives the last number that it said behind a word.
    fn kill(mut self, word: &str) -> Option<u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.hear(word)).last()
    }
}

/// Splitmix64, so that a run is repeatable as far as the machine lets it.
fn random(state: &AtomicU64) -> u64 {
    let seed = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The network between host and sink.
#[derive(Clone, Default)]
struct Network(Arc<Weather>);

#[derive(Default)]
struct Weather {
    /// Where the sink is now.
    port: AtomicU16,
    random: AtomicU64,
    is_fair: AtomicBool,
    cuts: AtomicU64,
}

impl Network {
    fn start() -> (Self, SocketAddr) {
        let network = Self::default();
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let here = network.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let port = here.0.port.load(Ordering::Relaxed);
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let here = here.clone();
                    thread::spawn(move || here.carry(from, to));
                }
            }
        });
        (network, address)
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16_384];
        while let Ok(count) = from.read(&mut buffer) {
            let dice = random(&self.0.random);
            let is_fair = self.0.is_fair.load(Ordering::Relaxed);
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                break;
            }
            if !is_fair && dice.is_multiple_of(PIECES_TO_A_CUT) {
                self.0.cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if !is_fair && dice.is_multiple_of(17) {
                thread::sleep(Duration::from_millis(dice % 20));
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }
}

#[test]
fn what_was_durable_is_in_the_sink_once_and_in_order_whoever_is_killed() {
    let (sink, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    authority::create(sink.path(), &["127.0.0.1".to_owned()]).unwrap();
    let store = Store::open(sink.path()).unwrap();
    let (network, address) = Network::start();
    let start_sink = || {
        let mut victim = Victim::start("a_sink_that_never_ends", sink.path());
        let port = victim.hear("port ").unwrap();
        network.0.port.store(u16::try_from(port).unwrap(), Ordering::Relaxed);
        victim
    };
    let start_host = || Victim::start("a_host_that_never_ends", state.path());
    let size = || store.hosts().unwrap().pop().map_or(0, |host| host.size);

    let mut sink_process = start_sink();
    drop(long_journal(state.path()));
    store.add_token("secret", HOST, FAR).unwrap();
    let ca = fs::read_to_string(sink.path().join("ca.pem")).unwrap();
    network.0.is_fair.store(true, Ordering::Relaxed);
    enroll(state.path(), &token(&address.to_string(), &ca, "secret")).unwrap();
    network.0.is_fair.store(false, Ordering::Relaxed);
    let mut host_process = start_host();
    let kills = std::env::var("GOVERND_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let mut durable = 0;
    for kill in 0..kills.unwrap_or(KILLS) {
        // Both are at it.
        durable = host_process.hear("durable ").expect("it writes").max(durable);
        let before = size();
        wait("records in the sink", &|| size() > before);
        thread::sleep(Duration::from_micros(random(&network.0.random) % 30_000));
        if kill % 2 == 0 {
            sink_process.kill("port ");
            sink_process = start_sink();
        } else {
            durable = host_process.kill("durable ").unwrap_or(durable).max(durable);
            host_process = start_host();
        }
    }
    durable = host_process.kill("durable ").unwrap_or(durable).max(durable);

    network.0.is_fair.store(true, Ordering::Relaxed);
    let journal = long_journal(state.path());
    append(&journal, 0..1);
    let uplink = Uplink::start(state.path(), &journal).unwrap();
    let end = journal.progress().durable();
    wait("all records in the sink", &|| size() == end);
    drop((uplink, journal));
    sink_process.kill("port ");
    assert!(end > durable, "{durable} were durable, {end} are there");

    let host = store.hosts().unwrap().pop().unwrap();
    let authority = Authority::open(sink.path()).unwrap();
    let report = store.verify(&host, &authority.cosigners().witnesses(), None).unwrap();
    assert_eq!((report.wrong, report.signed), (None, end));
    assert!(store.findings().unwrap().is_empty());
    let mut reader = Reader::new(Disk, state.path().join("log"), 0);
    let mut next = 0;
    while let Some(batch) = store.batch(&host, next).unwrap().filter(|_| next < end) {
        assert_eq!(batch.first, next);
        for line in pack::each(&pack::decompress(&batch.frame).unwrap()) {
            let own = reader.read().unwrap().unwrap();
            assert_eq!((own.index, own.bytes.as_slice()), (next, line.as_bytes()));
            next += 1;
        }
    }
    let cuts = network.0.cuts.load(Ordering::Relaxed);
    assert!(reader.read().unwrap().is_none() && next == end);
    println!("{end} records, {cuts} cuts");
}
