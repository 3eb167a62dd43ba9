//! A sink as its own process deletes what is old enough, and every verb says so; and what somebody
//! else takes away is found.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where it fails"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use governd::{
    audit::{checkpoint::Signer, cosign::Cosigners, tree::Frontier},
    sink::{
        authority::Authority,
        pack,
        store::{Arrival, Store},
    },
};
use rusqlite::Connection;
use serde_json::Value;

const DAY_S: u64 = 24 * 3_600;
const HOST: &str = "web-1";
/// Of these the first half is old, and one behind the first that is not.
const BATCHES: u64 = 200;
const RECORDS: u64 = 7;
const GONE: u64 = BATCHES / 2 * RECORDS;
const PATIENCE: Duration = Duration::from_secs(60);

fn sink(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_governd"));
    command.arg("sink").args(arguments).arg("--dir").arg(directory);
    command
}

/// What a verb prints, what it says beside that, and its exit code.
fn ask(arguments: &[&str], directory: &Path) -> (String, String, i32) {
    let output = sink(arguments, directory).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts it, and waits until it says something.
fn start(directory: &Path, wanted: &str) -> Running {
    let mut command = sink(&["run", "--listen", "127.0.0.1:0", "--keep-days", "200"], directory);
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(wanted)), "{wanted}");
    // What else it says has to go somewhere.
    thread::spawn(move || lines.for_each(drop));
    running
}

/// Fills a sink with what a host sent 300 days ago, and since then.
fn fill(directory: &Path, cosigners: &Cosigners) -> Signer {
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut store = Store::open(directory).unwrap();
    let signer = Signer::new("governd/web-1", [1; 32]).unwrap();
    store.add_token("secret", HOST, u64::from(u32::MAX)).unwrap();
    let keys = signer.verifier().clone().into();
    store.enroll("secret", &keys, 1, |_| Ok(((), [7; 32]))).unwrap();
    let mut host = store.hosts().unwrap().pop().unwrap();
    let mut tree = Frontier::default();
    store.begin().unwrap();
    for batch in 0..BATCHES {
        let is_old = batch < BATCHES / 2 || batch == BATCHES / 2 + 1;
        let came_s = now_s - if is_old { 300 * DAY_S } else { 100 * DAY_S };
        let first = batch * RECORDS;
        let line = |index: u64| {
            format!(
                "{{\"metadata\":{{\"logged_time\":{},\"sequence\":{index}}},\
                 \"unmapped\":{{\"governd\":{{\"retention\":\"6-months\"}}}}}}\n",
                came_s * 1_000
            )
        };
        let lines: String = (first..first + RECORDS).map(line).collect();
        let leaves = pack::leaves(&lines);
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        let note = signer.sign(tree.size(), tree.root());
        let frame = pack::compress(lines.as_bytes()).unwrap();
        let (lines, frame, note) = (lines.as_str(), frame.as_slice(), note.as_str());
        let arrival =
            Arrival { first, lines, frame, leaves: &leaves, note, before: None, beside: &[] };
        store.append(&mut host, arrival, cosigners, came_s).unwrap();
    }
    store.commit().unwrap();
    signer
}

fn deleted(directory: &Path) -> u64 {
    let (text, ..) = ask(&["hosts", "--json"], directory);
    let host: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let number = |name: &str| host[name].as_u64().unwrap();
    assert_eq!(number("deleted") + number("records"), BATCHES * RECORDS);
    number("deleted")
}

#[test]
fn a_sink_deletes_what_is_old_enough_and_says_so_wherever_it_is_asked() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("sink");
    assert_eq!(ask(&["init", "--name", "127.0.0.1"], &directory).2, 0);
    let authority = Authority::open(&directory).unwrap();
    let signer = fill(&directory, authority.cosigners());
    let early = state.path().join("early").display().to_string();
    assert_eq!(ask(&["publish", "--to", &early], &directory).2, 0);

    let running = start(&directory, "listens on");
    let until = Instant::now() + PATIENCE;
    while deleted(&directory) < GONE {
        assert!(Instant::now() < until, "{} are deleted", deleted(&directory));
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(deleted(&directory), GONE);
    let (text, _, code) = ask(&["verify"], &directory);
    let kept = BATCHES * RECORDS - GONE;
    let want = format!(
        "unchanged: {kept} records of web-1 are what it signed\n  its records 0 to {} are deleted, \
         as the sink's own log says; their hashes are what it signed\n",
        GONE - 1
    );
    assert_eq!((text, code), (want, 0));
    let (text, said, code) = ask(&["show", HOST], &directory);
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["metadata"]["sequence"], GONE);
    assert_eq!((text.lines().count() as u64, code), (kept, 0));
    assert!(said.contains(&format!("the records of web-1 before {GONE} are deleted")), "{said}");
    let (_, said, _) = ask(&["query", "--json"], &directory);
    assert!(said.contains("of 1 hosts the oldest records are deleted"), "{said}");

    // Published before, or too late.
    let late = state.path().join("late").display().to_string();
    for to in [&early, &late] {
        assert_eq!(ask(&["publish", "--to", to], &directory).2, 0);
    }
    let check = |arguments: &[&str], place: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/check-log.py");
        let mut command = Command::new("python3");
        command.arg(script).args(arguments).arg(format!("file://{place}/{HOST}"));
        command.arg(signer.verifier().to_string()).output().unwrap().status.code().unwrap()
    };
    let first = fs::read_to_string(format!("{late}/{HOST}/first")).unwrap();
    assert_eq!(first, format!("{}\n", GONE.next_multiple_of(256)));
    let from = ["--first", first.trim()];
    assert_eq!([check(&[], &early), check(&[], &late), check(&from, &late)], [0, 1, 0]);
    let mut proven = Command::new(env!("CARGO_BIN_EXE_governd"));
    proven.args(["audit", "check-proof"]).arg(format!("{late}/{HOST}/deletion"));
    let key = fs::read_to_string(directory.join("log/key.pub")).unwrap();
    let output = proven.arg("--key").arg(key.trim()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(running);

    // Somebody else takes away one batch more, and has the store say that it was the rule.
    let connection = Connection::open(directory.join("sink.db")).unwrap();
    let steps = [
        ("UPDATE batch SET lines = x'' WHERE first = ?1", GONE, "not what was signed"),
        ("UPDATE host SET deleted = ?1", GONE + RECORDS, "gone without a record"),
    ];
    for (sql, value, why) in steps {
        let value = i64::try_from(value).unwrap();
        assert_eq!(connection.execute(sql, [value]).unwrap(), 1);
        let (text, _, code) = ask(&["verify"], &directory);
        let want = format!("changed: record {GONE} of web-1 is the first that is {why}");
        assert!(text.starts_with(&want) && code == 1, "{text}");
    }
    // The sink does not make it its own.
    let running = start(&directory, "what is old enough is not deleted");
    assert_eq!(deleted(&directory), GONE + RECORDS);
    assert_eq!(ask(&["verify", "--json"], &directory).2, 1);
    drop(running);
}
