//! A question that records answer, wherever they are read, and how the answers are printed.

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use jiff::{Span, Timestamp, Zoned, civil::DateTime, tz::TimeZone};
use serde_json::Value;

use crate::cli::{
    exit::{Exit, Failure},
    printer::Printer,
    unwritable,
    watch::{Filter, text},
};

/// Columns of `--format csv`, and where in a record each stands.
const COLUMNS: [(&str, &str); 14] = [
    ("time", "/time"),
    ("uid", "/metadata/uid"),
    ("index", "/metadata/sequence"),
    ("host", "/device/hostname"),
    ("agent", "/unmapped/governd/agent/name"),
    ("owner", "/unmapped/governd/agent/owner"),
    ("verdict", "/unmapped/governd/decision/verdict"),
    ("would_deny", "/unmapped/governd/decision/would_deny"),
    ("reason", "/unmapped/governd/decision/reason"),
    ("rule", "/unmapped/governd/decision/rule"),
    ("name", "/dst_endpoint/hostname"),
    ("address", "/dst_endpoint/ip"),
    ("port", "/dst_endpoint/port"),
    ("message", "/message"),
];

/// Which records are wanted, and how they are printed.
#[derive(Args, Debug)]
pub(in crate::cli) struct Question {
    /// Only records from this time on: `2026-03-01`, `2026-03-01T08:00`, with a zone
    /// `2026-03-01T08:00Z`, or that long ago: `90m`, `36h`, `30d`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Only records before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// Only records of agents whose owner contains this, such as a name or a mail address.
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How to print them.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// One aligned line each.
    Table,
    /// The records themselves, one a line.
    Json,
    /// The columns that people sort by (RFC 4180).
    Csv,
}

/// A question that is being answered.
pub(in crate::cli) struct Answers<'q> {
    question: &'q Question,
    format: Format,
    printer: Printer,
    found: usize,
}

impl Question {
    /// Begins to answer it.
    pub(in crate::cli) fn begin(&self) -> Result<Answers<'_>, Failure> {
        in_order(self.from, self.to)?;
        let format = if self.json { Format::Json } else { self.format };
        let printer = Printer::new(format != Format::Table);
        if format == Format::Csv {
            let names = COLUMNS.map(|(name, _)| name);
            printer.text(format!("{}\r\n", names.join(","))).map_err(unwritable)?;
        }
        Ok(Answers { question: self, format, printer, found: 0 })
    }

    fn wants(&self, record: &Value) -> bool {
        let time = record.get("time").and_then(Value::as_i64);
        let time = time.and_then(|time| Timestamp::from_millisecond(time).ok());
        let owner = || record.pointer("/unmapped/governd/agent/owner")?.as_str();
        self.from.is_none_or(|from| time.is_some_and(|time| time >= from))
            && self.to.is_none_or(|to| time.is_some_and(|time| time < to))
            && self.owner.as_deref().is_none_or(|wanted| {
                owner().is_some_and(|owner| owner.to_lowercase().contains(&wanted.to_lowercase()))
            })
            && self.filter.passes(record)
    }
}

impl Answers<'_> {
    /// Whether more are wanted.
    pub(in crate::cli) fn go_on(&self) -> bool {
        self.question.limit.is_none_or(|limit| self.found < limit)
    }

    /// Prints a record if it is wanted.
    pub(in crate::cli) fn take(&mut self, line: &[u8]) -> Result<(), Failure> {
        let record: Value = serde_json::from_slice(line)
            .context("a record is no JSON")
            .map_err(|error| Failure::plain(Exit::Internal, error))?;
        if !self.question.wants(&record) {
            return Ok(());
        }
        self.found += 1;
        match self.format {
            Format::Table => self.printer.line(dated(&record, &self.printer)),
            Format::Json => self.printer.line(String::from_utf8_lossy(line)),
            Format::Csv => self.printer.text(row(&record)),
        }
        .map_err(unwritable)
    }

    /// What is to be said beside the answers.
    pub(in crate::cli) fn note(&self, text: impl std::fmt::Display) {
        self.printer.note(text);
    }

    /// Whether there was an answer.
    pub(in crate::cli) fn end(self) -> Exit {
        if self.found > 0 { Exit::Yes } else { Exit::No }
    }
}

/// A line of `watch`, which says only the time of the day, behind its date.
fn dated(record: &Value, printer: &Printer) -> String {
    let time = record.get("time").and_then(Value::as_i64).unwrap_or_default();
    let date = Timestamp::from_millisecond(time).unwrap_or_default();
    let date = date.to_zoned(TimeZone::system()).strftime("%F");
    format!("{date} {}", text(record, printer))
}

fn row(record: &Value) -> String {
    let cells = COLUMNS.map(|(name, place)| match record.pointer(place) {
        None | Some(Value::Null) => String::new(),
        Some(Value::Number(time)) if name == "time" => {
            let time = time.as_i64().and_then(|time| Timestamp::from_millisecond(time).ok());
            time.unwrap_or_default().to_string()
        }
        Some(Value::String(text)) => cell(text),
        Some(other) => other.to_string(),
    });
    format!("{}\r\n", cells.join(","))
}

/// A cell, in quotes where its text needs them. A text that a spreadsheet would take for a formula
/// is kept from being one: names and messages come from the programs that are watched.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if guard.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        return text.to_owned();
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// A time without a moment in it has no records, and whoever asks for them means another one.
pub(super) fn in_order(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(), Failure> {
    match from.zip(to) {
        Some((from, to)) if from >= to => {
            let error = anyhow!("--from {from} is not before --to {to}");
            Err(Failure::new(Exit::Usage, error, "give the earlier time with --from"))
        }
        _ => Ok(()),
    }
}

/// A time as people write it, or how long ago.
pub(in crate::cli) fn moment(text: &str) -> Result<Timestamp, String> {
    let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::system()).ok();
    let ago = || Zoned::now().checked_sub(text.parse::<Span>().ok()?).ok();
    let time = text.parse::<Timestamp>().ok();
    let time = time.or_else(|| local().or_else(ago).map(|time| time.timestamp()));
    time.ok_or_else(|| {
        "neither a time (2026-03-01, 2026-03-01T08:00Z) nor how long ago (90m, 36h, 30d)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_that_ends_before_it_begins_is_none() {
        let (early, late) = (moment("2026-03-01").unwrap(), moment("2026-03-02").unwrap());
        for (from, to) in [(None, None), (Some(early), None), (None, Some(early))] {
            assert!(in_order(from, to).is_ok());
        }
        assert!(in_order(Some(early), Some(late)).is_ok());
        for from in [early, late] {
            let failure = in_order(Some(from), Some(early)).unwrap_err();
            assert_eq!((failure.exit, failure.hint.is_some()), (Exit::Usage, true));
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let at = |text: &str| moment(text).unwrap();
        assert_eq!(at("2026-03-01T08:00:00Z").as_second(), 1_772_352_000);
        assert_eq!(at("2026-03-01T09:00+01:00"), at("2026-03-01T08:00Z"));
        assert!(at("2026-03-01") <= at("2026-03-01T08:00"));
        let hour = Timestamp::now().as_second() - at("1h").as_second();
        assert!((3_599..=3_601).contains(&hour), "{hour}");
        assert!(at("30d") < at("36h") && at("36h") < at("90m"));
        for wrong in ["", "soon", "2026-13-01", "12"] {
            assert!(moment(wrong).unwrap_err().starts_with("neither a time"), "{wrong}");
        }
    }

    #[test]
    fn a_row_has_every_column_and_no_formula() {
        let record = json!({
            "time": 1_772_352_000_000_i64,
            "message": "=HYPERLINK(\"x\"), and\nmore",
            "dst_endpoint": {"hostname": "api.openai.com", "port": 443},
            "unmapped": {"governd": {"agent": {"owner": "Smith, Dana"}}},
        });
        assert_eq!(
            row(&record),
            "2026-03-01T08:00:00Z,,,,,\"Smith, Dana\",,,,,api.openai.com,,443,\
             \"'=HYPERLINK(\"\"x\"\"), and\nmore\"\r\n"
        );
        let commas = COLUMNS.len() - 1;
        assert_eq!(row(&json!({})), format!("{}\r\n", ",".repeat(commas)));
    }
}
