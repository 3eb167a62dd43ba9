//! Proof that a record is in a host's log, which needs nothing of governd to check: the record, its
//! path through the Merkle tree and the signed checkpoint that the path leads to (C2SP tlog-proof;
//! the record's line stands in its `extra` field). Pure.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    checkpoint::{Checkpoint, NoteError, Opens},
    tree::{Frontier, Hash, ProofError, leaf_hash, verify_inclusion},
};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";

/// A record and what proves that it was logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The record's line, without its newline.
    pub record: Vec<u8>,
    /// Its index.
    pub index: u64,
    /// Hashes of the subtrees beside the path from the record to the root, nearest first.
    pub hashes: Vec<Hash>,
    /// The checkpoint, as a signed note.
    pub checkpoint: String,
}

/// Why a text is no proof.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} is not {expected}")]
pub struct MalformedProof {
    line: usize,
    expected: &'static str,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// The checkpoint is not to be trusted.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The record is not in the tree that the checkpoint is of.
    #[error(transparent)]
    Path(#[from] ProofError),
}

impl Proof {
    /// Reads a proof.
    ///
    /// # Errors
    ///
    /// If it is not one, with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, MalformedProof> {
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(MalformedProof { line: 1, expected: "a whole proof" })?;
        let mut lines = (1..).zip(head.split('\n'));
        let mut next = |expected| {
            let end = MalformedProof { line: head.split('\n').count() + 1, expected };
            lines.next().ok_or(end).map(|(line, text)| (text, MalformedProof { line, expected }))
        };
        let (header, wrong) = next("the mark of a C2SP tlog-proof")?;
        if header != HEADER {
            return Err(wrong);
        }
        let (extra, wrong) = next("`extra` and a record in base64")?;
        let record = extra.strip_prefix(EXTRA).and_then(|text| BASE64.decode(text).ok());
        let record = record.ok_or(wrong)?;
        let (index, wrong) = next("`index` and a number")?;
        let number = index.strip_prefix(INDEX).and_then(|text| text.parse::<u64>().ok());
        // A number has one form: no sign and no leading zero.
        let index = number.filter(|number| format!("{INDEX}{number}") == index).ok_or(wrong)?;
        let hash = |(line, text): (usize, &str)| {
            let decoded = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            decoded.ok_or(MalformedProof { line, expected: "a hash of 32 bytes in base64" })
        };
        let hashes = lines.map(hash).collect::<Result<Vec<Hash>, _>>()?;
        Ok(Self { record, index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that the record is in the log that the key signs for, and gives the checkpoint.
    ///
    /// # Errors
    ///
    /// If it is not proven.
    pub fn check(&self, key: &dyn Opens) -> Result<Checkpoint, CheckError> {
        let checkpoint = key.open(&self.checkpoint)?;
        let leaf = leaf_hash(&self.record);
        verify_inclusion(&leaf, self.index, checkpoint.size, &self.hashes, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

/// The proofs in a text that has several, one after the other.
pub fn each(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        // Nothing in a proof begins a line so, but its first.
        let next = rest.get(1..)?.find(&format!("\n{HEADER}\n")).map(|at| at + "\n".len() + 1);
        let (proof, behind) = rest.split_at_checked(next.unwrap_or(rest.len()))?;
        rest = behind;
        Some(proof)
    })
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, index, hashes, checkpoint } = self;
        writeln!(f, "{HEADER}\n{EXTRA}{}\n{INDEX}{index}", BASE64.encode(record))?;
        for hash in hashes {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{checkpoint}")
    }
}

/// Finds the path of one leaf while all leaves of the tree pass once, in order, so that a log need
/// not fit into memory.
#[derive(Debug)]
pub struct Path {
    /// The subtrees beside the path, nearest first: where each ends, and what passed of it.
    beside: Vec<(std::ops::Range<u64>, Frontier)>,
    index: u64,
    next: u64,
    size: u64,
}

impl Path {
    /// The path of the leaf at an index of a tree of a size; `None` if there is no such leaf.
    pub fn new(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let (mut start, mut end, mut beside) = (0, size, Vec::new());
        while end - start > 1 {
            // The left subtree is the largest complete one that leaves something for the right.
            let middle = start + (end - start).div_ceil(2).next_power_of_two();
            let other = if index < middle { middle..end } else { start..middle };
            (start, end) = if index < middle { (start, middle) } else { (middle, end) };
            beside.push((other, Frontier::default()));
        }
        beside.reverse();
        Some(Self { beside, index, next: 0, size })
    }

    /// Takes the tree of the first leaves instead of those themselves; `None` if the path's own
    /// leaf is among them.
    pub fn begin(&mut self, before: &Frontier) -> Option<()> {
        let index = self.index;
        if index < before.size() {
            return None;
        }
        // Each peak is a part of one subtree beside the path: both are the binary digits of their
        // ends, and the path's is not the smaller one.
        let (mut start, mut rest) = (0, before.size());
        let mut peaks = before.peaks().iter();
        for (range, tree) in self.beside.iter_mut().rev() {
            let size = before.size().min(range.end).saturating_sub(range.start);
            if range.start != start || size == 0 {
                continue;
            }
            let own: Vec<Hash> = peaks.by_ref().take(size.count_ones() as usize).copied().collect();
            *tree = Frontier::new(size, own)?;
            start += size;
            rest -= size;
        }
        self.next = before.size();
        (rest == 0).then_some(())
    }

    /// Takes the next leaf of the tree; what lies behind it is left alone.
    pub fn push(&mut self, leaf: Hash) {
        let at = self.next;
        if let Some((_, tree)) = self.beside.iter_mut().find(|(range, _)| range.contains(&at)) {
            tree.push(leaf);
        }
        self.next += 1;
    }

    /// The hashes, once every leaf has passed.
    pub fn finish(self) -> Option<Vec<Hash>> {
        (self.next >= self.size).then(|| self.beside.iter().map(|(_, tree)| tree.root()).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::checkpoint::Verifier;
    use crate::audit::{checkpoint::Signer, tree};

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(format!("{{\"n\":{number}}}").as_bytes())).collect()
    }

    fn proof(index: u64, size: u64) -> (Proof, Verifier) {
        let signer = Signer::new("governd/host-a", [7; 32]).unwrap();
        let leaves = leaves(size);
        let root = tree::root(&leaves);
        let mut path = Path::new(index, size).unwrap();
        leaves.iter().for_each(|leaf| path.push(*leaf));
        let proof = Proof {
            record: format!("{{\"n\":{index}}}").into_bytes(),
            index,
            hashes: path.finish().unwrap(),
            checkpoint: signer.sign(size, root),
        };
        (proof, signer.verifier().clone())
    }

    #[test]
    fn a_path_begins_behind_leaves_that_are_known_by_their_tree() {
        for size in 1..40 {
            let leaves = leaves(size);
            for before in 0..size {
                let mut tree = Frontier::default();
                leaves.iter().take(before as usize).for_each(|leaf| tree.push(*leaf));
                for index in 0..size {
                    let mut path = Path::new(index, size).unwrap();
                    assert_eq!(path.begin(&tree).is_some(), index >= before);
                    if index >= before {
                        leaves.iter().skip(before as usize).for_each(|leaf| path.push(*leaf));
                        let expected = tree::inclusion_proof(&leaves, index as usize);
                        assert_eq!(path.finish(), expected, "{index} of {size} from {before}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_path_is_the_one_of_the_whole_tree() {
        for size in 1..70 {
            let leaves = leaves(size);
            for index in 0..size {
                let mut path = Path::new(index, size).unwrap();
                leaves.iter().for_each(|leaf| path.push(*leaf));
                let expected = tree::inclusion_proof(&leaves, index as usize);
                assert_eq!(path.finish(), expected, "{index} of {size}");
            }
            assert!(Path::new(size, size).is_none());
        }
    }

    #[test]
    fn a_tree_that_is_not_all_there_has_no_path() {
        let mut path = Path::new(1, 3).unwrap();
        leaves(2).iter().for_each(|leaf| path.push(*leaf));
        assert!(path.finish().is_none());
    }

    proptest! {
        #[test]
        fn a_proof_is_read_back_and_checks(size in 1_u64..200, at in 0.0..1.0_f64) {
            let index = (at * size as f64) as u64;
            let (proof, key) = proof(index, size);
            let read = Proof::parse(&proof.to_string()).unwrap();
            prop_assert_eq!(&read, &proof);
            prop_assert_eq!(read.check(&key).unwrap().size, size);
        }

        #[test]
        fn a_proof_with_one_byte_changed_proves_nothing(
            size in 1_u64..40,
            at in 0.0..1.0_f64,
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let (proof, key) = proof((at * size as f64) as u64, size);
            let mut bytes = proof.to_string().into_bytes();
            let place = place.index(bytes.len());
            prop_assume!(bytes[place] != byte);
            bytes[place] = byte;
            let read = String::from_utf8(bytes).ok().and_then(|text| Proof::parse(&text).ok());
            prop_assert!(read.is_none_or(|read| read.check(&key).is_err()));
        }
    }

    #[test]
    fn what_is_no_proof_is_refused_with_the_line() {
        let (proof, _) = proof(5, 9);
        let text = proof.to_string();
        let line = |text: &str| Proof::parse(text).unwrap_err().to_string();
        assert_eq!(line(""), "line 1 is not a whole proof");
        assert_eq!(
            line(&text.replace("@v1", "@v2")),
            "line 1 is not the mark of a C2SP tlog-proof"
        );
        assert_eq!(
            line(&text.replace("extra ", "extra !")),
            "line 2 is not `extra` and a record in base64"
        );
        assert_eq!(
            line(&text.replace("index 5", "index 05")),
            "line 3 is not `index` and a number"
        );
        assert_eq!(
            line(&text.replace("index 5\n", "index 5\nAAAA\n")),
            "line 4 is not a hash of 32 bytes in base64"
        );
    }

    #[test]
    fn a_proof_of_another_place_or_log_is_none() {
        let (good, key) = proof(5, 9);
        let moved = Proof { index: 6, ..good.clone() };
        assert_eq!(moved.check(&key), Err(CheckError::Path(ProofError::Root)));
        let beyond = Proof { index: 9, ..good.clone() };
        assert_eq!(beyond.check(&key), Err(CheckError::Path(ProofError::Range)));
        let other = Signer::new("governd/host-a", [8; 32]).unwrap();
        let unsigned = good.check(other.verifier());
        assert_eq!(unsigned, Err(CheckError::Checkpoint(NoteError::Unsigned)));
    }
}
