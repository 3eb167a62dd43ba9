//! What a sink deletes by rule, as its own log says it before it happens. Up to which index records
//! of a host are gone is proven by that record alone (C2SP tlog-proof), which is kept beside the
//! host: who only writes into the store cannot say it.

use std::io;

use serde_json::Value;

use crate::audit::{checkpoint::Opens, keys::Keys, proof::Proof};

/// The kind of the finding. No host can have the sink write another one of this kind: those about
/// hosts begin with `host-`.
pub const KIND: &str = "sink-deleted";

/// The oldest records of a host that are there, which are to be deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deletion {
    /// The host's name.
    pub host: String,
    /// The first of them; all before it are gone.
    pub first: u64,
    /// Index behind the last.
    pub behind: u64,
    /// They are older than so many days, and than each of them says that it is to be kept.
    pub days: u32,
}

/// The sink's own log.
pub trait Ledger {
    /// Has it recorded, and gives the proof of the record, once that is durable.
    ///
    /// # Errors
    /// If it is not on record.
    fn record(&self, deletion: &Deletion) -> io::Result<String>;

    /// What signs the log, and did.
    ///
    /// # Errors
    /// If it cannot be read.
    fn keys(&self) -> io::Result<Keys>;
}

impl Deletion {
    /// One sentence.
    pub fn title(&self) -> String {
        let Self { host, first, behind, days } = self;
        let last = behind.saturating_sub(1);
        format!(
            "{host}: the sink deletes the records {first} to {last}, which are older than {days} \
             days and than they are to be kept"
        )
    }

    /// The same for programs, one line each.
    pub fn evidence(&self) -> Vec<String> {
        let Self { host, first, behind, days } = self;
        vec![
            format!("host {host}"),
            format!("first {first}"),
            format!("behind {behind}"),
            format!("days {days}"),
        ]
    }

    /// What a record of the sink's log says, if it is one of these.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let record: Value = serde_json::from_slice(line).ok()?;
        let own = record.pointer("/unmapped/governd")?;
        if own.get("kind")?.as_str()? != KIND {
            return None;
        }
        let evidence = own.get("evidence")?.as_array()?;
        let said = |name: &str| {
            let mut lines = evidence.iter().filter_map(Value::as_str);
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        };
        Some(Self {
            host: said("host")?.to_owned(),
            first: said("first")?.parse().ok()?,
            behind: said("behind")?.parse().ok()?,
            days: said("days")?.parse().ok()?,
        })
    }

    /// What a proof is of, if it is one of these; whether it proves it is not looked at.
    pub fn said(proof: &str) -> Option<Self> {
        Self::parse(&Proof::parse(proof).ok()?.record)
    }

    /// What a proof proves to whoever knows the sink's own log.
    pub fn proven(proof: &str, log: &dyn Opens) -> Option<Self> {
        let proof = Proof::parse(proof).ok()?;
        proof.check(log).ok()?;
        Self::parse(&proof.record)
    }
}

#[cfg(test)]
pub(in crate::sink) mod tests {
    use super::*;
    use crate::audit::{
        checkpoint::Signer,
        tree::{leaf_hash, root},
    };

    /// The key of a sink's own log.
    pub(in crate::sink) fn own() -> Signer {
        Signer::new("governd/sink", [9; 32]).unwrap()
    }

    pub(in crate::sink) fn own_keys() -> Keys {
        own().verifier().clone().into()
    }

    /// The proof of a record of a log that has no other.
    pub(in crate::sink) fn proof(line: &str, signer: &Signer) -> String {
        let checkpoint = signer.sign(1, root(&[leaf_hash(line.as_bytes())]));
        let record = line.as_bytes().to_vec();
        Proof { record, index: 0, hashes: Vec::new(), checkpoint }.to_string()
    }

    /// The record of a deletion.
    pub(in crate::sink) fn line(deletion: &Deletion) -> String {
        let own = serde_json::json!({ "kind": KIND, "evidence": deletion.evidence() });
        serde_json::json!({ "unmapped": { "governd": own } }).to_string()
    }

    #[test]
    fn only_what_the_sinks_own_log_says_is_proven() {
        let deletion = Deletion { host: "web-1".to_owned(), first: 3, behind: 9, days: 200 };
        let good = proof(&line(&deletion), &own());
        assert_eq!(Deletion::proven(&good, &own_keys()), Some(deletion.clone()));
        assert_eq!(Deletion::said(&good), Some(deletion.clone()));
        let other = Signer::new("governd/sink", [8; 32]).unwrap();
        let longer = Deletion { behind: 10, ..deletion.clone() };
        let moved = Proof { record: line(&longer).into_bytes(), ..Proof::parse(&good).unwrap() };
        let rows = [
            proof(&line(&deletion), &other),
            proof(&line(&deletion).replace(KIND, "host-deleted"), &own()),
            proof(&line(&deletion).replace("behind ", "until "), &own()),
            moved.to_string(),
            String::new(),
        ];
        for row in rows {
            assert_eq!(Deletion::proven(&row, &own_keys()), None, "{row}");
        }
    }
}
