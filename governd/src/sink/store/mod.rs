//! What the sink keeps: hosts, tokens, batches of records and findings, in SQLite. One thread owns
//! it; what it is told within a group becomes durable together, before any of it is acknowledged.
//!
//! Records lie in the batches in which they came, compressed as they came. Beside them are the leaf
//! hash of each and the checkpoint that the host signed behind the last, so that what is changed
//! later can be named.

mod admit;
mod batches;
mod beside;
mod findings;
mod retention;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, Params};

pub use self::{
    admit::{Certificate, EnrollError},
    batches::{AppendError, Arrival, Stored},
    beside::ITSELF,
    findings::{Found, SILENT, UNDELETED},
};
use super::files;
use crate::audit::{
    checkpoint::Verifier,
    keys::Keys,
    tree::{Frontier, HASH_BYTES, Hash},
};

const FILE: &str = "sink.db";
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// `governd` in the file's header.
const APPLICATION_ID: i32 = 0x676f_7665;
const VERSION: i32 = 6;
/// The first version that is brought up to this one.
const FIRST_VERSION: i32 = 2;
const FIRST_WITH_BESIDE: i32 = 3;
const FIRST_WITH_ROTATIONS: i32 = 4;
const FIRST_WITH_AUTHORITY: i32 = 5;
/// What that one has beyond the first.
const BESIDE: &str = "
CREATE TABLE beside (
    host INTEGER NOT NULL REFERENCES host(id),
    first INTEGER NOT NULL,
    lines BLOB NOT NULL,
    PRIMARY KEY (host, first)
) STRICT;
CREATE TABLE told (
    id INTEGER PRIMARY KEY,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
";
/// What the next one has beyond that.
const ROTATIONS: &str = "ALTER TABLE host ADD COLUMN rotations TEXT NOT NULL DEFAULT '';";
/// What the one after it has.
const AUTHORITY: &str = "ALTER TABLE certificate ADD COLUMN authority BLOB;";
/// What this version has beyond that.
const DELETED: &str = "
ALTER TABLE host ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE host ADD COLUMN deletion TEXT NOT NULL DEFAULT '';
";
const SCHEMA: &str = "
CREATE TABLE host (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    log_key TEXT NOT NULL,
    first INTEGER NOT NULL DEFAULT 0,
    first_peaks BLOB NOT NULL DEFAULT x'',
    size INTEGER NOT NULL DEFAULT 0,
    peaks BLOB NOT NULL DEFAULT x'',
    receipt TEXT,
    seen_s INTEGER NOT NULL
) STRICT;
CREATE TABLE certificate (
    fingerprint BLOB PRIMARY KEY,
    host INTEGER NOT NULL REFERENCES host(id),
    issued_s INTEGER NOT NULL
) STRICT;
CREATE TABLE token (
    secret BLOB PRIMARY KEY,
    host TEXT NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    host INTEGER NOT NULL REFERENCES host(id),
    first INTEGER NOT NULL,
    note TEXT NOT NULL,
    leaves BLOB NOT NULL,
    lines BLOB NOT NULL,
    UNIQUE (host, first)
) STRICT;
CREATE TABLE finding (
    id INTEGER PRIMARY KEY,
    host INTEGER NOT NULL REFERENCES host(id),
    time_s INTEGER NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL,
    count INTEGER NOT NULL,
    ended_s INTEGER
) STRICT;
CREATE UNIQUE INDEX open_finding ON finding (host, what) WHERE ended_s IS NULL;
";

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is not its owner's alone, and cannot be made so.
    #[error("cannot keep {} from others", path.display())]
    Private {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another version of governd wrote it.
    #[error("{} was written by another version of governd", .0.display())]
    Version(PathBuf),
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Failed(#[from] rusqlite::Error),
    /// What is stored of a host is damaged.
    #[error("what is stored of host {0} is damaged")]
    Damaged(String),
}

/// A host, as the sink knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What signs its log, and did.
    pub keys: Keys,
    /// The first record of it: those before were gone at the first contact.
    pub first: u64,
    /// Index behind the last record that the sink deleted by rule; 0 if it did not.
    pub deleted: u64,
    /// Index behind its last record.
    pub size: u64,
    /// Its last checkpoint, cosigned.
    pub receipt: Option<String>,
    /// When it was heard of last, in seconds since 1970.
    pub seen_s: u64,
    before: Frontier,
    tree: Frontier,
}

impl Host {
    /// The first record that is there: those before were gone when the host came, or were deleted
    /// by rule, so that only their leaf hashes are there.
    pub fn kept_from(&self) -> u64 {
        self.first.max(self.deleted)
    }
}

/// The open store.
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Opens the store of a sink's directory, or makes it.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let file = |source| StoreError::File { path: path.clone(), source };
        // It has what people did. Those beside it, which SQLite makes, get its mode, but for those
        // that an earlier version left there as it was killed.
        let left = ["-wal", "-shm"].map(|end| directory.join(format!("{FILE}{end}")));
        for path in left.into_iter().filter(|path| path.exists()).chain([path.clone()]) {
            files::keep_private(&path).map_err(|source| StoreError::Private { path, source })?;
        }
        let mut connection = Connection::open(&path).map_err(file)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(file)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(file)?;
        let version: i32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(file)?;
        if !matches!(version, 0 | FIRST_VERSION..=VERSION) {
            return Err(StoreError::Version(path));
        }
        if version != VERSION {
            let made = connection.transaction().map_err(file)?;
            if version == 0 {
                made.execute_batch(SCHEMA).map_err(file)?;
                made.pragma_update(None, "application_id", APPLICATION_ID).map_err(file)?;
            }
            if version < FIRST_WITH_BESIDE {
                made.execute_batch(BESIDE).map_err(file)?;
            }
            if version < FIRST_WITH_ROTATIONS {
                made.execute_batch(ROTATIONS).map_err(file)?;
            }
            if version < FIRST_WITH_AUTHORITY {
                made.execute_batch(AUTHORITY).map_err(file)?;
            }
            made.execute_batch(DELETED).map_err(file)?;
            made.execute_batch(&came(&made).map_err(file)?).map_err(file)?;
            made.pragma_update(None, "user_version", VERSION).map_err(file)?;
            made.commit().map_err(file)?;
        }
        Ok(Self { connection })
    }

    /// Begins a group: what follows becomes durable with [`Store::commit`], all of it or nothing.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Makes the group durable.
    ///
    /// # Errors
    /// If the store fails: then nothing of the group is stored.
    pub fn commit(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Takes the group back.
    pub fn roll_back(&self) {
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            // SQLite does it by itself after some failures.
            tracing::debug!(%error, "nothing to take back");
        }
    }

    /// Every host.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn hosts(&self) -> Result<Vec<Host>, StoreError> {
        self.select("ORDER BY name", [])
    }

    /// The host of a row, as it is now.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn host(&self, id: i64) -> Result<Option<Host>, StoreError> {
        Ok(self.select("WHERE id = ?1", [id])?.pop())
    }

    fn select(&self, which: &str, values: impl Params) -> Result<Vec<Host>, StoreError> {
        let columns = "id, name, log_key, first, first_peaks, size, peaks, receipt, seen_s, \
                       rotations, deleted";
        let text = format!("SELECT {columns} FROM host {which}");
        let mut query = self.connection.prepare_cached(&text)?;
        let rows = query.query_map(values, |row| {
            Ok((
                (row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?),
                (row.get::<_, i64>(3)?, row.get::<_, Vec<u8>>(4)?),
                (row.get::<_, i64>(5)?, row.get::<_, Vec<u8>>(6)?),
                (row.get::<_, Option<String>>(7)?, row.get::<_, i64>(8)?),
                (row.get::<_, String>(9)?, row.get::<_, i64>(10)?),
            ))
        })?;
        rows.map(|row| {
            let (host, (first, first_peaks), (size, peaks), (receipt, seen), (rotations, deleted)) =
                row?;
            let (id, name, key) = host;
            let (first, size) = (first.unsigned_abs(), size.unsigned_abs());
            let trees = tree(first, &first_peaks).zip(tree(size, &peaks));
            let key = Verifier::parse(&key).ok();
            let keys = key.and_then(|key| Keys::parse(&key, &rotations).ok());
            let (Some((before, tree)), Some(keys)) = (trees, keys) else {
                return Err(StoreError::Damaged(name));
            };
            let seen_s = seen.unsigned_abs();
            let deleted = deleted.unsigned_abs();
            Ok(Host { id, name, keys, first, deleted, size, receipt, seen_s, before, tree })
        })
        .collect()
    }
}

/// When a batch came: of those that are there already, the time from which on it is known.
fn came(connection: &Connection) -> rusqlite::Result<String> {
    let now_s: i64 = connection.query_row("SELECT unixepoch()", [], |row| row.get(0))?;
    // As a default it is written once, and not into each row.
    Ok(format!("ALTER TABLE batch ADD COLUMN came_s INTEGER NOT NULL DEFAULT {now_s};"))
}

fn tree(size: u64, peaks: &[u8]) -> Option<Frontier> {
    Frontier::new(size, hashes(peaks)?)
}

/// Hashes that stand one after the other.
fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// SQLite's integers are signed; nothing here comes near their end.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
