//! `governd audit`: what the log says, and whether it is what this host signed.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{
    Outcome,
    exit::{Exit, Failure},
};
use crate::{
    audit::{
        checkpoint::Verifier,
        keys::Keys,
        log::{self, Disk, ReadError},
    },
    settings,
};

mod against;
mod change;
mod check;
mod erase;
mod export;
mod extract;
mod prove;
mod query;
mod question;
mod rotate;
mod verify;

pub(super) use question::{Question, moment};

/// Flags of `governd audit`.
#[derive(Args, Debug)]
pub(super) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Find any changed, removed, inserted or reordered record, and say which is the first.
    Verify(verify::Verify),
    /// Print a proof that a record is in this host's log; anybody can check it without governd.
    Prove(prove::Prove),
    /// Check a proof, and print the record that it proves; or an extract.
    CheckProof(check::CheckProof),
    /// Write a range of records into one file, with what proves them to anybody.
    Export(export::Export),
    /// Erase user names and command lines, which stand beside the records; the log still verifies.
    Erase(erase::Erase),
    /// Search the records: a table, JSON or CSV.
    Query(query::Query),
    /// Have another key sign the log from here on; a record that the old key signs names it.
    RotateKey(rotate::RotateKey),
}

impl Audit {
    pub(super) fn run(self) -> Outcome {
        match self.verb {
            Verb::Verify(verify) => verify.run(),
            Verb::Prove(prove) => prove.run(),
            Verb::CheckProof(check) => check.run(),
            Verb::Export(export) => export.run(),
            Verb::Erase(erase) => erase.run(),
            Verb::Query(query) => query.run(),
            Verb::RotateKey(rotate) => rotate.run(),
        }
    }
}

/// Which log, and whose.
#[derive(Args, Debug)]
struct Log {
    /// Directory of the daemon's state; the log is in `log` below it.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: PathBuf,
    /// The host's public key, or a file with it, as it was noted elsewhere [default: key.pub beside
    /// the log].
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Log {
    fn directory(&self) -> PathBuf {
        self.state_dir.join("log")
    }

    fn key(&self) -> Result<Verifier, Failure> {
        match &self.key {
            Some(key) => named_key(key),
            None => log::public_key(&Disk, &self.directory()).map_err(unreadable),
        }
    }

    /// All keys of the log, by what lies beside it, if that one is among them.
    fn keys(&self) -> Result<Keys, Failure> {
        let known = self.key()?;
        log::keys(&Disk, &self.directory(), &known).map_err(unreadable)?.map_err(|error| {
            let hint = "`governd audit verify` says what is wrong with the log";
            Failure::new(Exit::No, error, hint)
        })
    }
}

/// The keys of a log of which one is known, by a file with the proofs of their rotations.
fn named_keys(key: &str, rotations: Option<&Path>) -> Result<Keys, Failure> {
    let known = named_key(key)?;
    let Some(path) = rotations else {
        return Ok(known.into());
    };
    let text = std::fs::read_to_string(path).map_err(anyhow::Error::from);
    let keys = text.and_then(|text| Ok(Keys::parse(&known, &text)?));
    keys.map_err(|error| {
        let error = error.context(format!("cannot follow the keys in {}", path.display()));
        Failure::new(Exit::No, error, "give the file `rotations` that lies beside the log")
    })
}

/// A key as given, or the one in the file of that name.
fn named_key(key: &str) -> Result<Verifier, Failure> {
    if let Ok(verifier) = Verifier::parse(key) {
        return Ok(verifier);
    }
    let hint = "give the text of key.pub, or a file that holds it";
    let failure = |error: anyhow::Error| {
        let error = error.context(format!("cannot use {key} as the public key"));
        Failure::new(Exit::Usage, error, hint)
    };
    let text = std::fs::read_to_string(Path::new(key)).map_err(|error| failure(error.into()))?;
    Verifier::parse(text.trim_end()).map_err(|error| failure(error.into()))
}

fn unreadable(error: ReadError) -> Failure {
    let hint = "run it as root on the host of the log, or name the state directory with \
                --state-dir and the key with --key";
    Failure::new(Exit::Environment, error, hint)
}
