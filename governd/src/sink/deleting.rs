//! The thread that deletes what is old enough. It looks at batches and waits for the sink's log, so
//! it is not the one that hosts wait for; what it changes it changes in steps, with rests between.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{
    deletion::Ledger,
    notice::{Notice, Tell, Weight},
    store::{Host, Store, StoreError, UNDELETED},
};

/// How often it is looked what is old enough.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// It rests so many times as long as it worked.
const REST: u32 = 3;
/// Work that is worth a rest.
const WORK_MIN: Duration = Duration::from_millis(5);

/// Why something that is old enough stays.
#[derive(Debug, thiserror::Error)]
enum DeleteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the sink's own log does not say it: {0}")]
    Ledger(io::Error),
    #[error("records are gone of which the sink's own log does not say that they are deleted")]
    Untold,
}

/// Deletes, from now on, what is older than so many days and than it is to be kept, of the store of
/// a sink that runs in this process. `now_s` is the clock. What is wrong is a finding until it is
/// deleted.
///
/// # Errors
/// If the system gives no thread.
pub fn start(
    mut store: Store,
    days: u32,
    ledger: impl Ledger + Send + 'static,
    tell: Tell,
    now_s: impl Fn() -> u64 + Send + 'static,
) -> io::Result<()> {
    let work = move || {
        loop {
            pass(&mut store, days, &ledger, &tell, now_s());
            thread::sleep(INTERVAL);
        }
    };
    thread::Builder::new().name("sink-retention".to_owned()).spawn(work).map(drop)
}

/// Deletes what is old enough now, of each host. What is wrong with one is no other's.
pub(crate) fn pass(store: &mut Store, days: u32, ledger: &impl Ledger, tell: &Tell, now_s: u64) {
    let hosts = match store.hosts() {
        Ok(hosts) => hosts,
        Err(error) => return tracing::error!(%error, "nothing is deleted"),
    };
    for host in hosts {
        let passed = pass_of(store, host.id, days, ledger, now_s);
        match note(store, &host, passed, now_s) {
            Ok(notice) => notice.into_iter().for_each(|notice| tell(notice)),
            Err(error) => {
                let host = host.name;
                tracing::error!(%error, host, "what is old enough is not deleted");
            }
        }
    }
}

/// Keeps whether something of a host stays that is old enough; gives what is new about that. Of a
/// host that is held nothing was tried.
fn note(
    store: &Store,
    host: &Host,
    passed: Result<(), DeleteError>,
    now_s: u64,
) -> Result<Option<Notice>, StoreError> {
    let notice = |weight, what: &str, detail| {
        let (what, who) = (what.to_owned(), host.name.clone());
        Notice { what, who, detail, count: 1, weight }
    };
    Ok(match passed {
        Err(error) => {
            let detail = format!("what is old enough is not deleted: {error}");
            let is_new = store.find(host, UNDELETED, &detail, now_s)?;
            is_new.then(|| notice(Weight::Alarm, UNDELETED, detail))
        }
        Ok(()) if !store.is_held(host)? && store.end(host, UNDELETED, now_s)? => {
            Some(notice(Weight::News, "deletable", "what is old enough is deleted again".into()))
        }
        Ok(()) => None,
    })
}

fn pass_of(
    store: &mut Store,
    id: i64,
    days: u32,
    ledger: &impl Ledger,
    now_s: u64,
) -> Result<(), DeleteError> {
    let mut pace = Pace::new();
    loop {
        let Some(host) = store.host(id)? else { return Ok(()) };
        // What an earlier pass said, and did not come to an end with.
        delete(store, &host, &mut pace)?;
        let Some(host) = store.host(id)? else { return Ok(()) };
        // Otherwise the next record would be about what somebody else took away, too.
        let keys = ledger.keys().map_err(DeleteError::Ledger)?;
        if store.told_behind(&host, Some(&keys))? < host.deleted {
            return Err(DeleteError::Untold);
        }
        let Some(deletion) = store.due(&host, days, now_s, || pace.rest())? else {
            return Ok(());
        };
        let proof = ledger.record(&deletion).map_err(DeleteError::Ledger)?;
        store.begin_deletion(&host, &proof)?;
        delete(store, &host, &mut pace)?;
        let (first, behind) = (deletion.first, deletion.behind);
        if store.host(id)?.is_none_or(|host| host.deleted < behind) {
            // Something is wrong with the host since.
            return Ok(());
        }
        tracing::info!(host = host.name, first, behind, "the oldest records are deleted");
    }
}

fn delete(store: &mut Store, host: &Host, pace: &mut Pace) -> Result<(), StoreError> {
    while store.delete_some(host)? {
        pace.rest();
    }
    Ok(())
}

/// Leaves the processor and the store to hosts for most of the time.
struct Pace {
    began: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { began: Instant::now() }
    }

    fn rest(&mut self) {
        let worked = self.began.elapsed();
        if worked >= WORK_MIN {
            thread::sleep(worked * REST);
            self.began = Instant::now();
        }
    }
}
