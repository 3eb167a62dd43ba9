//! Which batches may go, and how they go.
//!
//! The oldest of a host go first, so that what is gone is a beginning of its log: if a batch came
//! so long ago, and all of its records were logged so long ago and are older than each says that it
//! is to be kept. What goes are the records and what stands beside them. Their leaf hashes and the
//! checkpoint stay, so the tree is what it was. Before it, the sink's own log says so; the proof of
//! that record is kept beside the host, and only what it covers is gone by rule.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{HASH_BYTES, Host, SILENT, Store, StoreError, UNDELETED, hashes, integer};
use crate::{
    audit::record::{Retention, logged_ms},
    sink::{deletion::Deletion, pack},
};

const DAY_S: u64 = 24 * 3_600;
/// Batches that one record is about, at most.
const BATCHES_MAX: usize = 16_384;
/// Batches that lose their records at once, and bytes of them: what hosts send waits meanwhile.
const ROWS_MAX: usize = 64;
const ROW_BYTES_MAX: i64 = 8 * 1_024 * 1_024;

impl Store {
    /// What of a host is to be deleted: what came more than so many days ago, and more than each of
    /// its records says. Nothing of a host that is held. `between` is called between batches:
    /// looking at one takes its time.
    ///
    /// # Errors
    /// If the store fails, or a batch is not what it was.
    pub fn due(
        &self,
        host: &Host,
        days: u32,
        now_s: u64,
        mut between: impl FnMut(),
    ) -> Result<Option<Deletion>, StoreError> {
        if self.is_held(host)? {
            return Ok(None);
        }
        let first = host.kept_from();
        let mut behind = first;
        for _ in 0..BATCHES_MAX {
            let Some(next) = self.behind_if_due(host, behind, days, now_s)? else {
                break;
            };
            behind = next;
            between();
        }
        let host = host.name.clone();
        Ok((behind > first).then_some(Deletion { host, first, behind, days }))
    }

    /// Whether something is wrong with a host, which its records may have to explain. That one is
    /// silent nobody can settle who took it away, and that something is not deleted is over when it
    /// is.
    ///
    /// # Errors
    /// If the store fails.
    pub fn is_held(&self, host: &Host) -> Result<bool, StoreError> {
        is_held(&self.connection, host)
    }

    /// Index behind the batch that begins at an index, if it is due.
    fn behind_if_due(
        &self,
        host: &Host,
        first: u64,
        days: u32,
        now_s: u64,
    ) -> Result<Option<u64>, StoreError> {
        let least = days.max(Retention::HalfYear.days());
        // What is too young for the shortest need not be read.
        let came_s = self.came_s(host, first)?;
        let Some(came_s) = came_s.filter(|came_s| is_over(*came_s, least, now_s)) else {
            return Ok(None);
        };
        let mut query = self
            .connection
            .prepare_cached("SELECT leaves, lines FROM batch WHERE host = ?1 AND first = ?2")?;
        let (leaves, frame) = query.query_row(params![host.id, integer(first)], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?;
        // Who changes a batch has it deleted no sooner: the times are those that the host signed,
        // or the leaf hashes, which stay, are not.
        let damaged = || StoreError::Damaged(host.name.clone());
        let leaves = hashes(&leaves).ok_or_else(damaged)?;
        let text = pack::decompress(&frame).map_err(|_| damaged())?;
        if leaves.is_empty() || pack::leaves(&text) != leaves {
            return Err(damaged());
        }
        let least = days.max(Retention::longest(&text).days());
        let is_old = |line: &str| {
            let logged_ms = logged_ms(line.as_bytes());
            logged_ms.is_some_and(|logged_ms| is_over(logged_ms / 1_000, least, now_s))
        };
        let is_due = is_over(came_s, least, now_s) && pack::each(&text).all(is_old);
        Ok(is_due.then(|| first + leaves.len() as u64))
    }

    /// When the batch came that begins at an index, in seconds since 1970.
    fn came_s(&self, host: &Host, first: u64) -> Result<Option<u64>, StoreError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT came_s FROM batch WHERE host = ?1 AND first = ?2")?;
        let came_s = query.query_row(params![host.id, integer(first)], |row| row.get::<_, i64>(0));
        Ok(came_s.optional()?.map(i64::unsigned_abs))
    }

    /// When the oldest batch came whose records are there, in seconds since 1970.
    ///
    /// # Errors
    /// If the store fails.
    pub fn oldest_s(&self, host: &Host) -> Result<Option<u64>, StoreError> {
        self.came_s(host, host.kept_from())
    }

    /// The proof of the last record about what is deleted of a host.
    ///
    /// # Errors
    /// If the store fails.
    pub fn deletion(&self, host: &Host) -> Result<Option<String>, StoreError> {
        let mut query =
            self.connection.prepare_cached("SELECT deletion FROM host WHERE id = ?1")?;
        let proof = query.query_row([host.id], |row| row.get::<_, String>(0)).optional()?;
        Ok(proof.filter(|proof| !proof.is_empty()))
    }

    /// Keeps the proof of a record about what is deleted of a host: from here on it may go.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin_deletion(&self, host: &Host, proof: &str) -> Result<(), StoreError> {
        let mut query =
            self.connection.prepare_cached("UPDATE host SET deletion = ?2 WHERE id = ?1")?;
        query.execute(params![host.id, proof])?;
        Ok(())
    }

    /// Deletes some of what the last record about it says is deleted of a host; whether there may
    /// be more. While something is wrong with the host, it waits.
    ///
    /// # Errors
    /// If the store fails: then nothing of it is gone.
    pub fn delete_some(&mut self, host: &Host) -> Result<bool, StoreError> {
        let Some(deletion) = self.deletion(host)?.as_deref().and_then(Deletion::said) else {
            return Ok(false);
        };
        let change = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
        let text = "SELECT max(first, deleted) FROM host WHERE id = ?1";
        let first: i64 = change.query_row(text, [host.id], |row| row.get(0))?;
        if first.unsigned_abs() >= deletion.behind || is_held(&change, host)? {
            return Ok(false);
        }
        let behind = delete_from(&change, host, first, integer(deletion.behind))?;
        change.commit()?;
        Ok(behind > first)
    }

    /// Bytes of the store's file, and how many of them are free for what comes.
    ///
    /// # Errors
    /// If the store fails.
    pub fn bytes(&self) -> Result<(u64, u64), StoreError> {
        let number =
            |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let page = number("page_size")?.unsigned_abs();
        let (pages, free) = (number("page_count")?, number("freelist_count")?);
        Ok((page * pages.unsigned_abs(), page * free.unsigned_abs()))
    }
}

fn is_over(since_s: u64, days: u32, now_s: u64) -> bool {
    now_s.saturating_sub(since_s) / DAY_S >= u64::from(days)
}

fn is_held(connection: &Connection, host: &Host) -> Result<bool, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM finding WHERE host = ?1 AND ended_s IS NULL \
         AND what NOT IN (?2, ?3))",
    )?;
    Ok(query.query_row(params![host.id, SILENT, UNDELETED], |row| row.get(0))?)
}

/// Deletes records of some batches, up to an index; gives the index behind them.
fn delete_from(
    change: &Transaction<'_>,
    host: &Host,
    first: i64,
    behind: i64,
) -> Result<i64, StoreError> {
    let mut query = change.prepare_cached(
        "SELECT id, length(leaves), length(lines) FROM batch \
         WHERE host = ?1 AND first >= ?2 AND first < ?3 ORDER BY first LIMIT ?4",
    )?;
    let most = integer(ROWS_MAX as u64);
    let rows = query.query_map(params![host.id, first, behind, most], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)? + row.get::<_, i64>(2)?))
    })?;
    let (mut rests, mut next, mut bytes) = (Vec::new(), first, 0);
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (id, length) = row;
        bytes += length;
        if !rests.is_empty() && bytes > ROW_BYTES_MAX {
            break;
        }
        let rest = take(change, id)?;
        next = rest.first + integer((rest.leaves.len() / HASH_BYTES) as u64);
        rests.push(rest);
    }
    for rest in rests {
        put(change, host, rest)?;
    }
    change
        .prepare_cached("DELETE FROM beside WHERE host = ?1 AND first >= ?2 AND first < ?3")?
        .execute(params![host.id, first, next])?;
    change
        .prepare_cached("UPDATE host SET deleted = ?2 WHERE id = ?1")?
        .execute(params![host.id, next])?;
    Ok(next)
}

/// What stays of a batch.
struct Rest {
    id: i64,
    first: i64,
    note: String,
    leaves: Vec<u8>,
    came_s: i64,
}

/// Takes a row out: only so are its pages joined with others. One that is made shorter in its place
/// keeps them.
fn take(change: &Transaction<'_>, id: i64) -> Result<Rest, StoreError> {
    let text = "DELETE FROM batch WHERE id = ?1 RETURNING first, note, leaves, came_s";
    Ok(change.prepare_cached(text)?.query_row([id], |row| {
        let (first, note) = (row.get(0)?, row.get(1)?);
        Ok(Rest { id, first, note, leaves: row.get(2)?, came_s: row.get(3)? })
    })?)
}

fn put(change: &Transaction<'_>, host: &Host, rest: Rest) -> Result<(), StoreError> {
    let Rest { id, first, note, leaves, came_s } = rest;
    let mut query = change.prepare_cached(
        "INSERT INTO batch (id, host, first, note, leaves, lines, came_s) \
         VALUES (?1, ?2, ?3, ?4, ?5, x'', ?6)",
    )?;
    query.execute(params![id, host.id, first, note, leaves, came_s])?;
    Ok(())
}

#[cfg(test)]
mod tests;
