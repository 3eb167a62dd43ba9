//! Records: what is new in a batch goes in, and comes out again in order.

use rusqlite::{OptionalExtension as _, params};

use super::{Host, Store, StoreError, hashes, integer};
use crate::{
    audit::{
        cosign::Cosigners,
        keys::Handover,
        record::personal::{Token, Value},
        tree::{Frontier, Hash},
        witness::{self, Batch, Refusal, Step},
    },
    sink::pack,
};

/// How exactly it is known when a host was heard of, in seconds: one that repeats itself has
/// nothing else made durable.
const HEARD_S: u64 = 5;

/// A batch that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Index of its first record.
    pub first: u64,
    /// Its records, each with its newline.
    pub lines: &'a str,
    /// The same, compressed.
    pub frame: &'a [u8],
    /// Their leaf hashes.
    pub leaves: &'a [Hash],
    /// The host's signed checkpoint.
    pub note: &'a str,
    /// The tree before it, where the host does not have what was before.
    pub before: Option<&'a Frontier>,
    /// What stands beside its records.
    pub beside: &'a [(Token, Value)],
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

/// A batch as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Index of its first record.
    pub first: u64,
    /// The host's checkpoint behind its last.
    pub note: String,
    /// The leaf hashes of its records.
    pub leaves: Vec<Hash>,
    /// Its records, compressed; nothing, where they were deleted.
    pub frame: Vec<u8>,
}

impl Store {
    /// Stores what is new in a batch, in the group that has begun, and gives the cosigned
    /// checkpoint. `host` then is as it will be when the group is durable.
    ///
    /// # Errors
    /// If the batch is refused, or the store fails: then nothing of it is stored.
    pub fn append(
        &self,
        host: &mut Host,
        arrival: Arrival<'_>,
        cosigners: &Cosigners,
        now_s: u64,
    ) -> Result<String, AppendError> {
        let Arrival { first, lines, frame, leaves, note, before, beside } = arrival;
        let overlap = self.overlap(host, first, leaves.len())?;
        let batch = Batch { first, leaves, note, before };
        let rotation = rotation(host, &arrival)?;
        let step = witness::judge(&host.tree, &overlap, &host.keys, batch)?;
        let Step { checkpoint, frontier, known, begins } = step;
        if let Some((line, handover)) = rotation.filter(|_| known < leaves.len()) {
            let before = begins.as_ref().unwrap_or(&host.tree).clone();
            let between = leaves.get(known..leaves.len() - 1).unwrap_or_default();
            let mut host_keys = host.keys.clone();
            let proof = handover.proof(line.as_bytes(), &grown(before, between), note);
            if host_keys.record_at(handover.at).is_none() {
                let refused = |why| Refusal::Key { index: handover.at, why };
                host_keys.push(proof).map_err(refused)?;
                host.keys = host_keys;
                self.update_keys(host)?;
            }
        }
        let receipt = cosigners.cosign(note, now_s);
        let is_stored = checkpoint.size < host.size || host.receipt.is_some();
        if known == leaves.len() && begins.is_none() && is_stored && host.was_heard(now_s) {
            return Ok(receipt);
        }
        let new = leaves.get(known..).unwrap_or_default();
        if let Some(before) = begins {
            (host.first, host.before) = (before.size(), before);
        }
        if !new.is_empty() {
            let rest;
            let frame = if known == 0 {
                frame
            } else {
                let lines: Vec<&str> = lines.split_inclusive('\n').skip(known).collect();
                rest = pack::compress(lines.concat().as_bytes()).map_err(no_memory)?;
                rest.as_slice()
            };
            let at = frontier.size() - new.len() as u64;
            self.connection
                .prepare_cached(
                    "INSERT INTO batch (host, first, note, leaves, lines, came_s) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .and_then(|mut row| {
                    let (id, at, came_s) = (host.id, integer(at), integer(now_s));
                    row.execute(params![id, at, note, new.as_flattened(), frame, came_s])
                })
                .map_err(StoreError::from)?;
            let new_lines = pack::each(lines).skip(known);
            self.keep_beside(host, at, new_lines, beside, known == 0)?;
        }
        // A batch of the past changes nothing, and its receipt is older than the one that is there.
        if checkpoint.size == frontier.size() {
            host.receipt = Some(receipt.clone());
        }
        (host.size, host.tree, host.seen_s) = (frontier.size(), frontier, now_s);
        self.update(host)?;
        Ok(receipt)
    }

    fn update_keys(&self, host: &Host) -> Result<(), StoreError> {
        let text = "UPDATE host SET log_key = ?2, rotations = ?3 WHERE id = ?1";
        let mut query = self.connection.prepare_cached(text)?;
        let Host { id, keys, .. } = host;
        query.execute(params![id, keys.current().to_string(), keys.to_string()])?;
        Ok(())
    }

    fn update(&self, host: &Host) -> Result<(), StoreError> {
        let mut query = self.connection.prepare_cached(
            "UPDATE host SET first = ?2, first_peaks = ?3, size = ?4, peaks = ?5, receipt = ?6, \
             seen_s = ?7 WHERE id = ?1",
        )?;
        query.execute(params![
            host.id,
            integer(host.first),
            host.before.peaks().as_flattened(),
            integer(host.size),
            host.tree.peaks().as_flattened(),
            host.receipt,
            integer(host.seen_s)
        ])?;
        Ok(())
    }

    /// Whether a batch is one that is stored, byte for byte: then its records are those that the
    /// host signed with this checkpoint, and nothing of it has to be looked at again. One whose
    /// records were deleted is known by its leaf hashes alone.
    ///
    /// # Errors
    /// If the store fails.
    pub fn has(
        &self,
        host: &Host,
        first: u64,
        note: &str,
        frame: &[u8],
    ) -> Result<bool, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT note = ?3 AND lines = ?4 AND lines != x'' FROM batch \
             WHERE host = ?1 AND first = ?2",
        )?;
        let is_it = query
            .query_row(params![host.id, integer(first), note, frame], |row| row.get(0))
            .optional()?;
        Ok(is_it.unwrap_or(false))
    }

    /// The leaf hashes of known records from an index on, at most so many.
    fn overlap(&self, host: &Host, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        let damaged = || StoreError::Damaged(host.name.clone());
        let mut query = self.connection.prepare_cached(
            "SELECT first, leaves FROM batch WHERE host = ?1 AND first <= ?2 \
             ORDER BY first DESC LIMIT 1",
        )?;
        let mut leaves = Vec::new();
        let mut next = first.max(host.first);
        while next < host.size && leaves.len() < count {
            let row = query
                .query_row(params![host.id, integer(next)], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
                })
                .optional()?;
            let (begin, stored) = row.ok_or_else(damaged)?;
            let stored = hashes(&stored).ok_or_else(damaged)?;
            let skip = usize::try_from(next - begin.unsigned_abs()).unwrap_or(usize::MAX);
            let before = leaves.len();
            leaves.extend(stored.into_iter().skip(skip).take(count - before));
            if leaves.len() == before {
                return Err(damaged());
            }
            next += (leaves.len() - before) as u64;
        }
        Ok(leaves)
    }

    /// The batch that an index is in, or the last one before it.
    ///
    /// # Errors
    /// If the store fails, or is damaged.
    pub fn batch(&self, host: &Host, index: u64) -> Result<Option<Stored>, StoreError> {
        let mut query = self.connection.prepare_cached(
            "SELECT first, note, leaves, lines FROM batch WHERE host = ?1 AND first <= ?2 \
             ORDER BY first DESC LIMIT 1",
        )?;
        let row = query
            .query_row(params![host.id, integer(index)], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, Vec<u8>>(2)?,
                    row.get::<_, Vec<u8>>(3)?,
                ))
            })
            .optional()?;
        let Some((first, note, leaves, frame)) = row else {
            return Ok(None);
        };
        let leaves = hashes(&leaves).ok_or_else(|| StoreError::Damaged(host.name.clone()))?;
        Ok(Some(Stored { first: first.unsigned_abs(), note, leaves, frame }))
    }
}

impl Host {
    /// Whether it was heard of so lately that hearing of it again is nothing to make durable.
    pub(in crate::sink) const fn was_heard(&self, now_s: u64) -> bool {
        now_s.abs_diff(self.seen_s) < HEARD_S
    }
}

/// The record by which a batch replaces its log's key.
fn rotation<'a>(
    host: &Host,
    arrival: &Arrival<'a>,
) -> Result<Option<(&'a str, Handover)>, Refusal> {
    let Arrival { first, lines, leaves, .. } = *arrival;
    let is_one = Handover::is_in(lines);
    if !is_one && !host.keys.changed_in(first..first + leaves.len() as u64) {
        return Ok(None);
    }
    witness::rotation(&host.keys, first, pack::each(lines))
}

fn grown(mut tree: Frontier, leaves: &[Hash]) -> Frontier {
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

/// Compressing fails only for want of memory.
pub(super) fn no_memory(error: std::io::Error) -> StoreError {
    StoreError::Failed(rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
