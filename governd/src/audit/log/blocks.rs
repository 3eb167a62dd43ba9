//! The lines of a batch, in memory where they will be in their file: a block of memory for each
//! block of the file. So a disk can take them from there, and nothing copies a flood of them into
//! the page cache, from where it would drive what the host's programs need.

use std::io;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::storage::{File, write_all};

/// What every file system takes at a time.
const BLOCK_BYTES: usize = 4_096;
/// Blocks that are there from the first line on.
const BLOCKS_MIN: usize = 16;
/// Bytes that are written past the page cache: more than a second of usual work has. Readers find
/// what is less still in memory.
const LARGE_BYTES: usize = 1 << 20;

#[derive(Clone, FromBytes, Immutable, IntoBytes)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// Lines, each with its newline.
#[derive(Default)]
pub(super) struct Lines {
    blocks: Vec<Block>,
    /// Where they begin, and where they end.
    start: usize,
    end: usize,
}

impl Lines {
    /// The first of them will be at an offset of its file.
    pub(super) fn begin(&mut self, offset: u64) {
        self.start = within_block(offset);
        self.end = self.start;
    }

    /// Takes all of them away.
    pub(super) fn clear(&mut self) {
        self.end = self.start;
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &[u8]) {
        let end = self.end + line.len() + 1;
        let needed = end.div_ceil(BLOCK_BYTES);
        if needed > self.blocks.len() {
            let more = needed.max(self.blocks.len() * 2).max(BLOCKS_MIN);
            self.blocks.resize_with(more, Block::new_zeroed);
        }
        let room = self.blocks.as_mut_slice().as_mut_bytes().get_mut(self.end..end);
        if let Some((newline, text)) = room.and_then(<[u8]>::split_last_mut) {
            text.copy_from_slice(line);
            *newline = b'\n';
            self.end = end;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.blocks.as_slice().as_bytes().get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

fn within_block(offset: u64) -> usize {
    // The rest of a division by a small number.
    usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or_default()
}

/// Writes lines at an offset, the whole blocks of many of them past the page cache. Their first and
/// last block may be in it, with what is durable or what comes next.
pub(super) fn write(file: &impl File, lines: &[u8], offset: u64) -> io::Result<()> {
    let before = within_block(BLOCK_BYTES as u64 - offset % BLOCK_BYTES as u64);
    let rest = lines.get(before..).unwrap_or_default();
    let (blocks, after) = rest.split_at(rest.len() - rest.len() % BLOCK_BYTES);
    let is_in_place = (blocks.as_ptr() as usize).is_multiple_of(BLOCK_BYTES);
    let from = offset + before as u64;
    if blocks.len() < LARGE_BYTES || !is_in_place || !has_taken(file, blocks, from) {
        return write_all(file, lines, offset);
    }
    write_all(file, lines.get(..before).unwrap_or_default(), offset)?;
    write_all(file, after, from + blocks.len() as u64)
}

/// Not every file system can, and what it refuses for another reason it refuses again.
fn has_taken(file: &impl File, blocks: &[u8], offset: u64) -> bool {
    file.write_blocks_at(blocks, offset).is_ok_and(|written| written == blocks.len())
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::audit::log::{
        Filesystem,
        sim::{Fault, Sim},
        storage::read_up_to,
    };

    const LINE: [u8; 999] = [b'x'; 999];

    /// So many kilobytes of lines as they would be written at an offset.
    fn lines(lines: &mut Lines, kilobytes: usize, offset: u64) -> Vec<u8> {
        lines.clear();
        lines.begin(offset);
        for number in 0..kilobytes {
            let mut line = LINE;
            line[..8].copy_from_slice(&(offset + number as u64).to_le_bytes());
            lines.push(&line);
        }
        assert_eq!(lines.bytes().as_ptr() as usize % BLOCK_BYTES, within_block(offset));
        assert_eq!((lines.len(), lines.bytes().last()), (kilobytes * 1_000, Some(&b'\n')));
        lines.bytes().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

        #[test]
        fn batches_of_any_size_stand_one_behind_the_other(
            before in 1_usize..9_000,
            batches in proptest::collection::vec(1_usize..3_000, 1..5),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("lines");
            let mut file = OpenOptions::new();
            let file = file.read(true).write(true).create_new(true).open(path).unwrap();
            let (mut batch, mut whole) = (Lines::default(), vec![b'y'; before]);
            write_all(&file, &whole, 0).unwrap();
            for kilobytes in batches {
                let offset = whole.len() as u64;
                whole.extend(lines(&mut batch, kilobytes, offset));
                write(&file, batch.bytes(), offset).unwrap();
                // A reader finds them at once, and what is written next is in the page cache again.
                prop_assert!(read_up_to(&file, whole.len() + 1, 0).unwrap() == whole);
                let flags = rustix::fs::fcntl_getfl(&file).unwrap();
                prop_assert!(!flags.contains(rustix::fs::OFlags::DIRECT));
            }
        }
    }

    #[test]
    fn what_cannot_be_written_past_the_page_cache_is_written_as_usual() {
        // One write that is short or refused is that of the blocks, the ones after it are not.
        for fault in [Fault::Short, Fault::Full] {
            let (sim, mut batch) = (Sim::default(), Lines::default());
            let file = sim.create(Path::new("/lines")).unwrap();
            let whole = lines(&mut batch, 2_000, 0);
            sim.fail(0, 1, fault);
            write(&file, batch.bytes(), 0).unwrap();
            assert!(read_up_to(&file, whole.len() + 1, 0).unwrap() == whole, "{fault:?}");
        }
    }

    #[test]
    fn a_disk_that_refuses_is_an_error() {
        let (sim, mut batch) = (Sim::default(), Lines::default());
        let file = sim.create(Path::new("/lines")).unwrap();
        lines(&mut batch, 2_000, 500);
        sim.fail(0, 2, Fault::Full);
        let error = write(&file, batch.bytes(), 500).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        write(&file, batch.bytes(), 500).unwrap();
        assert!(read_up_to(&file, batch.len(), 500).unwrap() == batch.bytes());
    }
}
