//! The log's constraints, against a file system that fails and forgets, and on a real one.

use std::{os::unix::fs::PermissionsExt, path::Path};

use proptest::prelude::*;

use super::{
    segment::{Entry, data_path, index_path, notes_path},
    sim::{Fault, Sim},
    *,
};
use crate::audit::{
    checkpoint::note_len,
    tree::{leaf_hash, root},
};

const DIRECTORY: &str = "/log";

fn options() -> Options {
    Options {
        directory: PathBuf::from(DIRECTORY),
        segment_bytes_max: 1_024,
        pending_bytes_max: 2_048,
    }
}

fn read_all<F: Filesystem>(filesystem: F, directory: &Path, from: u64) -> Vec<(u64, String)> {
    let mut reader = Reader::new(filesystem, directory, from);
    let mut lines = Vec::new();
    while let Some(line) = reader.read().unwrap() {
        lines.push((line.index, String::from_utf8(line.bytes).unwrap()));
    }
    lines
}

fn record(number: usize, padding: usize) -> String {
    format!("{{\"n\":{number},\"p\":\"{}\"}}", "x".repeat(padding))
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Commit,
    Fail { after: u32, times: u32, fault: Fault },
    Mend,
    PowerCut(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::Short),
        Just(Fault::Full),
        Just(Fault::ReadOnly),
        Just(Fault::Sync)
    ];
    prop_oneof![
        10 => (0_usize..200).prop_map(Step::Append),
        4 => Just(Step::Commit),
        2 => (0_u32..6, 1_u32..5, fault)
            .prop_map(|(after, times, fault)| Step::Fail { after, times, fault }),
        1 => Just(Step::Mend),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => Just(Step::Restart),
    ]
}

/// A log beside the list of what was appended to it.
struct Model {
    sim: Sim,
    log: Option<Log<Sim>>,
    appended: Vec<String>,
    durable: usize,
    counter: usize,
    /// Reads along, as an exporter does; only a power cut may take back what it saw.
    reader: Reader<Sim>,
}

impl Model {
    fn new() -> Self {
        let sim = Sim::default();
        let reader = Reader::new(sim.clone(), DIRECTORY, 0);
        let mut model =
            Self { sim, log: None, appended: Vec::new(), durable: 0, counter: 0, reader };
        model.open();
        model
    }

    fn open(&mut self) {
        let Ok((log, opened)) = Log::open(self.sim.clone(), options()) else {
            return;
        };
        assert_eq!(opened.damage, None);
        let end = usize::try_from(log.next_index()).unwrap();
        assert!(self.durable <= end && end <= self.appended.len(), "opened at {end}");
        self.appended.truncate(end);
        self.durable = end;
        self.log = Some(log);
        let found = read_all(self.sim.clone(), Path::new(DIRECTORY), 0);
        let found: Vec<String> = found.into_iter().map(|(_, line)| line).collect();
        assert_eq!(found, self.appended);
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(padding) => self.append(*padding),
            Step::Commit => self.commit(),
            Step::Fail { after, times, fault } => self.sim.fail(*after, *times, *fault),
            Step::Mend => self.sim.mend(),
            Step::PowerCut(seed) => {
                self.log = None;
                self.sim.cut_power(*seed);
                self.reader = Reader::new(self.sim.clone(), DIRECTORY, 0);
                self.open();
            }
            Step::Restart => {
                self.log = None;
                self.open();
            }
        }
        self.read_along();
    }

    fn append(&mut self, padding: usize) {
        let Some(log) = &mut self.log else {
            return self.open();
        };
        let line = record(self.counter, padding);
        self.counter += 1;
        match log.append(&line) {
            Ok(index) => {
                assert_eq!(index, self.appended.len() as u64);
                self.appended.push(line);
            }
            Err(AppendError::Backlog { pending_bytes }) => assert!(pending_bytes > 1_500),
            Err(other) => panic!("{other}"),
        }
    }

    fn commit(&mut self) {
        let Some(log) = &mut self.log else {
            return self.open();
        };
        match log.commit() {
            Ok(durable) => {
                assert_eq!(durable, self.appended.len() as u64);
                self.durable = self.appended.len();
            }
            Err(error) => assert!(error.path.starts_with(DIRECTORY)),
        }
    }

    fn read_along(&mut self) {
        while let Some(line) = self.reader.read().unwrap() {
            let want = &self.appended[usize::try_from(line.index).unwrap()];
            assert_eq!(line.bytes, want.as_bytes());
        }
        assert!(self.reader.position() >= self.durable as u64 || self.log.is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_durable_stays_whatever_fails(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.run(&Step::Mend);
        model.run(&Step::Restart);
        model.run(&Step::Append(10));
        model.run(&Step::Commit);
        prop_assert_eq!(model.durable, model.appended.len());
        model.run(&Step::PowerCut(1));
        prop_assert_eq!(model.durable, model.appended.len());
    }

    #[test]
    fn an_entry_reads_back_only_at_its_place(
        (end, position, leaf) in any::<(u32, u32, [u8; 32])>(),
        index in 0_u64..1_000,
        byte in 0_usize..48,
        bit in 0_u8..8,
    ) {
        let entry = Entry { end, position, leaf };
        let mut bytes = entry.encode(index);
        prop_assert_eq!(Entry::decode(&bytes, index), Some(entry));
        prop_assert_eq!(Entry::decode(&bytes, index + 1), None);
        bytes[byte] ^= 1 << bit;
        prop_assert_eq!(Entry::decode(&bytes, index), None);
    }
}

/// A log with so many records, three to a batch, and the file system that it is in.
fn filled(records: usize) -> Sim {
    let sim = Sim::default();
    let (mut log, _) = Log::open(sim.clone(), options()).unwrap();
    for number in 0..records {
        log.append(&record(number, 40)).unwrap();
        if number % 3 == 2 {
            log.commit().unwrap();
        }
    }
    log.commit().unwrap();
    sim
}

#[test]
fn segments_follow_each_other_and_reading_starts_anywhere() {
    let sim = filled(100);
    let bases = segment::bases(&sim, Path::new(DIRECTORY)).unwrap();
    assert!(bases.len() > 3, "{bases:?}");
    for from in [0, 1, bases[1] - 1, bases[1], bases[2] + 1, 99, 100] {
        let lines = read_all(sim.clone(), Path::new(DIRECTORY), from);
        assert_eq!(lines.len() as u64, 100 - from);
        assert!((from..).zip(&lines).all(|(index, (at, line))| {
            *at == index && *line == record(usize::try_from(index).unwrap(), 40)
        }));
    }
    let mut last = Reader::last(sim, DIRECTORY, 2).unwrap();
    assert_eq!(last.read().unwrap().unwrap().index, 98);
}

#[test]
fn a_reader_begins_at_what_is_left_when_old_segments_are_gone() {
    let sim = filled(100);
    let bases = segment::bases(&sim, Path::new(DIRECTORY)).unwrap();
    for base in &bases[..2] {
        let directory = Path::new(DIRECTORY);
        let [data, index] = [data_path(directory, *base), index_path(directory, *base)];
        for path in [data, index, notes_path(directory, *base)] {
            sim.rename(&path, Path::new("/elsewhere")).unwrap();
        }
    }
    assert_eq!(read_all(sim, Path::new(DIRECTORY), 0)[0].0, bases[2]);
}

#[test]
fn a_second_writer_is_told_so_and_readers_are_not_kept_out() {
    let sim = filled(3);
    let (log, _) = Log::open(sim.clone(), options()).unwrap();
    let error = Log::open(sim.clone(), options()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert_eq!(error.to_string(), "the log in /log is in use by another governd");
    assert_eq!(read_all(sim.clone(), Path::new(DIRECTORY), 0).len(), 3);
    drop(log);
    assert!(Log::open(sim, options()).is_ok());
}

#[test]
fn damage_is_named_kept_and_written_behind() {
    /// What is harmed, how, whether in the index, the first record that is wrong, and how many
    /// records can then not be read.
    type Harm = (&'static str, fn(&mut Vec<u8>), bool, u64, usize);
    let base = *segment::bases(&filled(9), Path::new(DIRECTORY)).unwrap().last().unwrap();
    assert_eq!(base, 0, "all nine in one segment");
    let rows: &[Harm] = &[
        ("a byte of a line", |data| data[100] ^= 1, false, 1, 1),
        ("a newline", |data| data[record(0, 40).len()] = b' ', false, 0, 1),
        (
            "lines missing at the end",
            |data| data.truncate(7 * (record(0, 40).len() + 1)),
            false,
            7,
            2,
        ),
        ("a byte of an early entry", |index| index[segment::HEADER_BYTES + 5] ^= 1, true, 0, 9),
        ("the header", |index| index[0] ^= 1, true, 0, 0),
        ("the index", Vec::clear, true, 0, 9),
    ];
    for (what, harm, in_index, first, unreadable) in rows {
        let sim = filled(9);
        let directory = Path::new(DIRECTORY);
        let path = if *in_index { index_path(directory, 0) } else { data_path(directory, 0) };
        sim.tamper(&path, harm);
        let (mut log, opened) = Log::open(sim.clone(), options()).unwrap();
        let damage = Damage { first: *first, path: data_path(directory, 0) };
        assert_eq!(opened.damage, Some(damage), "{what}");
        assert_eq!(log.next_index(), 9, "{what}");
        assert_eq!(log.append(&record(9, 40)).unwrap(), 9);
        log.commit().unwrap();
        let mut reader = Reader::new(sim, DIRECTORY, 0);
        let (mut wrong, mut right) = (Vec::new(), Vec::new());
        loop {
            match reader.read() {
                Ok(Some(line)) => right.push(line.index),
                Ok(None) => break,
                Err(ReadError::Damaged { first, last, .. }) => wrong.extend(first..=last),
                Err(other) => panic!("{what}: {other}"),
            }
        }
        assert_eq!(wrong.len(), *unreadable, "{what}");
        assert!(wrong.first().is_none_or(|wrong| wrong == first), "{what}");
        assert_eq!(right.last(), Some(&9), "{what}");
        assert_eq!(wrong.len() + right.len(), 10, "{what}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let sim = filled(9);
    let directory = Path::new(DIRECTORY);
    sim.tamper(&data_path(directory, 0), |data| data.extend(b"{\"half\":"));
    sim.tamper(&index_path(directory, 0), |index| index.extend([7; 20]));
    let (log, opened) = Log::open(sim, options()).unwrap();
    assert_eq!(opened, Opened { cut_bytes: 8, unsigned: 0, damage: None });
    assert_eq!(log.next_index(), 9);
}

fn notes(sim: &Sim, base: u64) -> String {
    let file = sim.open(&notes_path(Path::new(DIRECTORY), base)).unwrap();
    segment::read_text(&file).unwrap()
}

#[test]
fn every_commit_is_signed_by_a_key_that_stays() {
    let sim = filled(10);
    let (log, opened) = Log::open(sim.clone(), options()).unwrap();
    assert_eq!(opened, Opened::default());
    let text = notes(&sim, 0);
    let verifier = log.verifier().clone();
    assert!(verifier.name().starts_with("governd/"), "{}", verifier.name());
    let mut rest = text.as_str();
    let mut sizes = Vec::new();
    while let Some(len) = note_len(rest) {
        let (note, behind) = rest.split_at(len);
        let checkpoint = verifier.open(note).unwrap();
        let count = usize::try_from(checkpoint.size).unwrap();
        let lines = (0..count).map(|number| leaf_hash(record(number, 40).as_bytes()));
        assert_eq!(checkpoint.root, root(&lines.collect::<Vec<_>>()));
        sizes.push(checkpoint.size);
        rest = behind;
    }
    assert_eq!((sizes, rest), (vec![3, 6, 9, 10], ""));
    drop(log);
    let (log, _) = Log::open(sim.clone(), options()).unwrap();
    assert_eq!(log.verifier(), &verifier);
    let public = key::read_text(&sim, &Path::new(DIRECTORY).join(key::PUBLIC_FILE)).unwrap();
    assert_eq!(public, verifier.to_string());
}

#[test]
fn a_checkpoint_that_could_not_be_written_is_made_up_for() {
    let sim = filled(3);
    let before = notes(&sim, 0);
    let (mut log, _) = Log::open(sim.clone(), options()).unwrap();
    log.append(&record(3, 40)).unwrap();
    // Lines and entries are written and synced; the checkpoint is the third.
    sim.fail(2, 1, Fault::Full);
    let error = log.commit().unwrap_err();
    assert_eq!(error.path, notes_path(Path::new(DIRECTORY), 0));
    assert_eq!((log.durable(), log.next_index()), (4, 4));
    assert_eq!(notes(&sim, 0), before);
    drop(log);
    let (mut log, opened) = Log::open(sim.clone(), options()).unwrap();
    assert_eq!(opened, Opened { unsigned: 1, ..Opened::default() });
    assert_eq!(log.commit().unwrap(), 4);
    let last = notes(&sim, 0).split_off(before.len());
    assert_eq!(log.verifier().open(&last).unwrap().size, 4);
    drop(log);
    assert_eq!(Log::open(sim, options()).unwrap().1, Opened::default());
}

#[test]
fn records_that_were_cut_or_rewritten_while_the_log_was_closed_are_damage() {
    let directory = Path::new(DIRECTORY);
    let sim = filled(9);
    let line = record(0, 40).len() + 1;
    sim.tamper(&data_path(directory, 0), |data| data.truncate(6 * line));
    sim.tamper(&index_path(directory, 0), |index| {
        index.truncate(usize::try_from(segment::entry_offset(6)).unwrap());
    });
    let (log, opened) = Log::open(sim.clone(), options()).unwrap();
    assert_eq!(opened.damage, Some(Damage { first: 6, path: data_path(directory, 0) }));
    assert_eq!(log.next_index(), 9, "no index that was signed is given again");

    let sim = filled(9);
    let forged = record(7, 40).replace('x', "y");
    sim.tamper(&data_path(directory, 0), |data| {
        data[7 * line..7 * line + forged.len()].copy_from_slice(forged.as_bytes());
    });
    sim.tamper(&index_path(directory, 0), |index| {
        let entry = Entry {
            end: u32::try_from(8 * line).unwrap(),
            position: 1,
            leaf: leaf_hash(forged.as_bytes()),
        };
        let at = usize::try_from(segment::entry_offset(7)).unwrap();
        index[at..at + segment::ENTRY_BYTES].copy_from_slice(&entry.encode(7));
    });
    let (log, opened) = Log::open(sim, options()).unwrap();
    assert_eq!(opened.damage, Some(Damage { first: 0, path: data_path(directory, 0) }));
    assert_eq!(log.next_index(), 9);
}

#[test]
fn what_is_no_record_is_refused_and_takes_no_index() {
    let (mut log, _) = Log::open(Sim::default(), options()).unwrap();
    assert_eq!(log.append(""), Err(AppendError::NotALine));
    assert_eq!(log.append("a\nb"), Err(AppendError::NotALine));
    let long = "x".repeat(RECORD_BYTES_MAX + 1);
    assert_eq!(log.append(&long), Err(AppendError::TooLong { bytes: RECORD_BYTES_MAX + 1 }));
    assert_eq!(log.append("{}"), Ok(0));
}

#[test]
fn a_full_disk_refuses_until_there_is_room_and_loses_nothing_that_was_taken() {
    let sim = Sim::default();
    let (mut log, _) = Log::open(sim.clone(), options()).unwrap();
    sim.fail(0, u32::MAX, Fault::Full);
    let mut taken = 0;
    let refused = loop {
        match log.append(&record(taken, 40)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        let error = log.commit().unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(error.path, data_path(Path::new(DIRECTORY), 0));
    };
    assert!(matches!(refused, AppendError::Backlog { .. }));
    sim.mend();
    assert_eq!(log.commit().unwrap(), taken as u64);
    assert_eq!(read_all(sim, Path::new(DIRECTORY), 0).len(), taken);
}

#[test]
fn on_a_real_disk_files_are_private_and_greppable() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("deep/log");
    let (mut log, opened) = Log::open(Disk, Options::new(&directory)).unwrap();
    assert_eq!(opened, Opened::default());
    for number in 0..1_500 {
        log.append(&record(number, number % 50)).unwrap();
        assert_eq!(log.is_batch_full(), number + 1 >= BATCH_RECORDS_MAX);
    }
    assert_eq!(log.commit().unwrap(), 1_500);
    let in_use = Log::open(Disk, Options::new(&directory)).err().unwrap();
    assert!(matches!(in_use, OpenError::InUse { .. }));
    drop(log);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let [data, index] = [data_path(&directory, 0), index_path(&directory, 0)];
    for path in [data, index, notes_path(&directory, 0), directory.join("key")] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let text = std::fs::read_to_string(data_path(&directory, 0)).unwrap();
    assert_eq!(text.lines().count(), 1_500);
    // A program that another test starts has this one's lock until it executes its file.
    let log = loop {
        match Log::open(Disk, Options::new(&directory)) {
            Ok((log, _)) => break log,
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(log.next_index(), 1_500);
    assert_eq!(read_all(Disk, &directory, 1_400).len(), 100);
}

#[test]
fn a_directory_that_cannot_be_used_is_one_clear_error() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Log::open(Disk, Options::new(file.join("log"))).err().unwrap();
    let want =
        format!("cannot open the log: {} (create the directory)", file.join("log").display());
    assert_eq!(error.to_string(), want);
    assert!(std::error::Error::source(&error).is_some());
    assert!(error.hint().contains("a file stands where"), "{}", error.hint());
}
