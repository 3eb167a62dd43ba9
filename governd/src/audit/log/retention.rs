//! Which segments may go, and how they go.
//!
//! Whole segments go, the oldest first, never the one that is written: where there is too much,
//! and, if that is wanted, where the last record is older than the retention of every record in it.
//! That they went is a record before they do, so that what was deleted by rule is told from what
//! somebody took away: the log then verifies from its first segment on.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Keep, segment,
    storage::{File, Filesystem, read_up_to},
    values,
};
use crate::audit::record::{RECORD_BYTES_MAX, Retention, logged_ms};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// Bytes of lines that are looked at at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Segments that should go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Surplus {
    /// The first record that stays.
    pub(super) kept_from: u64,
    /// How many go.
    pub(super) records: u64,
    /// Bytes of their files.
    pub(super) bytes: u64,
    /// Whether some of them go before their time.
    pub(super) is_early: bool,
}

fn paths(directory: &Path, base: u64) -> [PathBuf; 4] {
    // The lines first: a segment without them is one that was being deleted.
    [
        segment::data_path(directory, base),
        segment::index_path(directory, base),
        segment::notes_path(directory, base),
        values::path(directory, base),
    ]
}

/// Whether a file is there.
fn is_there<F: Filesystem>(filesystem: &F, path: &Path) -> io::Result<bool> {
    Ok(size(filesystem, path)?.is_some())
}

fn size<F: Filesystem>(filesystem: &F, path: &Path) -> io::Result<Option<u64>> {
    match filesystem.open(path).and_then(|file| file.size()) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// First indices of the segments that a log begins with and that were being deleted, and of those
/// that it has.
pub(super) fn split<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
) -> io::Result<(Vec<u64>, Vec<u64>)> {
    let mut gone = segment::bases(filesystem, directory)?;
    let mut at = 0;
    // The last is written, and its lines are there from the beginning.
    while let Some(base) = gone.get(at).filter(|_| at + 1 < gone.len())
        && !is_there(filesystem, &segment::data_path(directory, *base))?
    {
        at += 1;
    }
    let kept = gone.split_off(at);
    Ok((gone, kept))
}

/// What should go; only segments of which every record is below an index.
pub(super) fn surplus<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    keep: Keep,
    below: u64,
    now_ms: u64,
) -> io::Result<Option<Surplus>> {
    let (_, bases) = split(filesystem, directory)?;
    let mut sizes = Vec::with_capacity(bases.len());
    for base in &bases {
        let mut bytes = 0;
        for path in paths(directory, *base) {
            bytes += size(filesystem, &path)?.unwrap_or(0);
        }
        sizes.push(bytes);
    }
    let mut total: u64 = sizes.iter().sum();
    let (mut surplus, first) = (None, bases.first().copied().unwrap_or(0));
    let (mut gone, mut is_early) = (0, false);
    for ((base, next), bytes) in bases.iter().zip(bases.iter().skip(1)).zip(&sizes) {
        let is_too_much = total > keep.bytes_max;
        if *next > below || !(is_too_much || keep.days.is_some()) {
            break;
        }
        let days = age_days(filesystem, directory, *base, now_ms)?;
        let is_over = |least: u32| days.is_some_and(|days| days >= u64::from(least));
        let shortest = Retention::HalfYear.days();
        // What is too young for the shortest need not be read.
        let has_time = is_over(shortest) && is_over(longest(filesystem, directory, *base)?.days());
        let is_old = has_time && keep.days.is_some_and(is_over);
        if !(is_too_much || is_old) {
            break;
        }
        is_early |= !has_time;
        total -= bytes;
        gone += bytes;
        surplus = Some(Surplus { kept_from: *next, records: next - first, bytes: gone, is_early });
    }
    Ok(surplus)
}

/// Days since the last record of a segment was logged; `None` if it does not say so.
fn age_days<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    base: u64,
    now_ms: u64,
) -> io::Result<Option<u64>> {
    let data = filesystem.open(&segment::data_path(directory, base))?;
    let start = data.size()?.saturating_sub(RECORD_BYTES_MAX as u64 + 1);
    let tail = read_up_to(&data, RECORD_BYTES_MAX + 1, start)?;
    let last = tail.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
    let logged_ms = last.and_then(logged_ms);
    Ok(logged_ms.map(|logged_ms| now_ms.saturating_sub(logged_ms) / DAY_MS))
}

/// The longest retention that a record of a segment says.
fn longest<F: Filesystem>(filesystem: &F, directory: &Path, base: u64) -> io::Result<Retention> {
    let data = filesystem.open(&segment::data_path(directory, base))?;
    let wanted = Retention::TwoYears.said();
    let mut offset = 0;
    loop {
        let chunk = read_up_to(&data, CHUNK_BYTES, offset)?;
        if chunk.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
            return Ok(Retention::TwoYears);
        }
        if chunk.len() < CHUNK_BYTES {
            return Ok(Retention::HalfYear);
        }
        // One that lies across the border is in the next chunk as a whole.
        offset += (CHUNK_BYTES - wanted.len()) as u64;
    }
}

/// Deletes the segments before an index, and what an earlier deletion left of others.
pub(super) fn delete<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    kept_from: u64,
) -> io::Result<()> {
    let (gone, kept) = split(filesystem, directory)?;
    for base in gone.into_iter().chain(kept.into_iter().filter(|base| *base < kept_from)) {
        for path in paths(directory, base) {
            match filesystem.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    values::sweep(filesystem, directory)?;
    filesystem.sync_dir(directory)
}
