//! `governd audit prove`: a proof of one record, for somebody who trusts nobody here.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::Value;
use uuid::Uuid;

use super::{Log, Outcome};
use crate::{
    audit::{
        log::{self, Disk},
        proof::Proof,
        record::index_of,
    },
    cli::{
        exit::{Exit, Failure},
        printer::Printer,
        unwritable,
    },
};

/// Flags of `governd audit prove`.
#[derive(Args, Debug)]
pub(super) struct Prove {
    /// The record: its index in the log, or its `metadata.uid`.
    #[arg(value_name = "ID", value_parser = Id::parse)]
    id: Id,
    #[command(flatten)]
    log: Log,
    /// Write the proof into this new file instead of printing it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Id {
    Index(u64),
    Uid(Uuid),
}

impl Id {
    fn parse(text: &str) -> Result<Self, String> {
        let index = text.parse().map(Self::Index);
        index.or_else(|_| Uuid::parse_str(text).map(Self::Uid)).map_err(|_| {
            "neither an index (a number) nor a uid, such as \
             0197a6a1-3c00-7000-8000-00000000002a"
                .to_owned()
        })
    }

    fn index(self) -> u64 {
        match self {
            Self::Index(index) => index,
            Self::Uid(uid) => index_of(&uid),
        }
    }

    /// Any uid leads to some index; the record there says whether it is the one.
    fn fits(self, record: &[u8]) -> bool {
        let Self::Uid(uid) = self else {
            return true;
        };
        let record: Option<Value> = serde_json::from_slice(record).ok();
        let own = record.as_ref().and_then(|record| record.pointer("/metadata/uid")?.as_str());
        own.and_then(|own| Uuid::parse_str(own).ok()) == Some(uid)
    }
}

impl Prove {
    pub(super) fn run(self) -> Outcome {
        let keys = self.log.keys()?;
        let proof = log::prove(&Disk, &self.log.directory(), self.id.index(), &keys);
        let proof = proof.map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Environment, error, hint)
        })?;
        if !self.id.fits(&proof.record) {
            let error = anyhow!("no record of this log has this uid");
            let hint = "`governd audit query --json` prints records with their `metadata.uid`";
            return Err(Failure::new(Exit::Environment, error, hint));
        }
        match &self.output {
            Some(path) => write(path, &proof)?,
            None => Printer::new(true).text(proof).map_err(unwritable)?,
        }
        Ok(Exit::Yes)
    }
}

fn write(path: &Path, proof: &Proof) -> Result<(), Failure> {
    // A record names people and what they ran.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(proof.to_string().as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write the proof to {}", path.display())).map_err(
        |error| {
            let hint = "name a file that does not exist yet, in a directory that you may write to";
            Failure::new(Exit::Environment, error, hint)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_by_its_index_or_by_its_uid() {
        assert_eq!(Id::parse("42"), Ok(Id::Index(42)));
        let uid = Id::parse("0197a6a1-3c00-7000-8000-002a01020304").unwrap();
        assert_eq!(uid.index(), 42);
        let record = br#"{"metadata":{"uid":"0197A6A1-3C00-7000-8000-002A01020304"}}"#;
        assert!(uid.fits(record));
        assert!(!uid.fits(br#"{"metadata":{"uid":"0197a6a1-3c00-7000-8000-002a01020305"}}"#));
        assert!(!uid.fits(b"{}"));
        assert!(Id::Index(3).fits(b"{}"));
        assert!(Id::parse("-1").unwrap_err().starts_with("neither an index"));
    }
}
