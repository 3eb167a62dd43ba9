//! What stands beside records: shown while it is there, gone when it is erased, and never needed to
//! verify.

use std::path::Path;

use proptest::prelude::*;

use super::{
    AppendError, Log, Options, Reader, erase_before,
    inspect::{public_key, verify},
    inspect_tests::{self, edit},
    sim::{Fault, Sim},
    values,
};
use crate::audit::record::personal::{ERASED, Erasure, Values};

const DIRECTORY: &str = "/log";

fn options(segment_bytes_max: u64) -> Options {
    Options { segment_bytes_max, ..Options::new(DIRECTORY) }
}

fn open(sim: &Sim) -> Log<Sim> {
    Log::open(sim.clone(), options(2_000)).unwrap().0
}

/// Appends a record of a user's process, logged at a time.
fn append(log: &mut Log<Sim>, user: &str, word: &str, logged_ms: u64) {
    let args = [word.to_owned()];
    let tokens = log.seal(&Values { user: Some(user), args: Some(&args) }, logged_ms);
    let (line, name) = (tokens.command_line.unwrap(), tokens.user.unwrap());
    let line = format!("{{\"cmd_line\":\"{line}\",\"user\":{{\"name\":\"{name}\"}}}}");
    log.append(&line).unwrap();
}

/// User and command line of every record, as they are shown.
fn shown(sim: &Sim) -> Vec<(String, String)> {
    let mut reader = Reader::new(sim.clone(), DIRECTORY, 0).shown();
    let mut all = Vec::new();
    while let Some(line) = reader.read().unwrap() {
        let record: serde_json::Value = serde_json::from_slice(&line.bytes).unwrap();
        let text = |place| record.pointer(place).unwrap().as_str().unwrap().to_owned();
        all.push((text("/user/name"), text("/cmd_line")));
    }
    all
}

fn pair(user: &str, line: &str) -> (String, String) {
    (user.to_owned(), line.to_owned())
}

fn assert_verifies(sim: &Sim) {
    let key = public_key(sim, Path::new(DIRECTORY)).unwrap();
    assert_eq!(verify(sim, Path::new(DIRECTORY), &key).unwrap().wrong, None);
}

fn erase(log: &mut Log<Sim>, sim: &Sim, which: &Erasure) -> u64 {
    let (gone, base) = log.erase(which).unwrap();
    gone + erase_before(sim, Path::new(DIRECTORY), base, which).unwrap()
}

#[test]
fn a_users_values_are_erased_from_every_segment_and_nothing_else_is() {
    let sim = Sim::default();
    let mut log = open(&sim);
    for number in 0..40 {
        append(&mut log, ["dana", "kim"][number as usize % 2], &format!("run {number}"), number);
        // One batch with two records of the same process has its values once.
        append(&mut log, "kim", &format!("run {number}"), number);
        log.commit().unwrap();
    }
    let segments = super::segment::bases(&sim, Path::new(DIRECTORY)).unwrap();
    assert!(segments.len() > 3, "{segments:?}");
    let want: Vec<_> = (0..40)
        .flat_map(|number| {
            let line = format!("run {number}");
            [pair(["dana", "kim"][number % 2], &line), pair("kim", &line)]
        })
        .collect();
    assert_eq!(shown(&sim), want);
    // Lines as they are hashed have nothing of it.
    let mut raw = Reader::new(sim.clone(), DIRECTORY, 0);
    while let Some(line) = raw.read().unwrap() {
        let text = String::from_utf8(line.bytes).unwrap();
        assert!(!text.contains("dana") && !text.contains("run "), "{text}");
    }

    let which = Erasure { user: Some("dana".to_owned()), before_ms: None };
    assert_eq!(values::count(&sim, Path::new(DIRECTORY), &which).unwrap(), 40);
    assert_eq!(erase(&mut log, &sim, &which), 40);
    assert_eq!(erase(&mut log, &sim, &which), 0);
    let erased: Vec<_> = want
        .iter()
        .map(|one| if one.0 == "dana" { pair(ERASED, ERASED) } else { one.clone() })
        .collect();
    assert_eq!(shown(&sim), erased);
    assert_verifies(&sim);
    // It goes on, with the same user, and after a power cut nothing is back.
    append(&mut log, "dana", "again", 99);
    log.commit().unwrap();
    drop(log);
    sim.cut_power(7);
    drop(open(&sim));
    assert_eq!(shown(&sim).last(), Some(&pair("dana", "again")));
    assert_eq!(shown(&sim)[..80], erased);
    assert_verifies(&sim);
}

#[test]
fn values_have_a_digest_each_within_a_commit_and_another_in_the_next() {
    let sim = Sim::default();
    let mut log = open(&sim);
    let [run, stop] = ["run", "stop"].map(|word| [word.to_owned()]);
    let rows = [
        (Some("dana"), Some(&run)),
        (Some("dana"), Some(&run)),
        (Some("dana"), Some(&stop)),
        (Some("kim"), Some(&stop)),
        (Some("dana"), Some(&run)),
        (Some("dana"), None),
        (None, Some(&run)),
        (None, None),
    ];
    let mut seal = |(user, args): (Option<&str>, Option<&[String; 1]>)| {
        let values = Values { user, args: args.map(|args| args.as_slice()) };
        let tokens = log.seal(&values, 1);
        log.append("{}").unwrap();
        (tokens.user, tokens.command_line)
    };
    let sealed = rows.map(&mut seal);
    for (one, first) in rows.iter().zip(&sealed) {
        for (other, second) in rows.iter().zip(&sealed) {
            assert_eq!(first.0 == second.0, one.0 == other.0, "{one:?} {other:?}");
            // Whose a command line is counts as well.
            let is_same = one.1 == other.1 && (one.1.is_none() || one.0 == other.0);
            assert_eq!(first.1 == second.1, is_same, "{one:?} {other:?}");
        }
    }
    log.commit().unwrap();
    let values = Values { user: Some("dana"), args: Some(&run) };
    let next = log.seal(&values, 2);
    assert!(next.user != sealed[4].0 && next.command_line != sealed[4].1);
}

#[test]
fn erasing_by_time_is_exact() {
    let sim = Sim::default();
    let mut log = open(&sim);
    for logged_ms in 0..20 {
        append(&mut log, "dana", "run", logged_ms);
        log.commit().unwrap();
    }
    let which = Erasure { user: None, before_ms: Some(7) };
    assert_eq!(erase(&mut log, &sim, &which), 14);
    let erased = shown(&sim).iter().filter(|one| one.0 == ERASED && one.1 == ERASED).count();
    assert_eq!((erased, shown(&sim)[7].clone()), (7, pair("dana", "run")));
}

#[test]
fn a_reader_that_goes_on_does_not_show_what_was_erased_meanwhile() {
    let sim = Sim::default();
    let (mut log, _) = Log::open(sim.clone(), options(1 << 20)).unwrap();
    for number in 0..1_000 {
        append(&mut log, "dana", "run", number);
    }
    log.commit().unwrap();
    let mut reader = Reader::new(sim.clone(), DIRECTORY, 0).shown();
    assert!(reader.read().unwrap().unwrap().bytes.starts_with(b"{\"cmd_line\":\"run\""));
    erase(&mut log, &sim, &Erasure { user: Some("dana".to_owned()), before_ms: None });
    let mut last = Vec::new();
    while let Some(line) = reader.read().unwrap() {
        last = line.bytes;
    }
    assert!(last.starts_with(b"{\"cmd_line\":\"[erased]\""), "{}", String::from_utf8_lossy(&last));
}

#[test]
fn a_durable_record_has_its_values_after_any_power_cut() {
    for seed in 0..60 {
        let sim = Sim::default();
        let mut durable = 0;
        for round in 0..6_u64 {
            let mut log = open(&sim);
            sim.fail(
                u32::try_from(seed + round).unwrap() % 11,
                2,
                [Fault::Short, Fault::Sync][(seed % 2) as usize],
            );
            for number in 0..8 {
                append(&mut log, "dana", &format!("run {number}"), number);
                durable = log.commit().unwrap_or(durable);
            }
            drop(log);
            sim.cut_power(seed);
        }
        drop(open(&sim));
        let shown = shown(&sim);
        assert!(shown.len() as u64 >= durable);
        let is_whole = |one: &(String, String)| one.0 == "dana" && one.1.starts_with("run ");
        assert!(shown.iter().take(durable as usize).all(is_whole), "seed {seed}: {shown:?}");
        assert_verifies(&sim);
    }
}

#[test]
fn a_log_without_values_is_shown_as_it_is_and_goes_on_with_them() {
    let sim = Sim::default();
    let mut log = open(&sim);
    let old = "{\"cmd_line\":\"run\",\"user\":{\"name\":\"dana\"}}";
    log.append(old).unwrap();
    log.commit().unwrap();
    drop(log);
    super::Filesystem::remove(&sim, &values::path(Path::new(DIRECTORY), 0)).unwrap();
    assert_eq!(shown(&sim), [pair("dana", "run")]);
    let mut log = open(&sim);
    append(&mut log, "kim", "sh", 1);
    log.commit().unwrap();
    assert_eq!(shown(&sim), [pair("dana", "run"), pair("kim", "sh")]);
}

#[test]
fn what_finds_no_room_beside_a_record_refuses_the_record() {
    let sim = Sim::default();
    let options = Options { pending_bytes_max: 1_000, ..options(1 << 20) };
    let (mut log, _) = Log::open(sim, options).unwrap();
    let text = "x".repeat(600);
    let args = [text];
    let values = Values { user: None, args: Some(&args) };
    let refused = (0..10).find_map(|time| {
        log.seal(&values, time);
        log.append(&format!("{{\"n\":{time},\"padding\":\"{}\"}}", "y".repeat(80))).err()
    });
    assert!(matches!(refused, Some(AppendError::Backlog { .. })), "{refused:?}");
    log.commit().unwrap();
    log.append("{}").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: inspect_tests::edits(), ..Default::default() })]

    /// The files that no hash covers: each value is the one that was written, or none is shown.
    #[test]
    fn an_edit_beside_the_records_shows_nothing_that_was_not_written(
        place in any::<prop::sample::Index>(),
        edit in edit(),
    ) {
        let sim = Sim::default();
        let mut log = open(&sim);
        for number in 0..24 {
            let user = ["dana", "kim"][number as usize % 2];
            append(&mut log, user, &format!("run {number}"), number);
            if number % 3 == 2 {
                log.commit().unwrap();
            }
        }
        drop(log);
        let want = shown(&sim);
        let bases = inspect_tests::bases(&sim);
        let path = values::path(Path::new(DIRECTORY), bases[place.index(bases.len())]);
        let after = edit.apply(&inspect_tests::content(&sim, &path));
        sim.tamper(&path, |bytes| bytes.clone_from(&after));
        let is_true = |shown: &[(String, String)]| {
            let fits = |is: &String, want: &String| is == want || is == ERASED;
            shown.iter().zip(&want).all(|(is, want)| fits(&is.0, &want.0) && fits(&is.1, &want.1))
        };
        let seen = shown(&sim);
        prop_assert!(seen.len() == want.len() && is_true(&seen), "{:?}", seen);
        assert_verifies(&sim);
        let mut log = open(&sim);
        append(&mut log, "dana", "again", 99);
        log.commit().unwrap();
        let seen = shown(&sim);
        prop_assert_eq!(seen.last(), Some(&pair("dana", "again")));
        prop_assert!(is_true(&seen[..want.len()]), "{:?}", seen);
    }
}
