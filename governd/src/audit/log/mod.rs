//! The log on disk, and the only door to its files. Not for what a record says (`record`), nor for
//! who gets it (exporters and `watch` are readers).
//!
//! # Constraints
//!
//! 1. A record is *durable* once [`Log::commit`] has returned an index beyond it. A durable record
//!    is there after any crash or power cut: once, in order, with its exact bytes.
//! 2. What is not yet durable may be there after a crash or may not, but never in part, and never
//!    with a gap before it.
//! 3. Indices start at 0, grow by one, and go on across restarts. No index of a durable record is
//!    given again.
//! 4. A failed write or sync loses nothing that was appended: the batch stays in memory and the
//!    next commit writes all of it again, at the same place. What no longer fits into memory is
//!    refused with a typed error, and the caller counts it.
//! 5. One writer: a second one gets an error that says so. Readers need no lock and never see half
//!    a line. They may see a record in the moment before it is durable; only a power cut takes it
//!    back.
//! 6. Damage to durable records is never repaired silently: the damaged segment is left as it is,
//!    a new one begins behind it, and [`Opened::damage`] names the first record that is wrong.
//!
//! # Files
//!
//! ```text
//! lock                          held by the writer (flock)
//! 00000000000000000000.jsonl    records, one line each; the name is the index of the first
//! 00000000000000000000.index    a header, then 48 bytes for each record
//! 00000000000000000000.checkpoints    signed notes, one for each commit
//! 00000000000000000000.values   what stands beside the records and can be erased (`values`)
//! key, key.pub                  the host's signing key, and what checks it
//! key.next                      the key that is about to replace it (`rotation`)
//! rotations                     proofs of the records by which keys were replaced
//! ```
//!
//! An index entry holds the offset behind the record's newline, the record's position in its batch,
//! its leaf hash (RFC 6962) and a check over these and the record's index. A commit writes lines,
//! syncs them, then writes entries and syncs those: an entry that checks means that its line is
//! whole, so a line that does not fit its entry is damage and not a torn write. A torn tail of
//! entries is told from damage by the position in the batch: a batch begins only when the one
//! before it is durable, so a bad entry before the beginning of any later batch is damage.
//! Writes are positional, so a commit that failed half-way is simply done again; only the last
//! segment is ever written. The whole blocks of a large batch go past the page cache (`blocks`),
//! and are synced as the rest is. A checkpoint follows once its records are durable. The header
//! holds the tree before the segment, so that opening reads one segment and not all.

mod append;
mod blocks;
mod cursor;
mod durations;
mod extract;
mod inspect;
#[cfg(test)]
mod inspect_tests;
mod keeper;
mod key;
#[cfg(test)]
mod kill_tests;
mod notes;
mod prove;
mod reader;
mod recovery;
#[cfg(test)]
mod restart_tests;
mod retention;
#[cfg(test)]
mod retention_tests;
mod rotation;
#[cfg(test)]
mod rotation_tests;
mod segment;
#[cfg(test)]
mod sim;
mod storage;
#[cfg(test)]
mod tests;
mod values;
#[cfg(test)]
mod values_tests;

mod within;

use std::{io, path::PathBuf};

pub use self::{
    append::{Damage, Log, Opened},
    cursor::Cursor,
    durations::{COMMIT_BOUNDS_S, CommitDurations},
    extract::{ExportError, export},
    inspect::{keys, public_key, verify, verify_within},
    keeper::{Fresh, Keeper, KeeperOptions, Observer, Progress, Refused},
    notes::{Note, Notes, beginning, note_after, root_at},
    prove::{ProveError, prove},
    reader::{Line, Reader},
    storage::{Disk, File, Filesystem},
    values::{Values, count as count_values, erase_before},
    within::Within,
};
use super::record::RECORD_BYTES_MAX;

/// Records after which a commit is due, whatever the interval.
pub const BATCH_RECORDS_MAX: usize = 1_024;
/// Bytes of a segment's lines beyond which the next batch begins a new one.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
/// Bytes of what stands beside a segment's records beyond which the next batch begins a new one.
pub const VALUES_BYTES_MAX: u64 = 8 * 1_024 * 1_024;
/// Bytes of lines that wait in memory while the disk refuses them.
pub const PENDING_BYTES_MAX: usize = 16 * 1_024 * 1_024;

const _: () = {
    assert!(PENDING_BYTES_MAX >= BATCH_RECORDS_MAX / 4 * RECORD_BYTES_MAX);
    // Offsets in an entry have 32 bits.
    assert!(SEGMENT_BYTES_MAX + (PENDING_BYTES_MAX as u64) < u32::MAX as u64);
};

/// Bytes that all files of a log may have together, by default.
pub const LOG_BYTES_MAX: u64 = 10 * 1_024 * 1_024 * 1_024;

/// Which records go. Only whole segments do, the oldest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keep {
    /// Bytes that all files of the log may have: the oldest segments go when they have more.
    pub bytes_max: u64,
    /// Segments go that are older than so many days, and than the retention of each of their
    /// records says; `None` keeps them while there is room.
    pub days: Option<u32>,
}

impl Default for Keep {
    fn default() -> Self {
        Self { bytes_max: LOG_BYTES_MAX, days: None }
    }
}

impl Keep {
    /// Everything.
    pub const ALL: Self = Self { bytes_max: u64::MAX, days: None };
}

/// Where the log is and how large its parts become.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory; made with mode 0700 if it is not there.
    pub directory: PathBuf,
    /// Bytes of a segment's lines beyond which the next batch begins a new one.
    pub segment_bytes_max: u64,
    /// Bytes of lines that wait in memory while the disk refuses them.
    pub pending_bytes_max: usize,
}

impl Options {
    /// The usual sizes.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes_max: SEGMENT_BYTES_MAX,
            pending_bytes_max: PENDING_BYTES_MAX,
        }
    }
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("the log in {} is in use by another governd", directory.display())]
    InUse {
        /// The log's directory.
        directory: PathBuf,
    },
    /// A file or directory could not be read or written.
    #[error("cannot open the log: {} ({doing})", path.display())]
    Unusable {
        /// What could not be used.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// What the operator can do.
    pub fn hint(&self) -> &'static str {
        let Self::Unusable { source, .. } = self else {
            return "stop the other governd, or give this one its own --state-dir";
        };
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "run governd as root, or give it a directory that it owns with --state-dir"
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "a file stands where the log's directory belongs: move it away"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space on that file system, or choose another with --state-dir"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "mount that file system writable, or choose another with --state-dir"
            }
            _ => "check that the directory is on a working, local file system",
        }
    }
}

/// Why a record was not appended. Nothing of it is in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// It is longer than a record may be.
    #[error("a record of {bytes} bytes exceeds {RECORD_BYTES_MAX}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// It is empty or has a newline in it.
    #[error("a record must be one line")]
    NotALine,
    /// The disk refuses, and the memory kept for that is used up.
    #[error("the log is not writable and {pending_bytes} bytes wait already")]
    Backlog {
        /// Bytes that wait.
        pending_bytes: usize,
    },
}

/// Why a commit failed. The batch is kept and the next commit tries again.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the log: {}", path.display())]
pub struct CommitError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Why a record could not be read. The next call goes on behind it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Files could not be read.
    #[error("cannot read the log: {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Records are missing or are not what was written.
    #[error("records {first} to {last} are damaged or missing in {}", path.display())]
    Damaged {
        /// The first that is wrong.
        first: u64,
        /// The last that is wrong.
        last: u64,
        /// The segment.
        path: PathBuf,
    },
}
