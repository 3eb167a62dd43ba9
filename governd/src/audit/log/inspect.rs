//! Reads a whole log as it lies on the disk and has it verified. Changes nothing.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    ReadError, key, retention,
    segment::{self, Entry, decode_all, entry_offset, parse_header, read_whole},
    storage::Filesystem,
    within::Within,
};
use crate::audit::{
    checkpoint::{Checkpoint, NoteError, Opens as _, Verifier, note_len},
    keys::{Keys, KeysError},
    verify::{Indexed, Report, Verification},
};

/// The public key that lies beside a log: as trustworthy as that directory.
///
/// # Errors
///
/// If it is not there or is no key.
pub fn public_key<F: Filesystem>(filesystem: &F, directory: &Path) -> Result<Verifier, ReadError> {
    let path = directory.join(key::PUBLIC_FILE);
    let text = key::read_text(filesystem, &path);
    let parsed = text.and_then(|text| {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        Verifier::parse(&text).map_err(invalid)
    });
    parsed.map_err(|source| ReadError::Io { path, source })
}

/// All keys of a log of which one is known, by what lies beside it; or why they do not follow each
/// other.
///
/// # Errors
///
/// If the file of rotations is there and cannot be read.
pub fn keys<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    known: &Verifier,
) -> Result<Result<Keys, KeysError>, ReadError> {
    let path = directory.join(key::ROTATIONS_FILE);
    let rotations = match filesystem.open(&path).and_then(|file| read_whole(&file)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(ReadError::Io { path, source }),
    };
    // What is no text is no proof either.
    Ok(Keys::parse(known, &String::from_utf8_lossy(&rotations)))
}

/// Verifies a log against a key that signs its checkpoints, or signed them until it was replaced.
///
/// # Errors
///
/// If the directory or a file in it cannot be read. What is wrong with the log is in the report.
pub fn verify<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    key: &Verifier,
) -> Result<Report, ReadError> {
    verify_within(filesystem, directory, key, Within::default())
}

/// The same of the segments alone that have what was logged within some time. What is behind them
/// and before them is not looked at.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_within<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    key: &Verifier,
    within: Within,
) -> Result<Report, ReadError> {
    let keys = keys(filesystem, directory, key)?;
    let unreadable = |source| ReadError::Io { path: directory.to_owned(), source };
    let is_live = is_live(filesystem, directory).map_err(unreadable)?;
    let (_, bases) = retention::split(filesystem, directory).map_err(unreadable)?;
    let mut verification = Verification::default();
    match &keys {
        Ok(keys) => verification.signed_by(keys.clone()),
        Err(_) => verification.keys_fail(),
    }
    let keys = keys.unwrap_or_else(|_| Keys::from(key.clone()));
    let wanted = within.segments(filesystem, directory, &bases).map_err(unreadable)?;
    if wanted.start > 0 {
        verification.tell();
    }
    let is_live = is_live && wanted.end == bases.len();
    for position in wanted.clone() {
        let Some(base) = bases.get(position).filter(|_| verification.goes_on()) else {
            break;
        };
        let may_grow = is_live && position + 1 == wanted.end;
        let files = Files::read(filesystem, directory, *base)?;
        files.feed(&mut verification, *base, &keys, may_grow);
    }
    Ok(verification.finish(is_live))
}

/// Whether a writer has the log.
fn is_live<F: Filesystem>(filesystem: &F, directory: &Path) -> io::Result<bool> {
    // Locking makes the file, which a copy of a log need not have.
    if !filesystem.names(directory)?.iter().any(|name| name == "lock") {
        return Ok(false);
    }
    match filesystem.lock(&directory.join("lock")) {
        Ok(_) => Ok(false),
        Err(error) => Ok(error.kind() == io::ErrorKind::WouldBlock),
    }
}

struct Files {
    notes: Vec<u8>,
    index: Vec<u8>,
    data: Vec<u8>,
}

impl Files {
    /// Reads in the reverse of the order in which they are written, so that of a log that grows
    /// each file holds at least what the one read before it is about. A missing file is empty.
    fn read<F: Filesystem>(filesystem: &F, directory: &Path, base: u64) -> Result<Self, ReadError> {
        let read = |path: PathBuf| match filesystem.open(&path).and_then(|file| read_whole(&file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|source| ReadError::Io { path, source }),
        };
        let notes = read(segment::notes_path(directory, base))?;
        let index = read(segment::index_path(directory, base))?;
        let data = read(segment::data_path(directory, base))?;
        Ok(Self { notes, index, data })
    }

    fn feed(&self, verification: &mut Verification, base: u64, key: &Keys, may_grow: bool) {
        let (notes, notes_rest) = notes(&self.notes, key);
        verification.segment(base, parse_header(&self.index, base).as_ref(), notes);
        let entries = decode_all(&self.index, base);
        let (lines, data_rest) = lines(&self.data);
        let records = if may_grow { entries.len() } else { entries.len().max(lines.len()) };
        for position in 0..records {
            let line = lines.get(position);
            let entry = entries.get(position).copied().flatten();
            let in_place = line.zip(entry).is_some_and(|(line, entry)| line.ends_at(&entry));
            let indexed = entry.map(|Entry { position, leaf, .. }| Indexed {
                leaf,
                in_place,
                begins_commit: position == 0,
            });
            verification.record(line.map(|line| line.bytes), indexed);
        }
        let index_rest = self.index.len() as u64 != entry_offset(entries.len() as u64);
        verification.end_segment(may_grow || !(notes_rest || index_rest || data_rest));
    }
}

struct Line<'a> {
    /// Without newline.
    bytes: &'a [u8],
    /// Offset behind the newline.
    end: u64,
}

impl Line<'_> {
    fn ends_at(&self, entry: &Entry) -> bool {
        self.end == u64::from(entry.end)
    }
}

/// The whole lines of a file, and whether there is something behind them.
fn lines(data: &[u8]) -> (Vec<Line<'_>>, bool) {
    let mut end = 0;
    let whole = data.split_inclusive(|byte| *byte == b'\n').map_while(|line| {
        end += line.len() as u64;
        line.strip_suffix(b"\n").map(|bytes| Line { bytes, end })
    });
    (whole.collect(), data.last().is_some_and(|byte| *byte != b'\n'))
}

/// The checkpoints of a file, opened, and whether there is something behind them.
fn notes(bytes: &[u8], key: &Keys) -> (Vec<Result<Checkpoint, NoteError>>, bool) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return (notes_of_text(&String::from_utf8_lossy(bytes), key).0, true);
    };
    notes_of_text(text, key)
}

fn notes_of_text(text: &str, key: &Keys) -> (Vec<Result<Checkpoint, NoteError>>, bool) {
    let mut notes = Vec::new();
    let mut rest = text;
    while let Some((note, behind)) = note_len(rest).and_then(|len| rest.split_at_checked(len)) {
        notes.push(key.open(note));
        rest = behind;
    }
    (notes, !rest.is_empty())
}
