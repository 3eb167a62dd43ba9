//! Whether what is stored is what the hosts signed.

use rusqlite::params;

use super::{Host, Store, StoreError, hashes};
use crate::{
    audit::{
        checkpoint::Opens as _,
        cosign::Witnesses,
        tree::{Frontier, leaf_hash},
        verify::{Fault, Indexed, Report, Verification, Wrong},
    },
    sink::pack,
};

impl Store {
    /// Compares every record of a host with the checkpoints that it signed, and what is known of it
    /// as a whole with the last receipt.
    ///
    /// # Errors
    /// If the store fails. What is wrong with its content is in the report.
    pub fn verify(&self, host: &Host, witnesses: &Witnesses) -> Result<Report, StoreError> {
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
            verification.segment(first, Some(&tree), [host.keys.open(&note)]);
            feed(&mut verification, &mut tree, &leaves, &frame);
        }
        let mut report = verification.finish(false);
        report.wrong = report.wrong.or(hole).or_else(|| whole(host, witnesses, &tree));
        Ok(report)
    }
}

/// A batch's records, as they are and as they were.
fn feed(verification: &mut Verification, tree: &mut Frontier, leaves: &[u8], frame: &[u8]) {
    // Leaves that do not come out even, and a frame that does not come out at all, are none.
    let leaves = hashes(leaves).unwrap_or_default();
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
