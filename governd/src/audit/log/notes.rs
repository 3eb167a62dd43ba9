//! What a witness wants of a log: the checkpoint behind its next records, and the root it had at an
//! earlier size. Changes nothing.

use std::{io, path::Path};

use super::{
    ReadError,
    segment::{self, read_text, read_whole},
    storage::Filesystem,
};
use crate::audit::{checkpoint::note_len, tree::Hash};

/// A signed checkpoint and the size it is of, which is read from it and not checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Records that it covers.
    pub size: u64,
    /// The whole note.
    pub text: String,
}

/// The last checkpoint that covers more than `after` records and at most `limit`; the first that
/// covers more than `after` if all of them cover more than `limit`, and `None` if there is none.
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
    let unreadable = |source| ReadError::Io { path: directory.to_owned(), source };
    let bases = segment::bases(filesystem, directory).map_err(unreadable)?;
    let begin = bases.iter().rposition(|base| *base <= after).unwrap_or(0);
    let mut found = None;
    for base in bases.into_iter().skip(begin) {
        let path = segment::notes_path(directory, base);
        let text = match filesystem.open(&path).and_then(|file| read_text(&file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|source| ReadError::Io { path, source })?,
        };
        let mut rest = text.as_str();
        while let Some((note, behind)) = note_len(rest).and_then(|len| rest.split_at_checked(len)) {
            rest = behind;
            let size = note.split('\n').nth(1).and_then(|size| size.parse::<u64>().ok());
            let Some(size) = size.filter(|size| *size > after) else {
                continue;
            };
            if found.is_some() && size > limit {
                return Ok(found);
            }
            found = Some(Note { size, text: note.to_owned() });
        }
    }
    Ok(found)
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
    Ok(tree.filter(|tree| tree.size() == size).map(|tree| tree.root()))
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
