//! Edits of the store behind the sink's back.

use std::sync::LazyLock;

use proptest::prelude::*;
use rusqlite::params;
use tempfile::TempDir;

use super::*;
use crate::{
    audit::{
        checkpoint::Signer,
        cosign::{Cosigner, Cosigners},
        tree::leaf_hash,
        verify::Report,
    },
    sink::pack,
};

const BATCHES: u64 = 8;
const RECORDS: u64 = 5;
const FIRST: u64 = 3;
const EDITS: u32 = 200;

/// How many random edits are tried; `GOVERND_TEST_EDITS` tries more.
fn edits() -> u32 {
    std::env::var("GOVERND_TEST_EDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(EDITS)
}

fn line(index: u64) -> String {
    format!("{{\"metadata\":{{\"sequence\":{index}}},\"n\":\"{}\"}}\n", index * 7_919)
}

fn cosigners() -> Cosigners {
    Cosigner::new("sink.example", [2; 32]).unwrap().into()
}

/// The file of a store with the log of one host, whose first records were gone.
fn content() -> &'static [u8] {
    static FILLED: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let (directory, store) = fill();
        store.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        std::fs::read(directory.path().join(FILE)).unwrap()
    });
    &FILLED
}

/// A copy of that store.
fn filled() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), content()).unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    (directory, store)
}

fn fill() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let signer = Signer::new("governd/host", [1; 32]).unwrap();
    store.add_token("secret", "web-1", 10).unwrap();
    store.enroll("secret", &signer.verifier().clone().into(), 1, |_| Ok(((), [7; 32]))).unwrap();
    let mut host = store.hosts().unwrap().pop().unwrap();
    let mut tree = Frontier::default();
    (0..FIRST).for_each(|index| tree.push(leaf_hash(line(index).trim_end().as_bytes())));
    let before = tree.clone();
    for batch in 0..BATCHES {
        let first = FIRST + batch * RECORDS;
        let lines: String = (first..first + RECORDS).map(line).collect();
        let leaves = pack::leaves(&lines);
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        let note = signer.sign(tree.size(), tree.root());
        let frame = pack::compress(lines.as_bytes()).unwrap();
        let before = (batch == 0).then_some(&before);
        let stored = Stored { first, note, leaves, frame };
        let arrival = Arrival { before, ..arrival(&stored, &lines) };
        store.begin().unwrap();
        store.append(&mut host, arrival, &cosigners(), 5).unwrap();
        store.commit().unwrap();
    }
    assert_eq!(store.hosts().unwrap(), [host]);
    (directory, store)
}

/// That of a batch as it is stored.
fn arrival<'a>(stored: &'a Stored, lines: &'a str) -> Arrival<'a> {
    Arrival {
        first: stored.first,
        lines,
        frame: &stored.frame,
        leaves: &stored.leaves,
        note: &stored.note,
        before: None,
        beside: &[],
    }
}

fn report(store: &Store) -> Report {
    let host = store.hosts().unwrap().pop().unwrap();
    store.verify(&host, &cosigners().witnesses(), None).unwrap()
}

#[derive(Clone, Debug)]
enum Edit {
    Line { of: u64, at: usize },
    LineAndLeaf { of: u64, at: usize },
    RemoveLine { of: u64, at: usize },
    InsertLine { of: u64, at: usize },
    SwapLines { of: u64, at: usize },
    Leaf { of: u64, byte: usize },
    CutLeaves { of: u64, bytes: usize },
    Frame { of: u64, at: prop::sample::Index, bit: u8 },
    Note { of: u64, at: prop::sample::Index },
    Remove { of: u64 },
    RemoveFrom { of: u64 },
    Exchange { of: u64, with: u64 },
    Move { of: u64, by: i64 },
    Insert { of: u64, at: u64 },
    Size { by: i64 },
    Peaks { at: prop::sample::Index },
    First { by: i64 },
    FirstPeaks { at: prop::sample::Index },
    Key,
    Receipt { at: prop::sample::Index },
    ReceiptOf { of: u64 },
    NoReceipt,
}

fn edit() -> impl Strategy<Value = Edit> {
    let of = || 0..BATCHES;
    let at = || 0..RECORDS as usize;
    let any_at = any::<prop::sample::Index>;
    prop_oneof![
        (of(), at()).prop_map(|(of, at)| Edit::Line { of, at }),
        (of(), at()).prop_map(|(of, at)| Edit::LineAndLeaf { of, at }),
        (of(), at()).prop_map(|(of, at)| Edit::RemoveLine { of, at }),
        (of(), 0..=RECORDS as usize).prop_map(|(of, at)| Edit::InsertLine { of, at }),
        (of(), 0..RECORDS as usize - 1).prop_map(|(of, at)| Edit::SwapLines { of, at }),
        (of(), 0..RECORDS as usize * HASH_BYTES).prop_map(|(of, byte)| Edit::Leaf { of, byte }),
        (of(), 1..=RECORDS as usize * HASH_BYTES)
            .prop_map(|(of, bytes)| Edit::CutLeaves { of, bytes }),
        (of(), any_at(), 0_u8..8).prop_map(|(of, at, bit)| Edit::Frame { of, at, bit }),
        (of(), any_at()).prop_map(|(of, at)| Edit::Note { of, at }),
        of().prop_map(|of| Edit::Remove { of }),
        of().prop_map(|of| Edit::RemoveFrom { of }),
        (of(), of())
            .prop_filter("two", |(of, with)| of != with)
            .prop_map(|(of, with)| Edit::Exchange { of, with }),
        (of(), prop_oneof![-3_i64..0, 1_i64..4]).prop_map(|(of, by)| Edit::Move { of, by }),
        // Anywhere but where one begins already.
        (of(), (FIRST..first_of(BATCHES + 1)))
            .prop_filter("free", |(_, at)| *at >= first_of(BATCHES)
                || !(at - FIRST).is_multiple_of(RECORDS))
            .prop_map(|(of, at)| Edit::Insert { of, at }),
        of_the_host(),
    ]
}

/// Edits of the row of the host.
fn of_the_host() -> impl Strategy<Value = Edit> {
    let any_at = any::<prop::sample::Index>;
    prop_oneof![
        prop_oneof![-9_i64..0, 1_i64..9].prop_map(|by| Edit::Size { by }),
        any_at().prop_map(|at| Edit::Peaks { at }),
        prop_oneof![-3_i64..0, 1_i64..9].prop_map(|by| Edit::First { by }),
        any_at().prop_map(|at| Edit::FirstPeaks { at }),
        Just(Edit::Key),
        any_at().prop_map(|at| Edit::Receipt { at }),
        (0..BATCHES - 1).prop_map(|of| Edit::ReceiptOf { of }),
        Just(Edit::NoReceipt),
    ]
}

fn first_of(batch: u64) -> u64 {
    FIRST + batch * RECORDS
}

/// The tree of so many records.
fn tree_of(size: u64) -> Frontier {
    let mut tree = Frontier::default();
    (0..size).for_each(|index| tree.push(leaf_hash(line(index).trim_end().as_bytes())));
    tree
}

/// Changes a column of the host's row.
fn set_host(store: &Store, column: &str, value: impl rusqlite::ToSql) {
    let sql = format!("UPDATE host SET {column} = ?1");
    assert_eq!(store.connection.execute(&sql, params![value]), Ok(1));
}

fn stored(store: &Store, batch: u64) -> Stored {
    let host = store.hosts().unwrap().pop().unwrap();
    store.batch(&host, first_of(batch)).unwrap().unwrap()
}

fn set(store: &Store, batch: u64, column: &str, value: impl rusqlite::ToSql) {
    let sql = format!("UPDATE batch SET {column} = ?2 WHERE first = ?1");
    assert_eq!(store.connection.execute(&sql, params![integer(first_of(batch)), value]), Ok(1));
}

fn rewrite(store: &Store, batch: u64, change: impl FnOnce(&mut Vec<String>)) {
    let text = pack::decompress(&stored(store, batch).frame).unwrap();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(ToOwned::to_owned).collect();
    change(&mut lines);
    set(store, batch, "lines", pack::compress(lines.concat().as_bytes()).unwrap());
}

/// Otherwise who repeats itself would have the sink wait for its disk each time.
#[test]
fn what_is_known_is_found_again_and_is_written_only_when_the_host_was_not_heard_of_for_a_while() {
    let (_directory, store) = filled();
    let mut host = store.hosts().unwrap().pop().unwrap();
    let of = BATCHES - 1;
    let known = stored(&store, of);
    let Stored { first, note, frame, .. } = &known;
    let has = |first, note: &str, frame: &[u8]| store.has(&host, first, note, frame).unwrap();
    assert!(has(*first, note, frame));
    let other = stored(&store, 0);
    assert!(!has(*first, note, &other.frame) && !has(*first, &other.note, frame));
    assert!(!has(first + 1, note, frame));

    let lines = pack::decompress(frame).unwrap();
    let arrival = arrival(&known, &lines);
    let seen_s = host.seen_s;
    for (after_s, seen_after_s) in [(0, 0), (4, 0), (5, 5), (9, 5), (10, 10)] {
        let before = store.connection.total_changes();
        let cosigners = cosigners();
        let receipt = store.append(&mut host, arrival, &cosigners, seen_s + after_s).unwrap();
        cosigners.witnesses().check(&receipt).unwrap();
        let changes = store.connection.total_changes() - before;
        assert_eq!(changes > 0, after_s == seen_after_s && after_s > 0, "after {after_s} s");
        assert_eq!(host.seen_s, seen_s + seen_after_s);
    }
    assert_eq!(report(&store).wrong, None);
}

/// Another character in a text.
fn other_character(text: &str, at: prop::sample::Index) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = at.index(characters.len());
    characters[at] = if characters[at] == 'A' { 'B' } else { 'A' };
    characters.into_iter().collect()
}

/// Does it, and says which record is the first that is wrong, and whether only a batch is known; or
/// nothing, if what can be read is the same as before.
fn apply(edit: &Edit, store: &Store) -> Option<(u64, bool)> {
    let forged = |line: &str| line.replace("\"n\":\"", "\"n\":\"0");
    let exactly = |of: &u64, at: usize| Some((first_of(*of) + at as u64, false));
    match edit {
        Edit::Line { of, at } => {
            rewrite(store, *of, |lines| lines[*at] = forged(&lines[*at]));
            exactly(of, *at)
        }
        Edit::LineAndLeaf { of, at } => {
            rewrite(store, *of, |lines| lines[*at] = forged(&lines[*at]));
            let lines = pack::decompress(&stored(store, *of).frame).unwrap();
            set(store, *of, "leaves", pack::leaves(&lines).as_flattened());
            Some((first_of(*of), true))
        }
        Edit::RemoveLine { of, at } => {
            rewrite(store, *of, |lines| drop(lines.remove(*at)));
            exactly(of, *at)
        }
        Edit::InsertLine { of, at } => {
            let line = line(first_of(*of) + *at as u64);
            rewrite(store, *of, |lines| lines.insert(*at, forged(&line)));
            exactly(of, *at)
        }
        Edit::SwapLines { of, at } => {
            rewrite(store, *of, |lines| lines.swap(*at, at + 1));
            exactly(of, *at)
        }
        Edit::Leaf { of, byte } => {
            let mut leaves = stored(store, *of).leaves;
            leaves.as_flattened_mut()[*byte] ^= 1;
            set(store, *of, "leaves", leaves.as_flattened());
            exactly(of, byte / HASH_BYTES)
        }
        Edit::CutLeaves { of, bytes } => {
            let leaves = stored(store, *of).leaves;
            let left = leaves.as_flattened().len() - bytes;
            set(store, *of, "leaves", &leaves.as_flattened()[..left]);
            // What does not come out even is none.
            exactly(of, if left.is_multiple_of(HASH_BYTES) { left / HASH_BYTES } else { 0 })
        }
        Edit::Frame { of, at, bit } => {
            let mut frame = stored(store, *of).frame;
            let before = pack::decompress(&frame).unwrap();
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            let after = pack::decompress(&frame).unwrap_or_default();
            set(store, *of, "lines", frame);
            let same = pack::each(&before).zip(pack::each(&after)).take_while(|(a, b)| a == b);
            let same = same.count();
            if before == after { None } else { exactly(of, same) }
        }
        Edit::Note { of, at } => {
            set(store, *of, "note", other_character(&stored(store, *of).note, *at));
            exactly(of, 0)
        }
        Edit::Remove { of } => {
            let first = integer(first_of(*of));
            store.connection.execute("DELETE FROM batch WHERE first = ?1", [first]).unwrap();
            exactly(of, 0)
        }
        Edit::RemoveFrom { of } => {
            let first = integer(first_of(*of));
            store.connection.execute("DELETE FROM batch WHERE first >= ?1", [first]).unwrap();
            exactly(of, 0)
        }
        Edit::Exchange { of, with } => {
            let (one, other) = (stored(store, *of), stored(store, *with));
            for (batch, content) in [(*of, other), (*with, one)] {
                set(store, batch, "note", content.note);
                set(store, batch, "leaves", content.leaves.as_flattened());
                set(store, batch, "lines", content.frame);
            }
            // What is there is whole, and belongs elsewhere.
            Some((first_of(*of.min(with)), true))
        }
        Edit::Move { of, by } => {
            let first = first_of(*of).strict_add_signed(*by);
            set(store, *of, "first", integer(first));
            Some((first.min(first_of(*of)), false))
        }
        Edit::Insert { of, at } => {
            let Stored { note, leaves, frame, .. } = stored(store, *of);
            let sql = "INSERT INTO batch (host, first, note, leaves, lines) \
                       SELECT id, ?1, ?2, ?3, ?4 FROM host";
            let values = params![integer(*at), note, leaves.as_flattened(), frame];
            assert_eq!(store.connection.execute(sql, values), Ok(1));
            Some(((*at).min(first_of(BATCHES)), false))
        }
        _ => Some(apply_to_host(edit, store)),
    }
}

/// The same for what is known of the host as a whole.
fn apply_to_host(edit: &Edit, store: &Store) -> (u64, bool) {
    let end = first_of(BATCHES);
    let host = store.hosts().unwrap().pop().unwrap();
    let flipped = |tree: &Frontier, at: prop::sample::Index| {
        let mut bytes = tree.peaks().as_flattened().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1;
        bytes
    };
    match edit {
        Edit::Size { by } => {
            // Without its subtrees no size is one, so it gets those of a log of its own.
            let size = end.strict_add_signed(*by);
            set_host(store, "size", integer(size));
            set_host(store, "peaks", tree_of(size).peaks().as_flattened());
            (size.min(end), false)
        }
        Edit::Peaks { at } => {
            set_host(store, "peaks", flipped(&host.tree, *at));
            (end, false)
        }
        Edit::First { by } => {
            let first = FIRST.strict_add_signed(*by);
            set_host(store, "first", integer(first));
            set_host(store, "first_peaks", tree_of(first).peaks().as_flattened());
            (first.min(FIRST), false)
        }
        Edit::FirstPeaks { at } => {
            set_host(store, "first_peaks", flipped(&host.before, *at));
            (FIRST, true)
        }
        Edit::Key => {
            let other = Signer::new("governd/other", [3; 32]).unwrap();
            set_host(store, "log_key", other.verifier().to_string());
            (FIRST, false)
        }
        Edit::Receipt { at } => {
            set_host(store, "receipt", other_character(&host.receipt.unwrap(), *at));
            (end, false)
        }
        Edit::ReceiptOf { of } => {
            set_host(store, "receipt", cosigners().cosign(&stored(store, *of).note, 5));
            (first_of(of + 1), false)
        }
        Edit::NoReceipt => {
            set_host(store, "receipt", rusqlite::types::Null);
            (FIRST, false)
        }
        of_batches => panic!("{of_batches:?} is none of the host's row"),
    }
}

#[test]
fn an_untouched_store_is_what_was_signed() {
    let (_directory, store) = filled();
    let report = report(&store);
    assert_eq!((report.wrong, report.checkpoints), (None, BATCHES));
    assert_eq!((report.first, report.signed), (FIRST, first_of(BATCHES)));
}

/// In a directory that others may look into, too, and where an earlier version made the file.
#[test]
fn what_people_did_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let (directory, store) = filled();
    allow(directory.path(), 0o755);
    store.begin().unwrap();
    store.add_token("other", "web-2", 10).unwrap();
    store.commit().unwrap();
    let files = ["sink.db", "sink.db-wal", "sink.db-shm"].map(|name| directory.path().join(name));
    assert_eq!(files.each_ref().map(|path| mode(path)), [0o600; 3]);
    files.iter().for_each(|path| allow(path, 0o644));
    let second = Store::open(directory.path()).unwrap();
    assert_eq!(files.each_ref().map(|path| mode(path)), [0o600; 3]);
    drop((store, second));
    let new = tempfile::tempdir().unwrap();
    drop(Store::open(new.path()).unwrap());
    assert_eq!(mode(&new.path().join(FILE)), 0o600);
}

/// Whether another process would get the lock by which SQLite knows that nobody has the store open
/// (`UNIX_SHM_DMS`): who gets it takes the file of changes away, with what is only there.
fn seems_closed(directory: &Path) -> bool {
    let script = "import fcntl, sys; file = open(sys.argv[1], 'r+b'); \
                  fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)";
    let mut command = std::process::Command::new("python3");
    let output = command.args(["-c", script]).arg(directory.join("sink.db-shm")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || text.contains("BlockingIOError"), "{text}");
    output.status.success()
}

/// As metrics do at each look.
#[test]
fn who_opens_the_store_again_in_one_process_leaves_the_locks_of_who_has_it_open() {
    let (directory, store) = filled();
    assert!(!seems_closed(directory.path()));
    for _ in 0..2 {
        drop(Store::open(directory.path()).unwrap());
        assert!(!seems_closed(directory.path()));
    }
    let other = Store::open(directory.path()).unwrap();
    drop(store);
    assert!(!seems_closed(directory.path()));
    assert_eq!(report(&other).wrong, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: edits(), ..ProptestConfig::default() })]

    #[test]
    fn every_edit_of_the_store_is_found_and_the_first_wrong_record_named(edit in edit()) {
        let (_directory, store) = filled();
        match apply(&edit, &store) {
            None => prop_assert_eq!(report(&store).wrong, None),
            Some((first, within_batch)) => {
                let wrong = report(&store).wrong.expect("the edit is found");
                prop_assert_eq!(wrong.first, first, "{:?}", wrong);
                let most = if within_batch { first + RECORDS - 1 } else { first };
                prop_assert!(wrong.last <= most, "{:?}", wrong);
            }
        }
    }
}

/// Every record that is stored.
fn records(store: &Store) -> Option<Vec<String>> {
    let host = store.hosts().ok()?.pop()?;
    let mut all = Vec::new();
    while let Some(batch) = store.batch(&host, FIRST + all.len() as u64).ok()? {
        let text = pack::decompress(&batch.frame).ok()?;
        let before = all.len();
        let skip = FIRST + before as u64 - batch.first;
        all.extend(text.split_inclusive('\n').skip(skip as usize).map(ToOwned::to_owned));
        if all.len() == before {
            break;
        }
    }
    Some(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: edits(), ..ProptestConfig::default() })]

    /// Below the rows: what somebody does to the file itself.
    #[test]
    fn an_edit_of_the_file_is_found_or_changes_no_record(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut content = content().to_vec();
        let at = at.index(content.len());
        for (place, byte) in content.iter_mut().skip(at).zip(&bytes) {
            *place = *byte;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), content).unwrap();
        // What cannot be opened or read is found as well.
        let Ok(store) = Store::open(directory.path()) else { return Ok(()) };
        store.connection.execute_batch("PRAGMA synchronous = OFF").ok();
        let host = store.hosts().ok().and_then(|mut hosts| hosts.pop());
        let witnesses = cosigners().witnesses();
        let report = host.map(|host| store.verify(&host, &witnesses, None));
        let Some(Ok(report)) = report else { return Ok(()) };
        if report.wrong.is_none() {
            let want: Vec<String> = (FIRST..first_of(BATCHES)).map(line).collect();
            prop_assert_eq!(records(&store), Some(want));
        }
    }
}
