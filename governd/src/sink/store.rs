//! What the sink keeps: hosts, tokens, records and findings, in SQLite. One thread owns it; a batch
//! is one transaction, durable before it is acknowledged.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension as _, Params, Transaction, params};

use super::alarm;
use crate::audit::{
    checkpoint::Verifier,
    cosign::Cosigner,
    tree::{Frontier, HASH_BYTES, Hash, leaf_hash, sha256},
    witness::{self, Batch, Refusal},
};

const FILE: &str = "sink.db";
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// `governd` in the file's header.
const APPLICATION_ID: i32 = 0x676f_7665;
const VERSION: i32 = 1;
const SCHEMA: &str = "
CREATE TABLE host (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    log_key TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    peaks BLOB NOT NULL DEFAULT x'',
    receipt TEXT,
    seen_s INTEGER NOT NULL
) STRICT;
CREATE TABLE certificate (
    fingerprint BLOB PRIMARY KEY,
    host INTEGER NOT NULL REFERENCES host(id)
) STRICT;
CREATE TABLE token (
    secret BLOB PRIMARY KEY,
    host TEXT NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
CREATE TABLE record (
    host INTEGER NOT NULL REFERENCES host(id),
    number INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (host, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE finding (
    id INTEGER PRIMARY KEY,
    host INTEGER NOT NULL REFERENCES host(id),
    time_s INTEGER NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL,
    count INTEGER NOT NULL,
    UNIQUE (host, what, detail)
) STRICT;
";

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A newer version of governd wrote it.
    #[error("{} was written by a newer governd", .0.display())]
    Newer(PathBuf),
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Failed(#[from] rusqlite::Error),
    /// What is stored of a host is damaged.
    #[error("what is stored of host {0} is damaged")]
    Damaged(String),
}

/// Why a host is not let in.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The token is not known, used or expired.
    #[error("the token is not valid, was used already, or has expired")]
    Token,
    /// The host has a log with another key.
    #[error("host {0} is enrolled with the key of another log")]
    OtherLog(String),
    /// The log belongs to a host of another name.
    #[error("the log of this key is enrolled as host {0}")]
    OtherHost(String),
    /// The certificate cannot be made.
    #[error(transparent)]
    Authority(#[from] super::authority::AuthorityError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a batch is not stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It does not go on from what is known.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A host, as the sink knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What signs its log.
    pub key: Verifier,
    /// Records of it.
    pub size: u64,
    /// Its last checkpoint, cosigned.
    pub receipt: Option<String>,
    /// When it was heard of last, in seconds since 1970.
    pub seen_s: u64,
    tree: Frontier,
}

/// Something that is wrong with a host's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The host's name.
    pub host: String,
    /// When it was seen first, in seconds since 1970.
    pub time_s: u64,
    /// The word for it.
    pub what: String,
    /// What it is.
    pub detail: String,
    /// How often it was seen.
    pub count: u64,
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
        let mut connection = Connection::open(&path).map_err(file)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(file)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(file)?;
        let version: i32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(file)?;
        if version > VERSION {
            return Err(StoreError::Newer(path));
        }
        if version == 0 {
            let made = connection.transaction().map_err(file)?;
            made.execute_batch(SCHEMA).map_err(file)?;
            made.pragma_update(None, "application_id", APPLICATION_ID).map_err(file)?;
            made.pragma_update(None, "user_version", VERSION).map_err(file)?;
            made.commit().map_err(file)?;
        }
        Ok(Self { connection })
    }

    /// Keeps a token for a host until it is used or has expired. Only its hash is kept.
    ///
    /// # Errors
    /// If the store fails.
    pub fn add_token(&self, secret: &str, host: &str, expires_s: u64) -> Result<(), StoreError> {
        let hash = sha256(&[secret.as_bytes()]);
        let expires = integer(expires_s);
        self.connection.execute(
            "INSERT INTO token (secret, host, expires_s) VALUES (?1, ?2, ?3)",
            params![hash, host, expires],
        )?;
        Ok(())
    }

    /// Exchanges a token for what `issue` makes for its host: a certificate and its fingerprint.
    ///
    /// # Errors
    /// If the token is not valid, or the host or the log belongs to another one.
    pub fn enroll<T>(
        &mut self,
        secret: &str,
        key: &Verifier,
        now_s: u64,
        issue: impl FnOnce(&str) -> Result<(T, [u8; 32]), super::authority::AuthorityError>,
    ) -> Result<T, EnrollError> {
        let change = self.connection.transaction().map_err(StoreError::from)?;
        let hash = sha256(&[secret.as_bytes()]);
        let name = change
            .query_row(
                "DELETE FROM token WHERE secret = ?1 AND expires_s > ?2 RETURNING host",
                params![hash, integer(now_s)],
                |row| row.get::<_, String>(0),
            )
            .optional()
            .map_err(StoreError::from)?
            .ok_or(EnrollError::Token)?;
        let id = admit(&change, &name, key, now_s)?;
        let (made, fingerprint) = issue(&name)?;
        change
            .execute(
                "INSERT INTO certificate (fingerprint, host) VALUES (?1, ?2)",
                params![fingerprint, id],
            )
            .map_err(StoreError::from)?;
        change.commit().map_err(StoreError::from)?;
        Ok(made)
    }

    /// The host that a certificate was made for.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn host_of(&self, fingerprint: &[u8; 32]) -> Result<Option<Host>, StoreError> {
        let of = "WHERE id = (SELECT host FROM certificate WHERE fingerprint = ?1)";
        Ok(self.select(of, [fingerprint])?.pop())
    }

    /// Every host.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn hosts(&self) -> Result<Vec<Host>, StoreError> {
        self.select("ORDER BY name", [])
    }

    fn select(&self, which: &str, values: impl Params) -> Result<Vec<Host>, StoreError> {
        let columns = "id, name, log_key, size, peaks, receipt, seen_s";
        let text = format!("SELECT {columns} FROM host {which}");
        let mut query = self.connection.prepare_cached(&text)?;
        let rows = query.query_map(values, |row| {
            Ok((
                (row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?),
                (row.get::<_, i64>(3)?, row.get::<_, Vec<u8>>(4)?),
                (row.get::<_, Option<String>>(5)?, row.get::<_, i64>(6)?),
            ))
        })?;
        rows.map(|row| {
            let ((id, name, key), (size, peaks), (receipt, seen)) = row?;
            let size = size.unsigned_abs();
            let peaks = peaks.chunks(HASH_BYTES).map(|peak| peak.try_into().unwrap_or_default());
            let tree = Frontier::new(size, peaks.collect());
            let (Some(tree), Ok(key)) = (tree, Verifier::parse(&key)) else {
                return Err(StoreError::Damaged(name));
            };
            Ok(Host { id, name, key, size, receipt, seen_s: seen.unsigned_abs(), tree })
        })
        .collect()
    }

    /// Stores what is new in a batch, and gives the cosigned checkpoint. What is alarming is kept
    /// as a finding.
    ///
    /// # Errors
    /// If the batch is refused, or the store fails: then nothing of it is stored.
    pub fn append(
        &mut self,
        host: &Host,
        batch: Batch<'_>,
        cosigner: &Cosigner,
        now_s: u64,
    ) -> Result<String, AppendError> {
        let overlap = self.leaves(host, batch.first, batch.lines.len())?;
        let step = match witness::judge(&host.tree, &overlap, &host.key, batch) {
            Ok(step) => step,
            Err(refusal) => {
                if refusal.is_alarming() {
                    self.find(host, refusal.word(), &refusal.to_string(), now_s)?;
                }
                return Err(refusal.into());
            }
        };
        let receipt = cosigner.cosign(batch.note, now_s);
        let change = self.connection.transaction().map_err(StoreError::from)?;
        let new = batch.lines.iter().skip(step.known).zip(&step.leaves);
        insert(&change, host, new).map_err(StoreError::from)?;
        // A batch of the past changes nothing, and its receipt is older than the one that is there.
        let is_last = step.checkpoint.size == step.frontier.size();
        let stored = is_last.then_some(receipt.as_str());
        change
            .execute(
                "UPDATE host SET size = ?2, peaks = ?3, receipt = coalesce(?4, receipt), \
                 seen_s = ?5 WHERE id = ?1",
                params![
                    host.id,
                    integer(step.frontier.size()),
                    step.frontier.peaks().concat(),
                    stored,
                    integer(now_s)
                ],
            )
            .map_err(StoreError::from)?;
        change.commit().map_err(StoreError::from)?;
        for line in batch.lines.iter().skip(step.known) {
            if let Some((kind, title)) = alarm::of(line) {
                self.find(host, &kind, &title, now_s)?;
            }
        }
        Ok(receipt)
    }

    fn leaves(&self, host: &Host, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT leaf FROM record WHERE host = ?1 AND number >= ?2 ORDER BY number LIMIT ?3",
        )?;
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let rows = query
            .query_map(params![host.id, integer(first), limit], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|leaf| leaf?.try_into().map_err(|_| StoreError::Damaged(host.name.clone())))
            .collect()
    }

    /// Keeps that something is wrong.
    ///
    /// # Errors
    /// If the store fails.
    pub fn find(
        &self,
        host: &Host,
        what: &str,
        detail: &str,
        now_s: u64,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO finding (host, time_s, what, detail, count) VALUES (?1, ?2, ?3, ?4, 1) \
             ON CONFLICT (host, what, detail) DO UPDATE SET count = count + 1",
            params![host.id, integer(now_s), what, detail],
        )?;
        Ok(())
    }

    /// What is wrong, the latest last.
    ///
    /// # Errors
    /// If the store fails.
    pub fn findings(&self) -> Result<Vec<Found>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT name, time_s, what, detail, count FROM finding JOIN host ON host.id = host \
             ORDER BY finding.id",
        )?;
        let rows = query.query_map([], |row| {
            Ok(Found {
                host: row.get(0)?,
                time_s: row.get::<_, i64>(1)?.unsigned_abs(),
                what: row.get(2)?,
                detail: row.get(3)?,
                count: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })?;
        rows.map(|row| row.map_err(StoreError::from)).collect()
    }

    /// The first record of a host that is not what its last receipt says: `None` if all are, and
    /// the number of records where only the whole does not fit.
    ///
    /// # Errors
    /// If the store fails.
    pub fn first_wrong(&self, host: &Host) -> Result<Option<u64>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT number, leaf, line FROM record WHERE host = ?1 ORDER BY number",
        )?;
        let mut rows = query.query([host.id])?;
        let mut tree = Frontier::default();
        while let Some(row) = rows.next()? {
            let number = row.get::<_, i64>(0)?.unsigned_abs();
            let (leaf, line) = (row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?);
            let hash = leaf_hash(line.as_bytes());
            if number != tree.size() || leaf != hash {
                return Ok(Some(tree.size().min(number)));
            }
            tree.push(hash);
        }
        let signed = host.receipt.as_deref().map(|receipt| host.key.open(receipt));
        let is_whole = match signed {
            None => tree.size() == 0,
            Some(Ok(signed)) => signed.size == tree.size() && signed.root == tree.root(),
            Some(Err(_)) => false,
        };
        Ok((!is_whole || tree != host.tree).then_some(tree.size()))
    }
}

fn admit(
    change: &Transaction<'_>,
    name: &str,
    key: &Verifier,
    now_s: u64,
) -> Result<i64, EnrollError> {
    let key = key.to_string();
    let other = change
        .query_row("SELECT name FROM host WHERE log_key = ?1 AND name != ?2", [&key, name], |row| {
            row.get::<_, String>(0)
        })
        .optional()
        .map_err(StoreError::from)?;
    if let Some(other) = other {
        return Err(EnrollError::OtherHost(other));
    }
    let known = change
        .query_row("SELECT id, log_key FROM host WHERE name = ?1", [name], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()
        .map_err(StoreError::from)?;
    match known {
        Some((_, other)) if other != key => Err(EnrollError::OtherLog(name.to_owned())),
        Some((id, _)) => Ok(id),
        None => {
            change
                .execute(
                    "INSERT INTO host (name, log_key, seen_s) VALUES (?1, ?2, ?3)",
                    params![name, key, integer(now_s)],
                )
                .map_err(StoreError::from)?;
            Ok(change.last_insert_rowid())
        }
    }
}

fn insert<'a>(
    change: &Transaction<'_>,
    host: &Host,
    new: impl Iterator<Item = (&'a &'a str, &'a Hash)>,
) -> rusqlite::Result<()> {
    let mut row = change
        .prepare_cached("INSERT INTO record (host, number, leaf, line) VALUES (?1, ?2, ?3, ?4)")?;
    for (number, (line, leaf)) in (host.size..).zip(new) {
        row.execute(params![host.id, integer(number), leaf, line])?;
    }
    Ok(())
}

/// SQLite's integers are signed; nothing here comes near their end.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
