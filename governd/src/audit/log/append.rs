//! The writing side: a batch in memory, and commits.

use std::path::{Path, PathBuf};

use super::{
    AppendError, BATCH_RECORDS_MAX, CommitError, OpenError, Options,
    segment::{self, Recovered, Segment},
    storage::{Disk, Filesystem},
};
use crate::audit::{
    record::RECORD_BYTES_MAX,
    tree::{Hash, leaf_hash},
};

/// What opening found beside the log itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Opened {
    /// Bytes behind the last whole record that a crash had left, and that were cut. They held
    /// nothing durable.
    pub cut_bytes: u64,
    /// Durable records of the last segment that are not what was written.
    pub damage: Option<Damage>,
}

/// Damage to durable records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The first record that is wrong.
    pub first: u64,
    /// The segment, which is left as it is.
    pub path: PathBuf,
}

/// The log, opened for writing by its only writer.
pub struct Log<F: Filesystem = Disk> {
    filesystem: F,
    options: Options,
    segment: Segment<F::File>,
    /// Whether a failed commit may have left something behind the durable records.
    dirty: bool,
    batch: Batch,
    /// Held, never read.
    _lock: F::File,
}

/// Lines that are not durable yet.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    /// Offset behind each line's newline in `lines`, and its hash.
    entries: Vec<(u64, Hash)>,
}

impl<F: Filesystem> Log<F> {
    /// Opens the log, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// If another writer has it or its directory cannot be used; [`OpenError::hint`] says more.
    pub fn open(filesystem: F, options: Options) -> Result<(Self, Opened), OpenError> {
        let directory = options.directory.as_path();
        let unusable =
            |doing| move |source| OpenError::Unusable { path: directory.to_owned(), doing, source };
        filesystem.create_dir(directory).map_err(unusable("create the directory"))?;
        let lock = filesystem.lock(&directory.join("lock")).map_err(|source| {
            if source.kind() == std::io::ErrorKind::WouldBlock {
                return OpenError::InUse { directory: directory.to_owned() };
            }
            unusable("lock it")(source)
        })?;
        let bases =
            segment::bases(&filesystem, directory).map_err(unusable("list the directory"))?;
        let mut opened = Opened::default();
        let last = bases.last().copied();
        let segment = last_segment(&filesystem, directory, last, &mut opened)
            .map_err(unusable("read or create the last segment"))?;
        let batch = Batch::default();
        Ok((Self { filesystem, options, segment, dirty: false, batch, _lock: lock }, opened))
    }

    /// Index that the next record gets.
    pub fn next_index(&self) -> u64 {
        self.segment.end() + self.batch.entries.len() as u64
    }

    /// Index behind the last durable record.
    pub fn durable(&self) -> u64 {
        self.segment.end()
    }

    /// Whether enough records wait for a commit to be due at once.
    pub fn is_batch_full(&self) -> bool {
        self.batch.entries.len() >= BATCH_RECORDS_MAX
    }

    /// Adds a record to the batch, and says its index. It is durable after the next successful
    /// [`Log::commit`].
    ///
    /// # Errors
    ///
    /// If the line is not one, or too long, or the disk refuses and memory for waiting is used up.
    pub fn append(&mut self, line: &str) -> Result<u64, AppendError> {
        if line.len() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLong { bytes: line.len() });
        }
        if line.is_empty() || line.contains('\n') {
            return Err(AppendError::NotALine);
        }
        let pending_bytes = self.batch.lines.len();
        if pending_bytes + line.len() + 1 > self.options.pending_bytes_max {
            return Err(AppendError::Backlog { pending_bytes });
        }
        let index = self.next_index();
        self.batch.lines.extend_from_slice(line.as_bytes());
        self.batch.lines.push(b'\n');
        self.batch.entries.push((self.batch.lines.len() as u64, leaf_hash(line.as_bytes())));
        Ok(index)
    }

    /// Makes everything appended durable, and says the index behind the last durable record.
    ///
    /// # Errors
    ///
    /// If the disk refuses: nothing is lost, and the next call tries all of it again.
    pub fn commit(&mut self) -> Result<u64, CommitError> {
        if self.batch.entries.is_empty() {
            return Ok(self.durable());
        }
        let directory = self.options.directory.as_path();
        let grown = self.segment.bytes + self.batch.lines.len() as u64;
        if self.segment.records > 0 && grown > self.options.segment_bytes_max {
            if self.dirty {
                self.segment.trim().map_err(at(directory))?;
                self.dirty = false;
            }
            let base = self.segment.end();
            let next = Segment::create(&self.filesystem, directory, base);
            self.segment = next.map_err(at(directory))?;
        }
        self.dirty = true;
        let path = segment::data_path(directory, self.segment.base);
        self.segment.write(&self.batch.lines, &self.batch.entries).map_err(at(&path))?;
        self.dirty = false;
        self.batch.lines.clear();
        self.batch.entries.clear();
        Ok(self.durable())
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> CommitError {
    move |source| CommitError { path: path.to_owned(), source }
}

fn last_segment<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    last: Option<u64>,
    opened: &mut Opened,
) -> std::io::Result<Segment<F::File>> {
    let Some(base) = last else {
        return Segment::create(filesystem, directory, 0);
    };
    match Segment::recover(filesystem, directory, base)? {
        Recovered::Usable { segment, cut_bytes } => {
            opened.cut_bytes = cut_bytes;
            Ok(segment)
        }
        Recovered::Damaged { first, next } => {
            let path = segment::data_path(directory, base);
            opened.damage = Some(Damage { first, path });
            // One beyond, should the damaged segment count no record at all.
            Segment::create(filesystem, directory, next.max(base + 1))
        }
    }
}
