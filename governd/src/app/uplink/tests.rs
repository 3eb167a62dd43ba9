use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

use super::{
    Uplink,
    client::{Client, Trouble},
    enroll, receipt, token,
};
use crate::{
    app::journal::Journal,
    audit::{
        checkpoint::Signer,
        log::{self, Disk, KeeperOptions, Log, Options, Reader},
        record::{Context, Lifecycle, Phase, Record},
    },
    sink::{
        authority::{self, Authority},
        server,
        store::{Host, Store},
        wire::{self, Appended, Head, State},
    },
};

const PATIENCE: Duration = Duration::from_secs(120);
const HOST: &str = "host-a";
const FAR: u64 = 1 << 40;

struct Sink {
    directory: TempDir,
    address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Sink {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        authority::create(directory.path(), &["127.0.0.1".to_owned()]).unwrap();
        let mut sink = Self { directory, address: "127.0.0.1:0".parse().unwrap(), running: None };
        sink.start();
        sink
    }

    fn start(&mut self) {
        let authority = Arc::new(Authority::open(self.directory.path()).unwrap());
        let (store, wanted) = (self.store(), self.address);
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(wanted).await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = server::serve(listener, authority, store) => served.unwrap(),
                    _ = stopped => (),
                }
            });
        });
        self.address = address.recv().unwrap();
        self.running = Some((stop, thread));
    }

    fn stop(&mut self) {
        let (stop, thread) = self.running.take().unwrap();
        stop.send(()).unwrap();
        thread.join().unwrap();
    }

    fn store(&self) -> Store {
        Store::open(self.directory.path()).unwrap()
    }

    fn token(&self, secret: &str) -> String {
        self.store().add_token(secret, HOST, FAR).unwrap();
        let ca = fs::read_to_string(self.directory.path().join("ca.pem")).unwrap();
        token(&self.address.to_string(), &ca, secret)
    }

    fn host(&self) -> Host {
        self.store().hosts().unwrap().pop().unwrap()
    }

    fn wait_for(&self, size: u64) {
        until(&format!("{size} records"), || self.host().size == size);
    }
}

fn until(what: &str, mut state: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !state() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn journal(state: &Path) -> Journal {
    let directory = state.join("log");
    let options = Options { segment_bytes_max: 4_096, ..Options::new(&directory) };
    let (log, _) = Log::open(Disk, options).unwrap();
    let context = Context {
        hostname: HOST.into(),
        machine_id: None,
        boot_id: "boot".into(),
        booted_ms: 0,
        kernel: "6.18.44".into(),
        version: "0.1.0".into(),
        degraded: [].into(),
    };
    Journal::start(log, directory, context, KeeperOptions::default()).unwrap()
}

fn append(journal: &Journal, pids: std::ops::Range<u32>) {
    for pid in pids {
        let mode = governd_common::verdict::Mode::Monitor;
        let start = Lifecycle { phase: Phase::Start, pid, mode, policy: None };
        journal.record(Record::Lifecycle(start), None);
        if pid % 7 == 6 {
            journal.commit().unwrap();
        }
    }
    journal.commit().unwrap();
}

#[test]
fn a_log_reaches_the_sink_once_and_in_order_although_the_sink_is_away_for_a_while() {
    let mut sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    append(&journal, 0..100);
    assert!(Uplink::start(state.path(), &journal).unwrap().is_none());
    enroll(state.path(), &sink.token("first")).unwrap();
    assert!(receipt(state.path()).unwrap().is_none());
    let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    sink.wait_for(journal.progress().durable());
    sink.stop();
    append(&journal, 100..150);
    sink.start();
    let size = journal.progress().durable();
    sink.wait_for(size);
    drop(uplink);

    let host = sink.host();
    assert_eq!(sink.store().first_wrong(&host).unwrap(), None);
    assert!(sink.store().findings().unwrap().is_empty());
    let key = log::public_key(&Disk, &state.path().join("log")).unwrap();
    until("the receipt", || {
        let (receipt, witness) = receipt(state.path()).unwrap().unwrap();
        witness.check(&receipt).unwrap();
        let seen = key.open(&receipt).unwrap();
        let root = log::root_at(&Disk, &state.path().join("log"), seen.size).unwrap();
        assert_eq!(root, Some(seen.root));
        seen.size == size
    });
}

#[test]
fn a_host_that_rewrites_its_history_is_found() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let first = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    let uplink = Uplink::start(state.path(), &first).unwrap();
    append(&first, 0..20);
    let size = first.progress().durable();
    sink.wait_for(size);
    drop((uplink, first));

    // The same key, and another past.
    let log = state.path().join("log");
    for entry in fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem != "key") {
            fs::remove_file(path).unwrap();
        }
    }
    let second = journal(state.path());
    append(&second, 1_000..1_100);
    let uplink = Uplink::start(state.path(), &second).unwrap();
    until("a finding", || !sink.store().findings().unwrap().is_empty());
    drop(uplink);
    let found = sink.store().findings().unwrap();
    assert_eq!((found[0].host.as_str(), found[0].what.as_str()), (HOST, "root"));
    assert_eq!(sink.host().size, size);
    let (receipt, _) = receipt(state.path()).unwrap().unwrap();
    let seen = log::public_key(&Disk, &log).unwrap().open(&receipt).unwrap();
    assert_ne!(log::root_at(&Disk, &log, seen.size).unwrap(), Some(seen.root));
}

/// What a request is refused with.
fn refused<T: std::fmt::Debug>(result: Result<T, Trouble>) -> String {
    match result.unwrap_err() {
        Trouble::Refused(refused) => refused.what,
        Trouble::Unreachable(reason) => format!("unreachable: {reason}"),
    }
}

#[test]
fn what_a_sink_must_not_take_is_refused_and_the_rest_goes_on() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    append(&journal, 0..30);
    let once = sink.token("once");
    enroll(state.path(), &once).unwrap();
    assert!(enroll(state.path(), &once).unwrap_err().to_string().contains("token is not valid"));
    for bad in ["", "token", &once[1..]] {
        enroll(state.path(), bad).unwrap_err();
    }
    // Another log cannot take the name of a host.
    let other = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(Disk, Options::new(other.path().join("log"))).unwrap();
    drop(log);
    let error = enroll(other.path(), &sink.token("other")).unwrap_err().to_string();
    assert!(error.contains("another log"), "{error}");

    let read = |name: &str| fs::read_to_string(state.path().join("sink").join(name)).unwrap();
    let (ca, certificate, key) = (read("ca.pem"), read("certificate.pem"), read("key.pem"));
    let address = sink.address.to_string();
    let nobody = Client::new(&address, &ca, None).unwrap();
    assert_eq!(refused(nobody.get::<State>(wire::STATE)), "certificate");
    assert_eq!(refused(nobody.post::<Appended>(wire::APPEND, b"{}")), "certificate");
    let stranger = Sink::new();
    let ca_of_other = fs::read_to_string(stranger.directory.path().join("ca.pem")).unwrap();
    let mistaken = Client::new(&address, &ca_of_other, None).unwrap();
    assert!(refused(mistaken.get::<State>(wire::STATE)).starts_with("unreachable"));
    let (foreign_key, point) = authority::host_key().unwrap();
    let foreign = Authority::open(stranger.directory.path()).unwrap();
    let (foreign, _) = foreign.issue(HOST, &point).unwrap();
    let foreign = Client::new(&address, &ca, Some((&foreign, &foreign_key))).unwrap();
    assert!(refused(foreign.get::<State>(wire::STATE)).starts_with("unreachable"));
    // Made by the sink's own authority, and not known to its store.
    let unknown = Authority::open(sink.directory.path()).unwrap();
    let (unknown, _) = unknown.issue(HOST, &point).unwrap();
    let unknown = Client::new(&address, &ca, Some((&unknown, &foreign_key))).unwrap();
    assert_eq!(refused(unknown.get::<State>(wire::STATE)), "certificate");

    let host = Client::new(&address, &ca, Some((&certificate, &key))).unwrap();
    let size = journal.progress().durable();
    let log = state.path().join("log");
    let mut reader = Reader::new(Disk, &log, 0);
    let mut lines = Vec::new();
    while let Some(line) = reader.read().unwrap() {
        lines.push(String::from_utf8(line.bytes).unwrap());
    }
    let note = log::note_after(&Disk, &log, size - 1, size).unwrap().unwrap().text;
    let stranger = Signer::new("governd/stranger", [1; 32]).unwrap().sign(size, [0; 32]);
    let send = |first: usize, lines: &[String], note: &str| {
        let head = Head { first: first as u64, checkpoint: note.to_owned() };
        let body = format!("{}\n{}\n", serde_json::to_string(&head).unwrap(), lines.join("\n"));
        host.post::<Appended>(wire::APPEND, body.as_bytes())
    };
    let mut changed = lines.clone();
    changed[3].push(' ');
    assert_eq!(refused(send(1, &lines[1..], &note)), "gap");
    assert_eq!(refused(send(0, &lines[1..], &note)), "bounds");
    assert_eq!(refused(send(0, &lines, &stranger)), "signature");
    assert_eq!(refused(send(0, &changed, &note)), "root");
    assert_eq!(refused(host.post::<Appended>(wire::APPEND, b"\xff")), "malformed");
    assert_eq!(refused(host.post::<Appended>(wire::APPEND, b"{\"first\":0}")), "malformed");
    assert_eq!(refused(host.get::<State>("/v1/other")), "path");
    assert_eq!(sink.host().size, 0);
    send(0, &lines, &note).unwrap();
    // The same again is known, and changes nothing.
    send(0, &lines, &note).unwrap();
    send(5, &lines[5..], &note).unwrap();
    assert_eq!(refused(send(0, &changed, &note)), "fork");
    assert_eq!((sink.host().size, sink.store().first_wrong(&sink.host()).unwrap()), (size, None));
    let found: Vec<_> = sink.store().findings().unwrap().into_iter().map(|it| it.what).collect();
    assert_eq!(found, ["signature", "root", "fork"]);
}
