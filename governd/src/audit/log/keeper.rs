//! The log's own thread: it gives records their place, commits on an interval or a full batch, and
//! turns what could not be kept into loss records once writing works again. Handing it a record
//! never waits for the disk.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;

use super::{
    CommitDurations, CommitError, Filesystem, Keep, Log, PENDING_BYTES_MAX, durations::CommitTimes,
    retention::Surplus,
};
use crate::audit::{
    checkpoint::Verifier,
    record::{
        Context, Control, Deleted, Host, Loss, LossSource, Record, Stamp, Tokens,
        personal::{self, Erasure, Values},
    },
};

/// Longest wait while nothing is pending.
const IDLE: Duration = Duration::from_secs(3_600);
/// How often it is looked whether the log has become too large.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// Sees every line as it gets its place, which is before it is durable.
pub type Observer = Box<dyn FnMut(u64, &Fresh<'_>) + Send>;

/// A line that has just got its place, and what stands beside it.
pub struct Fresh<'a> {
    line: &'a str,
    tokens: Tokens,
    values: Values<'a>,
}

impl Fresh<'_> {
    /// The line as people get to see it.
    pub fn shown(&self) -> String {
        let mut command_line = String::new();
        self.values.write_command_line(&mut command_line);
        personal::plain(self.line, |token| {
            if self.tokens.user.as_ref() == Some(token) {
                return self.values.user;
            }
            (self.tokens.command_line.as_ref() == Some(token)).then_some(command_line.as_str())
        })
    }
}

/// Time between commits in a flood: a sync costs as much for one record as for many.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How long records gather in the queue once it is empty: waking for each of a flood costs more
/// than writing it.
const GATHER: Duration = Duration::from_millis(1);
/// Records that are taken before it is looked whether a commit is due.
const BURST_RECORDS_MAX: usize = 256;

/// How the keeper works.
#[derive(Clone, Copy, Debug)]
pub struct KeeperOptions {
    /// Longest time from a record to its commit.
    pub interval: Duration,
    /// Records that wait for the thread; more are refused and counted.
    pub queue_records_max: usize,
    /// Which records go.
    pub keep: Keep,
    /// Records from this one on stay until somebody says what else is needed.
    pub needed: u64,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            queue_records_max: 65_536,
            keep: Keep::default(),
            needed: u64::MAX,
        }
    }
}

/// Why a record was not taken; it is counted, and the log will say so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The thread is behind by as many records as may wait.
    #[error("the log's queue is full")]
    QueueFull,
    /// The thread has ended.
    #[error("the log is closed")]
    Closed,
}

/// The log, kept by its thread. Dropping it commits what waits and ends the thread.
pub struct Keeper {
    /// `None` only while it is dropped.
    orders: Option<SyncSender<Order>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<u64, CommitError>>>,
}

/// How far the log is durable, for readers on other threads: what lies behind it may still vanish.
#[derive(Clone)]
pub struct Progress(Arc<Shared>);

impl Progress {
    /// Says that records from an index on are needed elsewhere: they stay, however large the log
    /// becomes. Without this, none is.
    pub fn keep_from(&self, index: u64) {
        self.0.needed.store(index, Ordering::Relaxed);
    }

    /// Index behind the last durable record.
    pub fn durable(&self) -> u64 {
        self.0.durable.load(Ordering::Relaxed)
    }
}

enum Order {
    Record { time_ms: u64, record: Box<Record> },
    Commit { done: SyncSender<u64> },
    Erase { which: Erasure, record: Box<Record>, done: SyncSender<io::Result<(u64, u64)>> },
    Rotate { control: Box<Control>, done: SyncSender<io::Result<Verifier>> },
}

/// What the thread and its handle both see.
#[derive(Default)]
struct Shared {
    durable: AtomicU64,
    /// Records that wait for the thread.
    queued: AtomicU64,
    /// Records that were handed over, and how many of those are durable or counted in one that is.
    handed: AtomicU64,
    settled: AtomicU64,
    commits: CommitTimes,
    lost: AtomicU64,
    queue_lost: AtomicU64,
    /// Records from this one on are needed elsewhere, and stay.
    needed: AtomicU64,
    /// What the system says while commits fail.
    trouble: ArcSwapOption<String>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn<F>(
        log: Log<F>,
        context: Context,
        options: KeeperOptions,
        observer: Observer,
    ) -> io::Result<Self>
    where
        F: Filesystem + Send + 'static,
        F::File: Send,
    {
        let shared = Arc::new(Shared::default());
        shared.durable.store(log.durable(), Ordering::Relaxed);
        shared.needed.store(options.needed, Ordering::Relaxed);
        let (orders, receiver) = mpsc::sync_channel(options.queue_records_max);
        let worker = Worker::new(log, context, options, Arc::clone(&shared), observer);
        let thread = thread::Builder::new().name("governd-log".to_owned());
        let thread = thread.spawn(move || worker.run(&receiver))?;
        Ok(Self { orders: Some(orders), shared, thread: Some(thread) })
    }

    /// Hands over a record of something that happened at a time, in milliseconds since the epoch.
    ///
    /// # Errors
    /// If too many wait already or the log is closed. The record is lost, and counted.
    pub fn append(&self, time_ms: u64, record: impl Into<Box<Record>>) -> Result<(), Refused> {
        let order = Order::Record { time_ms, record: record.into() };
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        let sent = self.orders.as_ref().map(|orders| orders.try_send(order));
        let refused = match sent {
            Some(Ok(())) => {
                self.shared.handed.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Some(Err(TrySendError::Full(_))) => Refused::QueueFull,
            Some(Err(TrySendError::Disconnected(_))) | None => Refused::Closed,
        };
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        self.shared.queue_lost.fetch_add(1, Ordering::Relaxed);
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    /// Waits until everything handed over before is committed, at most so long, and says the index
    /// behind the last durable record; `None` if it took longer.
    pub fn commit(&self, timeout: Duration) -> Option<u64> {
        let (done, answer) = mpsc::sync_channel(1);
        self.orders.as_ref()?.send(Order::Commit { done }).ok()?;
        answer.recv_timeout(timeout).ok()
    }

    /// Erases values beside the records of the segment that is written, once everything handed over
    /// before is durable, and this record, which says so. Gives what [`Log::erase`] gives.
    ///
    /// # Errors
    /// If the log is closed, or the disk refuses.
    pub fn erase(&self, which: Erasure, record: Record) -> io::Result<(u64, u64)> {
        self.ask(|done| Order::Erase { which, record: Box::new(record), done })
    }

    fn ask<T>(&self, order: impl FnOnce(SyncSender<io::Result<T>>) -> Order) -> io::Result<T> {
        let closed = || io::Error::other("the log is closed");
        let (done, answer) = mpsc::sync_channel(1);
        self.orders.as_ref().ok_or_else(closed)?.send(order(done)).map_err(|_| closed())?;
        answer.recv().map_err(|_| closed())?
    }

    /// Has another key sign what comes behind everything handed over before and a record of it,
    /// which is made from this. Gives the new key.
    ///
    /// # Errors
    /// If the log is closed, or the disk refuses.
    pub fn rotate(&self, control: Control) -> io::Result<Verifier> {
        self.ask(|done| Order::Rotate { control: Box::new(control), done })
    }

    /// Index behind the last durable record.
    pub fn durable(&self) -> u64 {
        self.progress().durable()
    }

    /// How far the log is durable, for who reads it elsewhere.
    pub fn progress(&self) -> Progress {
        Progress(Arc::clone(&self.shared))
    }

    /// Records that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Records that wait for the thread.
    pub fn queued(&self) -> u64 {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Records that were handed over since the start, and how many of those are durable, or are
    /// counted as lost in a record that is.
    pub fn settled(&self) -> (u64, u64) {
        let Shared { handed, settled, .. } = self.shared.as_ref();
        (handed.load(Ordering::Relaxed), settled.load(Ordering::Relaxed))
    }

    /// How long commits took since the start.
    pub fn commits(&self) -> CommitDurations {
        self.shared.commits.durations()
    }

    /// What the system says while the log cannot be written.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.shared.trouble.load_full()
    }

    /// Commits what waits, ends the thread, and says the index behind the last durable record.
    ///
    /// # Errors
    /// If the last commit failed: what waited is lost.
    pub fn close(mut self) -> Result<u64, CommitError> {
        let durable = self.durable();
        self.end().unwrap_or(Ok(durable))
    }

    fn end(&mut self) -> Option<Result<u64, CommitError>> {
        self.orders = None;
        self.thread.take()?.join().ok()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.end() {
            tracing::error!(%error, cause = %error.source, "log closed with records unwritten");
        }
    }
}

struct Worker<F: Filesystem> {
    log: Log<F>,
    host: Host,
    /// The line that is being made.
    line: String,
    options: KeeperOptions,
    shared: Arc<Shared>,
    observer: Observer,
    /// When it was looked last whether the log is too large.
    retained: Option<Instant>,
    /// When a commit is due; `None` while nothing waits.
    due: Option<Instant>,
    /// When the last commit was.
    committed: Instant,
    /// Records that came from the queue.
    taken: u64,
    /// Records that the log refused, since when (milliseconds since the epoch), and why.
    refused: Option<(u64, u64, Arc<str>)>,
}

impl<F: Filesystem> Worker<F> {
    fn new(
        log: Log<F>,
        context: Context,
        options: KeeperOptions,
        shared: Arc<Shared>,
        observer: Observer,
    ) -> Self {
        Self {
            log,
            host: Host::new(context),
            line: String::new(),
            options,
            shared,
            observer,
            retained: None,
            due: None,
            committed: Instant::now(),
            taken: 0,
            refused: None,
        }
    }

    fn run(mut self, orders: &Receiver<Order>) -> Result<u64, CommitError> {
        loop {
            let wait = self.due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            let mut taken = 0;
            match orders.recv_timeout(wait) {
                Ok(first) => {
                    let burst = std::iter::once(first).chain(orders.try_iter());
                    for order in burst.take(BURST_RECORDS_MAX) {
                        taken += 1;
                        self.obey(order);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.commit(),
            }
            let is_due = self.due.is_some_and(|due| due <= Instant::now());
            if is_due || self.is_full() {
                match self.commit() {
                    Ok(_) => self.retain(),
                    Err(_) => self.due = Some(Instant::now() + self.options.interval),
                }
            } else if (1..BURST_RECORDS_MAX).contains(&taken) {
                thread::sleep(GATHER);
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Record { time_ms, record } => {
                self.shared.queued.fetch_sub(1, Ordering::Relaxed);
                self.take(time_ms, &record);
                self.taken += 1;
            }
            Order::Commit { done } => {
                let committed = self.commit();
                if committed.is_ok() {
                    self.retain();
                    answer(&done, self.log.durable());
                }
            }
            Order::Erase { which, record, done } => answer(&done, self.erase(&which, &record)),
            Order::Rotate { control, done } => answer(&done, self.rotate(*control)),
        }
    }

    fn erase(&mut self, which: &Erasure, record: &Record) -> io::Result<(u64, u64)> {
        self.commit().map_err(io::Error::other)?;
        self.take(now_ms(), record);
        self.commit().map_err(io::Error::other)?;
        self.log.erase(which)
    }

    fn rotate(&mut self, control: Control) -> io::Result<Verifier> {
        self.commit().map_err(io::Error::other)?;
        let handover = self.log.begin_rotation().map_err(io::Error::other)?;
        self.take(now_ms(), &Record::Rotation(control, handover));
        self.log.rotate().map_err(io::Error::other)?;
        self.commit().map_err(io::Error::other)?;
        Ok(self.log.verifier().clone())
    }

    /// Deletes the oldest segments of a log that has become too large; a record says so first.
    fn retain(&mut self) {
        if self.retained.is_some_and(|last| last.elapsed() < RETENTION_INTERVAL) {
            return;
        }
        self.retained = Some(Instant::now());
        let needed = self.shared.needed.load(Ordering::Relaxed);
        let surplus = match self.log.surplus(self.options.keep, needed, now_ms()) {
            Ok(Some(surplus)) => surplus,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "the log's size cannot be read"),
        };
        let Surplus { kept_from, records, bytes, is_early } = surplus;
        self.take(now_ms(), &Record::Deleted(Deleted { kept_from, records, bytes, is_early }));
        if self.commit_once().is_err() {
            return;
        }
        match self.log.delete_before(kept_from) {
            Ok(()) => tracing::info!(kept_from, records, bytes, "the oldest segments are deleted"),
            Err(error) => tracing::warn!(%error, "the oldest segments cannot be deleted"),
        }
    }

    /// Whether there is enough for a commit before one is due.
    fn is_full(&self) -> bool {
        let is_time = || self.committed.elapsed() >= COMMIT_INTERVAL_MIN;
        let is_much = || self.log.pending_bytes() >= PENDING_BYTES_MAX / 2;
        // While the disk refuses, a full batch is no reason to try more often.
        let may_work = || self.shared.trouble.load().is_none();
        self.log.is_batch_full() && (is_time() || is_much()) && may_work()
    }

    fn take(&mut self, time_ms: u64, record: &Record) {
        let (logged_ms, values) = (now_ms(), record.values());
        let tokens = self.log.seal(&values, logged_ms);
        let stamp = Stamp { time_ms, logged_ms, sequence: self.log.next_index(), tokens };
        self.host.prepare(record, &stamp);
        record.write_line(&mut self.line, &self.host, &stamp);
        match self.log.append(&self.line) {
            Ok(index) => {
                let fresh = Fresh { line: &self.line, tokens, values };
                (self.observer)(index, &fresh);
                self.due.get_or_insert_with(|| Instant::now() + self.options.interval);
            }
            Err(error) => {
                let detail = || (0, stamp.logged_ms, error.to_string().into());
                self.refused.get_or_insert_with(detail).0 += 1;
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Commits, then records what was lost, and commits that.
    fn commit(&mut self) -> Result<u64, CommitError> {
        self.commit_once()?;
        let queue_lost = self.shared.queue_lost.swap(0, Ordering::Relaxed);
        let queue = (queue_lost > 0).then(|| (LossSource::Queue, (queue_lost, now_ms(), None)));
        let log = self.refused.take().map(|(n, ms, why)| (LossSource::Log, (n, ms, Some(why))));
        for (source, (count, since_ms, detail)) in queue.into_iter().chain(log) {
            self.take(now_ms(), &Record::Loss(Loss { source, count, since_ms, detail }));
        }
        let durable = self.commit_once()?;
        self.shared.settled.store(self.taken, Ordering::Relaxed);
        Ok(durable)
    }

    fn commit_once(&mut self) -> Result<u64, CommitError> {
        let begin = Instant::now();
        let (before, committed) = (self.log.durable(), self.log.commit());
        self.committed = Instant::now();
        if committed.as_ref().is_ok_and(|durable| *durable > before) {
            self.shared.commits.observe(self.committed - begin);
        }
        match &committed {
            Ok(durable) => {
                self.due = None;
                self.shared.durable.store(*durable, Ordering::Relaxed);
                if self.shared.trouble.swap(None).is_some() {
                    tracing::info!(durable, "log is written again");
                }
            }
            Err(error) => {
                let cause = error.source.to_string();
                if self.shared.trouble.load().is_none() {
                    tracing::error!(%error, cause, "log cannot be written; enforcement goes on");
                }
                self.shared.trouble.store(Some(Arc::new(format!("{error}: {cause}"))));
            }
        }
        committed
    }
}

fn answer<T>(done: &SyncSender<T>, value: T) {
    if done.send(value).is_err() {
        tracing::debug!("nobody waits for this any more");
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use governd_common::verdict::Mode;

    use super::*;
    use crate::audit::{
        log::{
            Disk, Options, Reader,
            sim::{Fault, Sim},
        },
        record::{Lifecycle, Phase},
    };

    fn context() -> Context {
        Context {
            hostname: "host-a.example".into(),
            machine_id: None,
            boot_id: "boot".into(),
            booted_ms: 0,
            kernel: "6.18.44".into(),
            version: "0.1.0".into(),
            degraded: [].into(),
        }
    }

    fn start() -> Record {
        Record::Lifecycle(Lifecycle {
            phase: Phase::Start,
            pid: 1,
            mode: Mode::Monitor,
            policy: None,
        })
    }

    fn event(line: &[u8]) -> serde_json::Value {
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn records_are_seen_at_once_numbered_and_durable_when_closed() {
        let state = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Disk, Options::new(state.path())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watcher = Arc::clone(&seen);
        let observer: Observer =
            Box::new(move |index, line| watcher.lock().unwrap().push((index, line.shown())));
        let options = KeeperOptions { interval: Duration::from_secs(600), ..Default::default() };
        let keeper = Keeper::spawn(log, context(), options, observer).unwrap();
        for time_ms in 0..5_000 {
            keeper.append(time_ms, start()).unwrap();
        }
        assert_eq!(keeper.commit(Duration::from_secs(60)), Some(5_000));
        assert_eq!((keeper.durable(), keeper.lost(), keeper.trouble()), (5_000, 0, None));
        keeper.append(5_000, start()).unwrap();
        assert_eq!(keeper.close().unwrap(), 5_001);
        let mut reader = Reader::new(Disk, state.path(), 0);
        for (index, line) in seen.lock().unwrap().iter() {
            let read = reader.read().unwrap().unwrap();
            assert_eq!((read.index, read.bytes.as_slice()), (*index, line.as_bytes()));
            assert_eq!(event(&read.bytes)["metadata"]["sequence"], *index);
            assert_eq!(event(&read.bytes)["time"], *index);
        }
        assert_eq!(reader.read().unwrap(), None);
    }

    #[test]
    fn an_interval_commits_without_being_asked() {
        let state = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Disk, Options::new(state.path())).unwrap();
        let options = KeeperOptions { interval: Duration::from_millis(5), ..Default::default() };
        let keeper = Keeper::spawn(log, context(), options, Box::new(|_, _| ())).unwrap();
        keeper.append(0, start()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while keeper.durable() == 0 {
            assert!(Instant::now() < deadline, "not committed within a minute");
            thread::yield_now();
        }
    }

    #[test]
    fn what_a_full_disk_refused_is_counted_in_the_log_when_it_can_be_written_again() {
        let sim = Sim::default();
        let options = Options { pending_bytes_max: 2_048, ..Options::new("/log") };
        let (log, _) = Log::open(sim.clone(), options).unwrap();
        let shared = Arc::new(Shared::default());
        let mut worker = Worker::new(
            log,
            context(),
            KeeperOptions::default(),
            Arc::clone(&shared),
            Box::new(|_, _| ()),
        );
        sim.fail(0, u32::MAX, Fault::Full);
        for time_ms in 0..20 {
            worker.take(time_ms, &start());
            worker.commit().unwrap_err();
        }
        let trouble = shared.trouble.load_full().unwrap();
        assert!(trouble.starts_with("cannot write the log: /log/"), "{trouble}");
        shared.queue_lost.store(7, Ordering::Relaxed);
        let kept = worker.log.next_index();
        let refused = 20 - kept;
        assert!(refused > 0);
        sim.mend();
        assert_eq!(worker.commit().unwrap(), kept + 2);
        assert!(shared.trouble.load().is_none());
        let mut reader = Reader::new(sim, "/log", kept);
        let mut losses = Vec::new();
        while let Some(line) = reader.read().unwrap() {
            let loss = event(&line.bytes)["unmapped"]["governd"]["loss"].clone();
            losses.push((loss["reason"].clone(), loss["count"].clone()));
        }
        assert_eq!(
            losses,
            [("queue-full".into(), 7.into()), ("log-unwritable".into(), refused.into())]
        );
        assert_eq!(worker.commit().unwrap(), kept + 2);
    }
}
