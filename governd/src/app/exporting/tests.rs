use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::Ordering,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Stats, worker::Worker};
use crate::{
    app::journal::Journal,
    audit::{
        export::{Batch, Delivered, Destination, Fault},
        log::{Cursor, Disk, KeeperOptions, Log, Options, Reader},
        record::{Context, Lifecycle, Phase, Record},
    },
};

const PATIENCE: Duration = Duration::from_secs(120);

/// Indices that a receiver has got, as often as it got them.
// The worker's thread writes, the test reads.
type Got = Arc<Mutex<Vec<u64>>>;

/// What a receiver does with an index when it gets it for so many times before.
type Answer = fn(index: u64, before: usize) -> Result<(), Fault>;

struct Receiver {
    got: Got,
    answer: Answer,
    asked: Vec<u64>,
}

impl Destination for Receiver {
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault> {
        for item in batch.items {
            let before = self.asked.iter().filter(|asked| **asked == item.index).count();
            self.asked.push(item.index);
            (self.answer)(item.index, before)?;
        }
        self.got.lock().unwrap().extend(batch.items.iter().map(|item| item.index));
        Ok(Delivered::default())
    }
}

struct Running {
    stats: Arc<Stats>,
    got: Got,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(state: &Path, journal: &Journal, answer: Answer) -> Self {
        let cursor = Cursor::open(Disk, &state.join("cursors"), "a", journal.origin()).unwrap();
        let got = Got::default();
        let receiver = Receiver { got: Arc::clone(&got), answer, asked: Vec::new() };
        let stats = Arc::new(Stats::default());
        let worker = Worker::new("a", cursor, Box::new(receiver), journal, Arc::clone(&stats));
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || worker.run(&stopped));
        Self { stats, got, stop, thread }
    }

    fn wait_for(&self, next: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.stats.next.load(Ordering::Relaxed) < next {
            assert!(Instant::now() < deadline, "not at {next}: {:?}", self.stats);
            thread::yield_now();
        }
    }

    fn stop(self) -> Vec<u64> {
        drop(self.stop);
        self.thread.join().unwrap();
        Arc::try_unwrap(self.got).unwrap().into_inner().unwrap()
    }
}

fn journal(state: &Path) -> Journal {
    let directory = state.join("log");
    // Segments of a few records.
    let options = Options { segment_bytes_max: 4_096, ..Options::new(&directory) };
    let (log, _) = Log::open(Disk, options).unwrap();
    let context = Context {
        hostname: "host-a.example".into(),
        machine_id: None,
        boot_id: "boot".into(),
        booted_ms: 0,
        kernel: "6.18.44".into(),
        version: "0.1.0".into(),
        degraded: [].into(),
    };
    Journal::start(log, directory, context, KeeperOptions::default()).unwrap()
}

fn append(journal: &Journal, count: u64) {
    for pid in 0..count {
        let phase = Phase::Start;
        let pid = u32::try_from(pid).unwrap();
        let mode = governd_common::verdict::Mode::Monitor;
        journal.record(Record::Lifecycle(Lifecycle { phase, pid, mode, policy: None }), None);
        // A commit for each few, so that there are segments.
        if pid % 5 == 4 {
            journal.commit().unwrap();
        }
    }
    journal.commit().unwrap();
}

/// Waits for the loss records of the log, and gives their counts and details.
fn losses(state: &Path, journal: &Journal) -> Vec<(u64, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        journal.commit().unwrap();
        let mut reader = Reader::new(Disk, state.join("log"), 0);
        let mut found = Vec::new();
        while let Some(line) = reader.read().unwrap() {
            let record: serde_json::Value = serde_json::from_slice(&line.bytes).unwrap();
            let loss = &record["unmapped"]["governd"]["loss"];
            if let Some(count) = loss["count"].as_u64() {
                assert_eq!(loss["reason"], "not-exported");
                found.push((count, loss["detail"].as_str().unwrap().to_owned()));
            }
        }
        if !found.is_empty() {
            return found;
        }
        assert!(Instant::now() < deadline, "no loss is recorded");
        thread::yield_now();
    }
}

#[test]
fn an_exporter_goes_on_where_it_ended_and_gives_each_record_in_order() {
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    append(&journal, 700);
    let first = Running::start(state.path(), &journal, |_, _| Ok(()));
    first.wait_for(700);
    assert_eq!(first.stop(), (0..700).collect::<Vec<_>>());
    append(&journal, 50);
    let second = Running::start(state.path(), &journal, |_, _| Ok(()));
    second.wait_for(750);
    assert_eq!(second.stats.delivered.load(Ordering::Relaxed), 50);
    assert_eq!(second.stop(), (700..750).collect::<Vec<_>>());
}

#[test]
fn what_is_not_taken_comes_again_and_nothing_before_it_is_skipped() {
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    append(&journal, 20);
    let running = Running::start(state.path(), &journal, |index, before| {
        (index != 7 || before > 1).then_some(()).ok_or(Fault::Later("busy".to_owned()))
    });
    running.wait_for(20);
    assert_eq!(running.stats.failures.load(Ordering::Relaxed), 2);
    assert!(running.stats.trouble.load().is_none());
    assert_eq!(running.stop(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_record_that_is_refused_stops_no_other_and_the_log_says_so() {
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    append(&journal, 600);
    let running = Running::start(state.path(), &journal, |index, _| {
        let is_fine = index != 13 && index != 599;
        is_fine.then_some(()).ok_or(Fault::Never("not that".to_owned()))
    });
    running.wait_for(600);
    assert_eq!(running.stats.rejected.load(Ordering::Relaxed), 2);
    // The second may be said only a minute later.
    let (count, detail) = losses(state.path(), &journal).remove(0);
    assert!(count <= 2 && detail == "exporter a: not that", "{count} {detail}");
    let got = running.stop();
    let want: Vec<u64> = (0..600).filter(|index| *index != 13 && *index != 599).collect();
    assert_eq!(got.iter().copied().filter(|index| *index < 600).collect::<Vec<_>>(), want);
}

#[test]
fn what_the_log_deleted_before_it_was_exported_is_counted_and_said() {
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    append(&journal, 40);
    let directory = state.path().join("log");
    let mut segments: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().ok()?.strip_suffix(".jsonl").map(str::to_owned)
        })
        .collect();
    segments.sort();
    for gone in &segments[..2] {
        for suffix in ["jsonl", "index", "checkpoints"] {
            std::fs::remove_file(directory.join(format!("{gone}.{suffix}"))).unwrap();
        }
    }
    let first: u64 = segments[2].parse().unwrap();
    let running = Running::start(state.path(), &journal, |_, _| Ok(()));
    running.wait_for(40);
    assert_eq!(running.stats.missed.load(Ordering::Relaxed), first);
    let want = (first, "exporter a: the log had deleted it".to_owned());
    assert_eq!(losses(state.path(), &journal), [want]);
    let got = running.stop();
    assert_eq!(got[..(40 - first) as usize], (first..40).collect::<Vec<_>>());
}
