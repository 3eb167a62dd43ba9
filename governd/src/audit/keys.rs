//! The keys that sign a log, one after the other. Pure.
//!
//! A record says which key replaces the one in force, with the new key's agreement; it is the last
//! that the old one signs for: the checkpoint behind it has the old key's signature, and every
//! larger one the new key's. Each such step is kept as a proof (C2SP tlog-proof) of the record
//! under that checkpoint, so that who knows any of the keys knows all of them, also when the record
//! itself is deleted. The log's name stays what it was.

use std::{fmt, ops::Range};

use super::{
    canonical,
    checkpoint::{Checkpoint, NoteError, Opens, Signer, Verifier, note_len},
    proof::{self, CheckError, MalformedProof, Proof},
    tree::Frontier,
};

/// As canonical JSON has it; only lines with it are read as JSON. Inside a string the quotes would
/// be escaped.
const MARK: &str = "\"rotation\":{\"agreement\":";
const STATEMENT: &str = "governd.dev/key-rotation@v1";
/// Most keys that a log may have had.
pub const KEYS_MAX: usize = 256;

/// One key gives its log to the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Handover {
    /// Index of the record that says so.
    pub at: u64,
    /// The key that signs up to this record.
    pub from: Verifier,
    /// The one that signs what comes behind it.
    pub to: Verifier,
    /// Signature of the new key, in base64, over [`Handover::statement`].
    pub agreement: String,
}

/// Why keys do not follow each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeysError {
    /// A text is no list of proofs.
    #[error(transparent)]
    Malformed(#[from] MalformedProof),
    /// A record that should replace a key does not.
    #[error("record {0} replaces no key, or that of another log")]
    Record(u64),
    /// The new key did not agree.
    #[error("the key that record {0} names has not agreed")]
    Agreement(u64),
    /// The record is not proven.
    #[error("the record that replaces a key is not proven: {0}")]
    Proof(#[from] CheckError),
    /// The key that is known is none of them.
    #[error("the key that is known is none of those that signed this log")]
    Foreign,
    /// There are too many.
    #[error("a log has no more than {KEYS_MAX} keys")]
    Many,
}

impl Handover {
    /// What the record at an index has to say.
    pub fn new(at: u64, from: &Verifier, to: &Signer) -> Self {
        let (from, agreement) = (from.clone(), String::new());
        let unsigned = Self { at, from, to: to.verifier().clone(), agreement };
        let agreement = to.sign_text(&unsigned.statement());
        Self { agreement, ..unsigned }
    }

    /// What the new key signs.
    pub fn statement(&self) -> String {
        let Self { at, from, to, agreement: _ } = self;
        format!("{STATEMENT}\n{at}\n{from}\n{to}\n")
    }

    /// Whether a line is the record of a rotation.
    pub fn is_in(line: &str) -> bool {
        line.contains(MARK)
    }

    /// What the record at an index says, if it is one and both keys are of the same log. The new
    /// key's agreement is checked.
    ///
    /// # Errors
    /// If it is none, or the new key did not agree.
    pub fn of(line: &[u8], at: u64) -> Result<Self, KeysError> {
        let record = KeysError::Record(at);
        let value: serde_json::Value = serde_json::from_slice(line).map_err(|_| record)?;
        let said = value.pointer("/unmapped/governd/rotation").ok_or(record)?;
        let text = |name| said.get(name).and_then(serde_json::Value::as_str).ok_or(record);
        let key = |name| Verifier::parse(text(name)?).map_err(|_| record);
        let (from, to, agreement) = (key("from")?, key("to")?, text("agreement")?.to_owned());
        let handover = Self { at, from, to, agreement };
        if handover.from.name() != handover.to.name() || handover.from == handover.to {
            return Err(record);
        }
        let has_agreed = handover.to.check_text(&handover.statement(), &handover.agreement);
        if has_agreed { Ok(handover) } else { Err(KeysError::Agreement(at)) }
    }

    /// The proof of the record by the checkpoint behind it, given the tree before it.
    pub fn proof(&self, record: &[u8], before: &Frontier, checkpoint: &str) -> Proof {
        // The path of a tree's last leaf is the roots of what was complete before it.
        let hashes = before.peaks().iter().rev().copied().collect();
        let checkpoint = checkpoint.to_owned();
        Proof { record: record.to_vec(), index: self.at, hashes, checkpoint }
    }
}

/// Every key of a log, each known by the one before it or behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    first: Verifier,
    /// The others, each with the proof of the record that names it.
    later: Vec<(Verifier, Proof)>,
}

impl From<Verifier> for Keys {
    fn from(first: Verifier) -> Self {
        Self { first, later: Vec::new() }
    }
}

impl Keys {
    /// The keys of a log of which one is known, and the proofs of every rotation, one after the
    /// other.
    ///
    /// # Errors
    /// If they do not follow each other, or the known one is none of them.
    pub fn parse(known: &Verifier, rotations: &str) -> Result<Self, KeysError> {
        let mut keys: Option<Self> = None;
        for text in proof::each(rotations) {
            let proof = Proof::parse(text)?;
            let before = match keys.take() {
                Some(keys) => keys,
                None => Self::from(Handover::of(&proof.record, proof.index)?.from),
            };
            let mut keys_now = before;
            keys_now.push(proof)?;
            keys = Some(keys_now);
        }
        let keys = keys.unwrap_or_else(|| Self::from(known.clone()));
        let is_known = keys.each().any(|(_, key)| key == known);
        if is_known { Ok(keys) } else { Err(KeysError::Foreign) }
    }

    /// The next key, by the proof of the record that names it.
    ///
    /// # Errors
    /// If it does not follow the one in force.
    pub fn push(&mut self, proof: Proof) -> Result<(), KeysError> {
        let index = proof.index;
        let handover = Handover::of(&proof.record, index)?;
        let is_later = self.later.last().is_none_or(|(_, last)| last.index < index);
        if handover.from != *self.current() || !is_later {
            return Err(KeysError::Record(index));
        }
        if self.later.len() + 1 >= KEYS_MAX {
            return Err(KeysError::Many);
        }
        let checkpoint = proof.check(&handover.from)?;
        // With one signature there is one way to write it.
        let is_alone = note_len(&proof.checkpoint) == Some(proof.checkpoint.len());
        if checkpoint.size != index + 1 || !is_alone {
            return Err(KeysError::Record(index));
        }
        self.later.push((handover.to, proof));
        Ok(())
    }

    /// The key that is in force.
    pub fn current(&self) -> &Verifier {
        self.later.last().map_or(&self.first, |(key, _)| key)
    }

    /// The record at an index that replaces a key.
    pub fn record_at(&self, index: u64) -> Option<&[u8]> {
        let found = self.later.iter().find(|(_, proof)| proof.index == index);
        found.map(|(_, proof)| proof.record.as_slice())
    }

    /// Whether a line stands where it may: one that replaces a key where that key was replaced, and
    /// no other there.
    pub fn agree_with(&self, line: Option<&[u8]>, index: u64) -> bool {
        let record = self.record_at(index);
        if record.is_some() {
            return record == line;
        }
        line.is_none_or(|line| !std::str::from_utf8(line).is_ok_and(Handover::is_in))
    }

    /// Records from which on each key signs, and the key: of a checkpoint of more records than
    /// that.
    pub fn each(&self) -> impl DoubleEndedIterator<Item = (u64, &Verifier)> {
        let later = self.later.iter().map(|(key, proof)| (proof.index + 1, key));
        std::iter::once((0, &self.first)).chain(later)
    }

    /// Whether a key was replaced by one of the records in a range.
    pub fn changed_in(&self, range: Range<u64>) -> bool {
        self.later.iter().any(|(_, proof)| range.contains(&proof.index))
    }

    fn of_size(&self, size: u64) -> &Verifier {
        let found = self.each().rfind(|(behind, _)| size > *behind);
        found.map_or(&self.first, |(_, key)| key)
    }
}

impl Opens for Keys {
    fn name(&self) -> &str {
        self.first.name()
    }

    fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let size = note.split('\n').nth(1).and_then(|size| size.parse().ok());
        self.of_size(size.ok_or(NoteError::Malformed)?).open(note)
    }
}

/// The proofs, one after the other; nothing, of a log whose key was never replaced.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.later.iter().try_for_each(|(_, proof)| write!(f, "{proof}"))
    }
}

/// What a record has of a rotation, as canonical JSON writes it.
pub(super) fn write(o: &mut canonical::Object<'_>, handover: &Handover) {
    let Handover { at: _, from, to, agreement } = handover;
    o.object("rotation", |o| {
        o.with("agreement", agreement.as_str())
            .with("from", canonical::Shown(from))
            .with("to", canonical::Shown(to));
    });
}
