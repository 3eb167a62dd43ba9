//! One segment: its two files, how an index entry looks, and what is left of it after a crash.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::storage::{File, Filesystem, read_up_to, write_all};
use crate::audit::tree::{HASH_BYTES, Hash, leaf_hash, sha256};

/// Bytes of an index entry, and of the header in front of the first.
pub(super) const ENTRY_BYTES: usize = 48;
const CHECK_BYTES: usize = 8;
const MAGIC: &[u8; 16] = b"governd index 1\n";
const DATA_SUFFIX: &str = ".jsonl";
const INDEX_SUFFIX: &str = ".index";
const NAME_DIGITS: usize = 20;
/// Bytes read at a time where a whole file is looked at.
const CHUNK_BYTES: usize = 1 << 20;

/// What the index says of one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// Offset behind the record's newline in the segment.
    pub(super) end: u32,
    /// Records before it in the batch that it was committed with.
    pub(super) position: u32,
    /// Hash of its line.
    pub(super) leaf: Hash,
}

impl Entry {
    /// The entry's bytes at a place in the log.
    pub(super) fn encode(&self, index: u64) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (end, position) = (self.end.to_le_bytes(), self.position.to_le_bytes());
        let check = self.check(index);
        let parts = end.iter().chain(&position).chain(&self.leaf).chain(&check);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = *from;
        }
        bytes
    }

    /// Reads an entry; `None` if it is not whole or belongs to another place.
    pub(super) fn decode(bytes: &[u8], index: u64) -> Option<Self> {
        let (end, rest) = bytes.split_first_chunk()?;
        let (position, rest) = rest.split_first_chunk()?;
        let (leaf, check) = rest.split_first_chunk::<HASH_BYTES>()?;
        let entry = Self {
            end: u32::from_le_bytes(*end),
            position: u32::from_le_bytes(*position),
            leaf: *leaf,
        };
        (entry.check(index) == check).then_some(entry)
    }

    fn check(&self, index: u64) -> [u8; CHECK_BYTES] {
        let (end, position) = (self.end.to_le_bytes(), self.position.to_le_bytes());
        let hash = sha256(&[&index.to_le_bytes(), &end, &position, &self.leaf]);
        hash.first_chunk().copied().unwrap_or_default()
    }
}

fn header(base: u64) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    let check = sha256(&[MAGIC, &base.to_le_bytes()]);
    let parts = MAGIC.iter().copied().chain(base.to_le_bytes()).chain(check);
    for (to, from) in bytes.iter_mut().zip(parts) {
        *to = from;
    }
    bytes
}

/// Offset of an entry in the index file.
pub(super) fn entry_offset(position: u64) -> u64 {
    (position + 1) * ENTRY_BYTES as u64
}

/// Entries that an index file of a length has room for.
pub(super) fn slots(index_bytes: u64) -> u64 {
    (index_bytes / ENTRY_BYTES as u64).saturating_sub(1)
}

/// The file of a segment's lines.
pub(super) fn data_path(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{base:0NAME_DIGITS$}{DATA_SUFFIX}"))
}

/// The file of a segment's index.
pub(super) fn index_path(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{base:0NAME_DIGITS$}{INDEX_SUFFIX}"))
}

/// First indices of the segments in a directory, in order.
pub(super) fn bases<F: Filesystem>(filesystem: &F, directory: &Path) -> io::Result<Vec<u64>> {
    let names = filesystem.names(directory)?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| base_of(name)).collect();
    bases.sort_unstable();
    bases.dedup();
    Ok(bases)
}

fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(DATA_SUFFIX).or_else(|| name.strip_suffix(INDEX_SUFFIX))?;
    let is_number = digits.len() == NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// The segment that is written.
pub(super) struct Segment<F> {
    /// Index of its first record.
    pub(super) base: u64,
    /// Durable records in it.
    pub(super) records: u64,
    /// Bytes of their lines.
    pub(super) bytes: u64,
    data: F,
    index: F,
}

/// What opening a segment for writing found.
pub(super) enum Recovered<F> {
    /// It can be written; so many bytes behind the last whole record were cut.
    Usable { segment: Segment<F>, cut_bytes: u64 },
    /// Durable records are damaged, the first of them at `first`; the log goes on at `next`.
    Damaged { first: u64, next: u64 },
}

impl<F: File> Segment<F> {
    /// Makes an empty segment durable, in place of what an earlier attempt may have left.
    pub(super) fn create<S>(filesystem: &S, directory: &Path, base: u64) -> io::Result<Self>
    where
        S: Filesystem<File = F>,
    {
        let data = filesystem.create(&data_path(directory, base))?;
        let index = filesystem.create(&index_path(directory, base))?;
        data.set_size(0)?;
        index.set_size(0)?;
        write_all(&index, &header(base), 0)?;
        data.sync()?;
        index.sync()?;
        filesystem.sync_dir(directory)?;
        Ok(Self { base, records: 0, bytes: 0, data, index })
    }

    /// Index behind the last durable record.
    pub(super) fn end(&self) -> u64 {
        self.base + self.records
    }

    /// Writes a batch behind the durable records and makes it durable: lines before entries.
    pub(super) fn write(&mut self, lines: &[u8], batch: &[(u64, Hash)]) -> io::Result<()> {
        write_all(&self.data, lines, self.bytes)?;
        self.data.sync()?;
        let mut entries = Vec::with_capacity(batch.len() * ENTRY_BYTES);
        for (position, (end, leaf)) in batch.iter().enumerate() {
            let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
            let end = u32::try_from(self.bytes + end).map_err(too_large)?;
            let position_in_batch = u32::try_from(position).map_err(too_large)?;
            let entry = Entry { end, position: position_in_batch, leaf: *leaf };
            entries.extend(entry.encode(self.end() + position as u64));
        }
        write_all(&self.index, &entries, entry_offset(self.records))?;
        self.index.sync()?;
        self.bytes += lines.len() as u64;
        self.records += batch.len() as u64;
        Ok(())
    }

    /// Cuts what failed commits left behind the durable records.
    pub(super) fn trim(&self) -> io::Result<()> {
        self.data.set_size(self.bytes)?;
        self.index.set_size(entry_offset(self.records))?;
        self.data.sync()?;
        self.index.sync()
    }

    /// Writes the header and the last batch once more. A sync that failed before the writer ended
    /// leaves bytes that can be read and are not on disk, and later syncs do not bring them there;
    /// every batch before the last was durable before the last began.
    fn write_again(&self, entries: &[Entry]) -> io::Result<()> {
        write_all(&self.index, &header(self.base), 0)?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let start = (entries.len() - 1).saturating_sub(last.position as usize);
        let before = start.checked_sub(1).and_then(|before| entries.get(before));
        let offset = before.map_or(0, |entry| u64::from(entry.end));
        let bytes = usize::try_from(self.bytes - offset).unwrap_or(usize::MAX);
        write_all(&self.data, &read_up_to(&self.data, bytes, offset)?, offset)?;
        let batch = (self.base + start as u64..).zip(entries.iter().skip(start));
        let batch: Vec<u8> = batch.flat_map(|(at, entry)| entry.encode(at)).collect();
        write_all(&self.index, &batch, entry_offset(start as u64))
    }

    /// Opens the last segment of a log for writing.
    pub(super) fn recover<S>(
        filesystem: &S,
        directory: &Path,
        base: u64,
    ) -> io::Result<Recovered<F>>
    where
        S: Filesystem<File = F>,
    {
        let data = filesystem.create(&data_path(directory, base))?;
        let index = filesystem.create(&index_path(directory, base))?;
        let data_bytes = data.size()?;
        let index_bytes = index.size()?;
        let content = read_up_to(&index, usize::try_from(index_bytes).unwrap_or(usize::MAX), 0)?;
        let mut chunks = content.chunks_exact(ENTRY_BYTES);
        if chunks.next() != Some(&header(base)) {
            if data_bytes == 0 && slots(index_bytes) == 0 {
                let segment = Self::create(filesystem, directory, base)?;
                return Ok(Recovered::Usable { segment, cut_bytes: 0 });
            }
            let lines = count_lines(&data)?.max(slots(index_bytes));
            return Ok(Recovered::Damaged { first: base, next: base + lines });
        }
        let entries: Vec<Option<Entry>> =
            (base..).zip(chunks).map(|(at, bytes)| Entry::decode(bytes, at)).collect();
        let whole: Vec<Entry> = entries.iter().copied().map_while(|entry| entry).collect();
        let damaged =
            acknowledged_hole(&entries, whole.len()).or(first_bad_line(&data, data_bytes, &whole)?);
        if let Some(position) = damaged {
            let next = base + entries.len() as u64;
            return Ok(Recovered::Damaged { first: base + position as u64, next });
        }
        let bytes = whole.last().map_or(0, |entry| u64::from(entry.end));
        let records = whole.len() as u64;
        let segment = Self { base, records, bytes, data, index };
        segment.write_again(&whole)?;
        segment.trim()?;
        filesystem.sync_dir(directory)?;
        Ok(Recovered::Usable { segment, cut_bytes: data_bytes.saturating_sub(bytes) })
    }
}

/// The first bad entry, if an entry behind it belongs to a batch that began behind it.
fn acknowledged_hole(entries: &[Option<Entry>], whole: usize) -> Option<usize> {
    let later = entries.iter().enumerate().skip(whole);
    let began = |(at, entry): (usize, &Option<Entry>)| Some(at - entry.as_ref()?.position as usize);
    later.filter_map(began).any(|start| start > whole).then_some(whole)
}

/// The first of the entries whose line is not what it says.
fn first_bad_line(
    data: &impl File,
    data_bytes: u64,
    entries: &[Entry],
) -> io::Result<Option<usize>> {
    let (mut start, mut position) = (0_u64, 0);
    while let Some(rest) = entries.get(position..).filter(|rest| !rest.is_empty()) {
        let fits = |entry: &&Entry| u64::from(entry.end) <= start + CHUNK_BYTES as u64;
        let count = rest.iter().take_while(fits).count().max(1);
        let chunk = rest.get(..count).unwrap_or_default();
        let end = chunk.last().map_or(start, |entry| u64::from(entry.end));
        if end > data_bytes.max(start) || end < start {
            // Read what is there; the lines behind it fail their check.
            let here = usize::try_from(data_bytes.saturating_sub(start)).unwrap_or(usize::MAX);
            let bytes = read_up_to(data, here, start)?;
            let bad = lines(&bytes, start, chunk).position(|line| line.is_none());
            return Ok(bad.map(|bad| position + bad));
        }
        let bytes = read_up_to(data, usize::try_from(end - start).unwrap_or(usize::MAX), start)?;
        if let Some(bad) = lines(&bytes, start, chunk).position(|line| line.is_none()) {
            return Ok(Some(position + bad));
        }
        (start, position) = (end, position + count);
    }
    Ok(None)
}

/// The lines of consecutive entries, without newline, in bytes that begin at an offset of the
/// segment; `None` for each that is not what its entry says.
pub(super) fn lines<'a>(
    bytes: &'a [u8],
    offset: u64,
    entries: &'a [Entry],
) -> impl Iterator<Item = Option<&'a [u8]>> {
    let starts = std::iter::once(offset).chain(entries.iter().map(|entry| u64::from(entry.end)));
    starts.zip(entries).map(move |(start, entry)| {
        let from = usize::try_from(start.checked_sub(offset)?).ok()?;
        let to = usize::try_from(u64::from(entry.end).checked_sub(offset)?).ok()?;
        let line = bytes.get(from..to)?.strip_suffix(b"\n")?;
        (leaf_hash(line) == entry.leaf).then_some(line)
    })
}

fn count_lines(data: &impl File) -> io::Result<u64> {
    let (mut offset, mut count) = (0, 0);
    loop {
        let bytes = read_up_to(data, CHUNK_BYTES, offset)?;
        if bytes.is_empty() {
            return Ok(count);
        }
        count += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        offset += bytes.len() as u64;
    }
}
