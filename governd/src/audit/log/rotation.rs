//! Another key for the log, at any moment safe against a crash.
//!
//! The next key is on disk before a record names it; the record is the last that the old key signs
//! for, and nothing is written behind it before the next key is in place. So whoever opens the log
//! finds either no such record, and forgets the next key, or the record as the last one, and does
//! what is left to do.

use std::{io, path::Path};

use super::{CommitError, Log, Reader, append::at, key, notes::tree_at, storage::Filesystem};
use crate::audit::{
    checkpoint::Signer,
    keys::{Handover, KEYS_MAX},
    tree::Frontier,
};

/// The key that takes over once its record is durable and signed.
pub(super) struct Successor {
    signer: Signer,
    handover: Handover,
    record: Vec<u8>,
    /// The tree before the record.
    before: Frontier,
}

impl<F: Filesystem> Log<F> {
    /// Makes everything durable and the next key, and says what the record has to say that is
    /// appended next, and committed by [`Log::rotate`].
    ///
    /// # Errors
    ///
    /// If the disk refuses: then nothing has happened.
    pub fn begin_rotation(&mut self) -> Result<Handover, CommitError> {
        self.commit()?;
        let directory = self.options.directory.clone();
        if self.keys.each().count() >= KEYS_MAX {
            let many = format!("the log had {KEYS_MAX} keys; begin another log");
            return Err(at(&directory)(io::Error::other(many)));
        }
        // A record that an earlier attempt left behind what is durable names another key.
        self.trim()?;
        let name = self.signer.verifier().name();
        let next = key::make_next(&self.filesystem, &directory, name);
        let signer = next.map_err(at(&directory.join(key::NEXT_FILE)))?;
        let handover = Handover::new(self.next_index(), self.signer.verifier(), &signer);
        let (record, before) = (Vec::new(), self.tree.clone());
        self.successor = Some(Successor { signer, handover: handover.clone(), record, before });
        Ok(handover)
    }

    /// Makes the record durable that was appended since [`Log::begin_rotation`], and puts the next
    /// key into place.
    ///
    /// # Errors
    ///
    /// If the disk refuses. Where the record is durable already, the next commit goes on with it;
    /// else nothing has happened.
    pub fn rotate(&mut self) -> Result<(), CommitError> {
        let is_one = self.batch.entries.len() == 1;
        let successor = self.successor.as_mut().filter(|_| is_one);
        let Some(successor) = successor else {
            self.abandon();
            let error = io::Error::other("the record of the new key could not be appended");
            return Err(at(&self.options.directory)(error));
        };
        successor.record =
            self.batch.lines.bytes().strip_suffix(b"\n").unwrap_or_default().to_vec();
        let committed = self.commit();
        if committed.is_err()
            && self.successor.as_ref().is_some_and(|next| next.handover.at >= self.durable())
        {
            self.abandon();
        }
        committed.map(drop)
    }

    /// Whether the record of a new key is durable, and the key is not yet in place.
    fn is_handing_over(&self) -> bool {
        self.successor.as_ref().is_some_and(|next| next.handover.at < self.durable())
    }

    /// Puts the next key into place, if its record is durable and signed.
    pub(super) fn hand_over(&mut self) -> Result<(), CommitError> {
        if !self.is_handing_over() {
            return Ok(());
        }
        let Some(Successor { signer, handover, record, before }) = self.successor.take() else {
            return Ok(());
        };
        let directory = &self.options.directory;
        let note = self.signer.sign(self.tree.size(), self.tree.root());
        let mut keys = self.keys.clone();
        let pushed = match keys.record_at(handover.at) {
            // The writer ended after the proof was kept.
            Some(_) => Ok(()),
            None => keys.push(handover.proof(&record, &before, &note)),
        };
        let installed = pushed
            .map_err(io::Error::other)
            .and_then(|()| key::install(&self.filesystem, directory, &keys, &signer));
        if let Err(error) = installed {
            let failed = Err(at(&directory.join(key::SECRET_FILE))(error));
            self.successor = Some(Successor { signer, handover, record, before });
            return failed;
        }
        (self.signer, self.keys) = (signer, keys);
        Ok(())
    }

    /// Takes the record back that is not durable. The next key stays on disk as long as the record
    /// may be there.
    fn abandon(&mut self) {
        self.successor = None;
        self.is_begun = true;
        self.batch.lines.clear();
        self.batch.entries.clear();
        self.batch.sealer.clear();
        let trimmed = self.trim().map_err(|error| error.source);
        let directory = &self.options.directory;
        let forgotten = trimmed.and_then(|()| key::forget_next(&self.filesystem, directory));
        if let Err(error) = forgotten {
            tracing::warn!(%error, directory = %directory.display(), "the next key stays");
        }
    }
}

/// What was under way when the writer ended: the key that the last record of the log names.
pub(super) fn resume<F: Filesystem>(
    filesystem: &F,
    directory: &Path,
    current: &Signer,
    end: u64,
) -> io::Result<Option<Successor>> {
    let Some(signer) = key::next(filesystem, directory)? else {
        return Ok(None);
    };
    let named = end.checked_sub(1).and_then(|last| named(filesystem, directory, last));
    let named = named.filter(|(_, handover)| {
        handover.to == *signer.verifier() && handover.from == *current.verifier()
    });
    let before = match &named {
        Some((_, handover)) => tree_at(filesystem, directory, handover.at),
        None => Ok(None),
    };
    let before = before.map_err(io::Error::other)?;
    let Some(((record, handover), before)) = named.zip(before) else {
        key::forget_next(filesystem, directory)?;
        return Ok(None);
    };
    Ok(Some(Successor { signer, handover, record, before }))
}

/// The last record, if it names a key.
fn named<F: Filesystem>(filesystem: &F, directory: &Path, at: u64) -> Option<(Vec<u8>, Handover)> {
    // One that cannot be read names none.
    let line = Reader::new(filesystem.clone(), directory, at).read().ok().flatten()?;
    let handover = Handover::of(&line.bytes, line.index).ok()?;
    (line.index == at).then_some((line.bytes, handover))
}
