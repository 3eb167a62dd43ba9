//! Which segments of a log have what was logged within some time.
//!
//! A segment says when it began by its first record. To know that a record of another segment is
//! not wanted, a neighbour's first record has to be believed; so both segments at the borders are
//! among those that are verified.

use std::{io, ops::Range, path::Path};

use super::{
    segment,
    storage::{Filesystem, read_up_to},
};
use crate::audit::record::{RECORD_BYTES_MAX, logged_ms};

/// A time of which records are wanted, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Within {
    /// From then on.
    pub from_ms: Option<u64>,
    /// Before then.
    pub to_ms: Option<u64>,
}

impl Within {
    /// Positions of the segments, of those with these first records, that have it all. One more at
    /// each end tells that there is nothing beyond.
    pub(super) fn segments<F: Filesystem>(
        self,
        filesystem: &F,
        directory: &Path,
        bases: &[u64],
    ) -> io::Result<Range<usize>> {
        let Self { from_ms, to_ms } = self;
        if self == Self::default() {
            return Ok(0..bases.len());
        }
        let began = bases.iter().map(|base| began_ms(filesystem, directory, *base));
        let began = began.collect::<io::Result<Vec<_>>>()?;
        // What does not say when it began may be wanted.
        let is_later = |began: &Option<u64>| from_ms.zip(*began).is_none_or(|(at, it)| it > at);
        let is_wanted = |began: &Option<u64>| to_ms.zip(*began).is_none_or(|(at, it)| it < at);
        let start = began.iter().position(is_later).unwrap_or(bases.len()).saturating_sub(1);
        // What the log does not have any more, a record at any place says.
        if start == 0 && bases.first().is_some_and(|base| *base > 0) {
            return Ok(0..bases.len());
        }
        let end = began.iter().rposition(is_wanted).map_or(0, |last| last + 1);
        Ok(start..(end.max(start) + 1).min(bases.len()))
    }
}

/// When the first record of a segment was logged, if it says so.
fn began_ms<F: Filesystem>(filesystem: &F, directory: &Path, base: u64) -> io::Result<Option<u64>> {
    let data = match filesystem.open(&segment::data_path(directory, base)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        data => data?,
    };
    let head = read_up_to(&data, RECORD_BYTES_MAX + 1, 0)?;
    let line = head.split(|byte| *byte == b'\n').next();
    Ok(line.and_then(logged_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{
        log::{
            Log, Options,
            inspect::{public_key, verify, verify_within},
            sim::Sim,
        },
        verify::Report,
    };

    const DIRECTORY: &str = "/log";
    const RECORDS: u64 = 40;

    /// A log of a few records to a segment; each is logged ten later than the one before.
    fn filled() -> Sim {
        let sim = Sim::default();
        let options = Options { segment_bytes_max: 256, ..Options::new(DIRECTORY) };
        let (mut log, _) = Log::open(sim.clone(), options).unwrap();
        for index in 0..RECORDS {
            let time = (index + 1) * 10;
            let line = format!("{{\"metadata\":{{\"logged_time\":{time},\"sequence\":{index}}}}}");
            log.append(&line).unwrap();
            log.commit().unwrap();
        }
        sim
    }

    fn looked_at(sim: &Sim, from_ms: Option<u64>, to_ms: Option<u64>) -> Report {
        let directory = Path::new(DIRECTORY);
        let key = public_key(sim, directory).unwrap();
        verify_within(sim, directory, &key, Within { from_ms, to_ms }).unwrap()
    }

    #[test]
    fn what_is_wanted_is_looked_at_and_little_else() {
        let sim = filled();
        let bases = segment::bases(&sim, Path::new(DIRECTORY)).unwrap();
        let of_segment = bases[1];
        assert!(bases.len() > 6 && of_segment < 6, "{bases:?}");
        let key = public_key(&sim, Path::new(DIRECTORY)).unwrap();
        let whole = verify(&sim, Path::new(DIRECTORY), &key).unwrap();
        for (from, to) in [(None, None), (Some(0), Some(9_999)), (Some(9), None), (None, Some(401))]
        {
            assert_eq!(looked_at(&sim, from, to), whole);
        }
        for (from, to) in [(101, 151), (200, 200), (395, 999), (0, 5), (500, 600), (300, 100)] {
            let Report { first, records, signed, wrong, .. } =
                looked_at(&sim, Some(from), Some(to));
            assert_eq!((wrong, records), (None, signed), "{from} {to}");
            let wanted = (0..RECORDS).filter(|index| (from..to).contains(&((index + 1) * 10)));
            for index in wanted {
                assert!((first..records).contains(&index), "{from} {to}: {index}");
            }
            let needed = to.min(400).saturating_sub(from) / 10;
            assert!(records - first <= needed + 4 * of_segment, "{from} {to}: {first} {records}");
        }
    }

    proptest! {
        #[test]
        fn a_record_within_cannot_be_changed_and_none_be_taken_for_one_outside(
            index in 0..RECORDS, byte in 0_usize..50, xor in 1_u8..=255, at in 0..RECORDS,
            count in 1_u64..20,
        ) {
            let sim = filled();
            let directory = Path::new(DIRECTORY);
            let bases = segment::bases(&sim, directory).unwrap();
            let base = *bases.iter().rfind(|base| **base <= index).unwrap();
            sim.tamper(&segment::data_path(directory, base), |data| {
                let lines = data.split_inclusive(|byte| *byte == b'\n');
                let start: usize = lines.take((index - base) as usize).map(<[u8]>::len).sum();
                let place = (start + byte).min(data.len() - 1);
                data[place] ^= xor;
            });
            let (from, to) = ((at + 1) * 10, (at + count + 1) * 10);
            let report = looked_at(&sim, Some(from), Some(to));
            let is_within = (at..at + count).contains(&index);
            prop_assert!(!is_within || report.wrong.is_some(), "{report:?}");
        }
    }
}
