//! A range of records with what proves that they are in a host's log, in this order and with none
//! left out between them: one file, which needs nothing of governd to check. Pure.
//!
//! # Format
//!
//! ```text
//! governd.dev/log-extract@v1
//! range 4096 5000
//! before HASH          for each complete subtree of the records before the range, from the left
//! behind HASH          for each of those between the range and the checkpoint's size
//!
//! the checkpoint, a signed note (C2SP tlog-checkpoint)
//!
//! the records, one line each
//! ```
//!
//! Hashes are in base64. The subtrees behind a range that ends at `at`, in a tree of `size`, are
//! each the largest power of two that divides `at` and does not go beyond `size`. Who adds these,
//! the records' leaves and those behind one after the other gets the root, and so knows all of it.

use std::{fmt, ops::Range};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    checkpoint::{Checkpoint, NoteError, Opens, note_len},
    tree::{Frontier, Hash, leaf_hash},
};

/// First line of the file.
pub const MARK: &str = "governd.dev/log-extract@v1";

const RANGE: &str = "range ";
const BEFORE: &str = "before ";
const BEHIND: &str = "behind ";
/// Longest head, in bytes: 128 hashes and a note with some signatures need far less.
pub const HEAD_BYTES_MAX: usize = 64 * 1_024;

/// What stands before the records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    /// Indices of the records.
    pub range: Range<u64>,
    /// The tree before the range, by its complete subtrees.
    pub before: Vec<Hash>,
    /// The complete subtrees behind it.
    pub behind: Vec<Hash>,
    /// The checkpoint, as a signed note.
    pub checkpoint: String,
}

/// Why an extract proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ExtractError {
    /// It is not of this form.
    #[error("this is no extract of a log, or it is cut")]
    Malformed,
    /// The checkpoint is not to be trusted.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// There are more or fewer records than it says.
    #[error("it has {found} records and says {said}")]
    Count {
        /// Records in it.
        found: u64,
        /// Records that its head promises.
        said: u64,
    },
    /// The records lead to another root.
    #[error("the records are not those that were signed")]
    Root,
}

/// Sizes of the complete subtrees between two indices, in order.
pub fn subtrees(mut at: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    while at < size {
        let room = size - at;
        // What divides 0 is the whole tree.
        let aligned = if at == 0 { u64::MAX } else { 1 << at.trailing_zeros() };
        let fits = 1 << room.ilog2();
        let part = aligned.min(fits);
        ranges.push(at..at + part);
        at += part;
    }
    ranges
}

impl Head {
    /// Reads a head, and says how many bytes it has.
    ///
    /// # Errors
    ///
    /// If the text does not begin with one.
    pub fn parse(text: &str) -> Result<(Self, usize), ExtractError> {
        let malformed = ExtractError::Malformed;
        let (head, rest) = text.split_once("\n\n").ok_or(malformed)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(MARK) {
            return Err(malformed);
        }
        let range = lines.next().and_then(|line| line.strip_prefix(RANGE)?.split_once(' '));
        let (from, to) = range.ok_or(malformed)?;
        let (from, to) = (number(from).ok_or(malformed)?, number(to).ok_or(malformed)?);
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        for line in lines {
            let (list, hash) = match (line.strip_prefix(BEFORE), line.strip_prefix(BEHIND)) {
                (Some(hash), _) if behind.is_empty() => (&mut before, hash),
                (_, Some(hash)) => (&mut behind, hash),
                _ => return Err(malformed),
            };
            let hash = BASE64.decode(hash).ok().and_then(|bytes| bytes.try_into().ok());
            list.push(hash.ok_or(malformed)?);
        }
        let note = note_len(rest).and_then(|len| rest.get(..len)).ok_or(malformed)?;
        let behind_note = rest.get(note.len()..).and_then(|rest| rest.strip_prefix('\n'));
        behind_note.ok_or(malformed)?;
        let bytes = head.len() + "\n\n".len() + note.len() + "\n".len();
        Ok((Self { range: from..to, before, behind, checkpoint: note.to_owned() }, bytes))
    }

    /// Begins to check what follows it against the key of the log.
    ///
    /// # Errors
    ///
    /// If the checkpoint is not the key's, or the head does not fit it.
    pub fn check(&self, key: &dyn Opens) -> Result<Check, ExtractError> {
        let checkpoint = key.open(&self.checkpoint)?;
        let Range { start, end } = self.range;
        if start >= end || end > checkpoint.size {
            return Err(ExtractError::Malformed);
        }
        let tree = Frontier::new(start, self.before.clone()).ok_or(ExtractError::Malformed)?;
        if subtrees(end, checkpoint.size).len() != self.behind.len() {
            return Err(ExtractError::Malformed);
        }
        Ok(Check { end, start, tree, behind: self.behind.clone(), checkpoint })
    }
}

fn number(text: &str) -> Option<u64> {
    // A number has one form: no sign and no leading zero.
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range, before, behind, checkpoint } = self;
        writeln!(f, "{MARK}\n{RANGE}{} {}", range.start, range.end)?;
        for hash in before {
            writeln!(f, "{BEFORE}{}", BASE64.encode(hash))?;
        }
        for hash in behind {
            writeln!(f, "{BEHIND}{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{checkpoint}\n")
    }
}

/// Checks records as they come, so that none has to be kept.
#[derive(Debug)]
pub struct Check {
    start: u64,
    end: u64,
    tree: Frontier,
    behind: Vec<Hash>,
    checkpoint: Checkpoint,
}

impl Check {
    /// Takes the next record, without its newline.
    pub fn push(&mut self, line: &[u8]) {
        self.tree.push(leaf_hash(line));
    }

    /// Whether the records are those that were signed: gives the checkpoint.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub fn finish(self) -> Result<Checkpoint, ExtractError> {
        let Self { start, end, mut tree, behind, checkpoint } = self;
        if tree.size() != end {
            let (found, said) = (tree.size() - start, end - start);
            return Err(ExtractError::Count { found, said });
        }
        for (range, hash) in subtrees(end, checkpoint.size).into_iter().zip(behind) {
            tree.push_subtree(range.end - range.start, hash);
        }
        if tree.root() == checkpoint.root { Ok(checkpoint) } else { Err(ExtractError::Root) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{
        checkpoint::{Signer, Verifier},
        tree,
    };

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size).map(|n| leaf_hash(n.to_string().as_bytes())).collect()
    }

    fn extract(range: Range<u64>, size: u64, signer: &Signer) -> Head {
        let leaves = leaves(size);
        let of = |range: Range<u64>| &leaves[range.start as usize..range.end as usize];
        let mut before = Frontier::default();
        of(0..range.start).iter().for_each(|leaf| before.push(*leaf));
        let behind = subtrees(range.end, size).into_iter().map(|part| tree::root(of(part)));
        Head {
            before: before.peaks().to_vec(),
            behind: behind.collect(),
            checkpoint: signer.sign(size, tree::root(&leaves)),
            range,
        }
    }

    fn checked(
        head: &Head,
        key: &Verifier,
        records: impl IntoIterator<Item = u64>,
    ) -> Result<u64, ExtractError> {
        let mut check = head.check(key)?;
        for record in records {
            check.push(record.to_string().as_bytes());
        }
        check.finish().map(|checkpoint| checkpoint.size)
    }

    #[test]
    fn every_range_of_every_small_log_is_proven_and_no_other() {
        let signer = Signer::new("governd/host-a", [7; 32]).unwrap();
        let key = signer.verifier();
        for size in 1..20 {
            for start in 0..size {
                for end in start + 1..=size {
                    let head = extract(start..end, size, &signer);
                    let text = head.to_string();
                    assert_eq!(Head::parse(&text), Ok((head.clone(), text.len())));
                    assert_eq!(checked(&head, key, start..end), Ok(size), "{start} {end} {size}");
                    let count = end - start;
                    let fewer = ExtractError::Count { found: count - 1, said: count };
                    assert_eq!(checked(&head, key, start + 1..end), Err(fewer));
                    let others = (start..end).map(|n| if n == start { 99 } else { n });
                    assert_eq!(checked(&head, key, others), Err(ExtractError::Root));
                    let shifted = Head { range: start + 1..end + 1, ..head.clone() };
                    assert!(checked(&shifted, key, start..end).is_err());
                    for part in 0..head.before.len() + head.behind.len() {
                        let mut changed = head.clone();
                        let mut hashes = changed.before.iter_mut().chain(&mut changed.behind);
                        hashes.nth(part).unwrap()[3] ^= 1;
                        assert_eq!(checked(&changed, key, start..end), Err(ExtractError::Root));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_extract_is_refused() {
        let signer = Signer::new("governd/host-a", [7; 32]).unwrap();
        let text = extract(2..4, 5, &signer).to_string();
        for (from, to) in [
            (MARK, "governd.dev/log-extract@v2"),
            ("range 2 4", "range 02 4"),
            ("range 2 4", "range 2"),
            ("before ", "behind "),
            ("behind ", "before "),
            ("\n\n", "\n"),
        ] {
            let changed = text.replace(from, to);
            let error = Head::parse(&changed).and_then(|(head, _)| head.check(signer.verifier()));
            assert!(error.is_err(), "{from} {to}");
        }
        let other = Signer::new("governd/host-a", [8; 32]).unwrap();
        let head = extract(2..4, 5, &signer);
        let error = checked(&head, other.verifier(), 2..4).unwrap_err();
        assert_eq!(error, ExtractError::Checkpoint(NoteError::Unsigned));
        for range in [0..0, 4..6] {
            let head = Head { range, ..head.clone() };
            assert_eq!(head.check(signer.verifier()).err(), Some(ExtractError::Malformed));
        }
    }
}
