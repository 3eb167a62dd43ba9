//! `governd audit export`: a range of records in one file, with what proves them to somebody who
//! trusts nobody here.

use std::{
    fs::{self, OpenOptions},
    io::{BufWriter, Write as _},
    ops::Range,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::{Log, Outcome, moment, question::in_order, unreadable};
use crate::{
    audit::log::{self, Disk, ReadError, Reader},
    cli::{
        exit::{Exit, Failure},
        printer::Printer,
        unwritable,
    },
};

/// Flags of `governd audit export`.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// Write the extract into this new file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// From the first record that was logged at this time or later: `2026-03-01`,
    /// `2026-03-01T08:00Z`, or that long ago: `90m`, `36h`, `30d`.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "first")]
    from: Option<Timestamp>,
    /// Up to the last record that was logged before this time.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "last")]
    to: Option<Timestamp>,
    /// From the record with this index.
    #[arg(long, value_name = "INDEX")]
    first: Option<u64>,
    /// Up to the record with this index, which is the last.
    #[arg(long, value_name = "INDEX")]
    last: Option<u64>,
    #[command(flatten)]
    log: Log,
}

impl Export {
    pub(super) fn run(self) -> Outcome {
        in_order(self.from, self.to)?;
        let keys = self.log.keys()?;
        let directory = self.log.directory();
        let range = self.range()?;
        if range.is_empty() {
            let error = anyhow!("the log has no such records");
            let hint = "`governd audit query` shows which there are";
            return Err(Failure::new(Exit::No, error, hint));
        }
        let unwritten = |error: anyhow::Error| {
            let error = error.context(format!("cannot write {}", self.file.display()));
            let hint = "name a file that does not exist yet, in a directory that you may write to";
            Failure::new(Exit::Environment, error, hint)
        };
        // Records name people and what they ran.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        let mut file = BufWriter::new(file.map_err(|error| unwritten(error.into()))?);
        let exported = log::export(&Disk, &directory, range.clone(), &keys, &mut file);
        let written = exported.map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Environment, error, hint)
        });
        let synced = written.and_then(|()| {
            let synced = file.flush().and_then(|()| file.get_ref().sync_all());
            synced.map_err(|error| unwritten(error.into()))
        });
        if let Err(failure) = synced {
            // Half of it proves nothing; that it could not be written is what there is to say.
            fs::remove_file(&self.file).ok();
            return Err(failure);
        }
        let Range { start, end } = range;
        let said = format!("records {start} to {}: {}", end - 1, self.file.display());
        Printer::new(false).line(said).map_err(unwritable)?;
        Ok(Exit::Yes)
    }

    /// The indices that the flags mean. Records are in the order of the times at which they were
    /// logged, unless the clock was set back: then the range holds all that fit.
    fn range(&self) -> Result<Range<u64>, Failure> {
        let mut range =
            self.first.unwrap_or(0)..self.last.map_or(u64::MAX, |last| last.saturating_add(1));
        if let (Some(first), Some(last), None, None) = (self.first, self.last, self.from, self.to) {
            return Ok(first..last.saturating_add(1));
        }
        let directory = self.log.directory();
        std::fs::read_dir(&directory)
            .map_err(|source| unreadable(ReadError::Io { path: directory.clone(), source }))?;
        let mut reader = Reader::new(Disk, directory, range.start);
        let (mut begin, mut end) = (None, range.start);
        while let Some(line) = reader.read().map_err(unreadable)? {
            if line.index >= range.end {
                break;
            }
            if self.fits(&line.bytes)? {
                begin.get_or_insert(line.index);
                end = line.index + 1;
            }
        }
        range.start = begin.unwrap_or(end);
        range.end = end;
        Ok(range)
    }

    fn fits(&self, line: &[u8]) -> Result<bool, Failure> {
        if self.from.is_none() && self.to.is_none() {
            return Ok(true);
        }
        let record: Value = serde_json::from_slice(line)
            .context("a record is no JSON")
            .map_err(|error| Failure::plain(Exit::Internal, error))?;
        let logged = record.pointer("/metadata/logged_time").and_then(Value::as_i64);
        let logged = logged.and_then(|time| Timestamp::from_millisecond(time).ok());
        let fits = |fits: &dyn Fn(Timestamp) -> bool| logged.is_some_and(fits);
        Ok(self.from.is_none_or(|from| fits(&|time| time >= from))
            && self.to.is_none_or(|to| fits(&|time| time < to)))
    }
}
