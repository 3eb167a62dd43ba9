//! A batch as it travels and is stored: a line of JSON that says what it is, and behind it the
//! records, one a line, compressed with zstd.
//!
//! Who sends decides what comes out of a compressed frame. So a frame has to say how long it
//! becomes, which is known before any of it is decompressed, and becomes no longer than that; the
//! memory for its window and the number of its lines are bounded as well.

use std::{
    io::{self, Read as _},
    ops::Range,
};

use zstd::stream::read::Decoder;

use super::wire::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BESIDE_BYTES_MAX, Head};
use crate::audit::{
    record::personal::{Token, Value},
    tree::{Hash, leaf_hash},
};

/// Compression level: records repeat themselves, so the fastest gains nearly as much as others.
const LEVEL: i32 = 1;
/// Room behind what is read until it ends: with less, looking for the end would need more memory.
const ROOM_BYTES: usize = 64;
/// Largest window of a frame, as a power of two of bytes: 8 MiB.
const WINDOW_LOG_MAX: u32 = 23;

/// Longest first line, in bytes: a checkpoint, and the roots of complete subtrees, 63 at most.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// Most lines of a frame. A batch has a quarter more than [`BATCH_RECORDS_MAX`] at most, and few
/// values beside each; without a limit, lines that are empty would become 32 bytes each.
const LINES_MAX: usize = 16 * BATCH_RECORDS_MAX as usize;

/// Why bytes are no batch.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The first line is missing or says something else.
    #[error("the first line is not what a batch begins with: {0}")]
    Head(String),
    /// What is behind it cannot be decompressed.
    #[error("the records cannot be decompressed: {0}")]
    Frame(io::Error),
    /// It does not say how long it becomes.
    #[error("the compressed records do not say how long they become")]
    Unsaid,
    /// It becomes something else than it said.
    #[error("the records are longer when decompressed than the {0} bytes that they say")]
    Longer(usize),
    /// It would become too long.
    #[error("they are longer than {BATCH_BYTES_MAX} bytes when decompressed")]
    TooLong,
    /// It has too many lines.
    #[error("they are more than {LINES_MAX} lines")]
    TooMany,
    /// What stands beside the records is none of what records have.
    #[error("what stands beside the records is no user name and no command line")]
    Beside,
    /// The records are no text, or the last has no end.
    #[error("the records are no lines of UTF-8")]
    Lines,
}

/// The parts of a batch, of which nothing is decompressed.
#[derive(Debug)]
pub struct Parts {
    /// What it says of itself.
    pub head: Head,
    /// Where the compressed records are.
    pub frame: Range<usize>,
    /// Bytes that all of it becomes when it is decompressed.
    pub plain: usize,
}

/// A batch that was taken apart.
#[derive(Debug)]
pub struct Unpacked {
    /// What it says of itself.
    pub head: Head,
    /// Its records, each with its newline.
    pub lines: String,
    /// Their leaf hashes.
    pub leaves: Vec<Hash>,
    /// Where the compressed records are.
    pub frame: Range<usize>,
    /// What stands beside them.
    pub beside: Vec<(Token, Value)>,
}

/// The bytes of a batch.
///
/// # Errors
/// If memory for compression cannot be had.
pub fn pack(head: &Head, lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(head).map_err(io::Error::other)?;
    bytes.push(b'\n');
    bytes.extend(compress(lines)?);
    Ok(bytes)
}

/// The bytes of a batch with what stands beside its records: a value a line.
///
/// # Errors
/// If memory for compression cannot be had.
pub fn pack_with(head: Head, lines: &[u8], beside: &str) -> io::Result<Vec<u8>> {
    if beside.is_empty() {
        return pack(&head, lines);
    }
    let frame = compress(lines)?;
    let head = Head { lines_bytes: Some(frame.len() as u64), ..head };
    let mut bytes = serde_json::to_vec(&head).map_err(io::Error::other)?;
    bytes.push(b'\n');
    bytes.extend(frame);
    bytes.extend(compress(beside.as_bytes())?);
    Ok(bytes)
}

/// The parts of a batch, as they lie: what it costs does not depend on what it says.
///
/// # Errors
/// If it is none, or becomes too long.
pub fn parts(bytes: &[u8]) -> Result<Parts, PackError> {
    let missing = || PackError::Head("it does not end".to_owned());
    let end = bytes.iter().take(HEAD_BYTES_MAX).position(|byte| *byte == b'\n');
    let (head, rest) = end.and_then(|end| bytes.split_at_checked(end + 1)).ok_or_else(missing)?;
    let begin = head.len();
    let head: Head =
        serde_json::from_slice(head).map_err(|error| PackError::Head(error.to_string()))?;
    let lines_bytes = head
        .lines_bytes
        .map_or(rest.len(), |bytes| usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len()));
    let (frame, beside) = rest.split_at_checked(lines_bytes).unwrap_or((rest, &[]));
    let plain = said(frame, BATCH_BYTES_MAX)? + said(beside, BESIDE_BYTES_MAX)?;
    Ok(Parts { head, frame: begin..begin + lines_bytes, plain })
}

impl Parts {
    /// Decompresses what the parts of these bytes are.
    ///
    /// # Errors
    /// If it is no batch.
    pub fn unpack(self, bytes: &[u8]) -> Result<Unpacked, PackError> {
        let Self { head, frame, plain: _ } = self;
        let lines = decompress(bytes.get(frame.clone()).unwrap_or_default())?;
        let behind = bytes.get(frame.end..).unwrap_or_default();
        let beside = values(&decompress_up_to(behind, BESIDE_BYTES_MAX)?)?;
        let leaves = leaves(&lines);
        Ok(Unpacked { head, lines, leaves, frame, beside })
    }
}

/// The values that a text has, one a line, and what stands for each in records.
///
/// # Errors
/// If a line is none.
pub fn values(text: &str) -> Result<Vec<(Token, Value)>, PackError> {
    each(text)
        .map(|line| {
            let value = Value::parse(line).ok_or(PackError::Beside)?;
            Ok((value.token().ok_or(PackError::Beside)?, value))
        })
        .collect()
}

/// Lines, compressed.
///
/// # Errors
/// If memory for it cannot be had.
pub fn compress(lines: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(lines, LEVEL)
}

/// The lines of a frame. No frame at all is no lines.
///
/// # Errors
/// If it is none, or too long.
pub fn decompress(frame: &[u8]) -> Result<String, PackError> {
    decompress_up_to(frame, BATCH_BYTES_MAX)
}

fn decompress_up_to(frame: &[u8], bytes_max: usize) -> Result<String, PackError> {
    if frame.is_empty() {
        return Ok(String::new());
    }
    let said = said(frame, bytes_max)?;
    let mut decoder = Decoder::with_buffer(frame).map_err(PackError::Frame)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(PackError::Frame)?;
    let mut bytes = Vec::with_capacity(said + ROOM_BYTES);
    decoder.take(said as u64 + 1).read_to_end(&mut bytes).map_err(PackError::Frame)?;
    if bytes.len() > said {
        return Err(PackError::Longer(said));
    }
    if bytes.iter().filter(|byte| **byte == b'\n').count() > LINES_MAX {
        return Err(PackError::TooMany);
    }
    let text = String::from_utf8(bytes).map_err(|_| PackError::Lines)?;
    if text.is_empty() || text.ends_with('\n') { Ok(text) } else { Err(PackError::Lines) }
}

/// How long a frame says that it becomes.
fn said(frame: &[u8], bytes_max: usize) -> Result<usize, PackError> {
    if frame.is_empty() {
        return Ok(0);
    }
    let said = zstd::zstd_safe::get_frame_content_size(frame);
    let said = said.map_err(|_| PackError::Frame(io::ErrorKind::InvalidData.into()))?;
    let said = said.ok_or(PackError::Unsaid)?;
    let said = usize::try_from(said).unwrap_or(usize::MAX);
    if said > bytes_max { Err(PackError::TooLong) } else { Ok(said) }
}

/// The leaf hashes of lines.
pub fn leaves(lines: &str) -> Vec<Hash> {
    each(lines).map(|line| leaf_hash(line.as_bytes())).collect()
}

/// The lines of a text in which each has its newline.
pub fn each(lines: &str) -> impl Iterator<Item = &str> {
    lines.split_terminator('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            first: 7,
            checkpoint: "note\n".to_owned(),
            before: None,
            session: None,
            lines_bytes: None,
        }
    }

    fn unpack(bytes: &[u8]) -> Result<Unpacked, PackError> {
        parts(bytes)?.unpack(bytes)
    }

    #[test]
    fn a_batch_comes_out_as_it_went_in() {
        for lines in ["", "{}\n", "{\"a\":1}\n\n{\"b\":\"é\"}\n"] {
            let bytes = pack(&head(), lines.as_bytes()).unwrap();
            let unpacked = unpack(&bytes).unwrap();
            assert_eq!((unpacked.head.first, unpacked.lines.as_str()), (7, lines));
            assert_eq!(unpacked.leaves, leaves(lines));
            assert_eq!(decompress(&bytes[unpacked.frame]).unwrap(), lines);
        }
    }

    #[test]
    fn what_is_no_batch_is_told_from_what_is_too_long() {
        let zeros = vec![b'\n'; BATCH_BYTES_MAX + 1];
        let bomb = pack(&head(), &zeros).unwrap();
        assert!(bomb.len() < 100_000, "{} bytes of a bomb", bomb.len());
        assert!(matches!(parts(&bomb), Err(PackError::TooLong)));
        // One that does not say so beforehand is refused for that.
        let silent = zstd::stream::encode_all(zeros.as_slice(), LEVEL).unwrap();
        assert!(matches!(decompress(&silent), Err(PackError::Unsaid)));
        let behind = [serde_json::to_vec(&head()).unwrap(), b"\n".to_vec(), silent].concat();
        assert!(matches!(parts(&behind), Err(PackError::Unsaid)));
        // And so is one that has another behind the one that says it, at once.
        let twice = [compress(b"{}\n").unwrap(), compress(&zeros).unwrap()].concat();
        assert!(matches!(decompress(&twice), Err(PackError::Longer(3))));
        // What is short enough and all lines would become 32 times as much in hashes.
        let lines = compress(&vec![b'\n'; LINES_MAX + 1]).unwrap();
        assert!(matches!(decompress(&lines), Err(PackError::TooMany)));
        assert_eq!(
            leaves(&decompress(&compress(&vec![b'\n'; LINES_MAX]).unwrap()).unwrap()).len(),
            LINES_MAX
        );
        let whole = pack(&head(), b"{\"a\":1}\n").unwrap();
        let mut cut = whole.clone();
        cut.pop();
        let rows: [(Vec<u8>, &str); 7] = [
            (vec![b' '; 2 * HEAD_BYTES_MAX], "first line"),
            (Vec::new(), "first line"),
            (b"{}".to_vec(), "first line"),
            (b"{\"first\":\"a\"}\n".to_vec(), "first line"),
            (cut, "decompressed"),
            (pack(&head(), b"{}").unwrap(), "no lines"),
            (pack(&head(), b"\xff\n").unwrap(), "no lines"),
        ];
        for (bytes, want) in rows {
            let error = unpack(&bytes).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    /// A frame may ask for a window of two gigabytes.
    #[test]
    fn memory_for_a_frame_is_bounded() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL).unwrap();
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(27)).unwrap();
        // A window is no larger than what is in it.
        encoder.set_pledged_src_size(Some(1 << 24)).unwrap();
        encoder.include_contentsize(true).unwrap();
        io::Write::write_all(&mut encoder, &vec![b'a'; 1 << 24]).unwrap();
        let frame = encoder.finish().unwrap();
        assert!(matches!(decompress(&frame), Err(PackError::Frame(_))));
    }
}
