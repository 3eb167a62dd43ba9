//! Whether a log is what its host signed, and if not, from which record on. Pure: the log's files
//! are read by `log`, which feeds each record as it is found and each checkpoint as it opened.
//!
//! Checkpoints are compared where their size is reached, against the tree of the lines themselves.
//! Where one does not fit, the leaf hashes that the index keeps tell which line it was: if they
//! lead to the signed root, they are the signed ones. If the index was rewritten along with the
//! lines, the first wrong record lies between that checkpoint and the one before.

use std::collections::VecDeque;

use super::{
    checkpoint::{Checkpoint, NoteError},
    keys::Keys,
    tree::{Frontier, Hash, leaf_hash},
};

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Lines are not the signed ones: changed, inserted, removed or in another order.
    #[error("not what was signed")]
    Record,
    /// Records that were signed, or files of them, are not there.
    #[error("missing")]
    Missing,
    /// The lines are the signed ones, but the index is not what was written.
    #[error("described wrongly by the index")]
    Index,
    /// A checkpoint does not open, or is not larger than the one before it.
    #[error("behind a bad checkpoint: {0}")]
    Checkpoint(NoteError),
    /// Checkpoints do not grow.
    #[error("behind a checkpoint out of order")]
    Order,
    /// A record that replaces the key which signs the log, without the proof of that being kept; or
    /// the proof is of another record.
    #[error("not what the proofs of the log's keys say")]
    Key,
    /// The proofs of the log's keys cannot be followed, so that nothing can be said of what they
    /// signed.
    #[error("behind keys of which one does not follow the other, or none is the one that is known")]
    Keys,
    /// Whole records that no checkpoint covers. A crash can leave them at the end of the log; the
    /// next start signs them.
    #[error("not covered by a checkpoint")]
    Unsigned,
    /// What records said is gone, and nothing that is signed says that it went by rule.
    #[error("gone without a record of the sink's own log that says so")]
    Untold,
    /// Bytes that belong to no whole record. A crash can leave them; the next start cuts them.
    #[error("not whole")]
    Tail,
}

/// The first thing that is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// The first wrong record.
    pub first: u64,
    /// Larger than `first` where only a range is known: the first wrong record is one of these.
    pub last: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What a verification found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The first record that the log has; one in it says that those before were deleted.
    pub first: u64,
    /// Index behind the last record of which the leaf hash alone is left, by rule; 0 if there is
    /// none.
    pub deleted: u64,
    /// Index behind the last record that was looked at.
    pub records: u64,
    /// Checkpoints that hold.
    pub checkpoints: u64,
    /// Records that the last of them covers.
    pub signed: u64,
    /// The root that it signs.
    pub root: Hash,
    /// The first thing that is wrong; `None` if nothing is.
    pub wrong: Option<Wrong>,
}

/// A verification in progress.
#[derive(Default)]
pub struct Verification {
    /// The first record, and whether a record tells why those before are not there.
    first: u64,
    is_told: bool,
    /// What signs the log.
    keys: Option<Keys>,
    /// The tree of the lines so far.
    tree: Frontier,
    /// The tree that the last checkpoint that holds has signed.
    signed: Frontier,
    /// Records since then.
    places: Vec<Place>,
    ahead: VecDeque<Result<Checkpoint, NoteError>>,
    checkpoints: u64,
    /// Index behind the last record whose line was deleted.
    deleted: u64,
    wrong: Option<Wrong>,
}

/// What the index has for a record.
#[derive(Clone, Copy, Debug)]
pub struct Indexed {
    /// Its leaf hash.
    pub leaf: Hash,
    /// Whether the line stands where the index says.
    pub in_place: bool,
    /// Whether it is the first of its commit: all before it is signed.
    pub begins_commit: bool,
}

struct Place {
    /// Hash of the line.
    line: Option<Hash>,
    indexed: Option<Indexed>,
    /// Whether the number that the record gives itself is its index.
    in_order: bool,
    /// Whether it says of the log's keys what is known of them.
    agrees: bool,
}

impl Place {
    fn fits(&self) -> bool {
        let indexed = self.indexed.as_ref().filter(|indexed| indexed.in_place);
        self.line.is_some() && self.line == indexed.map(|indexed| indexed.leaf)
    }
}

impl Verification {
    /// Whether nothing wrong has been found yet. What comes behind the first fault is not looked
    /// at.
    pub fn goes_on(&self) -> bool {
        self.wrong.is_none()
    }

    /// A segment begins: the index of its first record, the tree that its header claims, and its
    /// checkpoints.
    pub fn segment(
        &mut self,
        base: u64,
        header: Option<&Frontier>,
        notes: impl IntoIterator<Item = Result<Checkpoint, NoteError>>,
    ) {
        if self.tree.size() == 0 && base > 0 {
            // The checkpoints tell whether this tree is the signed one.
            let Some(header) = header.filter(|header| header.size() == base) else {
                return self.fail(base, Fault::Index);
            };
            self.first = base;
            self.tree = header.clone();
            self.signed = header.clone();
        }
        if self.ahead.is_empty() && !self.places.is_empty() {
            return self.fail_unsigned();
        }
        let next = self.tree.size();
        if base != next {
            let first = self.first_misfit().unwrap_or(next).min(base);
            return self.fail(first, Fault::Missing);
        }
        if header != Some(&self.tree) {
            return self.fail(base, Fault::Index);
        }
        self.ahead.extend(notes);
        self.look_ahead();
    }

    /// Somebody else than the log tells why it does not begin with its first record.
    pub fn tell(&mut self) {
        self.is_told = true;
    }

    /// Records that replace keys have to be those that these were replaced by.
    pub fn signed_by(&mut self, keys: Keys) {
        self.keys = Some(keys);
    }

    /// The keys cannot be followed.
    pub fn keys_fail(&mut self) {
        self.fail(0, Fault::Keys);
    }

    /// The next record: its line and what the index has for it; `None` for what is not there.
    pub fn record(&mut self, line: Option<&[u8]>, indexed: Option<Indexed>) {
        if !self.goes_on() {
            return;
        }
        let index = self.tree.size();
        let kept_from = line.and_then(|line| number(line, "\"kept_from\":"));
        self.is_told |= self.first > 0 && kept_from.is_some_and(|from| from >= self.first);
        let in_order = line.and_then(own_number).is_none_or(|number| number == index);
        let leaf = line.map(leaf_hash);
        let agrees = self.keys.as_ref().is_none_or(|keys| keys.agree_with(line, index));
        self.place(Place { line: leaf, indexed, in_order, agrees });
    }

    /// The next record, whose line was deleted by rule: its leaf hash stands for it.
    pub fn deleted(&mut self, leaf: Hash, begins_commit: bool) {
        if !self.goes_on() {
            return;
        }
        let index = self.tree.size();
        let known = self.keys.as_ref().and_then(|keys| keys.record_at(index));
        let agrees = known.is_none_or(|record| leaf_hash(record) == leaf);
        let indexed = Some(Indexed { leaf, in_place: true, begins_commit });
        self.deleted = index + 1;
        self.place(Place { line: Some(leaf), indexed, in_order: true, agrees });
    }

    fn place(&mut self, place: Place) {
        let begins_commit = place.indexed.as_ref().is_some_and(|indexed| indexed.begins_commit);
        if begins_commit && self.tree.size() != self.signed.size() {
            return self.fail(self.signed.size(), Fault::Unsigned);
        }
        self.tree.push(place.line.unwrap_or_else(|| leaf_hash(b"")));
        self.places.push(place);
        self.look_ahead();
    }

    /// The segment ends; `is_clean` says that its files hold nothing behind its records.
    pub fn end_segment(&mut self, is_clean: bool) {
        if !is_clean {
            self.fail_at_end();
        }
    }

    /// The log ends. While a writer is at it, what it is about to finish is no fault.
    pub fn finish(mut self, is_live: bool) -> Report {
        let records = self.tree.size();
        if !self.ahead.is_empty() || (!self.places.is_empty() && !is_live) {
            self.fail_at_end();
        }
        if self.first > 0 && !self.is_told {
            self.fail(0, Fault::Missing);
        }
        let Self { first, signed, checkpoints, deleted, wrong, .. } = self;
        let root = signed.root();
        Report { first, deleted, records, checkpoints, signed: signed.size(), root, wrong }
    }

    /// Something is left over behind what is signed.
    fn fail_at_end(&mut self) {
        let next = self.tree.size();
        match (self.ahead.is_empty(), self.places.is_empty()) {
            (true, true) => self.fail(next, Fault::Tail),
            (true, false) => self.fail_unsigned(),
            (false, _) => self.fail(self.first_misfit().unwrap_or(next), Fault::Missing),
        }
    }

    /// There are records that no checkpoint covers, so the first of them is the first wrong one.
    fn fail_unsigned(&mut self) {
        let first = self.signed.size();
        let is_whole = self.first_misfit() != Some(first);
        self.fail(first, if is_whole { Fault::Unsigned } else { Fault::Tail });
    }

    /// Compares the checkpoints that the tree has reached.
    fn look_ahead(&mut self) {
        while self.goes_on() {
            let checkpoint = match self.ahead.front() {
                None => return,
                Some(Err(error)) => {
                    return self.fail(self.signed.size(), Fault::Checkpoint(*error));
                }
                Some(Ok(checkpoint)) => checkpoint,
            };
            if checkpoint.size <= self.signed.size() {
                return self.fail(self.signed.size(), Fault::Order);
            }
            if checkpoint.size > self.tree.size() {
                return;
            }
            let root = checkpoint.root;
            self.ahead.pop_front();
            self.compare(&root);
        }
    }

    fn compare(&mut self, root: &Hash) {
        if self.tree.root() != *root {
            let (first, last) = self.narrow(root);
            self.wrong = Some(Wrong { first, last, fault: Fault::Record });
            return;
        }
        if let Some(first) = self.first_misfit() {
            return self.fail(first, Fault::Index);
        }
        let mut places = (self.signed.size()..).zip(&self.places);
        if let Some((first, _)) = places.find(|(_, place)| !place.agrees) {
            return self.fail(first, Fault::Key);
        }
        self.signed = self.tree.clone();
        self.places.clear();
        self.checkpoints += 1;
    }

    /// Which of the records since the last checkpoint is the first wrong one.
    fn narrow(&self, root: &Hash) -> (u64, u64) {
        let start = self.signed.size();
        let misfit = self.first_misfit();
        let mut as_indexed = self.signed.clone();
        for place in &self.places {
            let leaf = place.indexed.as_ref().map(|indexed| indexed.leaf).or(place.line);
            as_indexed.push(leaf.unwrap_or_else(|| leaf_hash(b"")));
        }
        if let Some(first) = misfit
            && as_indexed.root() == *root
        {
            return (first, first);
        }
        let disorder = (start..).zip(&self.places).find(|(_, place)| !place.in_order);
        let last = self.tree.size() - 1;
        let bounds = [misfit, disorder.map(|(index, _)| index)];
        (start, bounds.into_iter().flatten().fold(last, u64::min))
    }

    fn first_misfit(&self) -> Option<u64> {
        let mut places = (self.signed.size()..).zip(&self.places);
        places.find(|(_, place)| !place.fits()).map(|(index, _)| index)
    }

    fn fail(&mut self, first: u64, fault: Fault) {
        self.wrong.get_or_insert(Wrong { first, last: first, fault });
    }
}

/// The sequence number in a record's line.
fn own_number(line: &[u8]) -> Option<u64> {
    number(line, "\"sequence\":")
}

/// The number behind a name in a record's line. Such bytes cannot stand inside a JSON string, where
/// the quotes would be escaped.
pub(super) fn number(line: &[u8], name: &str) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, rest) = line.split_once(name)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
