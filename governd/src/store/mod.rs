//! The inventory in a file: SQLite, written by a thread of its own.
//!
//! - What is handed over is applied in the order of the batches, each in one transaction. A write
//!   that fails is kept and tried again with the next batch; of each agent the latest state counts,
//!   so what waits is bounded by the number of agents.
//! - The daemon never waits for the file, and runs without one that it cannot use. A file that is
//!   damaged is set aside and a new one begun; one that a newer governd wrote is left alone.
//! - The file is bounded: by the inventory's own limits, and at [`limits::PAGES_MAX`] pages.
//! - After a kill of the daemon the file has all committed batches; after a loss of power it is
//!   whole, and may lack the latest ones.
//!
//! Not for: deciding what is an agent (`core::inventory`), or proving anything (`audit::log`).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rusqlite::Connection;

use crate::core::inventory::{Agent, Write};

pub mod error;
pub mod limits;
mod load;
mod open;
mod save;
mod schema;
#[cfg(test)]
mod tests;

pub use error::StoreError;

use limits::WAITING_MAX;

/// How long the thread waits before it tries again what failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// An open store. When it is dropped, what was handed over is written first.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    batches: Option<SyncSender<Vec<Write>>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread tells.
#[derive(Debug, Default)]
struct Shared {
    is_busy: AtomicBool,
    /// Whether what is not in the tables any more has to leave the journal, too.
    is_erased: AtomicBool,
    trouble: ArcSwapOption<String>,
}

/// What a file held.
#[derive(Debug)]
pub struct Opened {
    /// The agents, those seen last first.
    pub agents: Vec<Agent>,
    /// Rows that could not be understood and were removed.
    pub discarded: u64,
    /// A damaged file that was set aside, if there was one.
    pub damage: Option<Damage>,
}

/// A damaged file that was set aside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Store {
    /// Opens or makes the file, which holds agents of any boot; only processes of the boot with
    /// this id still run.
    ///
    /// # Errors
    /// The file cannot be opened, is not governd's, or was written by a newer governd.
    pub fn open(path: &Path, boot_id: &str) -> Result<(Self, Opened), StoreError> {
        let (connection, opened) = open::open(path, boot_id)?;
        let shared = Arc::new(Shared::default());
        let (batches, coming) = sync_channel(1);
        let writer = Writer {
            connection,
            boot_id: boot_id.to_owned(),
            waiting: HashMap::new(),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("inventory".into()).spawn(move || {
            writer.run(&coming);
        });
        let thread = thread.map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        let store =
            Self { path: path.to_owned(), batches: Some(batches), shared, thread: Some(thread) };
        Ok((store, opened))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a batch can be handed over now.
    pub fn is_ready(&self) -> bool {
        !self.shared.is_busy.load(Ordering::Acquire)
    }

    /// Hands over a batch; never waits. False if the thread is gone or still busy.
    pub fn apply(&self, writes: Vec<Write>) -> bool {
        let Some(batches) = &self.batches else { return false };
        self.shared.is_busy.store(true, Ordering::Release);
        match batches.try_send(writes) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// With the next batch that is written, nothing stays in the file of what it held before: what
    /// was erased is in no copy.
    pub fn erase(&self) {
        self.shared.is_erased.store(true, Ordering::Release);
    }

    /// Writes what is left, however long the thread is busy, and closes the file.
    pub fn finish(mut self, writes: Vec<Write>) {
        if let Some(batches) = self.batches.take()
            && batches.send(writes).is_err()
        {
            tracing::error!(path = %self.path.display(), "the inventory's thread is gone");
        }
    }

    /// Why the latest batch could not be written, until one can.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.shared.trouble.load_full()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the inventory's thread failed");
        }
    }
}

struct Writer {
    connection: Connection,
    boot_id: String,
    /// What is not written yet: the latest of each agent.
    waiting: HashMap<Arc<str>, Write>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, coming: &Receiver<Vec<Write>>) {
        loop {
            match coming.recv_timeout(RETRY_INTERVAL) {
                Ok(writes) => self.take(writes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write();
            self.shared.is_busy.store(false, Ordering::Release);
        }
        self.write();
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the inventory's file was not closed well");
        }
    }

    fn take(&mut self, writes: Vec<Write>) {
        for write in writes {
            // What is forgotten and stays in the file goes when it is opened again.
            let is_new = !self.waiting.contains_key(write.id());
            if is_new && self.waiting.len() >= WAITING_MAX {
                continue;
            }
            self.waiting.insert(Arc::clone(write.id()), write);
        }
    }

    fn write(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let applied = save::apply(&mut self.connection, &self.boot_id, self.waiting.values());
        match applied.and_then(|()| self.wipe()) {
            Ok(()) => {
                self.waiting.clear();
                self.shared.trouble.store(None);
            }
            Err(error) => {
                let reason = error.to_string();
                if self.shared.trouble.load().as_deref() != Some(&reason) {
                    tracing::error!(%error, "the inventory cannot be written; it is tried again");
                }
                self.shared.trouble.store(Some(Arc::new(reason)));
            }
        }
    }

    /// Empties the journal if something was erased.
    fn wipe(&self) -> rusqlite::Result<()> {
        if self.shared.is_erased.load(Ordering::Acquire) {
            let is_busy =
                self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    row.get::<_, bool>(0)
                })?;
            self.shared.is_erased.store(is_busy, Ordering::Release);
        }
        Ok(())
    }
}
