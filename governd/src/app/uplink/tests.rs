use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

use super::{
    Uplink,
    client::{Client, Trouble},
    enroll, receipt, token,
};

mod ending;
mod hostile;
mod kills;
mod replacing;
mod rotation;
use crate::{
    app::journal::Journal,
    audit::{
        checkpoint::Signer,
        log::{self, Disk, Keep, KeeperOptions, Log, Options, Reader},
        record::{By, Context, Control, Lifecycle, Phase, Record, Ruling, personal::Erasure},
    },
    sink::{
        authority::{self, Authority},
        notice::{Notice, Tell, Weight},
        pack, server,
        store::{Host, SILENT, Store},
        wire::{self, Appended, Head, State},
    },
};

const PATIENCE: Duration = Duration::from_secs(120);
const HOST: &str = "host-a";
const FAR: u64 = 1 << 40;

/// How long the sink is away; `GOVERND_TEST_AWAY_S` has it away for longer.
fn away() -> Duration {
    let seconds = std::env::var("GOVERND_TEST_AWAY_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

struct Sink {
    directory: TempDir,
    address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    tell: mpsc::Sender<Notice>,
    told: mpsc::Receiver<Notice>,
}

impl Sink {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        authority::create(directory.path(), &["127.0.0.1".to_owned()]).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let (tell, told) = mpsc::channel();
        let mut sink = Self { directory, address, running: None, tell, told };
        sink.start();
        sink
    }

    fn start(&mut self) {
        let authority = Arc::new(Authority::open(self.directory.path()).unwrap());
        let (store, wanted) = (self.store(), self.address);
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = mpsc::channel();
        let tell = self.tell.clone();
        let tell: Tell = Arc::new(move |notice| tell.send(notice).unwrap_or_default());
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(wanted).await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = server::serve(listener, authority, store, tell) => served.unwrap(),
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
        self.token_of(HOST, secret)
    }

    fn token_of(&self, host: &str, secret: &str) -> String {
        self.store().add_token(secret, host, FAR).unwrap();
        let ca = fs::read_to_string(self.directory.path().join("ca.pem")).unwrap();
        token(&self.address.to_string(), &ca, secret)
    }

    fn host(&self) -> Host {
        self.store().hosts().unwrap().pop().unwrap()
    }

    /// What is wrong, by its words.
    fn found(&self) -> Vec<String> {
        self.store().findings().unwrap().into_iter().map(|found| found.what).collect()
    }

    /// Waits until it has been told of something.
    fn wait_for_notice(&self, weight: Weight, what: &str) -> Notice {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let notice = self.told.recv_timeout(left).unwrap_or_else(|_| panic!("no {what}"));
            if (notice.weight, notice.what.as_str()) == (weight, what) {
                return notice;
            }
        }
    }

    /// That what is stored of the host is what it signed.
    fn check(&self) {
        let authority = Authority::open(self.directory.path()).unwrap();
        let report =
            self.store().verify(&self.host(), &authority.cosigners().witnesses(), None).unwrap();
        assert_eq!((report.wrong, report.signed), (None, self.host().size));
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
    journal_of(state, KeeperOptions::default())
}

fn journal_of(state: &Path, keeper_options: KeeperOptions) -> Journal {
    journal_with(state, keeper_options, 4_096)
}

fn journal_with(state: &Path, keeper_options: KeeperOptions, segment_bytes_max: u64) -> Journal {
    let directory = state.join("log");
    let options = Options { segment_bytes_max, ..Options::new(&directory) };
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
    Journal::start(log, directory, context, keeper_options).unwrap()
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
    let journal = journal_with(state.path(), KeeperOptions::default(), 1 << 16);
    append(&journal, 0..100);
    assert!(Uplink::start(state.path(), &journal).unwrap().is_none());
    enroll(state.path(), &sink.token("first")).unwrap();
    assert!(receipt(state.path()).unwrap().is_none());
    let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    sink.wait_for(journal.progress().durable());
    let first = journal.progress().durable();
    until("the status", || uplink.status().behind == 0);
    sink.stop();
    append(&journal, 100..150);
    until("the status", || uplink.status().failing.is_some());
    let (begin, mut next) = (Instant::now(), 150);
    while begin.elapsed() < away() {
        append(&journal, next..next + 50);
        next += 50;
        thread::sleep(Duration::from_millis(200));
    }
    sink.start();
    let size = journal.progress().durable();
    sink.wait_for(size);
    until("the status", || uplink.status().behind == 0);
    let status = uplink.status();
    assert_eq!(status.failing, None);
    println!("{size} records, away for {:?}, {} failures", begin.elapsed(), status.failures);
    assert!(status.failures > 0 && (first..=size).contains(&status.delivered), "{status:?}");
    drop(uplink);

    sink.check();
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
fn names_come_beside_the_records_and_are_erased_on_either_side_alone() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    let by = |name: &str| By { uid: 7, name: Some(name.into()), login_uid: None };
    for name in ["dana", "kim"] {
        let record = Control {
            operation: "quarantine.set",
            ruling: Ruling::Quarantined,
            agent: None,
            destination: None,
            correlation: None,
            by: Some(by(name)),
            actor: None,
            message: "uid 7 quarantines everything".into(),
        };
        journal.record(Record::Control(record), None);
        journal.commit().unwrap();
    }
    sink.wait_for(2);
    let names = |lines: Vec<String>| -> Vec<String> {
        let name = |line: String| {
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            record["actor"]["user"]["name"].as_str().unwrap().to_owned()
        };
        lines.into_iter().map(name).collect()
    };
    let at_sink = || names(sink.store().shown(&sink.host(), 0, 99).unwrap().0);
    let here = || {
        let mut reader = Reader::new(Disk, state.path().join("log"), 0).shown();
        let lines = std::iter::from_fn(|| reader.read().unwrap());
        names(lines.map(|line| String::from_utf8(line.bytes).unwrap()).collect())
    };
    assert_eq!((here(), at_sink()), (vec!["dana".to_owned(), "kim".to_owned()], here()));

    let which = Erasure { user: Some("dana".to_owned()), before_ms: None };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(journal.erase(which.clone(), 0, by("lee"))).unwrap(), 1);
    // The record of it names who did it, and not whom it is about.
    assert_eq!(here(), ["[erased]", "kim", "lee"]);
    sink.wait_for(3);
    assert_eq!(at_sink(), ["dana", "kim", "lee"]);
    assert_eq!(sink.store().erase(Some(&sink.host()), &which, "uid 7").unwrap(), 1);
    assert_eq!(at_sink(), ["[erased]", "kim", "lee"]);
    drop(uplink);
    sink.check();
    let log = state.path().join("log");
    let key = log::public_key(&Disk, &log).unwrap();
    assert_eq!(log::verify(&Disk, &log, &key).unwrap().wrong, None);
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
    assert_eq!(sink.wait_for_notice(Weight::Alarm, "root").who, HOST);
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
    let (ca, identity) = (read("ca.pem"), read("identity.pem"));
    let address = sink.address.to_string();
    let client = |ca: &str, own: Option<(&str, &str)>| Client::new(&address, ca, own).unwrap();
    let mut nobody = client(&ca, None);
    assert_eq!(refused(nobody.get::<State>(wire::STATE)), "certificate");
    assert_eq!(refused(nobody.post::<Appended>(wire::APPEND, b"{}".to_vec())), "certificate");
    let notice = sink.wait_for_notice(Weight::Refused, "certificate");
    assert_eq!((notice.who.as_str(), notice.count), ("127.0.0.1", 1));
    let stranger = Sink::new();
    let ca_of_other = fs::read_to_string(stranger.directory.path().join("ca.pem")).unwrap();
    let unreachable = |mut client: Client, want: &str| {
        let said = refused(client.get::<State>(wire::STATE));
        assert!(said.starts_with("unreachable") && said.contains(want), "{said}");
        sink.wait_for_notice(Weight::Refused, "handshake");
    };
    unreachable(client(&ca_of_other, None), "invalid peer certificate");
    let (own_key, point) = authority::host_key().unwrap();
    let theirs = Authority::open(stranger.directory.path()).unwrap();
    let (foreign, _) = theirs.issue(HOST, &point).unwrap();
    unreachable(client(&ca, Some((&foreign, &own_key))), "");
    let ours = Authority::open(sink.directory.path()).unwrap();
    let (expired, _) = ours.certify(HOST, &point, -1).unwrap();
    unreachable(client(&ca, Some((&expired, &own_key))), "");
    // Made by the sink's own authority, and not known to its store.
    let (unknown, _) = ours.issue(HOST, &point).unwrap();
    let mut unknown = client(&ca, Some((&unknown, &own_key)));
    assert_eq!(refused(unknown.get::<State>(wire::STATE)), "certificate");

    let mut host = client(&ca, Some((&identity, &identity)));
    let size = journal.progress().durable();
    let log = state.path().join("log");
    let mut reader = Reader::new(Disk, &log, 0);
    let mut lines = Vec::new();
    while let Some(line) = reader.read().unwrap() {
        lines.push(String::from_utf8(line.bytes).unwrap());
    }
    let note = log::note_after(&Disk, &log, size - 1, size).unwrap().unwrap().text;
    let stranger = Signer::new("governd/stranger", [1; 32]).unwrap().sign(size, [0; 32]);
    let batch = |first: usize, lines: &[String], note: &str| {
        let checkpoint = note.to_owned();
        let head = Head {
            first: first as u64,
            checkpoint,
            before: None,
            session: None,
            lines_bytes: None,
        };
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        pack::pack(&head, lines.as_bytes()).unwrap()
    };
    let mut post = |body: Vec<u8>| host.post::<Appended>(wire::APPEND, body);
    let mut send = |first: usize, lines: &[String], note: &str| post(batch(first, lines, note));
    let mut changed = lines.clone();
    changed[3].push(' ');
    assert_eq!(refused(send(1, &lines[1..], &note)), "gap");
    assert_eq!(refused(send(0, &lines[1..], &note)), "bounds");
    assert_eq!(refused(send(0, &lines, &stranger)), "signature");
    assert_eq!(refused(send(0, &changed, &note)), "root");
    assert_eq!(refused(send(size as usize, &[], &note)), "session");
    for body in [b"".to_vec(), b"\xff".to_vec(), b"{\"first\":0}\n".to_vec()] {
        assert_eq!(refused(post(body)), "malformed");
    }
    let mut cut = batch(0, &lines, &note);
    cut.truncate(cut.len() - 9);
    assert_eq!(refused(post(cut)), "malformed");
    let bomb = vec![b'\n'; wire::BATCH_BYTES_MAX + 1];
    let head =
        Head { first: 0, checkpoint: note.clone(), before: None, session: None, lines_bytes: None };
    assert_eq!(refused(post(pack::pack(&head, &bomb).unwrap())), "too-large");
    assert_eq!(sink.wait_for_notice(Weight::Refused, "too-large").who, HOST);
    let mut send = |first: usize, lines: &[String], note: &str| post(batch(first, lines, note));
    assert_eq!(sink.host().size, 0);
    send(0, &lines, &note).unwrap();
    // The same again is known, and changes nothing.
    send(0, &lines, &note).unwrap();
    send(5, &lines[5..], &note).unwrap();
    assert_eq!(refused(send(0, &changed, &note)), "fork");
    assert_eq!(refused(host.get::<State>("/v1/other")), "path");
    assert_eq!(sink.host().size, size);
    sink.check();
    assert_eq!(sink.found(), ["signature", "root", "fork"]);
}

#[test]
fn a_log_that_ends_before_what_the_sink_has_is_found() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let first = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    append(&first, 0..20);
    drop(first);
    // The host as it was, such as the snapshot of a machine.
    let log = state.path().join("log");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let snapshot = state.path().join("snapshot");
    copy(&log, &snapshot);
    let second = journal(state.path());
    let uplink = Uplink::start(state.path(), &second).unwrap();
    append(&second, 20..40);
    let size = second.progress().durable();
    sink.wait_for(size);
    drop((uplink, second));

    fs::remove_dir_all(&log).unwrap();
    copy(&snapshot, &log);
    let third = journal(state.path());
    let uplink = Uplink::start(state.path(), &third).unwrap();
    let notice = sink.wait_for_notice(Weight::Alarm, "rewind");
    assert!(notice.detail.contains(&format!("had {size} records")), "{}", notice.detail);
    drop(uplink);
    assert_eq!((sink.found(), sink.host().size), (vec!["rewind".to_owned()], size));
}

#[test]
fn a_host_that_has_nothing_to_say_says_so() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    append(&journal, 0..3);
    let idle = Duration::from_millis(20);
    let uplink = Uplink::start_with(state.path(), &journal, idle).unwrap();
    let size = journal.progress().durable();
    sink.wait_for(size);
    sink.store().find(&sink.host(), SILENT, "nothing is heard of it", 1).unwrap();
    until("the host is heard", || sink.found().is_empty());
    sink.wait_for_notice(Weight::News, "heard");
    drop(uplink);
    assert_eq!(sink.host().size, size);
    sink.check();
}

/// A log whose segments are all but the last ones deleted when it is opened.
fn short(state: &Path) -> Journal {
    let options =
        KeeperOptions { keep: Keep { bytes_max: 1, days: None }, ..KeeperOptions::default() };
    let journal = journal_of(state, options);
    append(&journal, 500..501);
    until("old segments are gone", || log::beginning(&Disk, &state.join("log")).unwrap().is_some());
    journal
}

#[test]
fn a_log_whose_first_records_are_gone_is_taken_from_where_it_begins() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    append(&journal(state.path()), 0..40);
    let journal = short(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    let uplink = Uplink::start(state.path(), &journal).unwrap();
    sink.wait_for(journal.progress().durable());
    append(&journal, 40..60);
    sink.wait_for(journal.progress().durable());
    drop(uplink);
    let first = log::beginning(&Disk, &state.path().join("log")).unwrap().unwrap().size();
    assert_eq!(sink.host().first, first);
    assert!(first > 0 && sink.found().is_empty(), "{:?}", sink.found());
    sink.check();
    let notice = sink.wait_for_notice(Weight::News, "late");
    assert!(notice.detail.contains(&format!("record {first}")), "{}", notice.detail);
}

#[test]
fn records_that_went_before_the_sink_had_them_are_found() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let first = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    append(&first, 0..10);
    let uplink = Uplink::start(state.path(), &first).unwrap();
    let size = first.progress().durable();
    sink.wait_for(size);
    drop(uplink);
    append(&first, 10..60);
    drop(first);
    let second = short(state.path());
    let uplink = Uplink::start(state.path(), &second).unwrap();
    sink.wait_for_notice(Weight::Alarm, "lost");
    drop(uplink);
    assert_eq!((sink.found(), sink.host().size), (vec!["lost".to_owned()], size));
}

#[test]
fn a_certificate_is_renewed_before_it_expires() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    let identity = || fs::read_to_string(state.path().join("sink/identity.pem")).unwrap();
    let before = identity();
    let store = Connection::open(sink.directory.path().join("sink.db")).unwrap();
    assert_eq!(store.execute("UPDATE certificate SET issued_s = 1", []).unwrap(), 1);
    append(&journal, 0..3);
    let uplink = Uplink::start(state.path(), &journal).unwrap();
    until("another certificate", || identity() != before);
    append(&journal, 3..9);
    sink.wait_for(journal.progress().durable());
    drop(uplink);
    let count = |sql| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM certificate"), 2);
    // Only the new one has been used since.
    store.execute("DELETE FROM certificate WHERE issued_s = 1", []).unwrap();
    append(&journal, 9..12);
    let uplink = Uplink::start(state.path(), &journal).unwrap();
    sink.wait_for(journal.progress().durable());
    drop(uplink);
}
