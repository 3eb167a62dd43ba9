//! `governd audit check-proof`: what a proof or an extract proves. Reads it and a key, and nothing
//! else.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::{Outcome, extract, named_keys};
use crate::{
    audit::{canonical::integer, checkpoint::Checkpoint, proof::Proof},
    cli::{
        exit::{Exit, Failure},
        printer::{Printer, Tone},
        unwritable,
    },
};

/// Longest proof that is read, in bytes: a record, 64 hashes and a note with some signatures need
/// far less.
const PROOF_BYTES_MAX: u64 = 1 << 20;

/// Flags of `governd audit check-proof`.
#[derive(Args, Debug)]
pub(super) struct CheckProof {
    /// The proof, or an extract that `governd audit export` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The host's public key, or a file with it, as it was noted elsewhere. It must not come from
    /// where the proof comes from.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The file `rotations` that lies beside the log, where the key was replaced since it was
    /// noted.
    #[arg(long, value_name = "FILE")]
    rotations: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl CheckProof {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let keys = named_keys(&self.key, self.rotations.as_deref())?;
        if extract::is_one(&self.file) {
            return extract::check(&self.file, &keys, &printer);
        }
        let proof = read(&self.file)?;
        let checked = proof.check(&keys);
        let record = String::from_utf8_lossy(&proof.record);
        match (&checked, printer.is_json()) {
            (Ok(checkpoint), true) => printer.value(&value(&proof, Ok(checkpoint))),
            (Err(error), true) => printer.value(&value(&proof, Err(&error.to_string()))),
            (Ok(Checkpoint { origin, size, .. }), false) => {
                let index = proof.index;
                let said = format!("record {index} is one of the {size} that {origin} signed");
                let line = format!("{} {said}", printer.paint(Tone::Good, "proven:"));
                printer.line(line).and_then(|()| printer.line(record))
            }
            (Err(error), false) => {
                printer.line(format!("{} {error}", printer.paint(Tone::Bad, "not proven:")))
            }
        }
        .map_err(unwritable)?;
        Ok(if checked.is_ok() { Exit::Yes } else { Exit::No })
    }
}

fn read(path: &Path) -> Result<Proof, Failure> {
    let failure = |error: anyhow::Error| {
        let error = error.context(format!("cannot read {} as a proof", path.display()));
        Failure::new(Exit::Usage, error, "give a file that `governd audit prove` wrote")
    };
    let size = std::fs::metadata(path).map_err(|error| failure(error.into()))?.len();
    if size > PROOF_BYTES_MAX {
        return Err(failure(anyhow::anyhow!("it has {size} bytes; a proof has a few thousand")));
    }
    let text = std::fs::read_to_string(path).context("it is no text");
    Proof::parse(&text.map_err(failure)?).map_err(|error| failure(error.into()))
}

fn value(proof: &Proof, checked: Result<&Checkpoint, &str>) -> Value {
    let record: Value = serde_json::from_slice(&proof.record).unwrap_or_default();
    json!({
        "index": integer(proof.index),
        "origin": checked.ok().map(|checkpoint| checkpoint.origin.clone()),
        "proven": checked.is_ok(),
        "record": if checked.is_ok() { record } else { Value::Null },
        "size": checked.ok().map(|checkpoint| integer(checkpoint.size)),
        "wrong": checked.err(),
    })
}
