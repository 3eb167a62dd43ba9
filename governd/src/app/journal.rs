//! Where records go: to the log's keeper, and as lines to those who watch.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::broadcast, task};

use super::clock;
use crate::{
    audit::{
        log::{
            self, COMMIT_BOUNDS_S, CommitDurations, Disk, Fresh, Keeper, KeeperOptions, Log,
            Progress, ReadError, Reader,
        },
        record::{By, Context, Control, Record, Ruling, personal::Erasure},
    },
    control::{
        protocol::{CommitTimes, LogStatus},
        server::{Line, Past},
    },
};

/// Events that a slow watcher may be behind before it misses some.
const WATCHER_LAG_MAX: usize = 4_096;
/// How long a watcher waits for the log before it goes without its past.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The log and its watchers.
pub struct Journal {
    keeper: Arc<Keeper>,
    watchers: broadcast::Sender<Line>,
    next_index: Arc<AtomicU64>,
    directory: PathBuf,
    origin: String,
}

/// Records something from another thread, for as long as the log is open.
pub struct Recorder(Weak<Keeper>);

impl Recorder {
    /// Hands over a record of something that happens now.
    pub fn record(&self, record: Record) {
        let refused = self.0.upgrade().map(|keeper| keeper.append(clock::now_ms(), record));
        if !matches!(refused, Some(Ok(()))) {
            tracing::debug!("record lost");
        }
    }

    /// Waits until the log has what was handed over, or for as long as a watcher would; gives the
    /// index behind the last record, unless it took longer or the log is closed.
    pub fn settle(&self) -> Option<u64> {
        self.0.upgrade()?.commit(COMMIT_TIMEOUT)
    }
}

impl Journal {
    /// Starts the keeper of an open log.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        log: Log<Disk>,
        directory: PathBuf,
        context: Context,
        options: KeeperOptions,
    ) -> io::Result<Self> {
        let (watchers, _) = broadcast::channel(WATCHER_LAG_MAX);
        let next_index = Arc::new(AtomicU64::new(log.next_index()));
        let origin = log.verifier().name().to_owned();
        let (shown, counted) = (watchers.clone(), Arc::clone(&next_index));
        let observer = move |index: u64, line: &Fresh<'_>| {
            counted.store(index + 1, Ordering::Relaxed);
            if shown.receiver_count() > 0 {
                // The last watcher may leave at this very moment.
                shown.send(Line { index, text: line.shown().into() }).ok();
            }
        };
        let keeper = Arc::new(Keeper::spawn(log, context, options, Box::new(observer))?);
        Ok(Self { keeper, watchers, next_index, directory, origin })
    }

    /// Hands over a record and the time at which it happened (`CLOCK_BOOTTIME`, nanoseconds), or
    /// `None` for now. Never waits; what cannot be taken is counted, and the log will say so.
    pub fn record(&self, record: impl Into<Box<Record>>, time_ns: Option<u64>) {
        let time_ms = time_ns
            .map_or_else(clock::now_ms, |ns| clock::booted_ms().saturating_add(clock::ms(ns)));
        if let Err(error) = self.keeper.append(time_ms, record) {
            tracing::debug!(%error, "record lost");
        }
    }

    /// Waits until what was handed over is durable.
    #[cfg(test)]
    pub fn commit(&self) -> Option<u64> {
        self.keeper.commit(Duration::from_secs(120))
    }

    /// The same for other threads.
    pub fn recorder(&self) -> Recorder {
        Recorder(Arc::downgrade(&self.keeper))
    }

    /// The log's name, as its key and checkpoints have it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where the log is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How far the log is durable.
    pub fn progress(&self) -> Progress {
        self.keeper.progress()
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Line> {
        self.watchers.subscribe()
    }

    /// Records of the log from an index on, without a gap to the events from now on.
    pub fn since(&self, first: u64) -> impl Future<Output = Past> + Send + use<> {
        let (keeper, directory) = (Arc::clone(&self.keeper), self.directory.clone());
        async move {
            let committed = task::spawn_blocking(move || keeper.commit(COMMIT_TIMEOUT)).await;
            let next = committed.ok().flatten().unwrap_or(0);
            Box::new(past(directory, first, next)) as Past
        }
    }

    /// Erases values beside records, which somebody wants, and records it, with the number of those
    /// that go elsewhere; says how many.
    pub fn erase(
        &self,
        which: Erasure,
        elsewhere: u64,
        by: By,
    ) -> impl Future<Output = io::Result<u64>> + Send + use<> {
        let (keeper, directory) = (Arc::clone(&self.keeper), self.directory.clone());
        async move {
            let work =
                task::spawn_blocking(move || erase(&keeper, &directory, which, elsewhere, by));
            work.await.map_err(io::Error::other)?
        }
    }

    /// Has another key sign the log from here on, which somebody wants; gives that key.
    pub fn rotate(&self, by: By) -> impl Future<Output = io::Result<String>> + Send + use<> {
        let keeper = Arc::clone(&self.keeper);
        async move {
            let message = format!("uid {} replaces the key that signs the log", by.uid);
            let control = changed("audit.rotate-key", by, message);
            let work = task::spawn_blocking(move || keeper.rotate(control));
            Ok(work.await.map_err(io::Error::other)??.to_string())
        }
    }

    /// Whether the log cannot be written.
    pub fn is_failing(&self) -> bool {
        self.keeper.trouble().is_some()
    }

    /// Records that wait for the log.
    pub fn queued(&self) -> u64 {
        self.keeper.queued()
    }

    /// Records that were handed over, and how many of those are durable, or counted as lost.
    pub fn settled(&self) -> (u64, u64) {
        self.keeper.settled()
    }

    /// Waits until the log has what was handed over, or for as long as a watcher would.
    pub fn settle(&self) {
        if self.keeper.commit(COMMIT_TIMEOUT).is_none() {
            tracing::warn!("the log is behind");
        }
    }

    /// How the log fares.
    pub fn status(&self) -> LogStatus {
        LogStatus {
            directory: self.directory.display().to_string(),
            next_index: self.next_index.load(Ordering::Relaxed),
            lost_records: self.keeper.lost(),
            failing: self.keeper.trouble().map(|reason| reason.as_ref().clone()),
            durable: self.keeper.durable(),
            queued: self.keeper.queued(),
            commits: commit_times(&self.keeper.commits()),
        }
    }
}

/// The record first: what is erased without one is what somebody took away.
fn erase(
    keeper: &Keeper,
    directory: &Path,
    which: Erasure,
    elsewhere: u64,
    by: By,
) -> io::Result<u64> {
    // What waits is counted, too.
    if keeper.commit(COMMIT_TIMEOUT).is_none() {
        return Err(io::Error::other("the log cannot be written"));
    }
    let count = log::count_values(&Disk, directory, &which)?;
    if count + elsewhere == 0 {
        return Ok(0);
    }
    let of = if which.user.is_some() { " of one user" } else { "" };
    let before =
        which.before_ms.and_then(|ms| Timestamp::from_millisecond(ms.try_into().ok()?).ok());
    let before = before.map_or_else(String::new, |time| format!(" logged before {time}"));
    let known =
        if elsewhere > 0 { format!(", and {elsewhere} of the inventory") } else { "".into() };
    let uid = by.uid;
    let message = format!("uid {uid} erases {count} values{of}{before} beside the log{known}");
    let record = changed("audit.erase", by, message);
    let (gone, written) = keeper.erase(which.clone(), Record::Control(record))?;
    Ok(gone + elsewhere + log::erase_before(&Disk, directory, written, &which)?)
}

/// Somebody changes something about the log.
fn changed(operation: &'static str, by: By, message: String) -> Control {
    Control {
        operation,
        ruling: Ruling::Changed,
        agent: None,
        destination: None,
        correlation: None,
        by: Some(by),
        actor: None,
        message: message.into(),
    }
}

fn commit_times(durations: &CommitDurations) -> CommitTimes {
    let [counts @ .., longer] = durations.counts;
    let counts = COMMIT_BOUNDS_S.into_iter().zip(counts).collect();
    CommitTimes { sum_s: durations.sum_s, counts, longer }
}

fn past(directory: PathBuf, first: u64, next: u64) -> impl Iterator<Item = Line> + Send {
    let mut reader = Some(Reader::new(Disk, directory, first).shown());
    std::iter::from_fn(move || {
        let from = reader.as_mut()?;
        let index = from.position();
        if index >= next {
            return None;
        }
        let error = match from.read() {
            Ok(line) => {
                let line = line?;
                let text = String::from_utf8_lossy(&line.bytes).into();
                return Some(Line { index: line.index, text });
            }
            Err(error) => error,
        };
        if matches!(error, ReadError::Io { .. }) {
            reader = None;
        }
        let text = serde_json::json!({ "unreadable": error.to_string() }).to_string();
        Some(Line { index, text: text.into() })
    })
}
