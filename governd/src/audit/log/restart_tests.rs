//! A log that was edited while nobody wrote it, and then goes on: a start repairs what a crash
//! leaves, and covers nothing up.

use std::path::Path;

use proptest::prelude::*;

use super::{
    Reader,
    inspect_tests::{
        BATCH, DIRECTORY, Edit, NOTE_LINES, RECORDS, Target, bases, content, edit, edits, filled,
        first_hit, options, path, record, report, target,
    },
    notes::root_at,
    sim::Sim,
    *,
};
use crate::audit::verify::Report;

/// The log goes on after an edit.
fn go_on(sim: &Sim) -> Report {
    let (mut log, _) = Log::open(sim.clone(), options()).unwrap();
    for _ in 0..BATCH {
        log.append(&record(log.next_index())).unwrap();
    }
    log.commit().unwrap();
    drop(log);
    report(sim)
}

/// Whether the first records are those that were written.
fn is_as_it_was(sim: &Sim) -> bool {
    let mut reader = Reader::new(sim.clone(), DIRECTORY, 0);
    (0..RECORDS).all(|index| {
        let line = reader.read().ok().flatten();
        line.is_some_and(|line| (line.index, line.bytes) == (index, record(index).into_bytes()))
    })
}

/// Edits one file; gives the first record that is hit, or nothing if it is as it was.
fn harm(sim: &Sim, target: Target, base: u64, edit: &Edit) -> Option<u64> {
    let path = path(target, base);
    let before = content(sim, &path);
    let after = edit.apply(&before);
    sim.tamper(&path, |bytes| bytes.clone_from(&after));
    (before != after).then(|| first_hit(target, base, &before, &after))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: edits(), ..ProptestConfig::default() })]

    #[test]
    fn a_start_covers_no_edit_up(
        target in target(),
        place in any::<prop::sample::Index>(),
        edit in edit(),
    ) {
        let sim = filled();
        let bases = bases(&sim);
        let hit = harm(&sim, target, bases[place.index(bases.len())], &edit);
        let report = go_on(&sim);
        match report.wrong {
            // What a crash can leave is mended, and not a record is another one.
            None => prop_assert!(is_as_it_was(&sim)),
            Some(wrong) => {
                let hit = hit.expect("nothing was edited");
                prop_assert!((wrong.first..=wrong.last).contains(&hit), "{} {:?}", hit, wrong);
            }
        }
    }

    #[test]
    fn of_several_edits_the_first_is_named(
        edits in prop::collection::vec((target(), any::<prop::sample::Index>(), edit()), 2..5),
    ) {
        let sim = filled();
        let bases = bases(&sim);
        let (mut hits, mut of_records) = (Vec::new(), Vec::new());
        let mut files = Vec::new();
        for (target, place, edit) in &edits {
            let base = bases[place.index(bases.len())];
            // Two edits of one file are one.
            let path = path(*target, base);
            if !files.contains(&path) {
                files.push(path);
                let hit = harm(&sim, *target, base, edit);
                hits.extend(hit);
                of_records.extend(hit.filter(|_| !matches!(target, Target::Notes)));
            }
        }
        let wrong = report(&sim).wrong;
        let Some(first) = hits.iter().copied().min() else {
            prop_assert_eq!(wrong, None);
            return Ok(());
        };
        // Where an entry begins a commit, it tells that a checkpoint is gone. Without both, the
        // next checkpoint proves the records between them.
        let last = of_records.into_iter().min().unwrap_or(first);
        let wrong = wrong.expect("the edits are found");
        prop_assert!(wrong.last >= first && wrong.first <= last, "{first} {last} {:?}", wrong);
        prop_assert!(wrong.last - wrong.first < BATCH, "{:?}", wrong);
    }

    /// Who takes the end away from every file leaves a log that is whole. What the sink saw is not
    /// in it, whatever is written then.
    #[test]
    fn an_end_that_is_taken_away_and_written_anew_is_not_what_the_sink_saw(
        commits in 1..RECORDS / BATCH,
        forged in any::<bool>(),
    ) {
        let sim = filled();
        let seen = report(&sim).root;
        let kept = RECORDS - commits * BATCH;
        for base in bases(&sim).into_iter().rev() {
            if base >= kept && base > 0 {
                for target in [Target::Data, Target::Index, Target::Notes] {
                    sim.rename(&path(target, base), Path::new("/elsewhere/x")).unwrap();
                }
                continue;
            }
            let records = usize::try_from(kept - base).unwrap();
            cut(&sim, base, records);
            break;
        }
        prop_assert_eq!(report(&sim).wrong, None);
        prop_assert_eq!(root_at(&sim, Path::new(DIRECTORY), RECORDS).unwrap(), None);
        let (mut log, opened) = Log::open(sim.clone(), options()).unwrap();
        prop_assert_eq!(opened.damage, None);
        for index in kept..RECORDS + BATCH {
            let line = if forged { record(index).replace("\"x\"", "\"y\"") } else { record(index) };
            log.append(&line).unwrap();
        }
        log.commit().unwrap();
        drop(log);
        prop_assert_eq!(report(&sim).wrong, None);
        let root = root_at(&sim, Path::new(DIRECTORY), RECORDS).unwrap();
        prop_assert_eq!(root == Some(seen), !forged);
    }
}

/// Leaves so many records in a segment, and their checkpoints.
fn cut(sim: &Sim, base: u64, records: usize) {
    let lines = |bytes: &mut Vec<u8>, count: usize| {
        let all: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let kept = all[..count].concat();
        *bytes = kept;
    };
    sim.tamper(&path(Target::Data, base), |bytes| lines(bytes, records));
    sim.tamper(&path(Target::Index, base), |bytes| {
        bytes.truncate(usize::try_from(segment::entry_offset(records as u64)).unwrap());
    });
    let notes = records / usize::try_from(BATCH).unwrap();
    sim.tamper(&path(Target::Notes, base), |bytes| {
        lines(bytes, notes * NOTE_LINES);
    });
}
