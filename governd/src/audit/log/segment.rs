//! One segment: its three files, how an index looks, and what is left of it after a crash.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    blocks,
    storage::{File, Filesystem, read_up_to, write_all},
    values,
};
use crate::audit::{
    record::personal::{Erasure, Value},
    tree::{Frontier, HASH_BYTES, Hash, PEAKS_MAX, leaf_hash, sha256},
};

/// Bytes of an index entry.
pub(super) const ENTRY_BYTES: usize = 48;
/// Bytes of the header in front of the first: mark, index of the first record, check, and the
/// peaks of the tree before it.
pub(super) const HEADER_BYTES: usize = HEADER_FIXED_BYTES + PEAKS_MAX * HASH_BYTES;
const HEADER_FIXED_BYTES: usize = 64;
const CHECK_BYTES: usize = 8;
const MAGIC: &[u8; 16] = b"governd index 1\n";
const DATA_SUFFIX: &str = ".jsonl";
const INDEX_SUFFIX: &str = ".index";
const NOTES_SUFFIX: &str = ".checkpoints";
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

fn header(before: &Frontier) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let base = before.size().to_le_bytes();
    let peaks = before.peaks().concat();
    let check = sha256(&[MAGIC, &base, &peaks]);
    // 16 + 8 + 32 bytes, and 8 that are zero.
    let fixed = MAGIC.iter().chain(&base).chain(&check).chain(&[0; 8]);
    for (to, from) in bytes.iter_mut().zip(fixed.chain(&peaks)) {
        *to = *from;
    }
    bytes
}

/// The tree before a segment, as its header has it; `None` if the header is not whole.
pub(super) fn parse_header(bytes: &[u8], base: u64) -> Option<Frontier> {
    let bytes = bytes.get(..HEADER_BYTES)?;
    let peaks = bytes.get(HEADER_FIXED_BYTES..)?.chunks_exact(HASH_BYTES);
    let peaks = peaks.take(base.count_ones() as usize);
    let peaks = peaks.map(|peak| peak.try_into().unwrap_or_default()).collect();
    Frontier::new(base, peaks).filter(|before| header(before).as_slice() == bytes)
}

/// Offset of an entry in the index file.
pub(super) fn entry_offset(position: u64) -> u64 {
    HEADER_BYTES as u64 + position * ENTRY_BYTES as u64
}

/// Entries that an index file of a length has room for.
pub(super) fn slots(index_bytes: u64) -> u64 {
    index_bytes.saturating_sub(HEADER_BYTES as u64) / ENTRY_BYTES as u64
}

/// The file of a segment's lines.
pub(super) fn data_path(directory: &Path, base: u64) -> PathBuf {
    path(directory, base, DATA_SUFFIX)
}

/// The file of a segment's index.
pub(super) fn index_path(directory: &Path, base: u64) -> PathBuf {
    path(directory, base, INDEX_SUFFIX)
}

/// The file of a segment's checkpoints.
pub(super) fn notes_path(directory: &Path, base: u64) -> PathBuf {
    path(directory, base, NOTES_SUFFIX)
}

/// A file of a segment.
pub(super) fn path(directory: &Path, base: u64, suffix: &str) -> PathBuf {
    directory.join(format!("{base:0NAME_DIGITS$}{suffix}"))
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
    let suffixes = [DATA_SUFFIX, INDEX_SUFFIX, NOTES_SUFFIX];
    let digits = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix))?;
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
    /// Bytes of its durable checkpoints.
    notes_bytes: u64,
    /// Bytes of the durable values beside its records.
    pub(super) values_bytes: u64,
    /// The tree before it.
    before: Frontier,
    files: Files<F>,
}

/// The files of a segment.
struct Files<F> {
    data: F,
    index: F,
    notes: F,
    values: F,
}

/// What opening a segment for writing found.
pub(super) enum Recovered<F> {
    /// It can be written; so many bytes behind the last whole record were cut. The entries are
    /// those of its records.
    Usable { segment: Segment<F>, cut_bytes: u64, entries: Vec<Entry> },
    /// It holds nothing and was being made when the writer ended.
    Unfinished,
    /// Durable records are damaged, the first of them at `first`; the log goes on at `next`.
    Damaged { first: u64, next: u64 },
}

impl<F: File> Files<F> {
    fn open<S: Filesystem<File = F>>(
        filesystem: &S,
        directory: &Path,
        base: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            data: filesystem.create(&data_path(directory, base))?,
            index: filesystem.create(&index_path(directory, base))?,
            notes: filesystem.create(&notes_path(directory, base))?,
            values: filesystem.create(&values::path(directory, base))?,
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.data.sync()?;
        self.index.sync()?;
        self.notes.sync()
    }
}

impl<F: File> Segment<F> {
    /// Makes an empty segment behind a tree durable, in place of what an earlier attempt may have
    /// left.
    pub(super) fn create<S>(filesystem: &S, directory: &Path, before: Frontier) -> io::Result<Self>
    where
        S: Filesystem<File = F>,
    {
        let base = before.size();
        let mut files = Files::open(filesystem, directory, base)?;
        files.data.set_size(0)?;
        files.index.set_size(0)?;
        files.notes.set_size(0)?;
        write_all(&files.index, &header(&before), 0)?;
        let values_bytes;
        (files.values, values_bytes) = values::create(filesystem, directory, base)?;
        files.sync()?;
        filesystem.sync_dir(directory)?;
        Ok(Self { base, records: 0, bytes: 0, notes_bytes: 0, values_bytes, before, files })
    }

    /// Index behind the last durable record.
    pub(super) fn end(&self) -> u64 {
        self.base + self.records
    }

    /// The tree before it.
    pub(super) fn before(&self) -> &Frontier {
        &self.before
    }

    /// Writes a batch behind the durable records and makes it durable: what stands beside the
    /// lines, then lines, then entries.
    pub(super) fn write(
        &mut self,
        lines: &[u8],
        batch: &[(u64, Hash)],
        values: &str,
    ) -> io::Result<()> {
        if !values.is_empty() {
            write_all(&self.files.values, values.as_bytes(), self.values_bytes)?;
            self.files.values.sync()?;
        }
        blocks::write(&self.files.data, lines, self.bytes)?;
        self.files.data.sync()?;
        let mut entries = Vec::with_capacity(batch.len() * ENTRY_BYTES);
        for (position, (end, leaf)) in batch.iter().enumerate() {
            let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
            let end = u32::try_from(self.bytes + end).map_err(too_large)?;
            let position_in_batch = u32::try_from(position).map_err(too_large)?;
            let entry = Entry { end, position: position_in_batch, leaf: *leaf };
            entries.extend(entry.encode(self.end() + position as u64));
        }
        write_all(&self.files.index, &entries, entry_offset(self.records))?;
        self.files.index.sync()?;
        self.bytes += lines.len() as u64;
        self.records += batch.len() as u64;
        self.values_bytes += values.len() as u64;
        Ok(())
    }

    /// Writes a checkpoint behind the durable ones and makes it durable.
    pub(super) fn write_note(&mut self, note: &str) -> io::Result<()> {
        write_all(&self.files.notes, note.as_bytes(), self.notes_bytes)?;
        self.files.notes.sync()?;
        self.notes_bytes += note.len() as u64;
        Ok(())
    }

    /// Cuts what failed commits left behind the durable records and checkpoints.
    pub(super) fn trim(&self) -> io::Result<()> {
        // Entries first: one without its line would be damage.
        self.files.index.set_size(entry_offset(self.records))?;
        self.files.index.sync()?;
        self.files.data.set_size(self.bytes)?;
        self.files.notes.set_size(self.notes_bytes)?;
        self.files.values.set_size(self.values_bytes)?;
        self.files.values.sync()?;
        self.files.sync()
    }

    /// Takes values away; how many went.
    pub(super) fn erase<S>(
        &mut self,
        filesystem: &S,
        directory: &Path,
        which: &Erasure,
    ) -> io::Result<u64>
    where
        S: Filesystem<File = F>,
    {
        let keeps = |value: &Value| !which.is_meant(value);
        let (file, bytes, gone) = values::rewrite(filesystem, directory, self.base, keeps)?;
        (self.files.values, self.values_bytes) = (file, bytes);
        Ok(gone)
    }

    /// Writes the header, the last batch and the last checkpoint once more. A sync that failed
    /// before the writer ended leaves bytes that can be read and are not on disk, and later syncs
    /// do not bring them there; all before these was durable before these began.
    fn write_again(&self, entries: &[Entry], note: &str) -> io::Result<()> {
        let files = &self.files;
        let note_offset = self.notes_bytes.saturating_sub(note.len() as u64);
        write_all(&files.notes, note.as_bytes(), note_offset)?;
        write_all(&files.index, &header(&self.before), 0)?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let start = (entries.len() - 1).saturating_sub(last.position as usize);
        let before = start.checked_sub(1).and_then(|before| entries.get(before));
        let offset = before.map_or(0, |entry| u64::from(entry.end));
        let bytes = usize::try_from(self.bytes - offset).unwrap_or(usize::MAX);
        write_all(&files.data, &read_up_to(&files.data, bytes, offset)?, offset)?;
        let batch = (self.base + start as u64..).zip(entries.iter().skip(start));
        let batch: Vec<u8> = batch.flat_map(|(at, entry)| entry.encode(at)).collect();
        write_all(&files.index, &batch, entry_offset(start as u64))
    }

    /// Opens the last segment of a log for writing. `last_note` finds the end of the last
    /// checkpoint that counts, and that checkpoint, in the text of all.
    pub(super) fn recover<S>(
        filesystem: &S,
        directory: &Path,
        base: u64,
        last_note: impl Fn(&str) -> (usize, Option<&str>),
    ) -> io::Result<Recovered<F>>
    where
        S: Filesystem<File = F>,
    {
        let files = Files::open(filesystem, directory, base)?;
        let data_bytes = files.data.size()?;
        let content = read_whole(&files.index)?;
        let Some(before) = parse_header(&content, base) else {
            let slots = slots(content.len() as u64);
            if data_bytes == 0 && slots == 0 {
                return Ok(Recovered::Unfinished);
            }
            let lines = count_lines(&files.data)?.max(slots);
            return Ok(Recovered::Damaged { first: base, next: base + lines });
        };
        let entries = decode_all(&content, base);
        let whole: Vec<Entry> = entries.iter().copied().map_while(|entry| entry).collect();
        let damaged = acknowledged_hole(&entries, whole.len()).or(first_bad_line(
            &files.data,
            data_bytes,
            &whole,
        )?);
        if let Some(position) = damaged {
            let next = base + entries.len() as u64;
            return Ok(Recovered::Damaged { first: base + position as u64, next });
        }
        let notes = read_text(&files.notes)?;
        let (notes_end, note) = last_note(&notes);
        let bytes = whole.last().map_or(0, |entry| u64::from(entry.end));
        let records = whole.len() as u64;
        let notes_bytes = notes_end as u64;
        // Written anew for the same reason as what `write_again` writes.
        let (file, values_bytes, _) = values::rewrite(filesystem, directory, base, |_| true)?;
        let files = Files { values: file, ..files };
        let segment = Self { base, records, bytes, notes_bytes, values_bytes, before, files };
        segment.write_again(&whole, note.unwrap_or_default())?;
        segment.trim()?;
        filesystem.sync_dir(directory)?;
        let cut_bytes = data_bytes.saturating_sub(bytes);
        Ok(Recovered::Usable { segment, cut_bytes, entries: whole })
    }
}

/// All of a file.
pub(super) fn read_whole(file: &impl File) -> io::Result<Vec<u8>> {
    read_up_to(file, usize::try_from(file.size()?).unwrap_or(usize::MAX), 0)
}

/// The text that a file begins with.
pub(super) fn read_text(file: &impl File) -> io::Result<String> {
    let bytes = read_whole(file)?;
    let valid = bytes.utf8_chunks().next().map(|chunk| chunk.valid().to_owned());
    Ok(valid.unwrap_or_default())
}

/// The entries of an index, `None` for each that is not whole.
pub(super) fn decode_all(index: &[u8], base: u64) -> Vec<Option<Entry>> {
    let entries = index.get(HEADER_BYTES..).unwrap_or_default().chunks_exact(ENTRY_BYTES);
    (base..).zip(entries).map(|(at, bytes)| Entry::decode(bytes, at)).collect()
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
