//! The thread that sends.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    Ends,
    client::{Client, Trouble},
    place::Place,
};
use crate::{
    app::{
        backoff, clock, discovery,
        exporting::Stats,
        journal::{Journal, Recorder},
    },
    audit::{
        keys::Handover,
        log::{Disk, Note, Notes, Progress, Reader, Values, beginning},
        record::{Control, Finding, Record, Ruling},
        tree::Frontier,
    },
    sink::{
        files, pack,
        validity::{self, Whose},
        wire::{self, Appended, Enrolled, Head, SinkKeys, State},
    },
};

/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(500);
/// How often it is tried to renew a certificate, or to learn the sink's keys once that failed.
const RENEW_INTERVAL: Duration = Duration::from_secs(3_600);

pub(super) struct Worker {
    place: Place,
    directory: PathBuf,
    progress: Progress,
    notes: Notes<Disk>,
    reader: Reader,
    values: Values,
    /// What the sink said last; asked for anew after trouble.
    state: Option<State>,
    /// When something was sent last.
    sent: Option<Instant>,
    /// How long nothing is sent at most.
    idle: Duration,
    renewed: Option<Instant>,
    /// When the sink's keys could not be learned.
    unlearned: Option<Instant>,
    recorder: Recorder,
    attempts: u32,
    stats: Arc<Stats>,
    ends: Arc<Ends>,
    /// When it was said of a certificate that it ends, and which that was.
    warned: HashMap<Whose, Instant>,
}

impl Worker {
    pub(super) fn new(
        place: Place,
        journal: &Journal,
        idle: Duration,
        (stats, ends): (Arc<Stats>, Arc<Ends>),
    ) -> Self {
        let directory = journal.directory().to_owned();
        Self {
            place,
            notes: Notes::new(Disk, &directory),
            reader: Reader::new(Disk, &directory, 0),
            values: Values::new(Disk, &directory),
            directory,
            progress: journal.progress(),
            state: None,
            sent: None,
            idle,
            renewed: None,
            unlearned: None,
            recorder: journal.recorder(),
            attempts: 0,
            stats,
            ends,
            warned: HashMap::new(),
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
            if !wait.is_zero() {
                self.look_at_ends();
            }
            if stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Sends one batch, or where the log ends; whether there may be more.
    fn round(&mut self) -> Result<bool, String> {
        let (known, session) = match &self.state {
            Some(state) => (state.size, state.session),
            None => {
                let state = self.place.client.get::<State>(wire::STATE);
                let state = state.map_err(|trouble| trouble.to_string())?;
                // What the sink lacks is not deleted, however large the log becomes.
                self.progress.keep_from(state.size);
                self.stats.reached(state.size, 0);
                self.sent = None;
                let state = self.state.insert(state);
                (state.size, state.session)
            }
        };
        self.look_after_keys();
        let durable = self.progress.durable();
        if durable > known {
            return self.send_records(known, durable);
        }
        if self.sent.is_none_or(|sent| sent.elapsed() >= self.idle) {
            self.send_end(durable, session)?;
        }
        Ok(false)
    }

    fn send_records(&mut self, known: u64, durable: u64) -> Result<bool, String> {
        let begins = beginning(&Disk, &self.directory).map_err(|error| error.to_string())?;
        // What the sink lacks and this log does not have any more: it has to know.
        let begins = begins.filter(|tree| tree.size() > known);
        let first = begins.as_ref().map_or(known, Frontier::size);
        let Some((note, lines)) = self.records(first, durable)? else {
            return Ok(false);
        };
        let beside = self.beside(first, &lines)?;
        let peaks = |tree: Frontier| tree.peaks().iter().map(|peak| BASE64.encode(peak)).collect();
        let before = begins.map(peaks);
        let checkpoint = note.text.clone();
        let head = Head { first, checkpoint, before, session: None, lines_bytes: None };
        self.send(head, &lines, &beside, &note)?;
        if self.attempts > 0 {
            tracing::info!(next = note.size, "the sink takes records again");
        }
        self.attempts = 0;
        Ok(true)
    }

    /// Says where the log ends, which is no news to the sink unless the log is not what it was.
    fn send_end(&mut self, durable: u64, session: u64) -> Result<(), String> {
        let note = self.notes.after(durable.saturating_sub(1), durable);
        let note = note.map_err(|error| error.to_string())?;
        let Some(note) = note.filter(|note| note.size == durable) else {
            return Ok(());
        };
        let checkpoint = note.text.clone();
        let session = Some(session);
        let head = Head { first: durable, checkpoint, before: None, session, lines_bytes: None };
        self.send(head, &[], "", &note)
    }

    fn send(&mut self, head: Head, lines: &[u8], beside: &str, note: &Note) -> Result<(), String> {
        let first = head.first;
        let body = pack::pack_with(head, lines, beside).map_err(|error| error.to_string())?;
        let Appended { receipt, renew, keys } = match self.place.client.post(wire::APPEND, body) {
            Ok(appended) => appended,
            Err(Trouble::Refused(refused)) if refused.what == "gap" => {
                return Err("the sink has fewer records than it said".to_owned());
            }
            Err(trouble) => return Err(trouble.to_string()),
        };
        self.keep(note, &receipt)?;
        if let Some(state) = &mut self.state {
            (state.size, state.renew, state.keys) = (note.size, renew, keys);
        }
        self.progress.keep_from(note.size);
        self.stats.reached(note.size, note.size - first);
        self.sent = Some(Instant::now());
        Ok(())
    }

    /// The records from an index on up to a checkpoint, and that checkpoint.
    fn records(&mut self, first: u64, durable: u64) -> Result<Option<(Note, Vec<u8>)>, String> {
        let mut limit = first.saturating_add(wire::BATCH_RECORDS_MAX);
        loop {
            let note = self.notes.after(first, limit).map_err(|error| error.to_string())?;
            let Some(note) = note.filter(|note| note.size <= durable) else {
                return Ok(None);
            };
            // The least that can be sent is what one checkpoint covers.
            let is_least = limit == first;
            limit = first;
            let Some(lines) = self.lines(first, &note, is_least)? else {
                continue;
            };
            let Some(end) = rotated(first, &lines).filter(|end| *end < note.size) else {
                return Ok(Some((note, lines)));
            };
            // What comes behind is signed by another key.
            let note = self.notes.after(end - 1, end).map_err(|error| error.to_string())?;
            let Some(note) = note.filter(|note| note.size == end) else {
                return Err(format!("no checkpoint of {end} records is there"));
            };
            let lines = self.lines(first, &note, true)?;
            return Ok(lines.map(|lines| (note, lines)));
        }
    }

    /// What stands beside these records and is not erased, where the sink takes it.
    fn beside(&mut self, first: u64, lines: &[u8]) -> Result<String, String> {
        let mut beside = String::new();
        if !self.state.as_ref().is_some_and(|state| state.beside) {
            return Ok(beside);
        }
        let mut found = HashMap::new();
        for (index, line) in (first..).zip(lines.split(|byte| *byte == b'\n')) {
            let gathered = self.values.gather(index, line, &mut found);
            gathered.map_err(|error| error.to_string())?;
        }
        for value in found.values() {
            value.write(&mut beside);
        }
        Ok(beside)
    }

    /// The lines of records up to a checkpoint; `None` if they are more than is wanted at once.
    fn lines(&mut self, first: u64, note: &Note, all: bool) -> Result<Option<Vec<u8>>, String> {
        if self.reader.position() != first {
            self.reader = Reader::new(Disk, &self.directory, first);
        }
        let mut lines = Vec::new();
        for index in first..note.size {
            let line = self.reader.read().map_err(|error| error.to_string())?;
            let line = line.filter(|line| line.index == index);
            let line = line.ok_or_else(|| format!("the log does not have record {index}"))?;
            lines.extend_from_slice(&line.bytes);
            lines.push(b'\n');
            if lines.len() > wire::BATCH_BYTES_WANTED && !all {
                return Ok(None);
            }
        }
        Ok(Some(lines))
    }

    /// A receipt counts only if the sink's own key is on it, over the checkpoint that was sent.
    fn keep(&self, note: &Note, receipt: &str) -> Result<(), String> {
        if !receipt.starts_with(note.text.as_str()) {
            return Err("the sink's receipt is about another checkpoint".to_owned());
        }
        self.place.witnesses.newest().check(receipt).map_err(|error| error.to_string())?;
        let path = self.place.receipt();
        files::write(&path, receipt)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Takes what the sink has to give beside receipts: its keys first, since the next certificate
    /// may be by an authority that is among them. What there is stays valid for long, so what goes
    /// wrong is tried again.
    fn look_after_keys(&mut self) {
        let Some(State { renew, keys, .. }) = &self.state else {
            return;
        };
        let (renew, keys) = (*renew, keys.clone());
        if !self.place.knows(&keys) {
            self.learn(&keys);
        }
        if renew {
            self.renew(!keys.is_empty());
        }
    }

    /// Certificates that end soon are said while there is time to see to it.
    fn look_at_ends(&mut self) {
        let ends = self.place.ends();
        let now_s = clock::now_s();
        for end in &ends {
            let last = self.warned.get(&end.whose);
            let is_said = last.is_some_and(|last| last.elapsed().as_secs() < validity::AGAIN_S);
            let Some(warning) = end.warning(now_s).filter(|_| !is_said) else {
                continue;
            };
            self.warned.insert(end.whose, Instant::now());
            tracing::warn!(warning, "a certificate ends");
            let uid = format!("sink-certificate/{}", end.whose.word()).into();
            let finding = discovery::trouble("sink-certificate", &warning, Vec::new());
            self.recorder.record(Record::Finding(Finding { uid, ..finding }));
        }
        if **self.ends.load() != ends {
            self.ends.store(Arc::new(ends));
        }
    }

    fn learn(&mut self, digest: &str) {
        if self.unlearned.is_some_and(|last| last.elapsed() < RENEW_INTERVAL) {
            return;
        }
        let learned = self.place.learn(digest, |client| client.get::<SinkKeys>(wire::KEYS));
        self.unlearned = learned.is_err().then(Instant::now);
        if let Err(reason) = learned {
            tracing::warn!(reason, "the sink's keys are not learned");
            return;
        }
        let newest = self.place.witnesses.newest();
        tracing::info!(%newest, "the sink has other keys");
        let message = format!("the sink has other keys, and cosigns with {newest}").into();
        self.recorder.record(Record::Control(Control {
            operation: "sink.keys",
            ruling: Ruling::Changed,
            agent: None,
            destination: None,
            correlation: None,
            by: None,
            actor: None,
            message,
        }));
    }

    /// Exchanges the certificate for the next one.
    fn renew(&mut self, announces_keys: bool) {
        if self.renewed.is_some_and(|last| last.elapsed() < RENEW_INTERVAL) {
            return;
        }
        self.renewed = Some(Instant::now());
        let ask = |client: &mut _, request| Client::post::<Enrolled>(client, wire::RENEW, request);
        match self.place.renew(announces_keys, ask) {
            Ok(()) => tracing::info!("the host's certificate is renewed"),
            Err(reason) => tracing::warn!(reason, "the host's certificate is not renewed"),
        }
    }

    fn failed(&mut self, reason: &str) -> Duration {
        if self.attempts == 0 {
            tracing::warn!(reason, "records do not reach the sink; the log keeps them");
        }
        self.stats.failed(reason);
        self.state = None;
        self.attempts = self.attempts.saturating_add(1);
        backoff::pause(self.attempts)
    }
}

/// Index behind the first record that replaces the key of the log.
fn rotated(first: u64, lines: &[u8]) -> Option<u64> {
    let mut each = (first..).zip(lines.split(|byte| *byte == b'\n'));
    let found = each.find(|(_, line)| std::str::from_utf8(line).is_ok_and(Handover::is_in));
    found.map(|(index, _)| index + 1)
}
