//! Hashes of leaves, one after the other. Lines in a row begin alike, since most are of the same
//! process; what SHA-256 has made of that beginning is kept, and only the rest is hashed anew.

use ring::digest::{self, SHA256};

use super::{Hash, LEAF_PREFIX, finish};

/// Bytes that SHA-256 takes at a time.
const BLOCK_BYTES: usize = 64;
/// How much of a line is compared with the one before it.
const BEGINNING_BYTES_MAX: usize = 32 * BLOCK_BYTES;
/// Blocks that a longer beginning must have more than the one that is kept: a number that has now
/// one digit more and now one less does not make it be hashed again each time.
const GROWTH_BLOCKS: usize = 3;

/// Hashes leaves; each is [`super::leaf_hash`] of its line.
pub struct Leaves {
    /// The beginning of the last line.
    last: Vec<u8>,
    /// Whole blocks of it that `state` has, the leaf's prefix among them.
    blocks: usize,
    state: digest::Context,
}

impl Default for Leaves {
    fn default() -> Self {
        Self { last: Vec::new(), blocks: 0, state: begun() }
    }
}

impl Leaves {
    /// The hash of a record's line, without its newline.
    pub fn hash(&mut self, line: &[u8]) -> Hash {
        let common = self.common_blocks(line);
        if common < self.blocks {
            (self.blocks, self.state) = (0, begun());
        }
        if common >= self.blocks + GROWTH_BLOCKS {
            self.state.update(line.get(behind(self.blocks)..behind(common)).unwrap_or_default());
            self.blocks = common;
        }
        let same = behind(common);
        self.last.truncate(same);
        let rest = line.get(same..line.len().min(BEGINNING_BYTES_MAX));
        self.last.extend_from_slice(rest.unwrap_or_default());
        let mut state = self.state.clone();
        state.update(line.get(behind(self.blocks)..).unwrap_or_default());
        finish(state)
    }

    /// Whole blocks that a line has in common with the last one.
    fn common_blocks(&self, line: &[u8]) -> usize {
        // The first has the leaf's prefix in front, and so is one byte shorter here.
        let first = behind(1);
        if self.last.get(..first).is_none_or(|last| line.get(..first) != Some(last)) {
            return 0;
        }
        let rest = |bytes| <[u8]>::get(bytes, first..).unwrap_or_default();
        let (last, _) = rest(&self.last).as_chunks::<BLOCK_BYTES>();
        let (line, _) = rest(line).as_chunks::<BLOCK_BYTES>();
        1 + last.iter().zip(line).take_while(|(last, line)| last == line).count()
    }
}

fn begun() -> digest::Context {
    let mut state = digest::Context::new(&SHA256);
    state.update(&[LEAF_PREFIX]);
    state
}

/// Where in a line so many blocks end.
const fn behind(blocks: usize) -> usize {
    (blocks * BLOCK_BYTES).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::leaf_hash, *};

    proptest! {
        /// Lines that share any part of a beginning, in any order.
        #[test]
        fn a_leaf_has_its_hash_whatever_was_hashed_before(
            text in proptest::collection::vec(0_u8..2, 3_000),
            lines in proptest::collection::vec((0_usize..3_000, 0_usize..3_000), 1..40),
        ) {
            let mut leaves = Leaves::default();
            for (changed, length) in lines {
                let mut line = text.clone();
                line[changed] ^= 7;
                line.truncate(length);
                prop_assert_eq!(leaves.hash(&line), leaf_hash(&line));
            }
        }
    }

    #[test]
    fn what_lines_have_in_common_is_hashed_once() {
        let mut leaves = Leaves::default();
        let line = |end: &str| format!("{}{end}", "x".repeat(1_000)).into_bytes();
        for (end, kept) in [("a", 0), ("b", 15), ("c", 15), ("", 15)] {
            assert_eq!(leaves.hash(&line(end)), leaf_hash(&line(end)));
            assert_eq!(leaves.blocks, kept, "{end}");
        }
        assert_eq!(leaves.hash(b"y"), leaf_hash(b"y"));
        assert_eq!(leaves.blocks, 0);
    }
}
