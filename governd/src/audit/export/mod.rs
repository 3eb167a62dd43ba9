//! Where records go beside the log: files, syslog, OpenTelemetry, webhooks, NATS.
//!
//! A [`Destination`] takes batches and says when they are safe with the other side. It neither
//! reads the log nor remembers how far it came: who drives it gives a batch again until it is
//! delivered, so a receiver may see a record twice, and knows it by the log's name and the index.

pub mod config;
mod file;
mod http;
#[cfg(feature = "nats")]
mod nats;
mod otlp;
mod stdout;
mod syslog;
mod tls;
mod webhook;

use std::{path::Path, time::Duration};

use serde_json::Value;

use self::config::Exporter;

/// Most records in a batch.
pub const BATCH_RECORDS_MAX: usize = 512;
/// Bytes of lines after which a batch is full.
pub const BATCH_BYTES_MAX: usize = 1_024 * 1_024;
/// Longest time for a connection to be made, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A record to be delivered.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its index in the log.
    pub index: u64,
    /// Its line, without newline: what the log's tree is made of.
    pub line: String,
}

/// Records to be delivered together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The log's name: with the index it is what makes a record the same when it comes again.
    pub origin: &'a str,
    /// The records, in order.
    pub items: &'a [Item],
}

impl Batch<'_> {
    /// What makes this batch the same when it comes again.
    fn key(&self) -> String {
        match self.items {
            [first, .., last] => format!("{}/{}-{}", self.origin, first.index, last.index),
            [only] => item_key(self.origin, only.index),
            [] => self.origin.to_owned(),
        }
    }
}

/// What makes a record the same when it comes again.
fn item_key(origin: &str, index: u64) -> String {
    format!("{origin}/{index}")
}

/// What became of a batch that the other side has taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delivered {
    /// Records in it that the other side will never take, as it says itself.
    pub rejected: u64,
}

/// Why a batch was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It may be taken later: the other side is not there, not ready, or does not let us in.
    #[error("{0}")]
    Later(String),
    /// It is never taken, or something in it is not.
    #[error("{0}")]
    Never(String),
}

impl Fault {
    fn later(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Later(format!("{what}: {error}"))
    }
}

/// The other side of an exporter.
pub trait Destination: Send {
    /// Delivers a batch; when it returns, the records are where they should be, as far as the
    /// protocol can tell. Bounded in time.
    ///
    /// # Errors
    /// The batch was not taken, or it is not known whether it was.
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault>;
}

/// Why an exporter cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A file that its configuration names cannot be used.
    #[error("exporter {exporter}: cannot use {}", path.display())]
    File {
        /// The exporter.
        exporter: String,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not fit together.
    #[error("exporter {exporter}: {reason}")]
    Unusable {
        /// The exporter.
        exporter: String,
        /// Why.
        reason: String,
    },
}

impl SetUpError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => {
                "name a readable file of the right kind; docs/export.md has examples"
            }
            Self::Unusable { .. } => "docs/export.md says what each kind of exporter needs",
        }
    }

    fn file(exporter: &str, path: &Path, source: std::io::Error) -> Self {
        Self::File { exporter: exporter.to_owned(), path: path.to_owned(), source }
    }

    fn unusable(exporter: &str, reason: impl std::fmt::Display) -> Self {
        Self::Unusable { exporter: exporter.to_owned(), reason: reason.to_string() }
    }
}

/// Sets up the other side of an exporter. Nothing is connected yet: that it cannot be reached is no
/// reason not to start.
///
/// # Errors
/// A file that is named cannot be used.
pub fn destination(exporter: &Exporter) -> Result<Box<dyn Destination>, SetUpError> {
    Ok(match exporter {
        Exporter::File(spec) => Box::new(file::RotatedFile::new(spec)),
        Exporter::Stdout(_) => Box::new(stdout::Stdout),
        Exporter::Syslog(spec) => Box::new(syslog::Syslog::new(spec)?),
        Exporter::Otlp(spec) => Box::new(otlp::Otlp::new(spec)?),
        Exporter::Webhook(spec) => Box::new(webhook::Webhook::new(spec)?),
        #[cfg(feature = "nats")]
        Exporter::Nats(spec) => Box::new(nats::Nats::new(spec)?),
        #[cfg(not(feature = "nats"))]
        Exporter::Nats(_) => {
            let reason = "this governd was built without the feature `nats`";
            return Err(SetUpError::unusable(exporter.name(), reason));
        }
    })
}

/// The record of a line; `null` if it is none, which no line of the log is.
fn record(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

/// A text in a record.
fn text<'a>(record: &'a Value, pointer: &str) -> Option<&'a str> {
    record.pointer(pointer)?.as_str()
}

#[cfg(test)]
mod tests {
    /// A record as the log has it.
    pub(super) const DENIED: &str = include_str!("testdata/denied.json").trim_ascii_end();
}
