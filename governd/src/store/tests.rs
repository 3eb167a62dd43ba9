//! The store with real files: what is saved comes back, and whatever else is in the file does not
//! stop anything.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::{
    audit::record::{Actor, personal::Erasure},
    catalog::Catalog,
    core::{
        inventory::{Contact, Inventory, Program, Sighting, Traffic},
        process::{Ancestor, Exe, Login, Process},
    },
};

const BOOT: &str = "boot-1";

fn actor(pid: u32) -> Actor {
    let process = Process {
        digest: None,
        session: Some(3),
        pid,
        started_ns: u64::from(pid) * 1_000_000_000,
        parent: Some(7),
        name: "codex".into(),
        exe: Some(Exe { path: format!("/opt/{pid}/codex").into(), device: 1, inode: 5 }),
        args: Some(Arc::new(["codex".into(), "exec".into()])),
        uid: Some(1000 + pid),
        user: Some("dana".into()),
        gid: Some(1000),
        cgroup_id: Some(9),
        cgroup: Some("/system.slice/codex.service".into()),
        workload: None,
        login: Login { uid: Some(1000), session: Some(3) },
        trace: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
    };
    let above = Ancestor { pid: 7, name: "bash".into(), exe: Some("/bin/bash".into()) };
    Actor { process: Arc::new(process), lineage: Arc::new([above]) }
}

/// An inventory that saw these processes, each of which contacted a model.
fn inventory(pids: &[u32]) -> Inventory {
    let mut inventory = Inventory::new(Arc::new(Catalog::built_in()));
    for pid in pids {
        let actor = actor(*pid);
        let sighting = Sighting {
            actor: &actor,
            place: Some("codex.service"),
            environment: &["OPENAI_API_KEY".to_owned()],
            subject: 0,
        };
        inventory.observe_process(&sighting, 10);
        let address = "203.0.113.7".parse().unwrap();
        let name = Some("api.openai.com");
        let contact = Contact { name, address, port: 443, is_denied: true };
        inventory.observe_contact(&sighting, &contact, 20);
        let traffic = Traffic { sent_bytes: 700, received_bytes: u64::from(*pid) };
        inventory.observe_traffic(&sighting, &contact, traffic, 20);
        let id = Arc::clone(&inventory.agent_of(*pid).unwrap().id);
        let program = Program {
            script: Some("/opt/codex/codex.js".into()),
            sha256: Some("0a".repeat(32).into()),
            version: Some("1.2.0".into()),
        };
        inventory.observe_program(&id, &program, 20);
    }
    inventory
}

/// All that is saved; the reason of a state follows from the rest and the documents.
fn words(agents: &[Agent]) -> Vec<String> {
    let saved = |agent: &Agent| format!("{:?}", Agent { reason: None, ..agent.clone() });
    let mut words: Vec<String> = agents.iter().map(saved).collect();
    words.sort_unstable();
    words
}

fn save(path: &Path, inventory: &mut Inventory) {
    let (store, _) = Store::open(path, BOOT).unwrap();
    store.finish(inventory.writes(usize::MAX));
}

fn load(path: &Path, boot_id: &str) -> Opened {
    let (store, opened) = Store::open(path, boot_id).unwrap();
    store.finish(Vec::new());
    opened
}

#[test]
fn everything_that_is_known_of_an_agent_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/inventory.db");
    let mut before = inventory(&[10, 11]);
    save(&path, &mut before);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

    let opened = load(&path, BOOT);
    assert_eq!((opened.discarded, &opened.damage), (0, &None));
    let known: Vec<Agent> = before.agents().cloned().collect();
    assert_eq!(words(&opened.agents), words(&known));

    // After a boot nothing runs, and the last process is still shown.
    let [first, _] = &load(&path, "boot-2").agents[..] else { panic!("two agents") };
    assert!(first.instances.is_empty() && first.latest.is_some());

    // What comes back counts further, and is not found anew.
    let mut after = Inventory::new(Arc::new(Catalog::built_in()));
    after.restore(opened.agents);
    let actor = actor(10);
    let sighting =
        Sighting { actor: &actor, place: Some("codex.service"), environment: &[], subject: 0 };
    assert!(after.observe_process(&sighting, 30).is_empty());
    let agent = after.agent_of(10).unwrap();
    assert_eq!((agent.first_ms, agent.last_ms, agent.instances_total), (10, 30, 1));
    assert_eq!(agent.endpoints[&("api.openai.com".to_owned(), 443)].denied, 1);
}

#[test]
fn a_file_of_an_older_version_is_brought_to_the_present_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(schema::STEPS[0]).unwrap();
    old.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let known = inventory(&[10]);
    let agent = known.agents().next().unwrap();
    old.execute(
        "INSERT INTO agents VALUES (?1, ?2, ?3, ?4, 'codex', 'coding-agent', 'agent', 'shadow',
            NULL, NULL, NULL, 91, 1, 1, 0, 10, 20)",
        rusqlite::params![&*agent.id, agent.key.program, agent.key.place, agent.key.uid],
    )
    .unwrap();
    let sign = "INSERT INTO evidence VALUES (?1, 0, 'contact', 'x', 'y', 'weak', 'z', 1, 10, 20)";
    old.execute(sign, [&*agent.id]).unwrap();
    drop(old);

    let opened = load(&path, BOOT);
    assert_eq!((opened.discarded, opened.damage), (0, None));
    let [read] = &opened.agents[..] else { panic!("one agent") };
    assert_eq!((&*read.id, read.confidence, read.digest.as_deref()), (&*agent.id, 91, None));
    let version: u32 = Connection::open(&path)
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version as usize, schema::STEPS.len());
}

/// The columns that a governd of before has; it knows nothing of later ones.
const OF_BEFORE: &str =
    "id, program, place, uid, name, kind, standing, state, registered_as, owner,
    parent, confidence, is_runtime, instances_total, endpoints_dropped, first_ms, last_ms, digest";

#[test]
fn a_file_may_go_back_to_a_governd_of_before_and_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    save(&path, &mut inventory(&[10]));
    let has_program = |opened: &Opened| opened.agents[0].program != Program::default();
    assert!(has_program(&load(&path, BOOT)));

    let before = Connection::open(&path).unwrap();
    let version: u32 = before.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version as usize, schema::STEPS.len());
    // It writes what it knows in the place of the whole row.
    let again =
        format!("INSERT OR REPLACE INTO agents ({OF_BEFORE}) SELECT {OF_BEFORE} FROM agents");
    assert_eq!(before.execute(&again, []).unwrap(), 1);
    drop(before);
    let opened = load(&path, BOOT);
    assert_eq!((opened.discarded, opened.agents.len()), (0, 1));
    assert!(!has_program(&opened));

    // One that it made has none of the later columns.
    let before = Connection::open(&path).unwrap();
    for (table, column, _) in schema::LATER {
        before.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
    }
    drop(before);
    save(&path, &mut inventory(&[10]));
    assert!(has_program(&load(&path, BOOT)));
}

#[test]
fn what_ends_or_is_forgotten_is_saved_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    let mut known = inventory(&[10, 11]);
    save(&path, &mut known);
    assert!(known.writes(usize::MAX).is_empty());
    let forgotten = Arc::clone(&known.agent_of(11).unwrap().id);
    known.observe_exit(10);
    let (store, _) = Store::open(&path, BOOT).unwrap();
    let mut writes = known.writes(usize::MAX);
    writes.push(Write::Forget(forgotten));
    store.finish(writes);
    let [only] = &load(&path, BOOT).agents[..] else { panic!("one agent") };
    assert!(only.instances.is_empty());
    assert_eq!(only.latest.as_ref().unwrap().actor.process.pid, 10);
}

#[test]
fn batches_are_on_disk_soon_and_the_daemon_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    let (store, _) = Store::open(&path, BOOT).unwrap();
    let mut known = inventory(&(100..600).collect::<Vec<u32>>());
    // While somebody else writes, nothing of it can be on disk yet.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(store.is_ready() && store.apply(known.writes(usize::MAX)));
    assert!(!store.is_ready());
    other.execute_batch("ROLLBACK").unwrap();
    while !store.is_ready() {
        thread::sleep(Duration::from_millis(5));
    }
    // Another reader sees it, as after a kill of the daemon.
    let reader = Connection::open(&path).unwrap();
    let count = |table: &str| -> u32 {
        let query = format!("SELECT count(*) FROM {table}");
        reader.query_row(&query, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("agents"), count("endpoints"), count("instances")), (500, 500, 500));
    assert_eq!(store.trouble(), None);
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    let mut known = inventory(&(100..300).collect::<Vec<u32>>());
    save(&path, &mut known);
    let whole = fs::read(&path).unwrap();
    let middle = whole.len() / 2;
    let overwritten = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].fill(0xa5);
        bytes
    };
    for bytes in [
        overwritten(0..100),
        overwritten(4_096..whole.len()),
        overwritten(middle..middle + 8_192),
        b"not a database, but longer than its header would be: ".repeat(40),
        whole[..middle].to_vec(),
    ] {
        fs::write(&path, &bytes).unwrap();
        let opened = load(&path, BOOT);
        let damage = opened.damage.expect("the damage is told");
        assert!(opened.agents.is_empty() && !damage.reason.is_empty());
        assert_eq!(fs::read(&damage.path).unwrap(), bytes);
        assert_eq!(load(&path, BOOT).damage, None);
    }
}

#[test]
fn what_another_program_or_a_newer_governd_wrote_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    let before = fs::read(&foreign).unwrap();
    let error = Store::open(&foreign, BOOT).unwrap_err();
    assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    assert_eq!(fs::read(&foreign).unwrap()[100..], before[100..]);

    let newer = dir.path().join("newer.db");
    save(&newer, &mut inventory(&[10]));
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&newer, BOOT).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
    assert!(error.hint().contains("newer governd"));

    let directory = dir.path().join("directory.db");
    fs::create_dir(&directory).unwrap();
    let error = Store::open(&directory, BOOT).unwrap_err();
    assert!(error.line().contains("directory"), "{}", error.line());

    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&newer, &link).unwrap();
    assert!(Store::open(&link, BOOT).is_err());
}

#[test]
fn rows_that_nobody_understands_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    for change in [
        "UPDATE agents SET program = 'something else' WHERE uid = 1010",
        "UPDATE agents SET standing = 'boss' WHERE uid = 1010",
        "UPDATE agents SET uid = -1 WHERE uid = 1010",
        "UPDATE agents SET confidence = 400 WHERE uid = 1010",
    ] {
        save(&path, &mut inventory(&[10, 11]));
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let opened = load(&path, BOOT);
        assert_eq!(opened.agents.len(), 1, "{change}");
        assert!(opened.discarded > 0, "{change}");
        assert_eq!(load(&path, BOOT).discarded, 0, "{change}");
    }
    for change in [
        "UPDATE instances SET process = '{}'",
        "UPDATE instances SET process = 'nonsense', pid = -1",
        "UPDATE endpoints SET address = 'nowhere', port = 70000",
        "UPDATE evidence SET signal = 'rumour' WHERE signal = 'contact'",
    ] {
        save(&path, &mut inventory(&[10, 11]));
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let opened = load(&path, BOOT);
        assert_eq!(opened.agents.len(), 2, "{change}");
        assert!(opened.discarded > 0, "{change}");
    }
}

#[test]
fn what_cannot_be_written_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    let (store, _) = Store::open(&path, BOOT).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(store.apply(inventory(&[10]).writes(usize::MAX)));
    while store.trouble().is_none() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(store.trouble().unwrap().contains("locked"));
    other.execute_batch("ROLLBACK").unwrap();
    while store.trouble().is_some() {
        thread::sleep(Duration::from_millis(10));
    }
    drop(store);
    assert_eq!(load(&path, BOOT).agents.len(), 1);
}

#[test]
fn what_is_erased_of_a_person_is_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inventory.db");
    let mut known = inventory(&[10, 11]);
    known.observe_exit(11);
    save(&path, &mut known);
    let in_files = |text: &str| {
        let files = fs::read_dir(dir.path()).unwrap().map(|file| fs::read(file.unwrap().path()));
        files.map(Result::unwrap).any(|file| file.windows(text.len()).any(|w| w == text.as_bytes()))
    };
    let stays = |text: &str| assert!(in_files(text), "{text} is gone");
    ["dana", "\"exec\"", "/opt/11/codex"].into_iter().for_each(stays);

    let of = |user: &str, before_ms| Erasure { user: Some(user.into()), before_ms };
    assert_eq!(known.erase(&of("kim", None), true), 0);
    assert_eq!(known.erase(&of("dana", Some(10)), true), 0);
    // The process that runs keeps what it has; what spoke for the agents has both command lines.
    assert_eq!(known.erase(&of("dana", Some(11)), false), 4);
    assert_eq!(known.erase(&of("dana", None), false), 0);
    let (store, _) = Store::open(&path, BOOT).unwrap();
    store.erase();
    assert!(store.apply(known.writes(usize::MAX)));
    while !store.is_ready() {
        thread::yield_now();
    }
    let opened = load(&path, BOOT);
    let shown = |agent: &Agent| agent.latest.as_ref().unwrap().actor.process.user.clone();
    let users: Vec<_> = opened.agents.iter().map(shown).collect();
    assert_eq!(users.iter().flatten().count(), 1, "{users:?}");

    let mut alone = Inventory::new(Arc::new(Catalog::built_in()));
    alone.restore(opened.agents);
    assert_eq!(alone.erase(&Erasure { user: None, before_ms: Some(99) }, true), 2);
    store.apply(alone.writes(usize::MAX));
    drop(store);
    let left = ["dana", "\"exec\"", "codex exec"].into_iter().find(|text| in_files(text));
    assert_eq!(left, None);
    stays("/opt/11/codex");
}
