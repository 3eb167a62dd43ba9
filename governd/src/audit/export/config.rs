//! `exporters.toml`: which exporters there are. An array of tables for each kind.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

/// Most exporters of one host: each has a thread.
const EXPORTERS_MAX: usize = 16;
/// Longest name of an exporter, which is the name of its cursor's file.
const NAME_BYTES_MAX: usize = 64;
/// Least size at which a file is rotated.
const ROTATE_BYTES_MIN: u64 = 1_024 * 1_024;
/// Largest syslog facility (RFC 5424, table 1).
const FACILITY_MAX: u8 = 23;

/// An exporter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Exporter {
    /// A file that is rotated by size.
    File(File),
    /// The daemon's standard output.
    Stdout(Stdout),
    /// Syslog (RFC 5424) over TCP or TLS.
    Syslog(Syslog),
    /// OpenTelemetry logs over HTTP.
    Otlp(Otlp),
    /// Any HTTPS receiver.
    Webhook(Webhook),
    /// NATS JetStream.
    Nats(Nats),
}

impl Exporter {
    /// The word of its kind in the configuration, in `status` and in metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout(_) => "stdout",
            Self::Syslog(_) => "syslog",
            Self::Otlp(_) => "otlp",
            Self::Webhook(_) => "webhook",
            Self::Nats(_) => "nats",
        }
    }

    /// Its name, which its cursor and metrics have, too.
    pub fn name(&self) -> &str {
        match self {
            Self::File(File { name, .. })
            | Self::Stdout(Stdout { name, .. })
            | Self::Syslog(Syslog { name, .. })
            | Self::Otlp(Otlp { name, .. })
            | Self::Webhook(Webhook { name, .. })
            | Self::Nats(Nats { name, .. }) => name,
        }
    }

    /// Where it writes files, if it does.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(file) => file.path.parent(),
            Self::Stdout(_)
            | Self::Syslog(_)
            | Self::Otlp(_)
            | Self::Webhook(_)
            | Self::Nats(_) => None,
        }
    }

    /// Where records begin when it is new.
    pub const fn from(&self) -> From {
        match self {
            Self::File(File { from, .. })
            | Self::Stdout(Stdout { from, .. })
            | Self::Syslog(Syslog { from, .. })
            | Self::Otlp(Otlp { from, .. })
            | Self::Webhook(Webhook { from, .. })
            | Self::Nats(Nats { from, .. }) => *from,
        }
    }
}

/// Where an exporter that is new begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// At the first record that the log has.
    #[default]
    Start,
    /// At the records to come.
    Now,
}

/// A file that is rotated by size.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Where records begin when it is new.
    #[serde(default)]
    pub from: From,
    /// The file that is written; older ones are beside it, with `.1`, `.2` and so on behind.
    pub path: PathBuf,
    /// Bytes after which it is rotated.
    #[serde(default = "rotate_bytes")]
    pub rotate_bytes: u64,
    /// Older files that are kept.
    #[serde(default = "keep")]
    pub keep: u32,
}

const fn rotate_bytes() -> u64 {
    100 * 1_024 * 1_024
}

const fn keep() -> u32 {
    5
}

/// The daemon's standard output.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Stdout {
    /// Its name.
    pub name: String,
    /// Where records begin when it is new.
    #[serde(default)]
    pub from: From,
}

/// Files for TLS.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM certificates of the authorities that are trusted, in place of the host's.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate chain that governd shows.
    pub cert_file: Option<PathBuf>,
    /// PEM key of that certificate.
    pub key_file: Option<PathBuf>,
}

/// Syslog over TCP or TLS.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// Its name.
    pub name: String,
    /// Where records begin when it is new.
    #[serde(default)]
    pub from: From,
    /// Name or address, and port: `logs.example:6514`.
    pub address: String,
    /// Whether it is encrypted (RFC 5425), and with which files.
    pub tls: Option<Tls>,
    /// Facility; 13 is the log audit.
    #[serde(default = "facility")]
    pub facility: u8,
}

const fn facility() -> u8 {
    13
}

/// OpenTelemetry logs over HTTP.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Its name.
    pub name: String,
    /// Where records begin when it is new.
    #[serde(default)]
    pub from: From,
    /// Whole URL, path included.
    pub url: String,
    /// File whose first line is sent as a bearer token; read again for every batch.
    pub token_file: Option<PathBuf>,
    /// Files for TLS.
    #[serde(default)]
    pub tls: Tls,
}

/// Any HTTPS receiver.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Where records begin when it is new.
    #[serde(default)]
    pub from: From,
    /// Whole URL, path included.
    pub url: String,
    /// File whose first line is sent as a bearer token; read again for every batch.
    pub token_file: Option<PathBuf>,
    /// Files for TLS.
    #[serde(default)]
    pub tls: Tls,
    /// How the records of a batch are put together.
    #[serde(default)]
    pub format: Format,
}

/// How the records of a batch are put together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One line each.
    #[default]
    Ndjson,
    /// A JSON array.
    Json,
}

/// NATS JetStream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Its name.
    pub name: String,
    /// Where records begin when it is new.
    #[serde(default)]
    pub from: From,
    /// Servers: `nats://` or `tls://`, a name and a port.
    pub servers: Vec<String>,
    /// Subject that a stream of the server takes in.
    pub subject: String,
    /// NATS credentials file.
    pub credentials_file: Option<PathBuf>,
    /// Files for TLS.
    #[serde(default)]
    pub tls: Tls,
}

/// What is wrong with the file, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    hint: &'static str,
}

impl ConfigError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        self.hint
    }
}

/// The file as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    file: Vec<Spanned<File>>,
    stdout: Vec<Spanned<Stdout>>,
    syslog: Vec<Spanned<Syslog>>,
    otlp: Vec<Spanned<Otlp>>,
    webhook: Vec<Spanned<Webhook>>,
    nats: Vec<Spanned<Nats>>,
}

/// What is wrong with an exporter, and what to do about it.
type Wrong = (String, &'static str);

/// Reads the exporters from the text of a file.
///
/// # Errors
/// It is not TOML, or an exporter in it is not right; the first place that is wrong.
pub fn parse(file: &str, text: &str) -> Result<Vec<Exporter>, ConfigError> {
    let line_of =
        |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    let wrong = |offset: usize, (message, hint): Wrong| ConfigError {
        file: file.to_owned(),
        line: line_of(offset),
        message,
        hint,
    };
    let document: Document = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(" ");
        wrong(offset, (message, "docs/export.md lists the kinds of exporters and their fields"))
    })?;
    let mut exporters = Vec::new();
    let mut names = BTreeSet::new();
    for (offset, exporter) in document.exporters() {
        check(&exporter).map_err(|reason| wrong(offset, reason))?;
        if !names.insert(exporter.name().to_owned()) {
            let message = format!("two exporters are named {}", exporter.name());
            let hint = "give each its own name: its place in the log is kept under it";
            return Err(wrong(offset, (message, hint)));
        }
        if exporters.len() == EXPORTERS_MAX {
            let message = format!("more than {EXPORTERS_MAX} exporters");
            return Err(wrong(offset, (message, "let one of them pass records on")));
        }
        exporters.push(exporter);
    }
    Ok(exporters)
}

impl Document {
    /// All exporters in the order of the file, and where each begins.
    fn exporters(self) -> Vec<(usize, Exporter)> {
        fn of<T>(
            list: Vec<Spanned<T>>,
            exporter: fn(T) -> Exporter,
        ) -> impl Iterator<Item = (usize, Exporter)> {
            list.into_iter().map(move |item| (item.span().start, exporter(item.into_inner())))
        }
        let Self { file, stdout, syslog, otlp, webhook, nats } = self;
        let mut all: Vec<_> = of(file, Exporter::File)
            .chain(of(stdout, Exporter::Stdout))
            .chain(of(syslog, Exporter::Syslog))
            .chain(of(otlp, Exporter::Otlp))
            .chain(of(webhook, Exporter::Webhook))
            .chain(of(nats, Exporter::Nats))
            .collect();
        all.sort_by_key(|(offset, _)| *offset);
        all
    }
}

fn check(exporter: &Exporter) -> Result<(), Wrong> {
    let name = exporter.name();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        let message = format!("`{name}` is no name for an exporter");
        return Err((message, "use up to 64 lower-case letters, digits and `-`"));
    }
    match exporter {
        Exporter::File(file) if !file.path.is_absolute() => {
            Err((format!("{} is no absolute path", file.path.display()), "write it from `/` on"))
        }
        Exporter::File(file) if file.rotate_bytes < ROTATE_BYTES_MIN => Err((
            format!("rotate_bytes is {}", file.rotate_bytes),
            "give it at least 1048576, or there are more files than records",
        )),
        Exporter::Syslog(syslog) if syslog.facility > FACILITY_MAX => {
            Err((format!("there is no facility {}", syslog.facility), "RFC 5424 has 0 to 23"))
        }
        Exporter::Syslog(syslog) => {
            let port = syslog.address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if matches!(port, Some(Ok(_))) {
                return syslog.tls.as_ref().map_or(Ok(()), pair);
            }
            let message = format!("`{}` has no port", syslog.address);
            Err((message, "write a name or address and a port, such as `logs.example:6514`"))
        }
        Exporter::Otlp(Otlp { url, token_file, tls, .. })
        | Exporter::Webhook(Webhook { url, token_file, tls, .. }) => {
            let is_plain = url.starts_with("http://");
            if !is_plain && !url.starts_with("https://") {
                return Err((format!("`{url}` is no URL"), "begin it with `https://`"));
            }
            if is_plain && token_file.is_some() {
                let message = format!("the token would cross the network in the clear to {url}");
                return Err((message, "use `https://`, or leave `token_file` out"));
            }
            pair(tls)
        }
        Exporter::Nats(nats) if nats.servers.is_empty() => {
            Err(("servers is empty".to_owned(), "name at least one, `nats://name:4222`"))
        }
        Exporter::Nats(nats) => pair(&nats.tls),
        Exporter::File(_) | Exporter::Stdout(_) => Ok(()),
    }
}

fn pair(tls: &Tls) -> Result<(), Wrong> {
    if tls.cert_file.is_some() == tls.key_file.is_some() {
        return Ok(());
    }
    Err(("cert_file and key_file go together".to_owned(), "give both or none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY_KIND: &str = include_str!("../../../../deploy/exporters.toml");

    #[test]
    fn every_kind_is_read_in_the_order_of_the_file() {
        let exporters = parse("exporters.toml", EVERY_KIND).unwrap();
        let seen: Vec<_> =
            exporters.iter().map(|one| (one.name(), one.kind(), one.from())).collect();
        assert_eq!(
            seen,
            [
                ("siem", "syslog", From::Start),
                ("archive", "file", From::Start),
                ("collector", "otlp", From::Now),
                ("chat", "webhook", From::Now),
                ("bus", "nats", From::Start),
                ("pod", "stdout", From::Start),
            ]
        );
        assert_eq!(parse("exporters.toml", "").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let rows: &[(&str, &str)] = &[
            ("[[file]", "exporters.toml:1: "),
            ("[[kafka]]\nname = 'a'", "exporters.toml:1: unknown field `kafka`"),
            ("\n[[stdout]]\nname = 'a'\ncolour = 1", "exporters.toml:4: unknown field `colour`"),
            ("[[stdout]]\n", "exporters.toml:1: missing field `name`"),
            ("[[stdout]]\nname = '../a'", "exporters.toml:1: `../a` is no name"),
            ("[[stdout]]\nname = 'a'\nfrom = 'end'", "exporters.toml:3: unknown variant `end`"),
            (
                "[[stdout]]\nname = 'a'\n[[stdout]]\nname = 'a'",
                "exporters.toml:3: two exporters are named a",
            ),
            ("[[file]]\nname = 'a'\npath = 'x'", "exporters.toml:1: x is no absolute path"),
            (
                "[[file]]\nname = 'a'\npath = '/x'\nrotate_bytes = 7",
                "exporters.toml:1: rotate_bytes is 7",
            ),
            ("[[syslog]]\nname = 'a'\naddress = 'logs'", "exporters.toml:1: `logs` has no port"),
            (
                "[[syslog]]\nname = 'a'\naddress = 'a:1'\nfacility = 24",
                "exporters.toml:1: there is no facility 24",
            ),
            ("[[otlp]]\nname = 'a'\nurl = 'host:4318'", "exporters.toml:1: `host:4318` is no URL"),
            (
                "[[webhook]]\nname = 'a'\nurl = 'http://x'\ntoken_file = '/t'",
                "exporters.toml:1: the token would cross the network in the clear",
            ),
            (
                "[[webhook]]\nname = 'a'\nurl = 'https://x'\ntls = {cert_file = '/c'}",
                "exporters.toml:1: cert_file and key_file go together",
            ),
            (
                "[[nats]]\nname = 'a'\nservers = []\nsubject = 's'",
                "exporters.toml:1: servers is empty",
            ),
        ];
        for (text, want) in rows {
            let error = parse("exporters.toml", text).unwrap_err();
            assert!(error.to_string().starts_with(want), "{text:?}: {error}");
            assert!(!error.hint().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn there_is_an_end_to_exporters() {
        let many = |count: usize| {
            (0..count).map(|n| format!("[[stdout]]\nname = 'e{n}'\n")).collect::<String>()
        };
        assert_eq!(parse("x", &many(EXPORTERS_MAX)).unwrap().len(), EXPORTERS_MAX);
        let error = parse("x", &many(EXPORTERS_MAX + 1)).unwrap_err();
        assert_eq!(error.message, "more than 16 exporters");
    }
}
