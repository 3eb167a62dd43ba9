//! Verification against every kind of edit: it finds each, and names the first wrong record.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{
    Disk, Log, Options,
    inspect::{public_key, verify},
    notes::{note_after, root_at},
    segment::{self, ENTRY_BYTES, Entry, HEADER_BYTES},
    sim::{Fault as DiskFault, Sim},
    storage::{File, Filesystem},
};
use crate::audit::{
    checkpoint::{NoteError, note_len},
    tree::leaf_hash,
    verify::{Fault, Report, Wrong},
};

pub(super) const DIRECTORY: &str = "/log";
pub(super) const RECORDS: u64 = 24;
pub(super) const BATCH: u64 = 3;
/// Lines of a signed checkpoint.
pub(super) const NOTE_LINES: usize = 5;
const EDITS: u32 = 400;

/// How many random edits are tried; `GOVERND_TEST_EDITS` tries more.
pub(super) fn edits() -> u32 {
    std::env::var("GOVERND_TEST_EDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(EDITS)
}

/// Edits that change nothing are many where lines are few; they are not counted.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_global_rejects: cases.max(1_024), ..ProptestConfig::default() }
}

pub(super) fn record(index: u64) -> String {
    format!("{{\"metadata\":{{\"sequence\":{index},\"uid\":\"x\"}},\"n\":\"{index:04}\"}}")
}

pub(super) fn options() -> Options {
    Options { segment_bytes_max: 512, ..Options::new(DIRECTORY) }
}

/// A closed log of three records to a commit and a few commits to a segment.
pub(super) fn filled() -> Sim {
    let sim = Sim::default();
    let (mut log, _) = Log::open(sim.clone(), options()).unwrap();
    for index in 0..RECORDS {
        log.append(&record(index)).unwrap();
        if (index + 1) % BATCH == 0 {
            log.commit().unwrap();
        }
    }
    sim
}

pub(super) fn report(sim: &Sim) -> Report {
    let directory = Path::new(DIRECTORY);
    let key = public_key(sim, directory).unwrap();
    verify(sim, directory, &key).unwrap()
}

fn wrong(sim: &Sim) -> Wrong {
    report(sim).wrong.expect("the edit is found")
}

fn exactly(first: u64, fault: Fault) -> Wrong {
    Wrong { first, last: first, fault }
}

pub(super) fn bases(sim: &Sim) -> Vec<u64> {
    segment::bases(sim, Path::new(DIRECTORY)).unwrap()
}

pub(super) fn content(sim: &Sim, path: &Path) -> Vec<u8> {
    segment::read_whole(&sim.open(path).unwrap()).unwrap()
}

#[test]
fn an_untouched_log_is_what_was_signed() {
    let sim = filled();
    assert!(bases(&sim).len() >= 3, "{:?}", bases(&sim));
    let report = report(&sim);
    let leaves: Vec<_> = (0..RECORDS).map(|index| leaf_hash(record(index).as_bytes())).collect();
    let want = Report {
        deleted: 0,
        first: 0,
        records: RECORDS,
        checkpoints: RECORDS / BATCH,
        signed: RECORDS,
        root: crate::audit::tree::root(&leaves),
        wrong: None,
    };
    assert_eq!(report, want);
    let empty = Sim::default();
    drop(Log::open(empty.clone(), Options::new(DIRECTORY)).unwrap());
    assert_eq!(super::inspect_tests::report(&empty).wrong, None);
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Data,
    Index,
    Notes,
}

const TARGETS: [Target; 3] = [Target::Data, Target::Index, Target::Notes];

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Flip { at: prop::sample::Index, bit: u8 },
    Remove { at: prop::sample::Index, bytes: usize },
    Insert { at: prop::sample::Index, bytes: Vec<u8> },
    Truncate { at: prop::sample::Index },
    RemoveLine { at: prop::sample::Index },
    RepeatLine { at: prop::sample::Index },
    SwapLines { a: prop::sample::Index, b: prop::sample::Index },
    RemoveNote { at: prop::sample::Index },
    SwapNotes { a: prop::sample::Index, b: prop::sample::Index },
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 0_u8..8).prop_map(|(at, bit)| Edit::Flip { at, bit }),
        (at(), 1_usize..200).prop_map(|(at, bytes)| Edit::Remove { at, bytes }),
        (at(), prop::collection::vec(any::<u8>(), 1..80))
            .prop_map(|(at, bytes)| Edit::Insert { at, bytes }),
        at().prop_map(|at| Edit::Truncate { at }),
        at().prop_map(|at| Edit::RemoveLine { at }),
        at().prop_map(|at| Edit::RepeatLine { at }),
        (at(), at()).prop_map(|(a, b)| Edit::SwapLines { a, b }),
        at().prop_map(|at| Edit::RemoveNote { at }),
        (at(), at()).prop_map(|(a, b)| Edit::SwapNotes { a, b }),
    ]
}

impl Edit {
    pub(super) fn apply(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = content.to_vec();
        let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
        match self {
            Self::Flip { at, bit } => bytes[at.index(content.len())] ^= 1 << bit,
            Self::Remove { at, bytes: count } => {
                let at = at.index(content.len());
                bytes.drain(at..content.len().min(at + count));
            }
            Self::Insert { at, bytes: new } => {
                let at = at.index(content.len() + 1);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Truncate { at } => bytes.truncate(at.index(content.len())),
            Self::RemoveLine { at } => {
                lines.remove(at.index(lines.len()));
                return lines.concat();
            }
            Self::RepeatLine { at } => {
                let at = at.index(lines.len());
                lines.insert(at, lines[at]);
                return lines.concat();
            }
            Self::SwapLines { a, b } => {
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
                return lines.concat();
            }
            // Of other files these take parts of as many lines.
            Self::RemoveNote { at } => {
                let mut notes: Vec<Vec<u8>> = lines.chunks(NOTE_LINES).map(<[_]>::concat).collect();
                notes.remove(at.index(notes.len()));
                return notes.concat();
            }
            Self::SwapNotes { a, b } => {
                let mut notes: Vec<Vec<u8>> = lines.chunks(NOTE_LINES).map(<[_]>::concat).collect();
                let (a, b) = (a.index(notes.len()), b.index(notes.len()));
                notes.swap(a, b);
                return notes.concat();
            }
        }
        bytes
    }
}

/// The record that an edit hits first.
pub(super) fn first_hit(target: Target, base: u64, before: &[u8], after: &[u8]) -> u64 {
    let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    match target {
        Target::Data => base + before[..same].iter().filter(|byte| **byte == b'\n').count() as u64,
        Target::Index => base + (same.saturating_sub(HEADER_BYTES) / ENTRY_BYTES) as u64,
        Target::Notes => {
            // A checkpoint covers the records since the one before it.
            let (mut end, mut whole) = (0, 0);
            let text = std::str::from_utf8(before).unwrap();
            while let Some(len) = note_len(&text[end..]).filter(|len| end + len <= same) {
                (end, whole) = (end + len, whole + 1);
            }
            base + whole * BATCH
        }
    }
}

pub(super) fn target() -> impl Strategy<Value = Target> {
    prop_oneof![3 => Just(Target::Data), 2 => Just(Target::Index), 2 => Just(Target::Notes)]
}

pub(super) fn path(target: Target, base: u64) -> PathBuf {
    let directory = Path::new(DIRECTORY);
    match target {
        Target::Data => segment::data_path(directory, base),
        Target::Index => segment::index_path(directory, base),
        Target::Notes => segment::notes_path(directory, base),
    }
}

proptest! {
    #![proptest_config(config(edits()))]

    #[test]
    fn every_edit_is_found_and_the_first_wrong_record_named(
        target in target(),
        place in any::<prop::sample::Index>(),
        edit in edit(),
    ) {
        let sim = filled();
        let bases = bases(&sim);
        let base = bases[place.index(bases.len())];
        let path = path(target, base);
        let before = content(&sim, &path);
        let after = edit.apply(&before);
        prop_assume!(before != after);
        sim.tamper(&path, |bytes| bytes.clone_from(&after));
        let hit = first_hit(target, base, &before, &after);
        let found = wrong(&sim);
        prop_assert_eq!(found.first, hit, "{:?}", found);
        prop_assert_eq!(found.last, hit, "{:?}", found);
    }
}

proptest! {
    #![proptest_config(config(edits() / 4))]

    #[test]
    fn files_that_are_exchanged_emptied_or_taken_away_are_found(
        (a, b) in any::<(prop::sample::Index, prop::sample::Index)>(),
        targets in prop::sample::subsequence(TARGETS.to_vec(), 1..=3),
        what in 0_u8..3,
    ) {
        let sim = filled();
        let bases = bases(&sim);
        let (a, b) = (bases[a.index(bases.len())], bases[b.index(bases.len())]);
        for target in targets.iter().copied() {
            let (mine, other) = (path(target, a), path(target, b));
            let (before, others) = (content(&sim, &mine), content(&sim, &other));
            match what {
                0 => {
                    sim.tamper(&mine, |bytes| bytes.clone_from(&others));
                    sim.tamper(&other, |bytes| bytes.clone_from(&before));
                }
                1 => sim.tamper(&mine, Vec::clear),
                _ => sim.rename(&mine, Path::new("/elsewhere/x")).unwrap(),
            }
        }
        prop_assume!(what != 0 || a != b);
        let hit = if what == 0 { a.min(b) } else { a };
        let report = report(&sim);
        // The end of a log can go without a trace in what is left: the receipt has it.
        let is_end = a == bases[bases.len() - 1] && targets.len() == 3 && what == 2;
        if is_end {
            prop_assert_eq!((report.wrong, report.records), (None, hit));
            let seen = root_at(&sim, Path::new(DIRECTORY), RECORDS).unwrap();
            prop_assert_eq!(seen, None);
        } else {
            let found = report.wrong.expect("it is found");
            prop_assert_eq!((found.first, found.last), (hit, hit), "{:?}", found);
        }
    }
}

#[test]
fn another_implementation_finds_the_same() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let options = Options { segment_bytes_max: 512, ..Options::new(directory) };
    let (mut log, _) = Log::open(Disk, options).unwrap();
    for index in 0..RECORDS {
        log.append(&record(index)).unwrap();
        if (index + 1) % BATCH == 0 {
            log.commit().unwrap();
        }
    }
    drop(log);
    let note = note_after(&Disk, directory, RECORDS - 1, RECORDS).unwrap().unwrap().text;
    let receipt = directory.join("receipt");
    std::fs::write(&receipt, note).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/check-log.py");
    let said = || {
        let mut command = std::process::Command::new("python3");
        command.arg(script).arg(directory).arg(directory.join("key.pub")).arg(&receipt);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (is_whole, text) = said();
    assert!(is_whole && text.starts_with("24 records, 8 checkpoints"), "{text}");
    let bases = segment::bases(&Disk, directory).unwrap();
    let last = *bases.last().unwrap();
    type Harm = fn(&mut Vec<u8>);
    let rows: [(PathBuf, Harm); 4] = [
        (segment::data_path(directory, 0), |bytes| bytes[20] ^= 1),
        (segment::data_path(directory, last), Vec::clear),
        (segment::notes_path(directory, last), |bytes| bytes[50] ^= 1),
        (receipt.clone(), |bytes| bytes[40] ^= 1),
    ];
    for (path, edit) in rows {
        let before = std::fs::read(&path).unwrap();
        let mut after = before.clone();
        edit(&mut after);
        std::fs::write(&path, after).unwrap();
        let (is_whole, text) = said();
        assert!(!is_whole && text.starts_with("not as signed: "), "{}: {text}", path.display());
        std::fs::write(&path, before).unwrap();
    }
}

/// Rewrites a segment's lines and its index so that they fit each other.
fn forge(sim: &Sim, base: u64, change: impl FnOnce(&mut Vec<String>)) {
    let data = path(Target::Data, base);
    let text = String::from_utf8(content(sim, &data)).unwrap();
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    change(&mut lines);
    let header = content(sim, &path(Target::Index, base))[..HEADER_BYTES].to_vec();
    let (mut bytes, mut index) = (Vec::new(), header);
    for (position, line) in (0..).zip(&lines) {
        bytes.extend(format!("{line}\n").into_bytes());
        let end = u32::try_from(bytes.len()).unwrap();
        let leaf = leaf_hash(line.as_bytes());
        index
            .extend(Entry { end, position: position % 3, leaf }.encode(base + u64::from(position)));
    }
    sim.tamper(&data, |old| *old = bytes);
    sim.tamper(&path(Target::Index, base), |old| *old = index);
}

#[test]
fn a_forgery_that_fits_its_index_is_found_and_narrowed_to_a_commit() {
    let base = bases(&filled())[1];
    for position in 0..5 {
        let hit = base + position;
        let at = usize::try_from(position).unwrap();
        let commit = hit - hit % BATCH;

        let sim = filled();
        forge(&sim, base, |lines| lines[at] = lines[at].replace("\"x\"", "\"y\""));
        let found = wrong(&sim);
        assert_eq!((found.first, found.last), (commit, commit + BATCH - 1));
        assert_eq!(found.fault, Fault::Record);

        // Records carry their number, so what was removed or moved narrows it further.
        let sim = filled();
        forge(&sim, base, |lines| drop(lines.remove(at)));
        let found = wrong(&sim);
        assert_eq!((found.first, found.last, found.fault), (commit, hit, Fault::Record));
    }
}

#[test]
fn files_that_are_gone_are_missing_records() {
    let all = bases(&filled());
    let (middle, last) = (all[1], *all.last().unwrap());
    for (gone, targets, want) in [
        (0, vec![Target::Data, Target::Index, Target::Notes], exactly(0, Fault::Missing)),
        (middle, vec![Target::Data, Target::Index, Target::Notes], exactly(middle, Fault::Missing)),
        (middle, vec![Target::Data], exactly(middle, Fault::Record)),
        (middle, vec![Target::Index], exactly(middle, Fault::Index)),
        (last, vec![Target::Notes], exactly(last, Fault::Unsigned)),
        (last, vec![Target::Data, Target::Index], exactly(last, Fault::Index)),
    ] {
        let sim = filled();
        for target in targets {
            sim.rename(&path(target, gone), Path::new("/elsewhere/x")).unwrap();
        }
        assert_eq!(wrong(&sim), want);
    }
}

#[test]
fn records_cut_from_all_but_the_checkpoints_are_missing() {
    let sim = filled();
    let base = *bases(&sim).last().unwrap();
    forge(&sim, base, |lines| lines.truncate(1));
    assert_eq!(wrong(&sim), exactly(base + 1, Fault::Missing));
}

#[test]
fn the_wrong_key_opens_nothing() {
    let (sim, other) = (filled(), filled());
    let directory = Path::new(DIRECTORY);
    let key = public_key(&other, directory).unwrap();
    let report = verify(&sim, directory, &key).unwrap();
    assert_eq!(report.wrong, Some(exactly(0, Fault::Checkpoint(NoteError::Origin))));
}

#[test]
fn what_a_crash_leaves_is_named_and_gone_after_the_next_start() {
    let sim = filled();
    let (mut log, _) = Log::open(sim.clone(), options()).unwrap();
    log.append(&record(RECORDS)).unwrap();
    sim.fail(2, 1, DiskFault::Full);
    log.commit().unwrap_err();
    assert_eq!(report(&sim).wrong, None, "a writer is at it");
    drop(log);
    assert_eq!(wrong(&sim), exactly(RECORDS, Fault::Unsigned));
    let data = path(Target::Data, *bases(&sim).last().unwrap());
    let end = sim.open(&data).unwrap().size().unwrap();
    sim.tamper(&data, |bytes| bytes.extend(b"{\"half\":"));
    assert_eq!(wrong(&sim), exactly(RECORDS, Fault::Unsigned));
    let (mut log, opened) = Log::open(sim.clone(), options()).unwrap();
    assert_eq!((opened.cut_bytes, opened.unsigned, opened.damage), (8, 1, None));
    log.commit().unwrap();
    drop(log);
    assert_eq!(report(&sim).wrong, None);
    assert_eq!(sim.open(&data).unwrap().size().unwrap(), end);
}
