//! Which segments may go when the log is larger than it should be, and how they go.
//!
//! Whole segments go, the oldest first, never the one that is written. That they went is a record
//! before they do, so that what was deleted by rule is told from what somebody took away: the log
//! then verifies from its first segment on.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    segment,
    storage::{File, Filesystem},
    values,
};

/// Segments that should go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Surplus {
    /// The first record that stays.
    pub(super) kept_from: u64,
    /// How many go.
    pub(super) records: u64,
    /// Bytes of their files.
    pub(super) bytes: u64,
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

/// What should go so that all files together have at most so many bytes; only segments of which
/// every record is below an index.
pub(super) fn surplus<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    bytes_max: u64,
    below: u64,
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
    let mut gone = 0;
    for (next, bytes) in bases.iter().skip(1).zip(&sizes) {
        if total <= bytes_max || *next > below {
            break;
        }
        total -= bytes;
        gone += bytes;
        surplus = Some(Surplus { kept_from: *next, records: next - first, bytes: gone });
    }
    Ok(surplus)
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
