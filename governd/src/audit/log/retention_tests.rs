//! Logs that have become too large, and what can still be said of them.

use std::{path::Path, time::Duration};

use governd_common::verdict::Mode;

use super::{
    Disk, Keep, Keeper, KeeperOptions, Log, Options, Reader, prove, public_key,
    retention::{delete, split, surplus},
    segment,
    sim::Sim,
    verify,
};
use crate::audit::{
    record::{Context, Lifecycle, Phase, Record, Retention},
    verify::{Fault, Report, Wrong},
};

const DIRECTORY: &str = "/log";
const PATIENCE: Duration = Duration::from_secs(120);

/// A log of many segments, and the first index of each.
fn filled(sim: &Sim, lines: impl Iterator<Item = String>) -> Vec<u64> {
    let options = Options { segment_bytes_max: 200, ..Options::new(DIRECTORY) };
    let (mut log, _) = Log::open(sim.clone(), options).unwrap();
    for line in lines {
        log.append(&line).unwrap();
        log.commit().unwrap();
    }
    segment::bases(sim, Path::new(DIRECTORY)).unwrap()
}

fn report(sim: &Sim) -> Report {
    let key = public_key(sim, Path::new(DIRECTORY)).unwrap();
    verify(sim, Path::new(DIRECTORY), &key).unwrap()
}

/// Records, of which the last says that those before an index were deleted.
fn told(count: u64, kept_from: u64) -> impl Iterator<Item = String> {
    (0..count).map(move |index| {
        let own =
            if index + 1 == count { format!("\"kept_from\":{kept_from},") } else { String::new() };
        format!("{{{own}\"metadata\":{{\"sequence\":{index}}}}}")
    })
}

#[test]
fn the_oldest_whole_segments_go_and_never_what_is_needed_or_written() {
    let sim = Sim::default();
    let directory = Path::new(DIRECTORY);
    let bases = filled(&sim, told(60, 0));
    let last = *bases.last().unwrap();
    assert!(bases.len() > 5, "{bases:?}");
    let keep = |bytes_max| Keep { bytes_max, days: None };
    let surplus = |bytes_max, below| surplus(&sim, directory, keep(bytes_max), below, 0).unwrap();
    assert_eq!(surplus(u64::MAX, u64::MAX), None);
    assert_eq!(surplus(0, 0), None);
    assert_eq!(surplus(0, bases[1] - 1), None);
    assert_eq!(surplus(0, u64::MAX).unwrap().kept_from, last);
    let some = surplus(0, bases[2]).unwrap();
    assert_eq!((some.kept_from, some.records), (bases[2], bases[2]));
    let smaller = surplus(some.bytes * 2, u64::MAX).unwrap();
    assert!(bases.contains(&smaller.kept_from) && smaller.kept_from < last, "{smaller:?}");
}

#[test]
fn what_a_record_tells_is_no_fault_and_what_none_tells_is_one() {
    let bases = filled(&Sim::default(), told(60, 0));
    let kept_from = bases[3];
    for (told_from, is_fine) in [(kept_from, true), (bases[4], true), (bases[2], false), (0, false)]
    {
        let sim = Sim::default();
        // The number in the last record changes no segment before it.
        filled(&sim, told(60, told_from));
        delete(&sim, Path::new(DIRECTORY), kept_from).unwrap();
        let Report { first, records, wrong, .. } = report(&sim);
        assert_eq!((first, records), (kept_from, 60));
        let missing = Wrong { first: 0, last: 0, fault: Fault::Missing };
        assert_eq!(wrong, (!is_fine).then_some(missing), "{told_from}");
        // Behind it, the log goes on as before.
        let (log, opened) = Log::open(sim.clone(), Options::new(DIRECTORY)).unwrap();
        assert_eq!((log.next_index(), opened.damage), (60, None));
    }
}

#[test]
fn records_that_stayed_are_proven_and_a_changed_beginning_is_found() {
    let sim = Sim::default();
    let directory = Path::new(DIRECTORY);
    let bases = filled(&sim, told(60, u64::MAX >> 11));
    delete(&sim, directory, bases[3]).unwrap();
    let key = public_key(&sim, directory).unwrap();
    for index in 0..60 {
        let proof = prove(&sim, directory, index, &key);
        assert_eq!(proof.is_ok(), index >= bases[3], "{index}");
    }
    // Another tree before the first segment, in a header that is whole.
    let header = segment::index_path(directory, bases[3]);
    sim.tamper(&header, |bytes| bytes[70] ^= 1);
    assert!(report(&sim).wrong.is_some());
}

#[test]
fn a_deletion_that_the_power_cut_short_is_finished_by_the_next() {
    for seed in 0..40 {
        let sim = Sim::default();
        let directory = Path::new(DIRECTORY);
        let bases = filled(&sim, told(60, u64::MAX >> 11));
        for path in [segment::data_path(directory, 0), segment::index_path(directory, 0)] {
            super::Filesystem::remove(&sim, &path).unwrap();
        }
        sim.cut_power(seed);
        delete(&sim, directory, bases[2]).unwrap();
        let (gone, kept) = split(&sim, directory).unwrap();
        assert_eq!((gone.len(), kept[0]), (0, bases[2]), "{seed}");
        assert_eq!(report(&sim).wrong, None, "{seed}");
    }
}

#[test]
fn a_keeper_keeps_its_log_small_and_says_so() {
    let state = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes_max: 4_096, ..Options::new(state.path()) };
    let context = Context {
        hostname: "host-a.example".into(),
        machine_id: None,
        boot_id: "boot".into(),
        booted_ms: 0,
        kernel: "6.18.44".into(),
        version: "0.1.0".into(),
        degraded: [].into(),
    };
    let run = |bytes_max, needed: Option<u64>| {
        let keep = Keep { bytes_max, days: None };
        let (log, _) = Log::open(Disk, options.clone()).unwrap();
        let interval = Duration::from_millis(1);
        let options = KeeperOptions { interval, keep, ..KeeperOptions::default() };
        let keeper = Keeper::spawn(log, context.clone(), options, Box::new(|_, _| ())).unwrap();
        if let Some(index) = needed {
            keeper.progress().keep_from(index);
        }
        for pid in 0..100 {
            let (phase, mode) = (Phase::Start, Mode::Monitor);
            keeper
                .append(0, Record::Lifecycle(Lifecycle { phase, pid, mode, policy: None }))
                .unwrap();
            keeper.commit(PATIENCE).unwrap();
        }
        keeper.close().unwrap();
        let key = public_key(&Disk, state.path()).unwrap();
        let report = verify(&Disk, state.path(), &key).unwrap();
        assert_eq!(report.wrong, None);
        report.first
    };
    assert_eq!(run(u64::MAX, None), 0);
    assert_eq!(run(1, Some(0)), 0);
    let first = run(1, Some(90));
    assert!(0 < first && first <= 90, "{first}");
    let mut reader = Reader::new(Disk, state.path(), 0);
    let mut told = 0;
    while let Some(line) = reader.read().unwrap() {
        let record: serde_json::Value = serde_json::from_slice(&line.bytes).unwrap();
        let own = &record["unmapped"]["governd"]["deleted"];
        told += u64::from(own["kept_from"] == first && own["records"] == first);
    }
    assert_eq!(told, 1);
}

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// Records of one class or the other, one a day from day 1 on.
fn daily(days: u64, of_two_years: impl Fn(u64) -> bool) -> impl Iterator<Item = String> {
    (1..=days).map(move |day| {
        let class = if of_two_years(day) { Retention::TwoYears } else { Retention::HalfYear };
        format!(
            "{{\"metadata\":{{\"logged_time\":{},\"sequence\":{}}},\"retention\":\"{}\"}}",
            day * DAY_MS,
            day - 1,
            class.word()
        )
    })
}

#[test]
fn what_is_past_its_retention_goes_where_that_is_wanted_and_early_only_for_want_of_room() {
    let directory = Path::new(DIRECTORY);
    let kept_from = |sim: &Sim, days, bytes_max, today: u64| {
        let keep = Keep { bytes_max, days };
        let found = surplus(sim, directory, keep, u64::MAX, today * DAY_MS).unwrap();
        found.map_or((0, false), |found| (found.kept_from, found.is_early))
    };
    let sim = Sim::default();
    let bases = filled(&sim, daily(60, |_| false));
    // The last record of the first segments is that of the day that the next begins with.
    let is_next = |at: usize, index: u64| index == bases[at];
    for (today, want) in [(bases[1] + 183, 0), (bases[1] + 184, 1), (bases[3] + 184, 3)] {
        assert_eq!(kept_from(&sim, None, u64::MAX, today), (0, false));
        let (index, is_early) = kept_from(&sim, Some(1), u64::MAX, today);
        assert!(is_next(want, index) && !is_early, "{today}: {index}");
    }
    // As long as is wanted, and never less than the records say.
    assert_eq!(kept_from(&sim, Some(400), u64::MAX, bases[1] + 399), (0, false));
    assert!(is_next(1, kept_from(&sim, Some(400), u64::MAX, bases[1] + 400).0));
    let mixed = Sim::default();
    let second = bases[1] + 1;
    assert_eq!(filled(&mixed, daily(60, move |day| day == second))[1], bases[1]);
    for (today, want) in [(bases[5] + 184, bases[1]), (bases[1] + 731, bases[1])] {
        assert_eq!(kept_from(&mixed, Some(1), u64::MAX, today).0, want, "{today}");
    }
    assert!(kept_from(&mixed, Some(1), u64::MAX, bases[2] + 732).0 > bases[1]);
    // Want of room comes first, and is told.
    assert!(kept_from(&sim, None, 1, bases[1] + 100).1);
    let last = *bases.last().unwrap();
    assert_eq!(kept_from(&sim, None, 1, 60 + 184), (last, false));
    assert!(kept_from(&mixed, None, 1, 60 + 184).1);
}
