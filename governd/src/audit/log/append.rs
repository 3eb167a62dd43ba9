//! The writing side: a batch in memory, commits, and a signed checkpoint behind each of them.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    AppendError, BATCH_RECORDS_MAX, CommitError, Keep, OpenError, Options, ReadError,
    VALUES_BYTES_MAX,
    blocks::Lines,
    inspect, key,
    recovery::{Found, Recovery},
    retention::{self, Surplus},
    rotation::{self, Successor},
    segment::{self, Segment},
    storage::{Disk, Filesystem},
    values::Sealer,
};
use crate::audit::{
    checkpoint::{Signer, Verifier},
    keys::Keys,
    record::{
        RECORD_BYTES_MAX, Tokens,
        personal::{self, Erasure},
    },
    tree::{Frontier, Hash, Leaves},
};

/// What opening found beside the log itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Opened {
    /// Bytes behind the last whole record that a crash had left, and that were cut. They held
    /// nothing durable.
    pub cut_bytes: u64,
    /// Durable records that no checkpoint covers: the writer ended between the two. The next commit
    /// signs them.
    pub unsigned: u64,
    /// Durable records of the last segment that are not what was written.
    pub damage: Option<Damage>,
}

/// Damage to durable records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The first record that is wrong, or may be.
    pub first: u64,
    /// The segment, which is left as it is.
    pub path: PathBuf,
}

/// The log, opened for writing by its only writer.
pub struct Log<F: Filesystem = Disk> {
    pub(super) filesystem: F,
    pub(super) options: Options,
    segment: Segment<F::File>,
    /// Whether a failed commit may have left something behind what is durable.
    dirty: bool,
    /// Whether the files of the next segment may have been made for a batch that was taken back.
    pub(super) is_begun: bool,
    pub(super) batch: Batch,
    /// The tree of the durable records.
    pub(super) tree: Frontier,
    pub(super) signer: Signer,
    /// That key, and those that it replaced.
    pub(super) keys: Keys,
    /// The key that is about to replace it.
    pub(super) successor: Option<Successor>,
    /// Size of the last durable checkpoint.
    signed: u64,
    /// Held, never read.
    _lock: F::File,
}

/// Lines that are not durable yet.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) lines: Lines,
    /// Offset behind each line's newline in `lines`, and its hash.
    pub(super) entries: Vec<(u64, Hash)>,
    leaves: Leaves,
    /// What stands beside them.
    pub(super) sealer: Sealer,
    /// Whether the last values could not be kept, so that their record cannot be either.
    is_unsealed: bool,
}

impl<F: Filesystem> Log<F> {
    /// Opens the log, and makes it and its key if they are not there.
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
            if source.kind() == io::ErrorKind::WouldBlock {
                return OpenError::InUse { directory: directory.to_owned() };
            }
            unusable("lock it")(source)
        })?;
        let signer =
            key::load(&filesystem, directory).map_err(unusable("read or create the key"))?;
        let keys = keys_beside(&filesystem, directory, &signer);
        let keys = keys.map_err(unusable("follow the rotations of its key"))?;
        let recovery = Recovery { filesystem: &filesystem, directory, keys: &keys };
        let found = recovery.run().map_err(unusable("read or create the last segment"))?;
        let Found { segment, tree, signed, opened } = found;
        let successor = rotation::resume(&filesystem, directory, &signer, segment.end());
        let successor = successor.map_err(unusable("read or forget the next key"))?;
        let log = Self {
            filesystem,
            options,
            segment,
            dirty: false,
            is_begun: false,
            batch: Batch::default(),
            tree,
            signer,
            keys,
            successor,
            signed,
            _lock: lock,
        };
        Ok((log, opened))
    }

    /// Index that the next record gets.
    pub fn next_index(&self) -> u64 {
        self.segment.end() + self.batch.entries.len() as u64
    }

    /// Index behind the last durable record.
    pub fn durable(&self) -> u64 {
        self.segment.end()
    }

    /// The key that checks the log's next checkpoint.
    pub fn verifier(&self) -> &Verifier {
        self.signer.verifier()
    }

    /// Bytes of lines, and of what stands beside them, that wait for a commit.
    pub fn pending_bytes(&self) -> usize {
        self.batch.lines.len() + self.batch.sealer.lines.len()
    }

    /// Keeps the values of the record that is appended next beside it, and gives what stands for
    /// them in it. Where they cannot be kept, the record is refused.
    pub fn seal(&mut self, values: &personal::Values<'_>, logged_ms: u64) -> Tokens {
        let has_room = self.pending_bytes() < self.options.pending_bytes_max;
        let sealed = has_room.then(|| self.batch.sealer.seal(values, logged_ms).ok()).flatten();
        self.batch.is_unsealed = sealed.is_none();
        sealed.unwrap_or_default()
    }

    /// Erases values beside the records of the segment that is written; a durable record must tell
    /// so. What waits for a commit keeps its values. Gives how many went, and where the segment
    /// begins: those before it are [`erase_before`]'s.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn erase(&mut self, which: &Erasure) -> io::Result<(u64, u64)> {
        let gone = self.segment.erase(&self.filesystem, &self.options.directory, which)?;
        Ok((gone, self.segment.base))
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
        // Without a branch for each byte: a pass over many bytes at once.
        let has_newline = line.bytes().fold(false, |found, byte| found | (byte == b'\n'));
        if line.is_empty() || has_newline {
            return Err(AppendError::NotALine);
        }
        let pending_bytes = self.pending_bytes();
        let has_room = pending_bytes + line.len() < self.options.pending_bytes_max;
        if std::mem::take(&mut self.batch.is_unsealed) || !has_room {
            return Err(AppendError::Backlog { pending_bytes });
        }
        let index = self.next_index();
        if self.batch.entries.is_empty() {
            self.batch.lines.begin(self.segment.bytes);
        }
        self.batch.lines.push(line.as_bytes());
        let leaf = self.batch.leaves.hash(line.as_bytes());
        self.batch.entries.push((self.batch.lines.len() as u64, leaf));
        Ok(index)
    }

    /// Makes everything appended durable and signs a checkpoint of it; says the index behind the
    /// last durable record.
    ///
    /// # Errors
    ///
    /// If the disk refuses: nothing is lost, and the next call tries again what is left to do.
    pub fn commit(&mut self) -> Result<u64, CommitError> {
        // What an earlier commit, or a crash, left unsigned: a batch begins only behind a
        // checkpoint, so that none can be taken away unseen.
        self.sign()?;
        self.hand_over()?;
        if !self.batch.entries.is_empty() {
            self.write_batch()?;
            self.sign()?;
            self.hand_over()?;
        }
        Ok(self.durable())
    }

    /// Cuts what failed commits left behind what is durable.
    pub(super) fn trim(&mut self) -> Result<(), CommitError> {
        if self.dirty {
            self.segment.trim().map_err(at(&self.options.directory))?;
            self.dirty = false;
        }
        Ok(())
    }

    /// What should be deleted of records below an index.
    pub(super) fn surplus(
        &self,
        keep: Keep,
        below: u64,
        now_ms: u64,
    ) -> io::Result<Option<Surplus>> {
        let below = below.min(self.signed);
        retention::surplus(&self.filesystem, &self.options.directory, keep, below, now_ms)
    }

    /// Deletes the segments before an index; a durable record must tell so.
    pub(super) fn delete_before(&self, kept_from: u64) -> io::Result<()> {
        retention::delete(&self.filesystem, &self.options.directory, kept_from)
    }

    fn sign(&mut self) -> Result<(), CommitError> {
        if self.signed < self.durable() {
            self.dirty = true;
            let note = self.signer.sign(self.tree.size(), self.tree.root());
            let path = segment::notes_path(&self.options.directory, self.segment.base);
            self.segment.write_note(&note).map_err(at(&path))?;
            self.signed = self.durable();
            self.dirty = false;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), CommitError> {
        let bytes_max = self.options.segment_bytes_max;
        let grown = self.segment.bytes + self.batch.lines.len() as u64;
        let values = self.segment.values_bytes + self.batch.sealer.lines.len() as u64;
        // Who shows records has the values of a segment in memory.
        let is_full = grown > bytes_max || values > bytes_max.min(VALUES_BYTES_MAX);
        if self.segment.records > 0 && (is_full || self.is_begun) {
            self.trim()?;
            let directory = self.options.directory.as_path();
            let next = Segment::create(&self.filesystem, directory, self.tree.clone());
            self.segment = next.map_err(at(directory))?;
        }
        self.is_begun = false;
        self.dirty = true;
        let path = segment::data_path(&self.options.directory, self.segment.base);
        let Batch { lines, entries, sealer, .. } = &self.batch;
        self.segment.write(lines.bytes(), entries, &sealer.lines).map_err(at(&path))?;
        for (_, leaf) in self.batch.entries.drain(..) {
            self.tree.push(leaf);
        }
        self.batch.lines.clear();
        self.batch.sealer.clear();
        self.dirty = false;
        Ok(())
    }
}

/// Every key of a log that a key signs.
fn keys_beside<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    signer: &Signer,
) -> io::Result<Keys> {
    let keys = inspect::keys(filesystem, directory, signer.verifier());
    let keys = keys.map_err(|error| match error {
        ReadError::Io { source, .. } => source,
        damaged @ ReadError::Damaged { .. } => io::Error::other(damaged),
    });
    keys?.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> CommitError {
    move |source| CommitError { path: path.to_owned(), source }
}
