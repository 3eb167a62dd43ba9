//! How many records a second the log takes: `cargo bench -p governd --bench log`.
//!
//! Prints figures and asserts none, since they depend on the machine. A rate is records for each
//! second of processor time that all threads of this process took together, so that it says what
//! one core can do whatever else the machine does.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

mod sample;

use std::{
    fs,
    io::{self, Write as _},
    thread,
    time::{Duration, Instant},
};

use governd::audit::{
    log::{self, Disk, Keeper, KeeperOptions, Log, Options, PENDING_BYTES_MAX, Refused},
    record::{Actor, Host, Record, Stamp, Tokens},
};
use rustix::time::{ClockId, clock_gettime};

const RECORDS: u32 = 400_000;
/// Records that are made before the clock runs, and how many in a row are of one process.
const DIFFERENT: u64 = 1_024;
const OF_PROCESS: u64 = 16;
/// Digits of any number of a record.
const NUMBER_BYTES: usize = 10;
const COMMIT_INTERVAL: Duration = Duration::from_millis(10);

fn main() {
    // `cargo test --all-targets` starts this, too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    for line_bytes in [300, 1_800] {
        let directory = state.path().join(line_bytes.to_string());
        lines(&directory, line_bytes);
        fs::remove_dir_all(directory).unwrap();
    }
    records();
    kept(&state.path().join("kept"));
}

/// Runs something that handles so many records, and prints its rates.
fn measure(what: &str, run: impl FnOnce()) {
    let (begin, cpu) = (Instant::now(), processor_s());
    run();
    let (wall_s, cpu_s) = (begin.elapsed().as_secs_f64(), processor_s() - cpu);
    let [of_core, of_wall] = [cpu_s, wall_s].map(|s| f64::from(RECORDS) / s);
    let memory = peak_memory();
    let text =
        format!("{what}: {of_core:.0} records/s of one core, {of_wall:.0}/s passed, {memory}\n");
    io::stdout().write_all(text.as_bytes()).unwrap();
}

fn processor_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().replace('\t', " ")
}

fn lines(directory: &std::path::Path, line_bytes: usize) {
    let (mut log, _) = Log::open(Disk, Options::new(directory)).unwrap();
    let mut line = "x".repeat(line_bytes);
    measure(&format!("appended and committed, {line_bytes} bytes each"), || {
        let mut committed = Instant::now();
        for number in 0..RECORDS {
            // At the beginning, so that nothing of another line's hash is of use.
            line.replace_range(..NUMBER_BYTES, &format!("{number:010}"));
            log.append(&line).unwrap();
            let is_large = log.pending_bytes() > PENDING_BYTES_MAX / 2;
            if is_large || committed.elapsed() > COMMIT_INTERVAL {
                log.commit().unwrap();
                committed = Instant::now();
            }
        }
        assert_eq!(log.commit().unwrap(), u64::from(RECORDS));
    });
    drop(log);
    let key = log::public_key(&Disk, directory).unwrap();
    measure(&format!("verified, {line_bytes} bytes each"), || {
        assert_eq!(log::verify(&Disk, directory, &key).unwrap().wrong, None);
    });
}

fn records() {
    let (host, record, mut line) = (Host::new(sample::context()), sample::record(), String::new());
    measure("decisions made lines", || {
        for sequence in 0..u64::from(RECORDS) {
            let stamp = Stamp {
                time_ms: 1_763_640_000_101,
                logged_ms: 1_763_640_000_123,
                sequence,
                tokens: Tokens::default(),
            };
            record.write_line(&mut line, &host, &stamp);
            std::hint::black_box(&line);
        }
    });
}

/// Records of many processes, one after the other.
fn many() -> Vec<Record> {
    let mut actor: Option<Actor> = None;
    let record = |number| {
        let mut record = sample::record_of(number);
        if let Record::Flow(flow) = &mut record {
            let own = actor.take().filter(|_| !number.is_multiple_of(OF_PROCESS));
            flow.actor = own.unwrap_or_else(|| flow.actor.clone());
            actor = Some(flow.actor.clone());
        }
        record
    };
    (0..DIFFERENT).map(record).collect()
}

fn kept(directory: &std::path::Path) {
    let (log, _) = Log::open(Disk, Options::new(directory)).unwrap();
    let options = KeeperOptions { interval: COMMIT_INTERVAL, ..KeeperOptions::default() };
    let keeper = Keeper::spawn(log, sample::context(), options, Box::new(|_, _| ())).unwrap();
    let records = many();
    measure("decisions made durable records", || {
        for record in records.iter().cycle().take(RECORDS as usize) {
            while keeper.append(1_763_640_000_101, record.clone()) == Err(Refused::QueueFull) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        keeper.commit(Duration::from_secs(600)).unwrap();
    });
    keeper.close().unwrap();
}
