//! The reading side: from an index onwards, also while the writer appends.

use std::{collections::VecDeque, io, path::PathBuf};

use super::{
    ReadError, Values,
    segment::{self, ENTRY_BYTES, Entry},
    storage::{Disk, File, Filesystem, read_up_to},
};
use crate::audit::tree::Hash;

/// Entries read at a time.
const CHUNK_ENTRIES: usize = 256;

/// A record as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Its index.
    pub index: u64,
    /// Its bytes, without newline.
    pub bytes: Vec<u8>,
    /// Its leaf hash, which the bytes have been checked against.
    pub leaf: Hash,
}

/// Reads a log in order.
pub struct Reader<F: Filesystem = Disk> {
    filesystem: F,
    directory: PathBuf,
    next: u64,
    open: Option<Open<F::File>>,
    ready: VecDeque<Result<Line, ReadError>>,
    /// Where user names and command lines are, if lines are read with them.
    values: Option<Values<F>>,
}

struct Open<F> {
    base: u64,
    data: F,
    index: F,
}

impl<F: Filesystem> Reader<F> {
    /// Reads from an index onwards; from the first record that is there, if that one is later.
    pub fn new(filesystem: F, directory: impl Into<PathBuf>, from: u64) -> Self {
        let directory = directory.into();
        Self { filesystem, directory, next: from, open: None, ready: VecDeque::new(), values: None }
    }

    /// Reads lines as people and receivers get to see them, with the values that stand beside the
    /// records in their places. Such bytes are not what the leaf hash is of.
    pub fn shown(mut self) -> Self
    where
        F: Clone,
    {
        self.values = Some(Values::new(self.filesystem.clone(), &self.directory));
        self
    }

    /// Reads the last so many records, and what comes then.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn last(
        filesystem: F,
        directory: impl Into<PathBuf>,
        records: u64,
    ) -> Result<Self, ReadError> {
        let directory = directory.into();
        let unreadable = |source| ReadError::Io { path: directory.clone(), source };
        let bases = segment::bases(&filesystem, &directory).map_err(unreadable)?;
        let Some(base) = bases.last() else {
            return Ok(Self::new(filesystem, directory, 0));
        };
        let path = segment::index_path(&directory, *base);
        let bytes = match filesystem.open(&path).and_then(|file| file.size()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            other => other.map_err(|source| ReadError::Io { path, source })?,
        };
        let end = base + segment::slots(bytes);
        Ok(Self::new(filesystem, directory, end.saturating_sub(records)))
    }

    /// Index of the record that [`Reader::read`] looks for next.
    pub fn position(&self) -> u64 {
        let first = self.ready.front().and_then(|line| line.as_ref().ok());
        first.map_or(self.next, |line| line.index)
    }

    /// The next record, or `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// If files cannot be read, or records are damaged or missing; the next call goes on behind
    /// them.
    pub fn read(&mut self) -> Result<Option<Line>, ReadError> {
        if self.ready.is_empty() {
            self.fill()?;
        }
        let mut line = self.ready.pop_front().transpose()?;
        if let (Some(values), Some(line)) = (&mut self.values, &mut line) {
            line.bytes = values.show(line.index, &line.bytes)?.into_bytes();
        }
        Ok(line)
    }

    fn fill(&mut self) -> Result<(), ReadError> {
        // While the open segment has more nobody needs to look for another.
        self.read_chunk(None)?;
        while self.ready.is_empty() {
            let directory = self.directory.clone();
            let unreadable = |source| ReadError::Io { path: directory, source };
            let bases = segment::bases(&self.filesystem, &self.directory).map_err(unreadable)?;
            let Some(first) = bases.first() else {
                return Ok(());
            };
            self.next = self.next.max(*first);
            let base = bases.iter().copied().rfind(|base| *base <= self.next).unwrap_or(*first);
            let limit = bases.iter().copied().find(|base| *base > self.next);
            self.switch_to(base)?;
            self.read_chunk(limit)?;
            let Some(limit) = limit.filter(|_| self.ready.is_empty()) else {
                return Ok(());
            };
            // A later segment is there, so this one is finished: what it lacks is missing.
            if self.next < limit {
                let path = segment::data_path(&self.directory, base);
                let (first, last) = (self.next, limit - 1);
                self.next = limit;
                return Err(ReadError::Damaged { first, last, path });
            }
        }
        Ok(())
    }

    fn switch_to(&mut self, base: u64) -> Result<(), ReadError> {
        if self.open.as_ref().is_some_and(|open| open.base == base) {
            return Ok(());
        }
        let open = |path: PathBuf| match self.filesystem.open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError::Io { path, source }),
        };
        let data = open(segment::data_path(&self.directory, base))?;
        let index = open(segment::index_path(&self.directory, base))?;
        // The writer may be about to make the second of them.
        self.open = data.zip(index).map(|(data, index)| Open { base, data, index });
        Ok(())
    }

    /// Reads whole records of the open segment into `ready`, up to an index.
    fn read_chunk(&mut self, limit: Option<u64>) -> Result<(), ReadError> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let data_path = segment::data_path(&self.directory, open.base);
        let unreadable = |source| ReadError::Io { path: data_path.clone(), source };
        let room = limit.map_or(u64::MAX, |limit| limit - self.next);
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(CHUNK_ENTRIES);
        let (start, entries) = open.entries(self.next, count).map_err(unreadable)?;
        let end = entries.last().map_or(start, |entry| u64::from(entry.end));
        let bytes = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let bytes = read_up_to(&open.data, bytes, start).map_err(unreadable)?;
        let lines = segment::lines(&bytes, start, &entries);
        for ((index, entry), line) in (self.next..).zip(&entries).zip(lines) {
            self.ready.push_back(match line {
                Some(bytes) => Ok(Line { index, bytes: bytes.to_vec(), leaf: entry.leaf }),
                None => {
                    let path = data_path.clone();
                    Err(ReadError::Damaged { first: index, last: index, path })
                }
            });
        }
        self.next += entries.len() as u64;
        Ok(())
    }
}

impl<F: File> Open<F> {
    /// Offset of a record's line and the whole entries from it on.
    fn entries(&self, from: u64, count: usize) -> io::Result<(u64, Vec<Entry>)> {
        let position = from - self.base;
        // The entry before tells where the line begins; the header stands before the first.
        let offset = segment::entry_offset(position) - ENTRY_BYTES as u64;
        let content = read_up_to(&self.index, (count + 1) * ENTRY_BYTES, offset)?;
        let mut chunks = content.chunks_exact(ENTRY_BYTES);
        let before = chunks.next().unwrap_or_default();
        let start = match from.checked_sub(1) {
            Some(index) if position > 0 => Entry::decode(before, index).map(|entry| entry.end),
            _ => Some(0),
        };
        let decoded = (from..).zip(chunks).map_while(|(at, bytes)| Entry::decode(bytes, at));
        let entries: Vec<Entry> = decoded.collect();
        Ok(match start {
            Some(start) => (u64::from(start), entries),
            None => (0, Vec::new()),
        })
    }
}
