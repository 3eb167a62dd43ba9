//! Keys of logs that are replaced: the sink follows them where a record says so, and nowhere else.

use super::*;
use crate::{audit::checkpoint::Opens as _, sink::tiles};

fn by() -> By {
    By { uid: 0, name: Some("root".into()), login_uid: None }
}

fn rotate(journal: &Journal) -> String {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(journal.rotate(by())).unwrap()
}

#[test]
fn a_sink_follows_the_keys_of_a_log_and_what_it_publishes_is_checked_by_the_first() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    let first = log::public_key(&Disk, journal.directory()).unwrap();
    append(&journal, 0..20);
    enroll(state.path(), &sink.token("first")).unwrap();
    // What is behind a rotation may be sent along with what is before it, or later.
    let second = rotate(&journal);
    append(&journal, 20..40);
    let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    sink.wait_for(journal.progress().durable());
    let third = rotate(&journal);
    append(&journal, 40..43);
    sink.wait_for(journal.progress().durable());
    sink.check();
    assert!(sink.found().is_empty());
    let host = sink.host();
    let known: Vec<String> = host.keys.each().map(|(_, key)| key.to_string()).collect();
    assert_eq!(known, [first.to_string(), second, third.clone()]);
    until("the receipt", || {
        let (receipt, witness) = receipt(state.path()).unwrap().unwrap();
        witness.check(&receipt).unwrap();
        host.keys.open(&receipt).unwrap().size == host.size
    });

    let tiles = state.path().join("tiles");
    assert_eq!(tiles::publish(&sink.store(), &host, &tiles).unwrap(), host.size);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/check-log.py");
    let place = format!("file://{}", tiles.join(HOST).display());
    for (key, is_good) in [(first.to_string(), true), (third, true), (stranger(&first), false)] {
        let mut command = std::process::Command::new("python3");
        let output = command.arg(script).arg(&place).arg(&key).output().unwrap();
        assert_eq!(output.status.success(), is_good, "{output:?}");
    }
    drop(uplink);

    // Another sink begins with the key of today, and takes what all of them signed.
    let other = Sink::new();
    enroll(state.path(), &other.token("other")).unwrap();
    let _uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    other.wait_for(journal.progress().durable());
    other.check();
    assert!(other.found().is_empty());
}

fn stranger(first: &crate::audit::checkpoint::Verifier) -> String {
    Signer::new(first.name(), [9; 32]).unwrap().verifier().to_string()
}

#[test]
fn a_key_that_no_record_names_and_one_that_was_replaced_are_refused() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    {
        let journal = journal(state.path());
        append(&journal, 0..5);
        enroll(state.path(), &sink.token("first")).unwrap();
        let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
        sink.wait_for(journal.progress().durable());
        drop(uplink);
    }
    let log = state.path().join("log");
    // A key of the same name that somebody put there.
    let name = log::public_key(&Disk, &log).unwrap().name().to_owned();
    let forged = Signer::new(&name, [7; 32]).unwrap();
    fs::write(log.join("key"), forged.secret()).unwrap();
    {
        let journal = journal(state.path());
        append(&journal, 5..9);
        let _uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
        sink.wait_for_notice(Weight::Alarm, "signature");
    }
}

#[test]
fn a_host_that_goes_on_with_a_key_that_it_replaced_is_found() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let log = state.path().join("log");
    let old;
    {
        let journal = journal(state.path());
        append(&journal, 0..5);
        enroll(state.path(), &sink.token("first")).unwrap();
        old = fs::read(log.join("key")).unwrap();
        rotate(&journal);
        let _uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
        sink.wait_for(journal.progress().durable());
    }
    fs::write(log.join("key"), old).unwrap();
    fs::remove_file(log.join("rotations")).unwrap();
    let journal = journal(state.path());
    append(&journal, 5..9);
    let size = sink.host().size;
    let _uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    sink.wait_for_notice(Weight::Alarm, "signature");
    assert_eq!(sink.host().size, size);
    sink.check();
}

#[test]
fn a_sink_with_another_certificate_is_the_same_to_its_hosts() {
    let mut sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    append(&journal, 0..20);
    enroll(state.path(), &sink.token("first")).unwrap();
    let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    sink.wait_for(journal.progress().durable());
    sink.stop();
    let read = |name: &str| fs::read_to_string(sink.directory.path().join(name)).unwrap();
    let (before, ca) = (read("server.pem"), read("ca.pem"));
    let names = ["sink.example".to_owned(), "127.0.0.1".to_owned()];
    authority::replace_server(sink.directory.path(), &names).unwrap();
    assert_ne!(read("server.pem"), before);
    assert_eq!(read("ca.pem"), ca);
    // Between the two files nothing is amiss.
    fs::write(sink.directory.path().join("server.key"), "an older key").unwrap();
    sink.start();
    append(&journal, 20..40);
    sink.wait_for(journal.progress().durable());
    drop(uplink);
    sink.check();
    // By another name it is not theirs.
    sink.stop();
    authority::replace_server(sink.directory.path(), &["sink.example".to_owned()]).unwrap();
    sink.start();
    let error = enroll(state.path(), &sink.token("again")).unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
}
