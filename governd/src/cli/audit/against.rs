//! What the log is compared with: a checkpoint that the sink cosigned.

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::{Log, unreadable};
use crate::{
    app::uplink,
    audit::{
        canonical::integer,
        checkpoint::Opens as _,
        log::{self, Disk},
    },
    cli::{
        exit::{Exit, Failure},
        printer::{Printer, Tone},
    },
};

/// The word for the receipt that this host has.
const OWN: &str = "sink";

/// How the log compares with a receipt.
pub(super) struct Receipt {
    /// Records that the sink had.
    size: u64,
    /// When it said so, in seconds since 1970.
    time_s: u64,
    /// Whether they are in the log as the sink saw them.
    pub(super) is_kept: bool,
}

/// Compares the log with a receipt.
pub(super) fn judge(log: &Log, name: &str) -> Result<Receipt, Failure> {
    let hint = "`governd enroll` lets a sink take this host's log; its receipt is there when the \
                sink has taken the first records";
    let broken = |error: anyhow::Error| Failure::new(Exit::Environment, error, hint);
    let own = uplink::receipt(&log.state_dir).map_err(|error| broken(error.into()))?;
    let (own, witness) =
        own.ok_or_else(|| broken(anyhow!("this host has no receipt of a sink")))?;
    let receipt = match name {
        OWN => own,
        path => fs::read_to_string(Path::new(path))
            .with_context(|| format!("cannot read {path}"))
            .map_err(broken)?,
    };
    let untrusted = |error: &dyn std::fmt::Display| {
        broken(anyhow!("the receipt is not to be trusted: {error}"))
    };
    let time_s = witness.check(&receipt).map_err(|error| untrusted(&error))?;
    let seen = log.keys()?.open(&receipt).map_err(|error| untrusted(&error))?;
    let root = log::root_at(&Disk, &log.directory(), seen.size).map_err(unreadable)?;
    Ok(Receipt { size: seen.size, time_s, is_kept: root == Some(seen.root) })
}

impl Receipt {
    pub(super) fn value(&self) -> Value {
        let Self { size, time_s, is_kept } = self;
        json!({"kept": is_kept, "records": integer(*size), "time_s": integer(*time_s)})
    }

    pub(super) fn line(&self, printer: &Printer) -> String {
        let Self { size, is_kept, .. } = self;
        if *is_kept {
            let word = printer.paint(Tone::Good, "receipt:");
            format!("{word} the sink saw the same {size} records")
        } else {
            let word = printer.paint(Tone::Bad, "rewritten:");
            format!("{word} the first {size} records are not those that the sink saw")
        }
    }
}
