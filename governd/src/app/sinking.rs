//! A sink and its own log: what it refuses and what it finds out about hosts is recorded like
//! anything else, signed, in `log/` below its directory.

use std::{io, path::Path, sync::Arc};

use super::{
    clock, context,
    journal::{Journal, Recorder},
};
use crate::{
    audit::{
        log::{Disk, KeeperOptions, Log, OpenError, Options},
        record::{Confidence, Finding, Record},
    },
    kernel,
    settings::HOST_FILE,
    sink::notice::{Notice, Tell, Weight},
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
    use crate::audit::log::Reader;

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
}
