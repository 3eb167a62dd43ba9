//! What a witness wants of a log: the checkpoint behind its next records, and the root it had at an
//! earlier size. Changes nothing.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use super::{
    ReadError, retention,
    segment::{self, read_whole},
    storage::{Filesystem, read_up_to},
};
use crate::audit::{
    checkpoint::note_len,
    tree::{Frontier, Hash},
};

/// Bytes of checkpoints that are read at once; none has a hundredth.
const CHUNK_BYTES: usize = 64 * 1_024;

/// A signed checkpoint and the size it is of, which is read from it and not checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Records that it covers.
    pub size: u64,
    /// The whole note.
    pub text: String,
}

/// The checkpoints of a log, read forward: what was read is not read again.
pub struct Notes<F: Filesystem> {
    filesystem: F,
    directory: PathBuf,
    /// The segment whose checkpoints are read.
    base: Option<u64>,
    /// How far its file is read.
    offset: u64,
    /// What is read and not given, the earliest first.
    ready: VecDeque<Note>,
    /// Checkpoints of up to this size are not looked for any more.
    passed: u64,
}

impl<F: Filesystem> Notes<F> {
    /// Of the log in a directory.
    pub fn new(filesystem: F, directory: impl Into<PathBuf>) -> Self {
        let (directory, ready) = (directory.into(), VecDeque::new());
        Self { filesystem, directory, base: None, offset: 0, ready, passed: 0 }
    }

    /// The last checkpoint that covers more than `after` records and at most `limit`; the first
    /// that covers more than `after` if all of them cover more than `limit`, and `None` if there is
    /// none.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn after(&mut self, after: u64, limit: u64) -> Result<Option<Note>, ReadError> {
        if after < self.passed {
            (self.base, self.offset) = (None, 0);
            self.ready.clear();
        }
        self.passed = after;
        loop {
            while self.ready.front().is_some_and(|note| note.size <= after) {
                self.ready.pop_front();
            }
            // Enough is read when one beyond the limit is there.
            let is_beyond = self.ready.back().is_some_and(|note| note.size > limit);
            if is_beyond || !self.read_more(after)? {
                break;
            }
        }
        let fits = self.ready.iter().rposition(|note| note.size <= limit).unwrap_or(0);
        // It stays, should the same be asked again.
        Ok(self.ready.get(fits).cloned())
    }

    /// Reads a piece of the file, or turns to the next segment; whether there was something.
    fn read_more(&mut self, after: u64) -> Result<bool, ReadError> {
        let directory = self.directory.clone();
        let unreadable = |source| ReadError::Io { path: directory.clone(), source };
        let Some(base) = self.base else {
            let bases = segment::bases(&self.filesystem, &self.directory).map_err(unreadable)?;
            let begin = bases.iter().rfind(|base| **base <= after).or(bases.first());
            self.base = begin.copied();
            return Ok(self.base.is_some());
        };
        let path = segment::notes_path(&self.directory, base);
        let bytes = match self.filesystem.open(&path) {
            Ok(file) => read_up_to(&file, CHUNK_BYTES, self.offset),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|source| ReadError::Io { path, source })?;
        let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let mut rest = text;
        while let Some((note, behind)) = note_len(rest).and_then(|len| rest.split_at_checked(len)) {
            rest = behind;
            let size = note.split('\n').nth(1).and_then(|size| size.parse::<u64>().ok());
            if let Some(size) = size {
                self.ready.push_back(Note { size, text: note.to_owned() });
            }
        }
        let read = text.len() - rest.len();
        self.offset += read as u64;
        if read > 0 {
            return Ok(true);
        }
        let bases = segment::bases(&self.filesystem, &self.directory).map_err(unreadable)?;
        let Some(next) = bases.into_iter().find(|next| *next > base) else {
            return Ok(false);
        };
        (self.base, self.offset) = (Some(next), 0);
        Ok(true)
    }
}

/// The last checkpoint that covers more than `after` records and at most `limit`, as
/// [`Notes::after`] has it.
///
/// # Errors
///
/// If the log cannot be read.
pub fn note_after<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    after: u64,
    limit: u64,
) -> Result<Option<Note>, ReadError> {
    Notes::new(filesystem.clone(), directory).after(after, limit)
}

/// The tree before the first record that a log has; `None` if it begins with record 0.
///
/// # Errors
///
/// If the log cannot be read.
pub fn beginning<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
) -> Result<Option<Frontier>, ReadError> {
    let unreadable = |source| ReadError::Io { path: directory.to_owned(), source };
    let (_, bases) = retention::split(filesystem, directory).map_err(unreadable)?;
    let Some(base) = bases.first().copied().filter(|base| *base > 0) else {
        return Ok(None);
    };
    let path = segment::index_path(directory, base);
    let bytes = filesystem.open(&path).and_then(|file| read_whole(&file));
    let bytes = bytes.map_err(|source| ReadError::Io { path, source })?;
    Ok(segment::parse_header(&bytes, base))
}

/// The root of the tree of the first `size` records, from the hashes in the index; `None` where the
/// log does not have them any more, or not yet, or they are unreadable.
///
/// # Errors
///
/// If files cannot be read.
pub fn root_at<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    size: u64,
) -> Result<Option<Hash>, ReadError> {
    Ok(tree_at(filesystem, directory, size)?.map(|tree| tree.root()))
}

/// The tree whose root [`root_at`] gives.
pub(super) fn tree_at<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    size: u64,
) -> Result<Option<Frontier>, ReadError> {
    let unreadable = |source| ReadError::Io { path: directory.to_owned(), source };
    let bases = segment::bases(filesystem, directory).map_err(unreadable)?;
    let mut tree = None;
    for base in bases.into_iter().take_while(|base| *base < size.max(1)) {
        let path = segment::index_path(directory, base);
        let bytes = filesystem.open(&path).and_then(|file| read_whole(&file));
        let bytes = bytes.map_err(|source| ReadError::Io { path, source })?;
        let before = segment::parse_header(&bytes, base);
        let mut frontier = match (tree.take(), before) {
            // The first segment that is left says what was before it.
            (None, Some(before)) => before,
            (Some(known), Some(before)) if known == before => known,
            _ => return Ok(None),
        };
        let room = usize::try_from(size - base).unwrap_or(usize::MAX);
        for entry in segment::decode_all(&bytes, base).into_iter().take(room) {
            let Some(entry) = entry else {
                return Ok(None);
            };
            frontier.push(entry.leaf);
        }
        tree = Some(frontier);
    }
    Ok(tree.filter(|tree| tree.size() == size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::log::{Disk, Log, Options};

    #[test]
    fn checkpoints_and_roots_are_found_across_segments() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes_max: 200, ..Options::new(directory.path()) };
        let (mut log, _) = Log::open(Disk, options).unwrap();
        let key = log.verifier().clone();
        let at = |after, limit| note_after(&Disk, directory.path(), after, limit).unwrap();
        assert_eq!(at(0, 10), None);
        let mut sizes = Vec::new();
        for batch in 1..8_u64 {
            for number in 0..batch {
                log.append(&format!("{{\"n\":{number}}}")).unwrap();
            }
            log.commit().unwrap();
            sizes.push(sizes.last().unwrap_or(&0) + batch);
        }
        // 1, 3, 6, 10, 15, 21, 28
        let rows = [
            (0, 10, Some(10)),
            (0, 0, Some(1)),
            (3, 4, Some(6)),
            (10, 20, Some(15)),
            (21, 1_000, Some(28)),
            (28, 1_000, None),
        ];
        for (after, limit, size) in rows {
            let note = at(after, limit);
            assert_eq!(note.as_ref().map(|note| note.size), size, "{after} {limit}");
            if let Some(note) = note {
                let signed = key.open(&note.text).unwrap();
                let root = root_at(&Disk, directory.path(), signed.size).unwrap();
                assert_eq!(root, Some(signed.root));
            }
        }
        assert_eq!(root_at(&Disk, directory.path(), 29).unwrap(), None);
    }
}
