//! `governd audit verify`: whether the log is what this host signed.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Log, Outcome, against, moment, question::in_order, unreadable};
use crate::{
    audit::{
        canonical::integer,
        checkpoint::Verifier,
        log::{self, Disk, Within},
        verify::{Fault, Report, Wrong},
    },
    cli::{
        exit::Exit,
        printer::{Printer, Tone},
        unwritable,
    },
};

/// Flags of `governd audit verify`.
#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    log: Log,
    /// Compare with a receipt of the sink, too: `sink` for the last one that it gave this host, or
    /// a file, as `governd sink receipt` prints it.
    #[arg(long, value_name = "sink|FILE")]
    against: Option<String>,
    /// Only what was logged from this time on: `2026-03-01`, `2026-03-01T08:00`, with a zone
    /// `2026-03-01T08:00Z`, or that long ago: `90m`, `36h`, `30d`. Whole segments are looked at.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Only what was logged before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        in_order(self.from, self.to)?;
        let key = self.log.key()?;
        let ms = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
        let within = Within { from_ms: self.from.map(ms), to_ms: self.to.map(ms) };
        let report = log::verify_within(&Disk, &self.log.directory(), &key, within);
        let report = report.map_err(unreadable)?;
        let is_whole = within == Within::default();
        let receipt = self.against.as_deref().map(|name| against::judge(&self.log, name));
        let receipt = receipt.transpose()?;
        if printer.is_json() {
            let mut value = value(&report, &key, is_whole);
            if let (Some(receipt), Some(fields)) = (&receipt, value.as_object_mut()) {
                fields.insert("receipt".to_owned(), receipt.value());
            }
            printer.value(&value).map_err(unwritable)?;
        } else {
            for line in lines(&report, &key, is_whole, &printer) {
                printer.line(line).map_err(unwritable)?;
            }
            if let Some(receipt) = &receipt {
                printer.line(receipt.line(&printer)).map_err(unwritable)?;
            }
        }
        let is_other = receipt.is_some_and(|receipt| !receipt.is_kept);
        Ok(if is_other || report.wrong.is_some() { Exit::No } else { Exit::Yes })
    }
}

fn value(report: &Report, key: &Verifier, is_whole: bool) -> Value {
    let Report { first, records, checkpoints, signed, root, wrong, deleted: _ } = report;
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    let wrong = wrong.map(|Wrong { first, last, fault }| {
        json!({"first": integer(first), "last": integer(last), "what": fault.to_string()})
    });
    json!({
        "checkpoints": integer(*checkpoints),
        "first": integer(*first),
        "key": key.to_string(),
        "records": integer(*records),
        "root": root,
        "signed": integer(*signed),
        "unchanged": wrong.is_none(),
        "whole": is_whole,
        "wrong": wrong,
    })
}

fn lines(report: &Report, key: &Verifier, is_whole: bool, printer: &Printer) -> Vec<String> {
    let Report { first, records, checkpoints, signed, wrong, .. } = report;
    let count = if is_whole { *signed } else { signed.saturating_sub(*first) };
    let held =
        format!("{count} records are what {} signed, by {checkpoints} checkpoints", key.name());
    let Some(Wrong { first, last, fault }) = wrong else {
        let mut lines = vec![format!("{} {held}", printer.paint(Tone::Good, "unchanged:"))];
        if !is_whole {
            lines.push(format!("they begin with record {first}; no others were looked at"));
        } else if *first > 0 {
            lines.push(format!("{first} before them were deleted, as a record says"));
        }
        if records > signed {
            lines.push(format!("{} more are being written", records - signed));
        }
        return lines;
    };
    let place = if first == last {
        format!("record {first} is the first that is {fault}")
    } else {
        format!("one of the records {first} to {last} is the first that is {fault}")
    };
    let mut lines = vec![format!("{} {place}", printer.paint(Tone::Bad, "changed:")), held];
    if matches!(fault, Fault::Unsigned | Fault::Tail) {
        lines.push("a crash can leave this: start governd, stop it, and verify again".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::{checkpoint::Signer, log::Options};

    fn verify(state_dir: &Path, key: Option<String>) -> Outcome {
        let log = Log { state_dir: state_dir.to_owned(), key };
        Verify { log, against: None, from: None, to: None, json: true }.run()
    }

    #[test]
    fn a_log_on_disk_is_verified_with_the_key_beside_it_or_one_that_is_given() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("log");
        let (mut log, _) = log::Log::open(Disk, Options::new(&directory)).unwrap();
        for number in 0..10 {
            log.append(&format!("{{\"n\":{number}}}")).unwrap();
        }
        log.commit().unwrap();
        let key = log.verifier().to_string();
        drop(log);
        let file = directory.join("key.pub").display().to_string();
        for key in [None, Some(key), Some(file)] {
            assert_eq!(verify(state.path(), key).unwrap(), Exit::Yes);
        }
        let other = Signer::new("governd/other", [3; 32]).unwrap().verifier().to_string();
        assert_eq!(verify(state.path(), Some(other)).unwrap(), Exit::No);
        let segment = directory.join(format!("{:020}.jsonl", 0));
        let text = std::fs::read_to_string(&segment).unwrap().replace(":7}", ":8}");
        std::fs::write(&segment, text).unwrap();
        assert_eq!(verify(state.path(), None).unwrap(), Exit::No);
    }

    #[test]
    fn what_cannot_be_read_is_a_failure_with_a_hint() {
        let state = tempfile::tempdir().unwrap();
        let failure = verify(state.path(), None).unwrap_err();
        assert_eq!(failure.exit, Exit::Environment);
        assert!(failure.to_string().contains("hint: "), "{failure}");
        let failure = verify(state.path(), Some("nonsense".to_owned())).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("cannot use nonsense"), "{failure}");
    }

    #[test]
    fn answers_in_words() {
        let key = Signer::new("governd/host-a", [3; 32]).unwrap();
        let printer = Printer::new(true);
        let good = Report {
            first: 0,
            deleted: 0,
            records: 12,
            checkpoints: 4,
            signed: 10,
            root: [0; 32],
            wrong: None,
        };
        let wrong = |first, last, fault| Report {
            wrong: Some(Wrong { first, last, fault }),
            ..good.clone()
        };
        let text = |report: &Report| lines(report, key.verifier(), true, &printer).join("\n");
        let held = "10 records are what governd/host-a signed, by 4 checkpoints";
        let crash = "a crash can leave this: start governd, stop it, and verify again";
        let changed = |what: &str| format!("changed: {what}\n{held}");
        let part = lines(&Report { first: 4, ..good.clone() }, key.verifier(), false, &printer);
        let of_part = [
            "unchanged: 6 records are what governd/host-a signed, by 4 checkpoints",
            "they begin with record 4; no others were looked at",
            "2 more are being written",
        ];
        assert_eq!(part, of_part);
        assert_eq!(text(&good), format!("unchanged: {held}\n2 more are being written"));
        assert_eq!(
            text(&wrong(10, 10, Fault::Record)),
            changed("record 10 is the first that is not what was signed")
        );
        assert_eq!(
            text(&wrong(10, 11, Fault::Record)),
            changed("one of the records 10 to 11 is the first that is not what was signed")
        );
        assert_eq!(
            text(&wrong(10, 10, Fault::Tail)),
            format!("{}\n{crash}", changed("record 10 is the first that is not whole"))
        );
    }
}
