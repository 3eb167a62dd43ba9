//! What is deleted and what is not, and what can be told of it afterwards.

use proptest::prelude::*;
use rusqlite::params;
use tempfile::TempDir;

use super::*;
use crate::{
    audit::{
        checkpoint::Signer,
        cosign::{Cosigner, Cosigners},
        keys::Handover,
        tree::{Frontier, Hash, leaf_hash},
        verify::{Fault, Report, Wrong},
        witness::Refusal,
    },
    sink::{
        deletion::tests::{line as record_of, own, own_keys, proof},
        store::{AppendError, Arrival},
    },
};

const HALF_YEAR: u64 = 184;
const TWO_YEARS: u64 = 731;
const RECORDS: u64 = 4;
/// The day on which the first batch comes.
const DAY: u64 = 20_000;

/// A store with one host, and what signs for both.
struct Sink {
    directory: TempDir,
    store: Store,
    signer: Signer,
    cosigners: Cosigners,
    tree: Frontier,
}

/// A batch: days after the first on which it came and on which it was logged, and whether one of
/// its records is to be kept for two years.
type Batch = (u64, u64, bool);

impl Sink {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store.connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let signer = Signer::new("governd/host", [1; 32]).unwrap();
        store.add_token("secret", "web-1", 10).unwrap();
        let keys = signer.verifier().clone().into();
        store.enroll("secret", &keys, 1, |_| Ok(((), [7; 32]))).unwrap();
        let cosigners = Cosigner::new("sink.example", [2; 32]).unwrap().into();
        Self { directory, store, signer, cosigners, tree: Frontier::default() }
    }

    fn with(batches: &[Batch]) -> Self {
        let mut sink = Self::new();
        batches.iter().for_each(|batch| sink.send(*batch));
        sink
    }

    fn host(&self) -> Host {
        self.store.hosts().unwrap().pop().unwrap()
    }

    fn send(&mut self, batch: Batch) {
        let first = self.tree.size();
        let lines = lines(first, batch);
        pack::leaves(&lines).into_iter().for_each(|leaf| self.tree.push(leaf));
        let note = self.signer.sign(self.tree.size(), self.tree.root());
        self.arrive(first, &lines, &note, (DAY + batch.0) * DAY_S).unwrap();
    }

    fn arrive(
        &self,
        first: u64,
        lines: &str,
        note: &str,
        now_s: u64,
    ) -> Result<String, AppendError> {
        let (leaves, frame) = (pack::leaves(lines), pack::compress(lines.as_bytes()).unwrap());
        let (frame, leaves) = (frame.as_slice(), leaves.as_slice());
        let arrival = Arrival { first, lines, frame, leaves, note, before: None, beside: &[] };
        let mut host = self.host();
        self.store.append(&mut host, arrival, &self.cosigners, now_s)
    }

    fn due(&self, days: u32, on: u64) -> Result<Option<u64>, StoreError> {
        let due = self.store.due(&self.host(), days, (DAY + on) * DAY_S, || ())?;
        Ok(due.map(|deletion| {
            assert_eq!(deletion.first, self.host().kept_from());
            deletion.behind
        }))
    }

    /// What the sink's own log says from here on.
    fn tell(&self, behind: u64) {
        let host = self.host();
        let (first, name) = (host.kept_from(), host.name.clone());
        let deletion = Deletion { host: name, first, behind, days: 200 };
        self.store.begin_deletion(&host, &proof(&record_of(&deletion), &own())).unwrap();
    }

    fn delete(&mut self, behind: u64) {
        self.tell(behind);
        let host = self.host();
        while self.store.delete_some(&host).unwrap() {}
        assert_eq!(self.host().deleted, behind);
    }

    fn report(&self) -> Report {
        let witnesses = self.cosigners.witnesses();
        self.store.verify(&self.host(), &witnesses, Some(&own_keys())).unwrap()
    }

    fn shown(&self) -> Vec<u64> {
        let (lines, behind) = self.store.shown(&self.host(), 0, usize::MAX).unwrap();
        assert_eq!(behind, self.tree.size());
        let index = |line: String| {
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            record["metadata"]["sequence"].as_u64().unwrap()
        };
        lines.into_iter().map(index).collect()
    }

    fn change(&self, sql: &str, first: u64) {
        assert_eq!(self.store.connection.execute(sql, [integer(first)]), Ok(1), "{sql}");
    }
}

fn lines(first: u64, (_, logged, is_long): Batch) -> String {
    let line = |index: u64| {
        let is_long = is_long && index == first + 1;
        let retention = if is_long { Retention::TwoYears } else { Retention::HalfYear };
        let logged_ms = (DAY + logged) * DAY_S * 1_000 + index;
        format!(
            "{{\"metadata\":{{\"logged_time\":{logged_ms},\"sequence\":{index}}},\
             \"unmapped\":{{\"governd\":{{{}}}}}}}\n",
            retention.said()
        )
    };
    (first..first + RECORDS).map(line).collect()
}

#[test]
fn what_is_old_enough_for_the_rule_and_for_each_record_is_due_and_nothing_behind_it_else() {
    let short = |day| (day, day, false);
    let rows: [(&[Batch], u32, u64, Option<u64>); 12] = [
        (&[short(0), short(1)], 1, HALF_YEAR - 1, None),
        (&[short(0), short(1)], 1, HALF_YEAR, Some(1)),
        (&[short(0), short(1)], 1, HALF_YEAR + 1, Some(2)),
        (&[short(0), short(1)], 300, 299, None),
        (&[short(0), short(1)], 300, 300, Some(1)),
        // One that is to be kept for longer keeps what is behind it.
        (&[(0, 0, true), short(1)], 1, TWO_YEARS - 1, None),
        (&[short(0), (0, 0, true), short(1)], 1, TWO_YEARS - 1, Some(1)),
        (&[short(0), (0, 0, true), short(1)], 1, TWO_YEARS, Some(3)),
        (&[(0, 0, true)], 1_000, 999, None),
        (&[(0, 0, true)], 1_000, 1_000, Some(1)),
        // What came late, and what says that it is younger than it came.
        (&[(9, 0, false)], 1, HALF_YEAR + 8, None),
        (&[(0, 9, false)], 1, HALF_YEAR + 8, None),
    ];
    for (batches, days, on, want) in rows {
        let due = Sink::with(batches).due(days, on).unwrap();
        assert_eq!(due, want.map(|batches| batches * RECORDS), "{batches:?}, {days}, {on}");
    }
}

#[test]
fn a_record_that_does_not_say_when_it_was_logged_stays() {
    let mut sink = Sink::new();
    let lines = "{\"n\":1}\n";
    pack::leaves(lines).into_iter().for_each(|leaf| sink.tree.push(leaf));
    let note = sink.signer.sign(1, sink.tree.root());
    sink.arrive(0, lines, &note, DAY * DAY_S).unwrap();
    assert_eq!(sink.due(1, 10_000).unwrap(), None);
}

#[test]
fn a_host_of_which_something_is_wrong_keeps_everything_until_that_is_over() {
    let mut sink = Sink::with(&[(0, 0, false); 3]);
    let (host, name) = (sink.host(), "web-1".to_owned());
    let now_s = (DAY + HALF_YEAR) * DAY_S;
    sink.store.find(&host, SILENT, "nothing is heard", 5).unwrap();
    assert_eq!(sink.due(1, HALF_YEAR).unwrap(), Some(3 * RECORDS), "nobody can settle that");
    sink.store.find(&host, "fork", "it is another", 5).unwrap();
    assert_eq!(sink.due(1, HALF_YEAR).unwrap(), None);
    // Also one that is found after it was said that they go.
    sink.tell(2 * RECORDS);
    assert!(!sink.store.delete_some(&host).unwrap());
    assert_eq!((sink.host().deleted, sink.shown().len() as u64), (0, 3 * RECORDS));
    assert_eq!(sink.report().wrong, None);
    sink.store.settle(&host, Some("fork"), "uid 7", now_s).unwrap();
    while sink.store.delete_some(&host).unwrap() {}
    assert_eq!((sink.host().name, sink.host().deleted), (name, 2 * RECORDS));
}

#[test]
fn what_is_deleted_is_gone_and_all_else_is_what_it_was() {
    let mut sink = Sink::with(&[(0, 0, false), (0, 0, true), (1, 1, false)]);
    let before = sink.host();
    let report = sink.report();
    sink.delete(2 * RECORDS);
    let host = sink.host();
    assert_eq!(Host { deleted: 0, ..host.clone() }, before);
    assert_eq!(sink.shown(), (2 * RECORDS..3 * RECORDS).collect::<Vec<_>>());
    let want = Report { deleted: 2 * RECORDS, ..report };
    assert_eq!(sink.report(), want);
    assert_eq!(sink.store.oldest_s(&host).unwrap(), Some((DAY + 1) * DAY_S));
    let stored = sink.store.batch(&host, 0).unwrap().unwrap();
    assert_eq!((stored.frame.len(), stored.leaves.len() as u64), (0, RECORDS));
    // What comes goes on from it, and all of it may go.
    sink.send((1, 1, false));
    sink.delete(4 * RECORDS);
    assert_eq!((sink.shown(), sink.report().wrong), (vec![], None));
    assert_eq!(sink.store.oldest_s(&sink.host()).unwrap(), None);
    sink.send((1, 1, false));
    assert_eq!((sink.shown().len() as u64, sink.report().wrong), (RECORDS, None));
}

#[test]
fn a_batch_whose_records_are_deleted_is_known_by_its_hashes_when_it_is_sent_again() {
    let batches = [(0, 0, false), (0, 0, true)];
    let mut sink = Sink::with(&batches);
    sink.delete(2 * RECORDS);
    let (host, now_s) = (sink.host(), (DAY + 800) * DAY_S);
    let again = lines(0, batches[0]);
    let note = sink.store.batch(&host, 0).unwrap().unwrap().note;
    let frame = pack::compress(again.as_bytes()).unwrap();
    assert!(!sink.store.has(&host, 0, &note, &frame).unwrap());
    assert!(!sink.store.has(&host, 0, &note, b"").unwrap());
    let receipt = sink.arrive(0, &again, &note, now_s).unwrap();
    sink.cosigners.witnesses().check(&receipt).unwrap();
    assert_eq!((sink.shown(), sink.report().wrong), (vec![], None));
    // Two batches at once, behind which there is one more.
    let lines = [0, 1].map(|at: usize| lines(at as u64 * RECORDS, batches[at])).concat();
    let more = super::tests::lines(2 * RECORDS, (0, 0, false));
    pack::leaves(&more).into_iter().for_each(|leaf| sink.tree.push(leaf));
    let note = sink.signer.sign(sink.tree.size(), sink.tree.root());
    sink.arrive(0, &(lines + &more), &note, now_s).unwrap();
    assert_eq!(sink.shown(), (2 * RECORDS..3 * RECORDS).collect::<Vec<_>>());
    // Who says something else now is found out all the same.
    let other = again.replace("6-months", "7-months");
    let refused = sink.arrive(0, &other, &note, now_s).unwrap_err();
    let AppendError::Refused(refused) = refused else { panic!("{refused}") };
    assert!(matches!(refused, Refusal::Fork { index: 0 } | Refusal::Bounds { .. }), "{refused}");
    assert_eq!(sink.report().wrong, None);
}

#[test]
fn deleting_goes_on_where_it_was_when_the_sink_ended() {
    let count = 2 * ROWS_MAX as u64 + 5;
    let mut sink = Sink::with(&vec![(0, 0, false); count as usize]);
    sink.tell((count - 1) * RECORDS);
    let mut steps = 0;
    loop {
        // Each step in another process.
        sink.store = Store::open(sink.directory.path()).unwrap();
        let host = sink.host();
        let is_more = sink.store.delete_some(&host).unwrap();
        let deleted = sink.host().deleted;
        assert_eq!(sink.shown(), (deleted..count * RECORDS).collect::<Vec<_>>());
        let report = sink.report();
        assert_eq!((report.wrong, report.deleted), (None, deleted));
        if !is_more {
            break;
        }
        steps += 1;
        assert!(deleted <= steps * ROWS_MAX as u64 * RECORDS);
    }
    assert_eq!((steps, sink.host().deleted), (3, (count - 1) * RECORDS));
}

#[test]
fn a_key_that_a_deleted_record_names_signs_what_comes_behind_it() {
    let mut sink = Sink::with(&[(0, 0, false)]);
    let (at, next) = (sink.tree.size(), Signer::new("governd/host", [4; 32]).unwrap());
    let Handover { from, to, agreement, .. } = Handover::new(at, sink.signer.verifier(), &next);
    let rotation = format!(
        "{{\"unmapped\":{{\"governd\":{{\"rotation\":{{\"agreement\":\"{agreement}\",\
         \"from\":\"{from}\",\"to\":\"{to}\"}}}}}}}}\n"
    );
    sink.tree.push(leaf_hash(rotation.trim_end().as_bytes()));
    let note = sink.signer.sign(at + 1, sink.tree.root());
    sink.arrive(at, &rotation, &note, DAY * DAY_S).unwrap();
    sink.signer = next;
    sink.send((0, 0, false));
    assert_eq!(sink.report().wrong, None);
    sink.delete(at + 1);
    assert_eq!((sink.report().wrong, sink.report().deleted), (None, at + 1));
    // The proof of the record is not that of what was deleted.
    let leaf = leaf_hash(b"{}");
    let sql = "UPDATE batch SET leaves = ?1 WHERE first = ?2";
    sink.store.connection.execute(sql, params![leaf, integer(at)]).unwrap();
    assert_eq!(sink.report().wrong.unwrap().first, at);
}

/// Of batches that fill pages, and of small ones that share them.
#[test]
fn the_room_of_what_is_deleted_is_used_again() {
    for (batches, noise) in [(100, 40_000), (1_000, 1_500)] {
        let mut sink = Sink::new();
        let mut seed = 1_u64;
        let mut send = |sink: &mut Sink| {
            let noise: String = (0..noise)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(b'a' + (seed >> 59) as u8 % 26)
                })
                .collect();
            let first = sink.tree.size();
            let line = lines(first, (0, 0, false)).lines().next().unwrap().to_owned();
            let line = line.replacen('{', &format!("{{\"a\":\"{noise}\","), 1) + "\n";
            sink.tree.push(leaf_hash(line.trim_end().as_bytes()));
            let note = sink.signer.sign(sink.tree.size(), sink.tree.root());
            sink.arrive(first, &line, &note, DAY * DAY_S).unwrap();
        };
        (0..batches).for_each(|_| send(&mut sink));
        let (bytes, free) = sink.store.bytes().unwrap();
        sink.delete(batches / 10 * 9);
        let (after, freed) = sink.store.bytes().unwrap();
        assert_eq!(after, bytes);
        assert!((freed - free) * 10 > bytes * 6, "{freed} of {bytes}");
        (0..batches / 10 * 6).for_each(|_| send(&mut sink));
        let (after, _) = sink.store.bytes().unwrap();
        assert_eq!(after, bytes, "it does not grow");
        assert_eq!(sink.report().wrong, None);
    }
}

#[test]
fn what_the_rule_has_not_deleted_is_missing() {
    let untold = |first| Some(Wrong { first, last: first, fault: Fault::Untold });
    let wrong = |first| Some(Wrong { first, last: first, fault: Fault::Record });
    let blank = "UPDATE batch SET lines = x'' WHERE first = ?1";
    let mark = "UPDATE host SET deleted = ?1";
    let filled = || {
        let mut sink = Sink::with(&[(0, 0, false); 6]);
        sink.delete(2 * RECORDS);
        sink
    };
    // Beyond what the log says, whatever the store says of it.
    let sink = filled();
    sink.change(blank, 2 * RECORDS);
    assert_eq!(sink.report().wrong, wrong(2 * RECORDS));
    assert!(matches!(sink.store.shown(&sink.host(), 0, 9), Err(StoreError::Damaged(_))));
    sink.change(mark, 3 * RECORDS);
    assert_eq!(sink.report().wrong, untold(2 * RECORDS));
    // Something is only said to be gone.
    let sink = filled();
    sink.change(mark, 3 * RECORDS);
    assert_eq!(sink.report().wrong, untold(2 * RECORDS));
    // Not yet gone by rule, and gone otherwise.
    let sink = filled();
    sink.tell(4 * RECORDS);
    sink.change(blank, 3 * RECORDS);
    assert_eq!(sink.report().wrong, wrong(3 * RECORDS));
    // As much is gone as is said, of another host, or by another log.
    let rows = [("web-2", own()), ("web-1", Signer::new("governd/sink", [3; 32]).unwrap())];
    for (name, signer) in rows {
        let sink = filled();
        let deletion = Deletion { host: name.to_owned(), first: 0, behind: 2 * RECORDS, days: 200 };
        let proof = proof(&record_of(&deletion), &signer);
        sink.store.begin_deletion(&sink.host(), &proof).unwrap();
        assert_eq!(sink.report().wrong, untold(0), "{name}");
    }
    let sink = filled();
    let witnesses = sink.cosigners.witnesses();
    assert_eq!(sink.store.verify(&sink.host(), &witnesses, None).unwrap().wrong, untold(0));
    // A whole row is no deletion by rule.
    let sink = filled();
    sink.change("DELETE FROM batch WHERE first = ?1", 0);
    assert_eq!(sink.report().wrong.unwrap().fault, Fault::Missing);
}

#[test]
fn who_changes_the_store_has_nothing_deleted_before_its_time() {
    let mut sink = Sink::with(&[(100, 100, false); 2]);
    sink.change("UPDATE batch SET came_s = 0 WHERE first = ?1", 0);
    assert_eq!(sink.due(1, HALF_YEAR + 99).unwrap(), None, "it was logged later");
    let older = lines(0, (0, 0, false));
    let set = |sink: &Sink, column: &str, value: &[u8]| {
        let sql = format!("UPDATE batch SET {column} = ?1 WHERE first = 0");
        assert_eq!(sink.store.connection.execute(&sql, params![value]), Ok(1));
    };
    set(&sink, "lines", &pack::compress(older.as_bytes()).unwrap());
    let due = sink.due(1, HALF_YEAR + 99);
    assert!(matches!(due, Err(StoreError::Damaged(_))), "{due:?}");
    // With other hashes, too, it goes; and they stay and tell.
    set(&sink, "leaves", pack::leaves(&older).as_flattened());
    assert_eq!(sink.due(1, HALF_YEAR + 99).unwrap(), Some(RECORDS));
    sink.delete(RECORDS);
    let wrong = sink.report().wrong.unwrap();
    assert_eq!((wrong.first, wrong.last, wrong.fault), (0, RECORDS - 1, Fault::Record));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_of_a_hash_of_what_is_deleted_is_found(
        gone in 1_u64..6, byte in 0..6 * RECORDS as usize * 32, bit in 0_u8..8,
    ) {
        let mut sink = Sink::with(&[(0, 0, false); 6]);
        sink.delete(gone * RECORDS);
        let at = byte / 32 / RECORDS as usize;
        let stored = sink.store.batch(&sink.host(), at as u64 * RECORDS).unwrap().unwrap();
        let mut leaves = stored.leaves;
        let of_batch = RECORDS as usize * size_of::<Hash>();
        leaves.as_flattened_mut()[byte % of_batch] ^= 1_u8 << bit;
        let sql = "UPDATE batch SET leaves = ?1 WHERE first = ?2";
        let values = params![leaves.as_flattened(), integer(at as u64 * RECORDS)];
        sink.store.connection.execute(sql, values).unwrap();
        let wrong = sink.report().wrong.expect("it is found");
        let record = (byte / 32) as u64;
        prop_assert!((wrong.first..=wrong.last).contains(&record), "{wrong:?} is not {record}");
    }
}
