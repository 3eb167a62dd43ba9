//! A sink and its own log: what it refuses and what it finds out about hosts is recorded like
//! anything else, signed, in `log/` below its directory.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    clock, context,
    journal::{Journal, Recorder},
};
use crate::{
    audit::{
        keys::Keys,
        log::{self, Disk, KeeperOptions, Log, OpenError, Options, Reader},
        record::{Confidence, Finding, Record},
    },
    kernel,
    settings::HOST_FILE,
    sink::{
        deletion::{self, Deletion, Ledger},
        notice::{Notice, Tell, Weight},
    },
    workload::host::{HostFacts, HostPaths},
};

const DIRECTORY: &str = "log";
const SEVERITY_INFORMATIONAL: u8 = 1;
const SEVERITY_LOW: u8 = 2;
const SEVERITY_MEDIUM: u8 = 3;
const SEVERITY_FATAL: u8 = 6;

/// Opens the log of the sink in a directory.
///
/// # Errors
/// It cannot be opened, or the system gives no thread.
pub fn open_log(directory: &Path) -> Result<Journal, OpenError> {
    open_log_with(directory, KeeperOptions::default())
}

/// The same, kept otherwise.
pub(super) fn open_log_with(
    directory: &Path,
    options: KeeperOptions,
) -> Result<Journal, OpenError> {
    let directory = directory.join(DIRECTORY);
    let (log, opened) = Log::open(Disk, Options::new(&directory))?;
    if let Some(damage) = &opened.damage {
        tracing::error!(first = damage.first, path = %damage.path.display(), "log is damaged");
    }
    let context = context(&host(), &[]);
    let unusable = |source: io::Error| OpenError::Unusable {
        path: directory.clone(),
        doing: "start its thread",
        source,
    };
    Journal::start(log, directory.clone(), context, options).map_err(unusable)
}

/// What is known of this host.
pub(super) fn host() -> HostFacts {
    // A machine without cgroups is no reason not to run a sink on it.
    let mount = kernel::cgroup::root().unwrap_or_default();
    HostFacts::read(&HostPaths::of_machine(mount, HOST_FILE.as_ref()))
}

/// Records what a sink tells.
pub fn tell(recorder: Recorder) -> Tell {
    Arc::new(move |notice| {
        let Notice { what, who, detail, count, weight } = &notice;
        match weight {
            Weight::Alarm => tracing::error!(what, who, detail, "a host's log is not what it was"),
            Weight::Refused => tracing::warn!(what, who, detail, count, "refused"),
            Weight::News => tracing::info!(what, who, detail, "of a host"),
            Weight::Own => tracing::info!(what, detail, "of the sink"),
            Weight::Soon => tracing::warn!(what, detail, "of the sink"),
        }
        recorder.record(Record::Finding(finding(&notice)));
    })
}

/// The keys that sign the log of the sink in a directory, or did.
///
/// # Errors
/// If they cannot be read, or do not follow each other.
pub fn keys(directory: &Path) -> io::Result<Keys> {
    keys_of_log(&directory.join(DIRECTORY))
}

fn keys_of_log(directory: &Path) -> io::Result<Keys> {
    let key = log::public_key(&Disk, directory).map_err(io::Error::other)?;
    log::keys(&Disk, directory, &key).map_err(io::Error::other)?.map_err(io::Error::other)
}

/// Has the log of a sink say what the sink deletes.
pub fn ledger(journal: &Journal) -> OwnLog {
    OwnLog { recorder: journal.recorder(), directory: journal.directory().to_owned() }
}

/// The log of a sink.
pub struct OwnLog {
    recorder: Recorder,
    directory: PathBuf,
}

impl Ledger for OwnLog {
    fn record(&self, deletion: &Deletion) -> io::Result<String> {
        let Self { recorder, directory } = self;
        let behind = || io::Error::other("its records do not become durable");
        let first = recorder.settle().ok_or_else(behind)?;
        recorder.record(Record::Finding(of_deletion(deletion)));
        let end = recorder.settle().ok_or_else(behind)?;
        let mut reader = Reader::new(Disk, directory.clone(), first);
        while reader.position() < end
            && let Some(line) = reader.read().map_err(io::Error::other)?
        {
            if Deletion::parse(&line.bytes).as_ref() == Some(deletion) {
                let proof = log::prove(&Disk, directory, line.index, &self.keys()?);
                return Ok(proof.map_err(io::Error::other)?.to_string());
            }
        }
        Err(io::Error::other("the record of it is not there"))
    }

    fn keys(&self) -> io::Result<Keys> {
        keys_of_log(&self.directory)
    }
}

fn of_deletion(deletion: &Deletion) -> Finding {
    Finding {
        uid: format!("{}/{}/{}", deletion::KIND, deletion.host, deletion.behind).into(),
        title: deletion.title().into(),
        kind: deletion::KIND.into(),
        severity: SEVERITY_INFORMATIONAL,
        confidence: Confidence::High,
        first_seen_ms: clock::now_ms(),
        subject: None,
        actor: None,
        destination: None,
        evidence: deletion.evidence(),
    }
}

fn finding(notice: &Notice) -> Finding {
    let Notice { what, who, detail, count, weight } = notice;
    let (kind, severity) = match weight {
        Weight::Alarm => (format!("host-{what}"), SEVERITY_FATAL),
        Weight::Refused => ("sink-refused".to_owned(), SEVERITY_MEDIUM),
        Weight::News => (format!("host-{what}"), SEVERITY_INFORMATIONAL),
        Weight::Own => (format!("sink-{what}"), SEVERITY_LOW),
        Weight::Soon => (format!("sink-{what}"), SEVERITY_MEDIUM),
    };
    Finding {
        uid: format!("{kind}/{what}/{who}").into(),
        title: format!("{who}: {detail}").into(),
        kind: kind.into(),
        severity,
        confidence: Confidence::High,
        first_seen_ms: clock::now_ms(),
        subject: None,
        actor: None,
        destination: None,
        evidence: vec![format!("what {what}"), format!("who {who}"), format!("count {count}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{
            checkpoint::Signer,
            cosign::{Cosigner, Cosigners},
            tree::{leaf_hash, root},
        },
        sink::{
            deleting, pack,
            store::{Arrival, Store},
        },
    };

    #[test]
    fn what_a_sink_tells_is_in_its_own_log() {
        let state = tempfile::tempdir().unwrap();
        let journal = open_log(state.path()).unwrap();
        let tell = tell(journal.recorder());
        let rows = [
            (Weight::Alarm, "rewind", "host-rewind", 6),
            (Weight::Refused, "malformed", "sink-refused", 3),
            (Weight::News, "late", "host-late", 1),
            (Weight::Own, "keys", "sink-keys", 2),
            (Weight::Soon, "certificate", "sink-certificate", 3),
        ];
        for (weight, what, ..) in rows {
            let (who, detail) = ("web-1".to_owned(), "it is so".to_owned());
            tell(Notice { what: what.to_owned(), who, detail, count: 2, weight });
        }
        journal.commit().unwrap();
        let mut reader = Reader::new(Disk, state.path().join("log"), 0);
        for (_, _, kind, severity) in rows {
            let line = reader.read().unwrap().unwrap();
            let record: serde_json::Value = serde_json::from_slice(&line.bytes).unwrap();
            assert_eq!(record["severity_id"], severity);
            assert_eq!(record["finding_info"]["title"], "web-1: it is so");
            assert_eq!(record["unmapped"]["governd"]["kind"], kind);
        }
    }

    const DAY_S: u64 = 24 * 3_600;

    /// A store with hosts that each sent one record on a day.
    fn filled(directory: &Path, names: &[&str], cosigners: &Cosigners, day: u64) -> Store {
        let mut store = Store::open(directory).unwrap();
        for (seed, name) in (1..).zip(names) {
            let signer = Signer::new(&format!("governd/{name}"), [seed; 32]).unwrap();
            store.add_token(name, name, 10).unwrap();
            let keys = signer.verifier().clone().into();
            store.enroll(name, &keys, 1, |_| Ok(((), [seed; 32]))).unwrap();
            let mut host =
                store.hosts().unwrap().into_iter().find(|host| host.name == *name).unwrap();
            let lines = format!("{{\"metadata\":{{\"logged_time\":{}}}}}\n", day * DAY_S * 1_000);
            let (lines, leaf) = (lines.as_str(), leaf_hash(lines.trim_end().as_bytes()));
            let (note, frame) =
                (signer.sign(1, root(&[leaf])), pack::compress(lines.as_bytes()).unwrap());
            let (note, frame, leaves) = (note.as_str(), frame.as_slice(), &[leaf][..]);
            let arrival =
                Arrival { first: 0, lines, frame, leaves, note, before: None, beside: &[] };
            store.append(&mut host, arrival, cosigners, day * DAY_S).unwrap();
        }
        store
    }

    #[test]
    fn what_a_sink_deletes_is_in_its_own_log_before_and_proven_by_it_after() {
        let state = tempfile::tempdir().unwrap();
        let journal = open_log(state.path()).unwrap();
        let ledger = ledger(&journal);
        let mut tell = tell(journal.recorder());
        let cosigners = Cosigner::new("sink.example", [2; 32]).unwrap().into();
        let mut store = filled(state.path(), &["web-1", "web-2"], &cosigners, 20_000);
        let own = keys(state.path()).unwrap();
        let deleted = |store: &Store| {
            let hosts = store.hosts().unwrap();
            for host in &hosts {
                let report = store.verify(host, &cosigners.witnesses(), Some(&own)).unwrap();
                assert_eq!((report.wrong, report.deleted), (None, host.deleted));
            }
            hosts.iter().map(|host| host.deleted).collect::<Vec<_>>()
        };
        deleting::pass(&mut store, 400, &ledger, &tell, 20_399 * DAY_S);
        assert_eq!(deleted(&store), [0, 0]);
        let host = store.hosts().unwrap().pop().unwrap();
        store.find(&host, "fork", "it is so", 5).unwrap();
        deleting::pass(&mut store, 400, &ledger, &tell, 20_400 * DAY_S);
        assert_eq!(deleted(&store), [1, 0]);
        store.settle(&host, None, "uid 7", 6).unwrap();
        // A log that is closed says nothing more, so that nothing goes.
        drop(journal);
        deleting::pass(&mut store, 400, &ledger, &tell, 20_400 * DAY_S);
        assert_eq!(deleted(&store), [1, 0]);
        let journal = open_log(state.path()).unwrap();
        tell = super::tell(journal.recorder());
        deleting::pass(&mut store, 400, &super::ledger(&journal), &tell, 20_401 * DAY_S);
        assert_eq!(deleted(&store), [1, 1]);
        let mut reader = Reader::new(Disk, state.path().join("log"), 0);
        let mut told = Vec::new();
        while let Some(line) = reader.read().unwrap() {
            told.extend(Deletion::parse(&line.bytes));
        }
        let of = |host: &str| Deletion { host: host.to_owned(), first: 0, behind: 1, days: 400 };
        assert_eq!(told, [of("web-1"), of("web-2")]);
    }

    #[test]
    fn what_keeps_a_sink_from_deleting_is_a_finding_until_it_is_mended() {
        let state = tempfile::tempdir().unwrap();
        let journal = open_log(state.path()).unwrap();
        let ledger = ledger(&journal);
        let cosigners = Cosigner::new("sink.example", [2; 32]).unwrap().into();
        let mut store = filled(state.path(), &["web-1", "web-2"], &cosigners, 20_000);
        let beside = rusqlite::Connection::open(state.path().join("sink.db")).unwrap();
        let lines = |of: &str| -> Vec<u8> { beside.query_one(of, [], |row| row.get(0)).unwrap() };
        let signed = lines("SELECT lines FROM batch WHERE host = 1");
        let other = lines("SELECT zeroblob(7)");
        let set = |lines: &[u8]| {
            let changed = beside.execute("UPDATE batch SET lines = ?1 WHERE host = 1", [lines]);
            assert_eq!(changed, Ok(1));
        };
        let mut pass = |expected: &[(Weight, &str)], findings: &[(&str, u64)]| {
            let (tell, told) = std::sync::mpsc::channel();
            let tell: Tell = Arc::new(move |notice| tell.send(notice).unwrap());
            deleting::pass(&mut store, 400, &ledger, &tell, 20_400 * DAY_S);
            let told: Vec<_> = told.try_iter().collect();
            let words: Vec<_> = told.iter().map(|it| (it.weight, it.what.as_str())).collect();
            assert_eq!(words, expected, "{told:?}");
            let found = store.findings().unwrap();
            let words: Vec<_> = found.iter().map(|it| (it.what.as_str(), it.count)).collect();
            assert_eq!(words, findings, "{found:?}");
            store.hosts().unwrap()
        };
        set(&other);
        pass(&[(Weight::Alarm, "undeleted")], &[("undeleted", 1)]);
        let hosts = pass(&[], &[("undeleted", 2)]);
        assert_eq!(hosts.iter().map(|host| host.deleted).collect::<Vec<_>>(), [0, 1]);
        // Of a host that is held for something else nobody knows whether it is mended.
        let beside = Store::open(state.path()).unwrap();
        beside.find(&hosts[0], "fork", "it is so", 5).unwrap();
        pass(&[], &[("undeleted", 2), ("fork", 1)]);
        beside.end(&hosts[0], "fork", 6).unwrap();
        set(&signed);
        let hosts = pass(&[(Weight::News, "deletable")], &[]);
        assert_eq!(hosts[0].deleted, 1);
    }
}
