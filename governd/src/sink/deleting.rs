//! The thread that deletes what is old enough. It looks at batches and waits for the sink's log, so
//! it is not the one that hosts wait for; what it changes it changes in steps, with rests between.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{
    deletion::Ledger,
    store::{Host, Store, StoreError},
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
/// a sink that runs in this process. `now_s` is the clock.
///
/// # Errors
/// If the system gives no thread.
pub fn start(
    mut store: Store,
    days: u32,
    ledger: impl Ledger + Send + 'static,
    now_s: impl Fn() -> u64 + Send + 'static,
) -> io::Result<()> {
    let work = move || {
        loop {
            pass(&mut store, days, &ledger, now_s());
            thread::sleep(INTERVAL);
        }
    };
    thread::Builder::new().name("sink-retention".to_owned()).spawn(work).map(drop)
}

/// Deletes what is old enough now, of each host. What is wrong with one is no other's.
pub(crate) fn pass(store: &mut Store, days: u32, ledger: &impl Ledger, now_s: u64) {
    let hosts = match store.hosts() {
        Ok(hosts) => hosts,
        Err(error) => return tracing::error!(%error, "nothing is deleted"),
    };
    for host in hosts {
        if let Err(error) = pass_of(store, host.id, days, ledger, now_s) {
            let host = host.name;
            tracing::error!(%error, host, "what is old enough is not deleted");
        }
    }
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
