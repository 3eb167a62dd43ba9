//! Whether what a host sends goes on from what it sent before: the decision of a witness. Pure.
//!
//! A log may only grow. What is sent again must be what was sent, and what is new must lead to the
//! root that the host signed; anything else says that the host rewrote its history, lost some of
//! it, or that somebody writes in its name.

use super::{
    checkpoint::{Checkpoint, NoteError, Opens},
    keys::{Handover, Keys, KeysError},
    tree::{Frontier, Hash},
};

/// Records in a row and the checkpoint behind the last of them. Without a record it says where the
/// log ends.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Index of the first.
    pub first: u64,
    /// Their leaf hashes.
    pub leaves: &'a [Hash],
    /// The signed checkpoint, whose size is the index behind the last.
    pub note: &'a str,
    /// The tree before the first, where the host does not have the records before it any more.
    pub before: Option<&'a Frontier>,
}

/// What a batch adds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What the host signed.
    pub checkpoint: Checkpoint,
    /// The tree with the new records, or as it was where all of them are known.
    pub frontier: Frontier,
    /// Records of the batch that are known already.
    pub known: usize,
    /// The tree that the witness takes on trust: its first contact with a log whose first records
    /// are gone.
    pub begins: Option<Frontier>,
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It is not signed by the host's key.
    #[error("the checkpoint is not to be trusted: {0}")]
    Note(NoteError),
    /// The checkpoint is not the one behind the last record.
    #[error("the checkpoint is of {size} records and the batch ends at {end}")]
    Bounds {
        /// Records that the checkpoint covers.
        size: u64,
        /// The index behind the last record.
        end: u64,
    },
    /// Records between what is known and the batch are missing; the host may have them.
    #[error("the batch begins at record {first}, and record {size} is the next")]
    Gap {
        /// Index of the first record.
        first: u64,
        /// Records that are known.
        size: u64,
    },
    /// The host says that it does not have the records between what is known and the batch.
    #[error("records {size} to {} are gone from the host's log", first.saturating_sub(1))]
    Lost {
        /// Index of the first record that is left.
        first: u64,
        /// Records that are known.
        size: u64,
    },
    /// The log ends before what is known.
    #[error("the host's log ends at {size}, and had {known} records before")]
    Rewind {
        /// Where it ends.
        size: u64,
        /// Records that are known.
        known: u64,
    },
    /// A record is not what was sent under its index before.
    #[error("record {index} is not what this host sent before")]
    Fork {
        /// The first that differs.
        index: u64,
    },
    /// A record that replaces the key of the log has others behind it, which another key signs.
    #[error("record {index} replaces the log's key and is not the last of its batch")]
    Behind {
        /// The record.
        index: u64,
    },
    /// A record replaces the key of the log and may not; or one that did is another now.
    #[error("record {index} is not what replaces the log's key: {why}")]
    Key {
        /// The record.
        index: u64,
        /// Why not.
        why: KeysError,
    },
    /// The records do not lead to the root that the host signed.
    #[error("the records up to {size} do not lead to the root that the host signed")]
    Root {
        /// Records that the checkpoint covers.
        size: u64,
    },
}

impl Refusal {
    /// Whether it says that the host's history is not what it was.
    pub const fn is_alarming(&self) -> bool {
        match self {
            Self::Note(_)
            | Self::Fork { .. }
            | Self::Root { .. }
            | Self::Key { .. }
            | Self::Lost { .. }
            | Self::Rewind { .. } => true,
            Self::Bounds { .. } | Self::Gap { .. } | Self::Behind { .. } => false,
        }
    }

    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Note(_) => "signature",
            Self::Bounds { .. } | Self::Behind { .. } => "bounds",
            Self::Key { .. } => "key",
            Self::Gap { .. } => "gap",
            Self::Lost { .. } => "lost",
            Self::Rewind { .. } => "rewind",
            Self::Fork { .. } => "fork",
            Self::Root { .. } => "root",
        }
    }
}

/// Judges a batch against the tree of what is known. `overlap` has the leaf hashes of the known
/// records from the batch's first on.
///
/// # Errors
///
/// If it does not go on from there.
pub fn judge(
    known: &Frontier,
    overlap: &[Hash],
    key: &dyn Opens,
    batch: Batch<'_>,
) -> Result<Step, Refusal> {
    let Batch { first, leaves, note, before } = batch;
    let checkpoint = key.open(note).map_err(Refusal::Note)?;
    let size = checkpoint.size;
    let end = first.saturating_add(leaves.len() as u64);
    if size != end {
        return Err(Refusal::Bounds { size, end });
    }
    if leaves.is_empty() && size < known.size() {
        return Err(Refusal::Rewind { size, known: known.size() });
    }
    // Of a log that nothing is known of, the beginning is what the host says; whether the host
    // signed a tree that begins so, the root tells.
    let begins = before.filter(|tree| known.size() == 0 && first > 0 && tree.size() == first);
    let known = begins.unwrap_or(known);
    if first > known.size() {
        let size = known.size();
        return Err(match before {
            Some(_) => Refusal::Lost { first, size },
            None => Refusal::Gap { first, size },
        });
    }
    let differs = (first..).zip(leaves.iter().zip(overlap)).find(|(_, (new, old))| new != old);
    if let Some((index, _)) = differs {
        return Err(Refusal::Fork { index });
    }
    let repeated = usize::try_from(known.size() - first).unwrap_or(usize::MAX).min(leaves.len());
    let mut frontier = known.clone();
    for leaf in leaves.iter().skip(repeated) {
        frontier.push(*leaf);
    }
    // A checkpoint of the past has a root that the tree of today does not tell; its records are
    // known to be the same.
    if size == frontier.size() && frontier.root() != checkpoint.root {
        return Err(Refusal::Root { size });
    }
    Ok(Step { checkpoint, frontier, known: repeated, begins: begins.cloned() })
}

/// The record by which a batch replaces the key of its log, which is its last, and what it says.
///
/// # Errors
///
/// If there are records behind it, or the record where a key was replaced is not the one that did.
pub fn rotation<'l>(
    keys: &Keys,
    first: u64,
    lines: impl Iterator<Item = &'l str>,
) -> Result<Option<(&'l str, Handover)>, Refusal> {
    let mut found = None;
    for (index, line) in (first..).zip(lines) {
        if let Some((_, Handover { at, .. })) = found {
            return Err(Refusal::Behind { index: at });
        }
        let (is_one, known) = (Handover::is_in(line), keys.record_at(index));
        if !is_one && known.is_none() {
            continue;
        }
        let refused = |why| Refusal::Key { index, why };
        if known.is_some_and(|known| known != line.as_bytes()) {
            return Err(refused(KeysError::Record(index)));
        }
        found = Some((line, Handover::of(line.as_bytes(), index).map_err(refused)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{
        checkpoint::Signer,
        tree::{self, leaf_hash},
    };

    fn host() -> Signer {
        Signer::new("governd/host", [1; 32]).unwrap()
    }

    fn lines(count: u64) -> Vec<String> {
        (0..count).map(|number| format!("{{\"n\":{number}}}")).collect()
    }

    fn hashes(lines: &[String]) -> Vec<Hash> {
        lines.iter().map(|line| leaf_hash(line.as_bytes())).collect()
    }

    fn tree_of(lines: &[String]) -> Frontier {
        let mut frontier = Frontier::new(0, Vec::new()).unwrap();
        hashes(lines).into_iter().for_each(|leaf| frontier.push(leaf));
        frontier
    }

    /// What is said of lines from an index on, when so many are known.
    fn said(all: &[String], known: &[String], first: usize, note: &str) -> Result<Step, Refusal> {
        let leaves = hashes(&all[first..]);
        let overlap = hashes(known).split_off(first.min(known.len()));
        let batch = Batch { first: first as u64, leaves: &leaves, note, before: None };
        judge(&tree_of(known), &overlap, host().verifier(), batch)
    }

    #[test]
    fn only_what_goes_on_is_taken() {
        let all = lines(7);
        let root = tree::root(&hashes(&all));
        let note = host().sign(7, root);
        let step = said(&all, &all[..4], 4, &note).unwrap();
        assert_eq!((step.known, step.frontier.size(), step.frontier.root()), (0, 7, root));
        let again = said(&all, &all, 2, &note).unwrap();
        assert_eq!((again.known, again.frontier.size()), (5, 7));

        let mut other = all.clone();
        other[5] = "{}".to_owned();
        let rows = [
            (said(&all, &all[..2], 4, &note), Refusal::Gap { first: 4, size: 2 }),
            (said(&other, &all, 4, &note), Refusal::Fork { index: 5 }),
            (said(&other, &all[..4], 4, &note), Refusal::Root { size: 7 }),
            (said(&all[..6], &all[..4], 4, &note), Refusal::Bounds { size: 7, end: 6 }),
            (
                said(&all, &all[..4], 4, &note.replacen("\n7\n", "\n8\n", 1)),
                Refusal::Note(NoteError::Signature),
            ),
            (
                said(
                    &all,
                    &all[..4],
                    4,
                    &Signer::new("governd/other", [1; 32]).unwrap().sign(7, root),
                ),
                Refusal::Note(NoteError::Origin),
            ),
        ];
        for (said, refusal) in rows {
            assert_eq!(said.unwrap_err(), refusal);
        }
    }

    #[test]
    fn where_a_log_ends_and_where_it_begins_is_judged_too() {
        let all = lines(7);
        let sign = |size: usize| host().sign(size as u64, tree::root(&hashes(&all[..size])));
        let tip = |size: usize, known: usize| said(&all[..size], &all[..known], size, &sign(size));
        assert_eq!(tip(7, 7).unwrap().frontier, tree_of(&all));
        assert_eq!(tip(5, 7).unwrap_err(), Refusal::Rewind { size: 5, known: 7 });
        assert_eq!(tip(7, 5).unwrap_err(), Refusal::Gap { first: 7, size: 5 });
        let other = host().sign(7, [1; 32]);
        assert_eq!(said(&all, &all, 7, &other).unwrap_err(), Refusal::Root { size: 7 });

        let (before, leaves, note) = (tree_of(&all[..3]), hashes(&all[3..]), sign(7));
        let begin = |known: &[String], before| {
            let batch = Batch { first: 3, leaves: &leaves, note: &note, before };
            judge(&tree_of(known), &[], host().verifier(), batch)
        };
        let step = begin(&[], Some(&before)).unwrap();
        assert_eq!((step.frontier, step.begins), (tree_of(&all), Some(before.clone())));
        assert_eq!(begin(&[], None).unwrap_err(), Refusal::Gap { first: 3, size: 0 });
        // Who is known already cannot begin anew.
        let lost = Refusal::Lost { first: 3, size: 2 };
        assert_eq!(begin(&all[..2], Some(&before)).unwrap_err(), lost);
        let forged = Frontier::new(3, vec![[1; 32]; 2]).unwrap();
        assert_eq!(begin(&[], Some(&forged)).unwrap_err(), Refusal::Root { size: 7 });
    }

    proptest! {
        #[test]
        fn however_a_log_is_cut_it_is_taken_and_any_changed_line_is_not(
            count in 1_usize..40, cut in 0_usize..40, from in 0_usize..40, changed in 0_usize..40,
        ) {
            let all = lines(count as u64);
            let cut = cut % (count + 1);
            let from = from % (cut + 1);
            let note = host().sign(count as u64, tree::root(&hashes(&all)));
            let step = said(&all, &all[..cut], from, &note).unwrap();
            prop_assert_eq!(step.frontier.root(), tree::root(&hashes(&all)));
            prop_assert_eq!(step.known, cut - from);
            let changed = changed % count;
            if changed >= from {
                let mut other = all.clone();
                other[changed].push(' ');
                prop_assert!(said(&other, &all[..cut], from, &note).unwrap_err().is_alarming());
            }
        }
    }
}
