//! The exporters: each is a thread that reads the log from its own cursor and hands records on.
//! None waits for another, and nothing waits for them; while one cannot deliver, the log keeps what
//! it has.

#[cfg(test)]
mod tests;
mod worker;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use self::worker::Worker;
use super::{confinement, journal::Journal};
use crate::{
    audit::{
        export::{
            self, SetUpError,
            config::{self, ConfigError, Exporter},
        },
        log::{Cursor, Disk, Progress},
    },
    control::protocol::ExporterStatus,
    settings::{self, Settings},
};

/// Where cursors are, in the state directory.
const CURSORS_DIR: &str = "cursors";
/// How long the end of the daemon waits for exporters that are busy. They go on where they were.
const END_TIMEOUT: Duration = Duration::from_secs(3);
const END_POLL: Duration = Duration::from_millis(10);

/// Why there are no exporters.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// An exporter cannot be set up.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// A cursor cannot be read, or the system gives no thread.
    #[error("exporter {exporter}: cannot be started")]
    Start {
        /// The exporter.
        exporter: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ExportError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "name a readable file with --exporters",
            Self::Invalid(error) => error.hint(),
            Self::SetUp(error) => error.hint(),
            Self::Start { .. } => "check that the state directory is on a working file system",
        }
    }
}

/// How an exporter fares; its thread writes, others read.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Index of the first record that is not delivered.
    next: AtomicU64,
    delivered: AtomicU64,
    /// Records that the log had no more, or damaged.
    missed: AtomicU64,
    /// Records that the receiver will never take.
    rejected: AtomicU64,
    /// Attempts that failed.
    failures: AtomicU64,
    /// Why the latest attempt failed, until one succeeds.
    trouble: ArcSwapOption<String>,
}

impl Stats {
    /// The receiver has everything before an index: so many records more than it had.
    pub(super) fn reached(&self, next: u64, delivered: u64) {
        self.next.store(next, Ordering::Relaxed);
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.trouble.store(None);
    }

    /// An attempt failed.
    pub(super) fn failed(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.trouble.store(Some(Arc::new(reason.to_owned())));
    }

    /// How an exporter of that name and kind fares.
    pub(super) fn status(&self, name: &str, kind: &str, progress: &Progress) -> ExporterStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExporterStatus {
            name: name.to_owned(),
            kind: kind.to_owned(),
            delivered: count(&self.delivered),
            behind: progress.durable().saturating_sub(count(&self.next)),
            missed: count(&self.missed),
            rejected: count(&self.rejected),
            failures: count(&self.failures),
            failing: self.trouble.load().as_ref().map(|reason| reason.as_ref().clone()),
            certificates: Vec::new(),
        }
    }
}

/// All exporters.
pub(super) struct Exporting {
    known: Vec<Exporter>,
    directory: PathBuf,
    running: Vec<Running>,
    /// Those that the host policy names and the host does not have, or that cannot be started, and
    /// why.
    lacking: Vec<(String, &'static str, String)>,
    progress: Progress,
}

struct Running {
    name: String,
    kind: &'static str,
    stats: Arc<Stats>,
    /// Dropped when it should end.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// The exporters that the settings name.
///
/// # Errors
/// The file is wrong, or is named and not there.
pub(super) fn configured(settings: &Settings) -> Result<Vec<Exporter>, ExportError> {
    let path = &settings.exporters;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // Without a file there is nobody to export to, unless somebody wants it.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && path == Path::new(settings::EXPORTERS_FILE) =>
        {
            return Ok(Vec::new());
        }
        Err(source) => return Err(ExportError::Unreadable { path: path.clone(), source }),
    };
    Ok(config::parse(&path.display().to_string(), &text)?)
}

impl Exporting {
    /// Starts the exporters that a host policy wants: all, if `None`.
    ///
    /// # Errors
    /// One of them cannot be set up.
    pub(super) fn start(
        exporters: Vec<Exporter>,
        wanted: Option<&[Arc<str>]>,
        settings: &Settings,
        journal: &Journal,
    ) -> Result<Self, ExportError> {
        let directory = settings.state_dir.join(CURSORS_DIR);
        let progress = journal.progress();
        let (running, lacking) = (Vec::new(), Vec::new());
        let mut all = Self { known: exporters, directory, running, lacking, progress };
        for exporter in all.known.iter().filter(|one| is_wanted(wanted, one.name())) {
            all.running.push(launch(exporter, &all.directory, journal)?);
        }
        all.choose(wanted, journal);
        Ok(all)
    }

    /// Goes on with those that another host policy wants, each from where it was.
    pub(super) fn choose(&mut self, wanted: Option<&[Arc<str>]>, journal: &Journal) {
        let running = std::mem::take(&mut self.running).into_iter();
        let (stay, go) = running.partition(|one| is_wanted(wanted, &one.name));
        self.running = stay;
        end(go);
        self.lacking.clear();
        let named = wanted.unwrap_or_default().iter();
        let unknown = named.filter(|name| !self.known.iter().any(|one| one.name() == &***name));
        for name in unknown {
            tracing::warn!(
                exporter = &**name,
                "the host policy names an exporter that is not there"
            );
            self.lacking.push((name.to_string(), "none", NOT_THERE.to_owned()));
        }
        for exporter in self.known.iter().filter(|one| is_wanted(wanted, one.name())) {
            if self.running.iter().any(|one| one.name == exporter.name()) {
                continue;
            }
            match launch(exporter, &self.directory, journal) {
                Ok(running) => self.running.push(running),
                Err(error) => {
                    tracing::error!(%error, "records do not go to an exporter");
                    let why = error.to_string();
                    self.lacking.push((exporter.name().to_owned(), exporter.kind(), why));
                }
            }
        }
    }

    /// How each fares.
    pub(super) fn status(&self) -> Vec<ExporterStatus> {
        let status = |exporter: &Running| {
            exporter.stats.status(&exporter.name, exporter.kind, &self.progress)
        };
        let lacking = self.lacking.iter().map(|(name, kind, why)| {
            let stats = Stats::default();
            stats.failed(why);
            stats.status(name, kind, &self.progress)
        });
        self.running.iter().map(status).chain(lacking).collect()
    }

    /// Ends them. One that is busy with a receiver that does not answer is left behind: what it had
    /// not delivered is delivered after the next start.
    pub(super) fn stop(self) {
        end(self.running);
    }
}

/// Why an exporter that a host policy names does nothing.
const NOT_THERE: &str = "the host policy names it, and the host has no exporter of that name";

fn is_wanted(wanted: Option<&[Arc<str>]>, name: &str) -> bool {
    wanted.is_none_or(|names| names.iter().any(|one| &**one == name))
}

/// Starts one, from its cursor.
fn launch(
    exporter: &Exporter,
    directory: &Path,
    journal: &Journal,
) -> Result<Running, ExportError> {
    let name = exporter.name();
    let failed = |source| ExportError::Start { exporter: name.to_owned(), source };
    let mut cursor = Cursor::open(Disk, directory, name, journal.origin()).map_err(failed)?;
    if cursor.is_new() && exporter.from() == config::From::Now {
        cursor.advance(journal.progress().durable());
    }
    cursor.save().map_err(failed)?;
    let destination = export::destination(exporter)?;
    let stats = Arc::new(Stats::default());
    let worker = Worker::new(name, cursor, destination, journal, Arc::clone(&stats));
    let (stop, stopped) = mpsc::channel();
    let thread = thread::Builder::new().name(format!("export-{name}"));
    let written = [Some(directory.to_owned()), exporter.directory().map(Path::to_owned)];
    let work = move || {
        let written: Vec<_> = written.iter().flatten().map(PathBuf::as_path).collect();
        confinement::write_only_below(&written);
        worker.run(&stopped);
    };
    let thread = thread.spawn(work).map_err(failed)?;
    Ok(Running { name: name.to_owned(), kind: exporter.kind(), stats, stop, thread })
}

fn end(running: Vec<Running>) {
    let (stops, threads): (Vec<_>, Vec<_>) =
        running.into_iter().map(|exporter| (exporter.stop, exporter.thread)).unzip();
    drop(stops);
    let deadline = Instant::now() + END_TIMEOUT;
    while !threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
        thread::sleep(END_POLL);
    }
}
