//! The thread that sends.

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use super::client::{Client, Trouble};
use crate::{
    app::{backoff, journal::Journal},
    audit::{
        cosign::Witness,
        log::{Disk, Note, Progress, Reader, note_after},
    },
    sink::{
        files,
        wire::{self, Appended, Head, State},
    },
};

/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(500);

pub(super) struct Worker {
    client: Client,
    witness: Witness,
    receipt: PathBuf,
    directory: PathBuf,
    progress: Progress,
    /// Records that the sink has; asked for anew after trouble.
    size: Option<u64>,
    attempts: u32,
}

impl Worker {
    pub(super) fn new(
        client: Client,
        witness: Witness,
        receipt: PathBuf,
        journal: &Journal,
    ) -> Self {
        Self {
            client,
            witness,
            receipt,
            directory: journal.directory().to_owned(),
            progress: journal.progress(),
            size: None,
            attempts: 0,
        }
    }

    /// Sends until the other end of the channel is dropped.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        // Until the sink says what it has.
        self.progress.keep_from(0);
        loop {
            let wait = match self.round() {
                Ok(true) => Duration::ZERO,
                Ok(false) => POLL,
                Err(reason) => self.failed(&reason),
            };
            if stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Sends one batch; whether there may be more.
    fn round(&mut self) -> Result<bool, String> {
        let known = match self.size {
            Some(size) => size,
            None => {
                let state = self.client.get::<State>(wire::STATE);
                let State { size } = state.map_err(|trouble| trouble.to_string())?;
                // What the sink lacks is not deleted, however large the log becomes.
                self.progress.keep_from(size);
                *self.size.insert(size)
            }
        };
        if self.progress.durable() <= known {
            return Ok(false);
        }
        let limit = known.saturating_add(wire::BATCH_RECORDS_MAX);
        let note = note_after(&Disk, &self.directory, known, limit);
        let note = note.map_err(|error| error.to_string())?;
        let Some(note) = note.filter(|note| note.size <= self.progress.durable()) else {
            return Ok(false);
        };
        let body = self.body(known, &note)?;
        match self.client.post::<Appended>(wire::APPEND, body.as_bytes()) {
            Ok(Appended { receipt }) => self.keep(&note, &receipt)?,
            Err(Trouble::Refused(refused)) if refused.what == "gap" => {
                return Err("the sink has fewer records than it said".to_owned());
            }
            Err(trouble) => return Err(trouble.to_string()),
        }
        self.size = Some(note.size);
        self.progress.keep_from(note.size);
        if self.attempts > 0 {
            tracing::info!(next = note.size, "the sink takes records again");
        }
        self.attempts = 0;
        Ok(true)
    }

    fn body(&self, first: u64, note: &Note) -> Result<String, String> {
        let head = Head { first, checkpoint: note.text.clone() };
        let mut body = serde_json::to_string(&head).map_err(|error| error.to_string())?;
        body.push('\n');
        let mut reader = Reader::new(Disk, &self.directory, first);
        for index in first..note.size {
            let line = reader.read().map_err(|error| error.to_string())?;
            let line = line.filter(|line| line.index == index);
            let line = line.ok_or_else(|| format!("the log does not have record {index}"))?;
            body.push_str(&String::from_utf8_lossy(&line.bytes));
            body.push('\n');
        }
        Ok(body)
    }

    /// A receipt counts only if the sink's own key is on it, over the checkpoint that was sent.
    fn keep(&self, note: &Note, receipt: &str) -> Result<(), String> {
        if !receipt.starts_with(note.text.as_str()) {
            return Err("the sink's receipt is about another checkpoint".to_owned());
        }
        self.witness.check(receipt).map_err(|error| error.to_string())?;
        files::write(&self.receipt, receipt)
            .map_err(|error| format!("cannot write {}: {error}", self.receipt.display()))
    }

    fn failed(&mut self, reason: &str) -> Duration {
        if self.attempts == 0 {
            tracing::warn!(reason, "records do not reach the sink; the log keeps them");
        }
        self.size = None;
        self.attempts = self.attempts.saturating_add(1);
        backoff::pause(self.attempts)
    }
}
