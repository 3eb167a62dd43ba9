//! Makes the proof of one record from a log as it lies on the disk. Changes nothing.

use std::path::Path as FilePath;

use super::{
    ReadError, Reader, retention,
    segment::{self, read_text, read_whole},
    storage::Filesystem,
};
use crate::audit::{
    checkpoint::{Checkpoint, Opens, note_len},
    proof::{CheckError, Path, Proof},
};

/// Why there is no proof of a record.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// Files could not be read, or the record is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No checkpoint of this key covers the record.
    #[error("record {index} is not among the {signed} records that {log} signed")]
    Unsigned {
        /// The record.
        index: u64,
        /// Records that the last good checkpoint covers.
        signed: u64,
        /// Whose checkpoints were looked for.
        log: String,
    },
    /// Records before the checkpoint are not there.
    #[error("records are missing or unreadable before record {before}")]
    Missing {
        /// The first record behind them, or the checkpoint's size.
        before: u64,
    },
    /// The log is not what was signed.
    #[error("the log is not what was signed")]
    Changed(#[source] CheckError),
}

impl ProveError {
    /// What the operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "run it as root on the host of the log, or name it with --state-dir",
            Self::Unsigned { .. } => {
                "take the number or the uid of a record of this log; a record is signed within a \
                 second of its being written"
            }
            Self::Missing { .. } | Self::Changed(_) => {
                "`governd audit verify` says which record is the first that is wrong"
            }
        }
    }
}

/// Proves a record by the last checkpoint of the key.
///
/// # Errors
///
/// If no checkpoint covers it, or the log cannot be read or is not what was signed.
pub fn prove<F: Filesystem + Clone>(
    filesystem: &F,
    directory: &FilePath,
    index: u64,
    key: &dyn Opens,
) -> Result<Proof, ProveError> {
    let unreadable = |source| ReadError::Io { path: directory.to_owned(), source };
    let (_, bases) = retention::split(filesystem, directory).map_err(unreadable)?;
    let last = last_checkpoint(filesystem, directory, &bases, key)?;
    let size = last.as_ref().map_or(0, |(_, checkpoint)| checkpoint.size);
    let unsigned = || ProveError::Unsigned { index, signed: size, log: key.name().to_owned() };
    let mut path = Path::new(index, size).ok_or_else(unsigned)?;
    let (checkpoint, _) = last.ok_or_else(unsigned)?;
    let mut next = 0;
    for base in bases.into_iter().take_while(|base| *base < size) {
        if base != next && next > 0 {
            return Err(ProveError::Missing { before: base });
        }
        let file = segment::index_path(directory, base);
        let bytes = filesystem.open(&file).and_then(|file| read_whole(&file));
        let bytes = bytes.map_err(|source| ReadError::Io { path: file, source })?;
        if next == 0 && base > 0 {
            let before = segment::parse_header(&bytes, base);
            let begun = before.and_then(|before| path.begin(&before));
            begun.ok_or(ProveError::Missing { before: base })?;
            next = base;
        }
        let room = usize::try_from(size - base).unwrap_or(usize::MAX);
        for entry in segment::decode_all(&bytes, base).into_iter().take(room) {
            path.push(entry.ok_or(ProveError::Missing { before: next + 1 })?.leaf);
            next += 1;
        }
    }
    let hashes = path.finish().ok_or(ProveError::Missing { before: size })?;
    let line = Reader::new(filesystem.clone(), directory, index).read()?;
    let line = line.filter(|line| line.index == index);
    let record = line.ok_or(ProveError::Missing { before: index + 1 })?.bytes;
    let proof = Proof { record, index, hashes, checkpoint };
    proof.check(key).map_err(ProveError::Changed)?;
    Ok(proof)
}

/// The last signed note that opens with the key, from the end of the log.
fn last_checkpoint<F: Filesystem>(
    filesystem: &F,
    directory: &FilePath,
    bases: &[u64],
    key: &dyn Opens,
) -> Result<Option<(String, Checkpoint)>, ReadError> {
    for base in bases.iter().rev() {
        let path = segment::notes_path(directory, *base);
        // A segment that has just begun has no checkpoint yet.
        let text = match filesystem.open(&path).and_then(|file| read_text(&file)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|source| ReadError::Io { path, source })?,
        };
        let (mut rest, mut last) = (text.as_str(), None);
        while let Some((note, behind)) = note_len(rest).and_then(|len| rest.split_at_checked(len)) {
            last = key.open(note).ok().map(|checkpoint| (note.to_owned(), checkpoint)).or(last);
            rest = behind;
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::log::{Disk, Log, Options};

    #[test]
    fn every_record_of_a_log_of_several_segments_is_proven() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes_max: 200, ..Options::new(directory.path()) };
        let (mut log, _) = Log::open(Disk, options).unwrap();
        let mut written = 0;
        for batch in 1..12_u64 {
            for _ in 0..batch {
                log.append(&format!("{{\"n\":{written}}}")).unwrap();
                written += 1;
            }
            log.commit().unwrap();
        }
        let key = log.verifier().clone();
        let bases = segment::bases(&Disk, directory.path()).unwrap();
        assert!(bases.len() > 2, "{bases:?}");
        for index in 0..written {
            let proof = prove(&Disk, directory.path(), index, &key).unwrap();
            assert_eq!(proof.record, format!("{{\"n\":{index}}}").into_bytes());
            assert_eq!(proof.check(&key).unwrap().size, written);
        }
        let beyond = prove(&Disk, directory.path(), written, &key).unwrap_err();
        assert!(matches!(beyond, ProveError::Unsigned { signed: 66, .. }), "{beyond}");
        // A record that is written and not committed is not proven by an older checkpoint.
        log.append("{}").unwrap();
        assert!(prove(&Disk, directory.path(), written, &key).is_err());

        let first = segment::data_path(directory.path(), 0);
        let changed = std::fs::read_to_string(&first).unwrap().replace(":1}", ":7}");
        std::fs::write(&first, changed).unwrap();
        assert!(matches!(
            prove(&Disk, directory.path(), 1, &key).unwrap_err(),
            ProveError::Read(ReadError::Damaged { first: 1, .. })
        ));
        std::fs::remove_file(segment::index_path(directory.path(), 0)).unwrap();
        assert!(prove(&Disk, directory.path(), written - 1, &key).is_err());
    }

    #[test]
    fn nothing_is_proven_in_a_log_that_another_key_signed() {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(Disk, Options::new(directory.path())).unwrap();
        log.append("{}").unwrap();
        log.commit().unwrap();
        let other = crate::audit::checkpoint::Signer::new("governd/other", [1; 32]).unwrap();
        let error = prove(&Disk, directory.path(), 0, other.verifier()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "record 0 is not among the 0 records that governd/other signed"
        );
    }
}
