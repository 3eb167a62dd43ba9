//! Whether what is stored is what the hosts signed.

use rusqlite::params;

use super::{Host, Store, StoreError, hashes};
use crate::{
    audit::{
        checkpoint::Opens as _,
        cosign::Witnesses,
        keys::Keys,
        tree::{Frontier, Hash, leaf_hash},
        verify::{Fault, Indexed, Report, Verification, Wrong},
    },
    sink::{deletion::Deletion, pack},
};

impl Store {
    /// Compares every record of a host with the checkpoints that it signed, and what is known of it
    /// as a whole with the last receipt. For records that are deleted their leaf hashes stand, as
    /// far as a record of the sink's own log, which these keys sign, says that they are deleted.
    ///
    /// # Errors
    /// If the store fails. What is wrong with its content is in the report.
    pub fn verify(
        &self,
        host: &Host,
        witnesses: &Witnesses,
        own: Option<&Keys>,
    ) -> Result<Report, StoreError> {
        // What comes and what is deleted meanwhile is not looked at.
        let _snapshot = self.connection.unchecked_transaction()?;
        let gone = || StoreError::Damaged(host.name.clone());
        let host = &self.host(host.id)?.ok_or_else(gone)?;
        let told = self.told_behind(host, own)?;
        let mut query = self.connection.prepare_cached(
            "SELECT first, note, leaves, lines FROM batch WHERE host = ?1 ORDER BY first",
        )?;
        let mut rows = query.query(params![host.id])?;
        let mut verification = Verification::default();
        let mut tree = host.before.clone();
        let mut hole = None;
        verification.tell();
        verification.signed_by(host.keys.clone());
        while verification.goes_on()
            && let Some(row) = rows.next()?
        {
            let first = row.get::<_, i64>(0)?.unsigned_abs();
            if first != tree.size() {
                let first = first.min(tree.size());
                hole = Some(Wrong { first, last: first, fault: Fault::Missing });
                break;
            }
            let (note, leaves) = (row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?);
            let frame = row.get::<_, Vec<u8>>(3)?;
            let is_gone = frame.is_empty() && first < host.deleted;
            if is_gone && first >= told {
                hole = Some(Wrong { first, last: first, fault: Fault::Untold });
                break;
            }
            verification.segment(first, Some(&tree), [host.keys.open(&note)]);
            // Leaves that do not come out even are none.
            let leaves = hashes(&leaves).unwrap_or_default();
            if is_gone {
                skip(&mut verification, &mut tree, &leaves);
            } else {
                feed(&mut verification, &mut tree, &leaves, &frame);
            }
        }
        let mut report = verification.finish(false);
        let untold = (host.deleted > told).then(|| {
            let first = told.max(host.first);
            Wrong { first, last: first, fault: Fault::Untold }
        });
        let rest = || whole(host, witnesses, &tree).or(untold);
        report.wrong = report.wrong.or(hole).or_else(rest);
        Ok(report)
    }

    /// Index behind the last record of which the sink's own log says that it is deleted.
    ///
    /// # Errors
    /// If the store fails.
    pub fn told_behind(&self, host: &Host, own: Option<&Keys>) -> Result<u64, StoreError> {
        let proof = self.deletion(host)?;
        let told = proof.zip(own).and_then(|(proof, own)| Deletion::proven(&proof, own));
        Ok(told.filter(|told| told.host == host.name).map_or(0, |told| told.behind))
    }
}

/// A batch of which only the leaf hashes are there.
fn skip(verification: &mut Verification, tree: &mut Frontier, leaves: &[Hash]) {
    for (position, leaf) in leaves.iter().enumerate() {
        verification.deleted(*leaf, position == 0);
        tree.push(*leaf);
    }
}

/// A batch's records, as they are and as they were.
fn feed(verification: &mut Verification, tree: &mut Frontier, leaves: &[Hash], frame: &[u8]) {
    // A frame that does not come out is none.
    let text = pack::decompress(frame).unwrap_or_default();
    let lines: Vec<&str> = pack::each(&text).collect();
    for position in 0..lines.len().max(leaves.len()) {
        let indexed = leaves.get(position).map(|leaf| Indexed {
            leaf: *leaf,
            in_place: true,
            begins_commit: position == 0,
        });
        let line = lines.get(position).map(|line| line.as_bytes());
        verification.record(line, indexed);
        tree.push(leaf_hash(line.unwrap_or_default()));
    }
}

/// What is wrong with what is known of a host as a whole, once its batches are in order.
fn whole(host: &Host, witnesses: &Witnesses, tree: &Frontier) -> Option<Wrong> {
    let at = |first: u64, fault| Some(Wrong { first, last: first, fault });
    let end = tree.size();
    let Some(receipt) = &host.receipt else {
        return if end > host.first { at(host.first, Fault::Unsigned) } else { None };
    };
    match host.keys.open(receipt) {
        Err(error) => return at(end, Fault::Checkpoint(error)),
        Ok(signed) if signed.size > end => return at(end, Fault::Missing),
        Ok(signed) if signed.size < end => return at(signed.size, Fault::Unsigned),
        Ok(signed) if signed.root != tree.root() => return at(host.first, Fault::Record),
        Ok(_) => {}
    }
    if witnesses.check(receipt).is_err() {
        return at(end, Fault::Unsigned);
    }
    if host.size != end || host.tree != *tree { at(host.size.min(end), Fault::Index) } else { None }
}
