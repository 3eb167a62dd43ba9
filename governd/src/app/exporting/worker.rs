//! One exporter: log to batch to destination to cursor, for ever.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::Stats;
use crate::{
    app::{
        backoff,
        journal::{Journal, Recorder},
    },
    audit::{
        export::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Batch, Delivered, Destination, Fault, Item},
        log::{Cursor, Disk, Progress, ReadError, Reader},
        record::{Loss, LossSource, Record},
    },
};

/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(250);
/// How often the cursor is saved while there is work.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often what was missed or rejected is recorded.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Worker {
    name: String,
    origin: String,
    reader: Reader,
    cursor: Cursor,
    progress: Progress,
    destination: Box<dyn Destination>,
    recorder: Recorder,
    stats: Arc<Stats>,
    /// Records that are read and not delivered.
    ready: VecDeque<Item>,
    /// Index of the record that is read next, if the log has it.
    expected: u64,
    /// Largest batch that may go out now: it becomes smaller while one in it is refused.
    batch_records_max: usize,
    attempts: u32,
    saved: Instant,
    /// Records that were not exported and of which no record tells yet, since when, and why.
    unsaid: Option<(u64, u64, String)>,
    said: Option<Instant>,
}

/// What one round came to.
enum Round {
    /// There may be more to do.
    Busy,
    /// Nothing is to be done now.
    Idle,
    /// It did not work.
    Failed,
}

impl Worker {
    pub(super) fn new(
        name: &str,
        cursor: Cursor,
        destination: Box<dyn Destination>,
        journal: &Journal,
        stats: Arc<Stats>,
    ) -> Self {
        let expected = cursor.next();
        stats.next.store(expected, Ordering::Relaxed);
        Self {
            name: name.to_owned(),
            origin: journal.origin().to_owned(),
            reader: Reader::new(Disk, journal.directory(), expected).shown(),
            cursor,
            progress: journal.progress(),
            destination,
            recorder: journal.recorder(),
            stats,
            ready: VecDeque::new(),
            expected,
            batch_records_max: BATCH_RECORDS_MAX,
            attempts: 0,
            saved: Instant::now(),
            unsaid: None,
            said: None,
        }
    }

    /// Works until the other end of the channel is dropped.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        loop {
            let wait = match self.round() {
                Round::Busy => Duration::ZERO,
                Round::Idle => POLL,
                Round::Failed => backoff::pause(self.attempts),
            };
            self.say();
            self.save(wait > Duration::ZERO);
            if stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                self.save(true);
                return;
            }
        }
    }

    fn round(&mut self) -> Round {
        if let Err(error) = self.gather() {
            self.fail(&error.to_string());
            return Round::Failed;
        }
        let count = self.ready.len().min(self.batch_records_max);
        let Some(next) = count.checked_sub(1).and_then(|last| self.ready.get(last)) else {
            self.advance(self.expected);
            return Round::Idle;
        };
        let next = next.index + 1;
        let items = self.ready.make_contiguous().get(..count).unwrap_or_default();
        let result = self.destination.deliver(Batch { origin: &self.origin, items });
        match result {
            Ok(Delivered { rejected }) => {
                self.reject(rejected, "the receiver says so");
                self.done(count, next, count as u64 - rejected.min(count as u64));
                Round::Busy
            }
            // One of them is at fault: alone, the others get through.
            Err(Fault::Never(_)) if count > 1 => {
                self.batch_records_max = count / 2;
                Round::Busy
            }
            Err(Fault::Never(reason)) => {
                tracing::warn!(exporter = self.name, reason, "receiver refuses a record");
                self.reject(1, &reason);
                self.done(count, next, 0);
                Round::Busy
            }
            Err(Fault::Later(reason)) => {
                self.fail(&reason);
                Round::Failed
            }
        }
    }

    /// Reads durable records until a batch is full or there are no more.
    fn gather(&mut self) -> Result<(), ReadError> {
        let mut bytes: usize = self.ready.iter().map(|item| item.line.len()).sum();
        while self.ready.len() < BATCH_RECORDS_MAX
            && bytes < BATCH_BYTES_MAX
            // One that is not durable may become another one.
            && self.reader.position().max(self.expected) < self.progress.durable()
        {
            let line = match self.reader.read() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(ReadError::Damaged { first, last, .. }) => {
                    let (reason, count) = ("it is damaged", last + 1 - first);
                    self.miss(first, reason);
                    self.expected = last + 1;
                    self.count_missed(count, reason);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.miss(line.index, "the log had deleted it");
            self.expected = line.index + 1;
            bytes += line.bytes.len();
            let text = String::from_utf8_lossy(&line.bytes).into_owned();
            self.ready.push_back(Item { index: line.index, line: text });
        }
        Ok(())
    }

    /// The log goes on at an index, which may be behind the one that was expected.
    fn miss(&mut self, index: u64, reason: &str) {
        let count = index.saturating_sub(self.expected);
        if count > 0 {
            self.count_missed(count, reason);
        }
    }

    fn count_missed(&mut self, count: u64, reason: &str) {
        self.stats.missed.fetch_add(count, Ordering::Relaxed);
        self.note(count, reason);
    }

    fn reject(&mut self, count: u64, reason: &str) {
        if count > 0 {
            self.stats.rejected.fetch_add(count, Ordering::Relaxed);
            self.note(count, reason);
        }
    }

    fn note(&mut self, count: u64, reason: &str) {
        let first = || (0, crate::app::clock::now_ms(), reason.to_owned());
        self.unsaid.get_or_insert_with(first).0 += count;
    }

    fn done(&mut self, count: usize, next: u64, delivered: u64) {
        self.ready.drain(..count);
        self.batch_records_max = BATCH_RECORDS_MAX.min(self.batch_records_max.saturating_mul(2));
        self.stats.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.attempts = 0;
        if self.stats.trouble.swap(None).is_some() {
            tracing::info!(exporter = self.name, next, "exporter delivers again");
        }
        self.advance(next);
    }

    fn advance(&mut self, next: u64) {
        self.cursor.advance(next);
        self.stats.next.store(next, Ordering::Relaxed);
    }

    fn fail(&mut self, reason: &str) {
        self.stats.failures.fetch_add(1, Ordering::Relaxed);
        if self.stats.trouble.load().is_none() {
            tracing::warn!(exporter = self.name, reason, "exporter cannot deliver; the log keeps");
        }
        self.stats.trouble.store(Some(Arc::new(reason.to_owned())));
        self.attempts = self.attempts.saturating_add(1);
    }

    fn save(&mut self, now: bool) {
        if !now && self.saved.elapsed() < SAVE_INTERVAL {
            return;
        }
        self.saved = Instant::now();
        if let Err(error) = self.cursor.save() {
            // What it costs is that records come twice after a restart.
            tracing::debug!(exporter = self.name, %error, "cursor cannot be saved");
        }
    }

    /// Puts into the log what was not exported.
    fn say(&mut self) {
        if self.said.is_some_and(|said| said.elapsed() < LOSS_INTERVAL) {
            return;
        }
        if let Some((count, since_ms, reason)) = self.unsaid.take() {
            self.said = Some(Instant::now());
            let detail = Some(format!("exporter {}: {reason}", self.name).into());
            let loss = Loss { source: LossSource::Export, count, since_ms, detail };
            self.recorder.record(Record::Loss(loss));
        }
    }
}
