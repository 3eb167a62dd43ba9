//! Reading files that somebody else writes: up to a limit, and never following surprises.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// What most files have place in. Their length is not known before, and with less place they are
/// read in small pieces.
const USUAL_BYTES: usize = 4_096;

/// Reads at most `bytes_max` bytes; what is beyond is left out.
pub(super) fn bytes(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut contents = Vec::with_capacity(bytes_max.min(USUAL_BYTES));
    File::open(path)?.take(bytes_max as u64).read_to_end(&mut contents)?;
    Ok(contents)
}

/// Reads at most `bytes_max` bytes as text; bytes that are not UTF-8 become U+FFFD.
pub(super) fn text(path: &Path, bytes_max: usize) -> io::Result<String> {
    bytes(path, bytes_max).map(|contents| match String::from_utf8(contents) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// The first line of a small file without surrounding white space, if there is any.
pub(super) fn first_line(path: &Path) -> Option<String> {
    let contents = text(path, super::limits::SMALL_FILE_BYTES_MAX).ok()?;
    let line = contents.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
