//! Another key for the log: verified across it by whichever key somebody knows, and safe against
//! whatever ends the writer.

use std::path::Path;

use proptest::prelude::*;

use super::{
    Log, Options, export,
    inspect::{keys, verify},
    inspect_tests::{DIRECTORY, content, edit, options, record},
    prove,
    sim::{Fault as DiskFault, Sim},
    storage::Filesystem,
};
use crate::audit::{
    canonical,
    checkpoint::Verifier,
    extract::Head,
    keys as chain,
    keys::{Handover, Keys},
    verify::{Fault, Report},
};

fn open(sim: &Sim) -> Log<Sim> {
    Log::open(sim.clone(), options()).unwrap().0
}

fn append(log: &mut Log<Sim>, records: u64) {
    for _ in 0..records {
        log.append(&record(log.next_index())).unwrap();
    }
    log.commit().unwrap();
}

fn line(handover: &Handover) -> String {
    let mut line = String::new();
    canonical::object(&mut line, |o| {
        o.object("metadata", |o| {
            o.with("sequence", handover.at);
        });
        o.object("unmapped", |o| {
            o.object("governd", |o| chain::write(o, handover));
        });
    });
    line
}

fn rotate(log: &mut Log<Sim>) {
    let handover = log.begin_rotation().unwrap();
    log.append(&line(&handover)).unwrap();
    log.rotate().unwrap();
}

fn report(sim: &Sim, key: &Verifier) -> Report {
    verify(sim, Path::new(DIRECTORY), key).unwrap()
}

/// A log that three keys signed, each some records, and those keys.
fn three() -> (Sim, Vec<Verifier>) {
    let sim = Sim::default();
    let mut log = open(&sim);
    let mut all = vec![log.verifier().clone()];
    append(&mut log, 4);
    for _ in 0..2 {
        rotate(&mut log);
        all.push(log.verifier().clone());
        append(&mut log, 5);
    }
    (sim, all)
}

#[test]
fn who_knows_one_key_verifies_what_all_of_them_signed() {
    let (sim, all) = three();
    let directory = Path::new(DIRECTORY);
    for key in &all {
        let report = report(&sim, key);
        assert_eq!((report.wrong, report.signed), (None, 16));
        let keys = keys(&sim, directory, key).unwrap().unwrap();
        assert_eq!(keys.each().map(|(from, _)| from).collect::<Vec<_>>(), [0, 5, 11]);
        assert_eq!(keys.current(), &all[2]);
        for index in 0..16 {
            let proof = prove(&sim, directory, index, &keys).unwrap();
            assert_eq!(proof.check(&keys).unwrap().size, 16);
        }
        let mut file = Vec::new();
        export(&sim, directory, 2..9, &keys, &mut file).unwrap();
        let text = String::from_utf8(file).unwrap();
        assert!(Head::parse(&text).unwrap().0.check(&keys).is_ok());
    }
    assert!(all.iter().all(|key| key.name() == all[0].name()));
    // By itself each key is good for its own.
    let mut log = open(&sim);
    append(&mut log, 1);
    assert_eq!(log.verifier(), &all[2]);
    let stranger = crate::audit::checkpoint::Signer::new(all[0].name(), [9; 32]).unwrap();
    let wrong = report(&sim, stranger.verifier()).wrong.unwrap();
    assert_eq!((wrong.first, wrong.fault), (0, Fault::Keys));
}

#[test]
fn a_key_that_was_replaced_signs_nothing_any_more() {
    let sim = Sim::default();
    let mut log = open(&sim);
    append(&mut log, 3);
    let old = content(&sim, &Path::new(DIRECTORY).join("key"));
    rotate(&mut log);
    drop(log);
    // Who still has the old key goes on with it, and takes away what says that it may not.
    let directory = Path::new(DIRECTORY);
    sim.tamper(&directory.join("key"), |bytes| *bytes = old);
    sim.tamper(&directory.join("rotations"), Vec::clear);
    let mut log = open(&sim);
    append(&mut log, 3);
    let key = log.verifier().clone();
    drop(log);
    let wrong = report(&sim, &key).wrong.unwrap();
    assert_eq!((wrong.first, wrong.fault), (3, Fault::Key));
}

#[test]
fn keys_that_do_not_agree_or_follow_are_refused() {
    let (sim, all) = three();
    let directory = Path::new(DIRECTORY);
    let good = keys(&sim, directory, &all[0]).unwrap().unwrap().to_string();
    assert_eq!(Keys::parse(&all[1], &good).unwrap().to_string(), good);
    let second = good.rfind("c2sp.org").unwrap();
    // The second alone begins with its own old key; the first is not among them.
    assert!(Keys::parse(&all[1], &good[second..]).is_ok());
    assert!(Keys::parse(&all[0], &good[second..]).is_err());
    assert!(Keys::parse(&all[2], &good[..second]).is_err());
    let swapped = [&good[second..], &good[..second]].concat();
    assert!(Keys::parse(&all[0], &swapped).is_err());
    assert!(Keys::parse(&all[0], &[good.as_str(), &good[second..]].concat()).is_err());
    // A record that is as it should be, but for the new key's word.
    let (other, mine) = ([3; 32], [4; 32]);
    let signer = |seed| crate::audit::checkpoint::Signer::new("governd/x", seed).unwrap();
    let handover = Handover::new(7, signer(other).verifier(), &signer(mine));
    assert_eq!(Handover::of(line(&handover).as_bytes(), 7), Ok(handover.clone()));
    assert!(Handover::of(line(&handover).as_bytes(), 8).is_err());
    let agreement = signer(other).sign_text(&handover.statement());
    let forced = Handover { agreement, ..handover };
    assert!(Handover::of(line(&forced).as_bytes(), 7).is_err());
}

/// What holds of a log after whatever happened, and one record more.
fn holds(sim: &Sim, known: &Verifier, durable: u64) -> Result<usize, TestCaseError> {
    let mut log = open(sim);
    prop_assert!(log.durable() >= durable);
    append(&mut log, 1);
    let (current, count) = (log.verifier().clone(), log.keys.each().count());
    drop(log);
    let directory = Path::new(DIRECTORY);
    prop_assert!(sim.open(&directory.join("key.next")).is_err());
    for key in [known, &current] {
        prop_assert_eq!(report(sim, key).wrong, None);
    }
    let public = String::from_utf8(content(sim, &directory.join("key.pub"))).unwrap();
    prop_assert_eq!(public, format!("{current}\n"));
    Ok(count)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The disk refuses from some operation on, the writer goes on or not, and the power goes.
    #[test]
    fn a_rotation_that_fails_anywhere_has_happened_or_has_not(
        after in 0..24_u32,
        times in 1..40_u32,
        fault in prop_oneof![
            Just(DiskFault::Full), Just(DiskFault::Short), Just(DiskFault::Sync)
        ],
        seed in any::<u64>(),
        goes_on in any::<bool>(),
        is_cut in any::<bool>(),
    ) {
        let sim = Sim::default();
        let mut log = open(&sim);
        let known = log.verifier().clone();
        append(&mut log, 3);
        sim.fail(after, times, fault);
        let mut is_done = false;
        if let Ok(handover) = log.begin_rotation() {
            log.append(&line(&handover)).unwrap();
            is_done = log.rotate().is_ok();
        }
        let mut durable = log.durable();
        prop_assert!(!is_done || (durable == 4 && log.verifier() != &known));
        if goes_on {
            sim.mend();
            append(&mut log, 2);
            durable = log.durable();
            rotate(&mut log);
            durable = durable.max(log.durable());
        }
        let keys_then = log.keys.each().count();
        drop(log);
        if is_cut {
            sim.cut_power(seed);
        } else {
            sim.mend();
        }
        let keys_now = holds(&sim, &known, durable)?;
        let keys_least = if is_done || goes_on { keys_then } else { 1 };
        prop_assert!(keys_now >= keys_least, "{} {}", keys_now, keys_least);
    }

    #[test]
    fn an_edit_of_the_rotations_is_found(edit in edit()) {
        let (sim, all) = three();
        let path = Path::new(DIRECTORY).join("rotations");
        let before = content(&sim, &path);
        let after = edit.apply(&before);
        prop_assume!(after != before);
        sim.tamper(&path, |bytes| bytes.clone_from(&after));
        for key in [&all[0], &all[2]] {
            prop_assert!(report(&sim, key).wrong.is_some());
        }
    }
}

#[test]
fn a_log_has_a_number_of_keys_at_most() {
    let sim = Sim::default();
    let (mut log, _) = Log::open(sim.clone(), Options::new(DIRECTORY)).unwrap();
    let first = log.verifier().clone();
    for _ in 1..chain::KEYS_MAX {
        rotate(&mut log);
    }
    assert!(log.begin_rotation().is_err());
    append(&mut log, 1);
    drop(log);
    assert_eq!(report(&sim, &first).wrong, None);
}

#[test]
fn other_programs_follow_the_keys_of_a_log() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("log");
    let options = Options { segment_bytes_max: 512, ..Options::new(&directory) };
    let (mut log, _) = Log::open(super::Disk, options).unwrap();
    let first = log.verifier().to_string();
    for round in 0..3 {
        if round > 0 {
            let handover = log.begin_rotation().unwrap();
            log.append(&line(&handover)).unwrap();
            log.rotate().unwrap();
        }
        for _ in 0..4 {
            log.append(&record(log.next_index())).unwrap();
            log.commit().unwrap();
        }
    }
    let last = log.verifier().to_string();
    let chain = keys(&super::Disk, &directory, log.verifier()).unwrap().unwrap();
    drop(log);
    let files = ["extract", "proof"].map(|name| state.path().join(name));
    let mut file = std::fs::File::create(&files[0]).unwrap();
    export(&super::Disk, &directory, 2..13, &chain, &mut file).unwrap();
    std::fs::write(&files[1], prove(&super::Disk, &directory, 3, &chain).unwrap().to_string())
        .unwrap();
    let rotations = directory.join("rotations");
    let said = |script: &str, arguments: &[&std::ffi::OsStr]| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/");
        let mut command = std::process::Command::new("python3");
        let output = command.arg(format!("{folder}{script}")).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let all = |key: &str| {
        let key = key.as_ref();
        [
            said("check-log.py", &[directory.as_ref(), key]),
            said(
                "check-log.py",
                &["--rotations".as_ref(), rotations.as_ref(), files[0].as_ref(), key],
            ),
            said("check-proof.py", &[files[1].as_ref(), key, rotations.as_ref()]),
        ]
    };
    for key in [&first, &last] {
        for (is_good, text) in all(key) {
            assert!(is_good, "{text}");
        }
    }
    let whole = std::fs::read_to_string(&rotations).unwrap();
    let second = whole.rfind("c2sp.org").unwrap();
    let swapped = [&whole[second..], &whole[..second]].concat();
    let (said_index, agreed) = (whole.find("index ").unwrap() + 6, whole.find("extra ").unwrap());
    let mut renumbered = whole.clone();
    renumbered.replace_range(said_index..said_index + 1, "3");
    let mut changed = whole.clone();
    changed.replace_range(agreed + 90..agreed + 91, "A");
    for text in [&whole[..second], &swapped, &renumbered, &changed, ""] {
        std::fs::write(&rotations, text).unwrap();
        for (is_good, said) in all(&first) {
            assert!(!is_good && said.starts_with("not "), "{text}: {said}");
        }
    }
}
