//! A sink that replaces its authority and the key by which it cosigns: who is heard of meanwhile
//! needs nothing, and nobody else is let in.

use super::*;
use crate::{
    audit::cosign::Witnesses,
    sink::wire::{Enrolled, Renew},
};

/// Replaces files of a sink while it does not run.
fn while_stopped(sink: &mut Sink, change: impl FnOnce(&Path)) {
    sink.stop();
    change(sink.directory.path());
    sink.start();
}

fn read(state: &Path, name: &str) -> String {
    fs::read_to_string(state.join("sink").join(name)).unwrap()
}

fn certificates(state: &Path) -> usize {
    read(state, "ca.pem").matches("BEGIN CERTIFICATE").count()
}

fn checked(witnesses: &str, state: &Path) -> bool {
    let (receipt, _) = receipt(state).unwrap().unwrap();
    Witnesses::parse(witnesses).unwrap().newest().check(&receipt).is_ok()
}

#[test]
fn hosts_go_on_while_a_sink_replaces_its_keys() {
    let mut sink = Sink::new();
    let [state, away] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [journal, of_away] = [journal(state.path()), journal(away.path())];
    enroll(state.path(), &sink.token("first")).unwrap();
    enroll(away.path(), &sink.token_of("host-b", "second")).unwrap();
    let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    let heard = Uplink::start(away.path(), &of_away).unwrap().unwrap();
    append(&of_away, 0..5);
    append(&journal, 0..20);
    let stored = |sink: &Sink, name: &str| {
        let hosts = sink.store().hosts().unwrap();
        hosts.into_iter().find(|host| host.name == name).unwrap().size
    };
    let wait = |sink: &Sink| {
        let size = journal.progress().durable();
        until("records in the sink", || stored(sink, HOST) == size);
    };
    wait(&sink);
    until("its records", || stored(&sink, "host-b") == of_away.progress().durable());
    drop(heard);
    let [ca, identity, witness] =
        ["ca.pem", "identity.pem", "witness.pub"].map(|name| read(state.path(), name));
    let early = sink.token_of("host-c", "third");

    while_stopped(&mut sink, |directory| {
        authority::begin(directory).unwrap();
        let error = authority::begin(directory).unwrap_err();
        assert!(error.hint().contains("--finish"), "{error}");
    });
    let next = *Authority::open(sink.directory.path()).unwrap().next().unwrap();
    let left = |sink: &Sink| sink.store().left_by(&next).unwrap();
    assert_eq!(left(&sink), [HOST, "host-b"]);
    append(&journal, 20..40);
    until("the next keys", || left(&sink) == ["host-b"]);
    until("another certificate", || read(state.path(), "identity.pem") != identity);
    assert_eq!(certificates(state.path()), 2);
    append(&journal, 40..60);
    wait(&sink);
    // The host's log says so, and its receipts are good to who knows either key.
    let both = read(state.path(), "witness.pub");
    assert!(both.ends_with(&format!("\n{witness}")), "{both}");
    until("a receipt of both", || checked(&both, state.path()) && checked(&witness, state.path()));
    let mut reader = Reader::new(Disk, state.path().join("log"), 0);
    let lines = std::iter::from_fn(|| reader.read().unwrap());
    let told = lines.filter(|line| String::from_utf8_lossy(&line.bytes).contains("\"sink.keys\""));
    assert_eq!(told.count(), 1);
    // Who has a token from before knows the former authority, and one of before this does not
    // say what it knows.
    let late = tempfile::tempdir().unwrap();
    drop(self::journal(late.path()));
    enroll(late.path(), &early).unwrap();
    let own = read(late.path(), "identity.pem");
    let mut old = Client::new(&sink.address.to_string(), &ca, Some((&own, &own))).unwrap();
    let (_, point) = authority::host_key().unwrap();
    let public_key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, point);
    let request = serde_json::to_vec(&Renew { public_key, keys: None }).unwrap();
    assert_eq!(refused(old.post::<Enrolled>(wire::RENEW, request)), "keys");
    assert_eq!(left(&sink), ["host-b", "host-c"]);

    let names = ["127.0.0.1".to_owned()];
    while_stopped(&mut sink, |directory| {
        authority::finish(directory, &names).unwrap();
        authority::finish(directory, &names).unwrap_err();
    });
    append(&journal, 60..80);
    wait(&sink);
    until("the former authority to go", || certificates(state.path()) == 1);
    until("a receipt of the next key", || {
        checked(&both, state.path()) && !checked(&witness, state.path())
    });
    drop(uplink);
    // The records and receipts of who is left behind are good, and it is not let in.
    let store = sink.store();
    let witnesses = Authority::open(sink.directory.path()).unwrap().cosigners().witnesses();
    for host in store.hosts().unwrap() {
        let report = store.verify(&host, &witnesses, None).unwrap();
        assert_eq!((report.wrong, report.signed), (None, host.size), "{}", host.name);
    }
    assert!(refused(old.get::<State>(wire::STATE)).starts_with("unreachable"));
    let mut old = Client::new(&sink.address.to_string(), &ca, None).unwrap();
    assert!(refused(old.get::<State>(wire::STATE)).contains("invalid peer certificate"));
    enroll(away.path(), &sink.token_of("host-b", "again")).unwrap();
    append(&of_away, 5..9);
    let _heard = Uplink::start(away.path(), &of_away).unwrap().unwrap();
    until("its records", || stored(&sink, "host-b") == of_away.progress().durable());
    assert!(sink.found().is_empty(), "{:?}", sink.found());
}

#[test]
fn a_change_of_keys_that_ends_between_two_files_goes_on() {
    let names = ["127.0.0.1".to_owned()];
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        authority::create(directory.path(), &names).unwrap();
        directory
    };
    let keep = |directory: &Path, name: &str| fs::read(directory.join(name)).unwrap();
    let open = |directory: &Path| Authority::open(directory).unwrap();
    // It began with one file, which is taken to be its first.
    let directory = make();
    let place = directory.path();
    authority::begin(place).unwrap();
    let two = open(place).keys().witnesses.clone();
    fs::remove_file(place.join("next.pem")).unwrap();
    assert!(open(place).next().is_none());
    authority::begin(place).unwrap();
    assert_eq!(open(place).keys().witnesses, two);
    // It ended before its last files were in place.
    let before = ["ca.pem", "ca.key", "next.pem"].map(|name| (name, keep(place, name)));
    let trusted = open(place).keys().ca.clone();
    authority::finish(place, &names).unwrap();
    let after = open(place).keys().ca.clone();
    assert!(trusted.ends_with(&after) && trusted != after);
    for (count, wanted) in [(3, &trusted), (1, &after)] {
        for (name, bytes) in before.iter().rev().take(count).chain(&before[..1]) {
            fs::write(place.join(name), bytes).unwrap();
        }
        assert_eq!(&open(place).keys().ca, wanted);
        assert_eq!(authority::finish(place, &names).is_ok(), count == 3);
        assert_eq!(open(place).keys().ca, after);
    }
}

#[test]
fn keys_that_the_known_one_did_not_cosign_are_not_learned() {
    let mut sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    let uplink = Uplink::start(state.path(), &journal).unwrap().unwrap();
    append(&journal, 0..5);
    sink.wait_for(journal.progress().durable());
    let before = ["ca.pem", "witness.pub"].map(|name| read(state.path(), name));
    // Who has the authority and the server's key puts a key of its own beside them.
    let other = Sink::new();
    let key = fs::read(other.directory.path().join("witness.key")).unwrap();
    while_stopped(&mut sink, |place| fs::write(place.join("witness.key"), key).unwrap());
    append(&journal, 5..9);
    until("a refusal", || {
        let failing = uplink.status().failing;
        failing.is_some_and(|reason| reason.contains("no cosignature"))
    });
    assert_eq!(["ca.pem", "witness.pub"].map(|name| read(state.path(), name)), before);
}
