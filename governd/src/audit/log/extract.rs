//! Writes a range of records, with what proves them, from a log as it lies on the disk. Changes
//! nothing.

use std::{
    io::{self, Write},
    ops::Range,
    path::Path,
};

use super::{
    Notes, ProveError, ReadError, Reader, retention,
    segment::{self, read_whole},
    storage::Filesystem,
};
use crate::audit::{
    checkpoint::Opens,
    extract::{self, ExtractError, Head},
    tree::Frontier,
};

/// Why there is no extract.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The records cannot be proven.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// The log is not what was signed.
    #[error("the log is not what was signed")]
    Changed(#[from] ExtractError),
    /// The extract could not be written.
    #[error("the extract cannot be written")]
    Write(#[source] io::Error),
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        Self::Prove(error.into())
    }
}

impl ExportError {
    /// What the operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Prove(error) => error.hint(),
            Self::Changed(_) => {
                "`governd audit verify` says which record is the first that is wrong"
            }
            Self::Write(_) => "free space on its file system, or name another file",
        }
    }
}

/// Writes the records of a range, and before them what proves them by the key's first checkpoint
/// that covers them all. What is written is checked as it is.
///
/// # Errors
///
/// If no checkpoint covers them, the log cannot be read or is not what was signed, or the extract
/// cannot be written.
pub fn export<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    range: Range<u64>,
    key: &dyn Opens,
    to: &mut impl Write,
) -> Result<(), ExportError> {
    let last = range.end.saturating_sub(1);
    let note = Notes::new(filesystem.clone(), directory).after(last, range.end)?;
    let signed = match &note {
        Some(note) => note.size,
        None => signed(filesystem, directory)?,
    };
    let unsigned = ProveError::Unsigned { index: last, signed, log: key.name().to_owned() };
    let note = note.filter(|note| note.size >= range.end && !range.is_empty()).ok_or(unsigned)?;
    let size = key.open(&note.text).map_err(ExtractError::from)?.size;
    let (before, behind) = around(filesystem, directory, &range, size)?;
    let behind = behind.iter().map(Frontier::root).collect();
    let before = before.peaks().to_vec();
    let head = Head { range: range.clone(), before, behind, checkpoint: note.text };
    let mut check = head.check(key)?;
    write!(to, "{head}").map_err(ExportError::Write)?;
    let mut reader = Reader::new(filesystem.clone(), directory, range.start);
    for index in range {
        let line = reader.read()?.filter(|line| line.index == index);
        let line = line.ok_or(ProveError::Missing { before: index + 1 })?.bytes;
        check.push(&line);
        to.write_all(&line).and_then(|()| to.write_all(b"\n")).map_err(ExportError::Write)?;
    }
    check.finish()?;
    Ok(())
}

/// How many records the last checkpoint covers.
fn signed<F: Filesystem>(filesystem: &F, directory: &Path) -> Result<u64, ReadError> {
    let bases = segment::bases(filesystem, directory);
    let bases = bases.map_err(|source| ReadError::Io { path: directory.to_owned(), source })?;
    // The segment that is written may have none yet.
    let after = bases.last().map_or(0, |base| base.saturating_sub(1));
    let last = Notes::new(filesystem.clone(), directory).after(after, u64::MAX)?;
    Ok(last.map_or(0, |note| note.size))
}

/// The tree before a range, and the complete subtrees behind it, of the first so many records.
fn around<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    range: &Range<u64>,
    size: u64,
) -> Result<(Frontier, Vec<Frontier>), ProveError> {
    let unreadable = |source| ReadError::Io { path: directory.to_owned(), source };
    let (_, bases) = retention::split(filesystem, directory).map_err(unreadable)?;
    let first = bases.iter().rposition(|base| *base <= range.start);
    let first = first.ok_or(ProveError::Missing { before: range.start + 1 })?;
    let parts = extract::subtrees(range.end, size);
    let mut behind = vec![Frontier::default(); parts.len()];
    let (mut before, mut next, mut part) = (None, 0, 0);
    for base in bases.into_iter().skip(first).take_while(|base| *base < size) {
        let path = segment::index_path(directory, base);
        let bytes = filesystem.open(&path).and_then(|file| read_whole(&file));
        let bytes = bytes.map_err(|source| ReadError::Io { path, source })?;
        let tree = match before.take() {
            None => segment::parse_header(&bytes, base),
            Some(tree) => (base == next).then_some(tree),
        };
        let mut tree: Frontier = tree.ok_or(ProveError::Missing { before: base })?;
        next = base;
        let room = usize::try_from(size - base).unwrap_or(usize::MAX);
        for entry in segment::decode_all(&bytes, base).into_iter().take(room) {
            let leaf = entry.ok_or(ProveError::Missing { before: next + 1 })?.leaf;
            if next < range.start {
                tree.push(leaf);
            }
            if parts.get(part).is_some_and(|range| range.end <= next) {
                part += 1;
            }
            if let Some((range, of)) = parts.get(part).zip(behind.get_mut(part))
                && range.contains(&next)
            {
                of.push(leaf);
            }
            next += 1;
        }
        before = Some(tree);
    }
    let before = before.filter(|_| next >= size).ok_or(ProveError::Missing { before: size })?;
    Ok((before, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::log::{Disk, Log, Options};

    #[test]
    fn every_range_of_a_log_of_several_segments_is_exported_and_checks() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes_max: 100, ..Options::new(directory.path()) };
        let (mut log, _) = Log::open(Disk, options).unwrap();
        let mut written = 0;
        for batch in 1..6_u64 {
            for _ in 0..batch {
                log.append(&format!("{{\"n\":{written}}}")).unwrap();
                written += 1;
            }
            log.commit().unwrap();
        }
        let key = log.verifier().clone();
        let export = |range: Range<u64>| {
            let mut file = Vec::new();
            export(&Disk, directory.path(), range, &key, &mut file).map(|()| file)
        };
        for start in 0..written {
            for end in start + 1..=written {
                let text = String::from_utf8(export(start..end).unwrap()).unwrap();
                let (head, bytes) = Head::parse(&text).unwrap();
                assert_eq!(head.range, start..end);
                let mut check = head.check(&key).unwrap();
                text[bytes..].lines().for_each(|line| check.push(line.as_bytes()));
                assert!(check.finish().unwrap().size >= end);
            }
        }
        for range in [0..written + 1, 3..3] {
            let error = export(range.clone()).unwrap_err();
            assert!(matches!(error, ExportError::Prove(ProveError::Unsigned { .. })), "{error}");
            let said = format!("is not among the {written} records that");
            assert!(range.is_empty() || error.to_string().contains(&said), "{error}");
        }
        let second = segment::bases(&Disk, directory.path()).unwrap()[1];
        let path = segment::data_path(directory.path(), second);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("n", "m", 1)).unwrap();
        assert!(export(0..written).is_err());
    }
}
