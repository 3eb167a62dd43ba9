//! Reading catalogue files: comma-separated, one header line, `#` begins a comment line.

use std::{collections::HashSet, sync::Arc};

use super::{
    entry::{
        Endpoint, EndpointKind, HostMatch, Origin, Runtime, RuntimeKind, RuntimeMatch, Weight,
    },
    hosts::normal_host,
};

/// Header of a file of endpoints.
const ENDPOINTS: &str = "domain,match,provider,kind,use,source";
/// Header of a file of runtimes.
const RUNTIMES: &str = "name,kind,match,pattern,weight,source";
/// Lines of one file.
const LINES_MAX: usize = 200_000;
/// Errors that are reported at once.
const ERRORS_MAX: usize = 100;
/// Bytes of one field.
const FIELD_BYTES_MAX: usize = 512;

/// A file's name and contents.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its path, for messages.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// A line that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}:{line}: {message}; {hint}")]
pub struct ParseError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// What files contain.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) runtimes: Vec<Runtime>,
}

/// Reads files; lines with errors are left out.
pub(super) fn files(sources: &[Source<'_>]) -> (Entries, Vec<ParseError>) {
    let mut reader = Reader::default();
    for source in sources {
        reader.file(source);
    }
    (reader.entries, reader.errors)
}

#[derive(Default)]
struct Reader {
    entries: Entries,
    errors: Vec<ParseError>,
    texts: HashSet<Arc<str>>,
}

/// What is wrong with a line, and what to write instead.
type Fault = (String, String);

impl Reader {
    fn file(&mut self, source: &Source<'_>) {
        let file = self.shared(source.path);
        let mut header: Option<&str> = None;
        for (index, line) in source.text.lines().enumerate().take(LINES_MAX) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let origin = Origin { file: Arc::clone(&file), line: number };
            let read = match header {
                Some(ENDPOINTS) => self.endpoint(line, origin),
                Some(_) => self.runtime(line, origin),
                None if line == ENDPOINTS || line == RUNTIMES => {
                    header = Some(line);
                    Ok(())
                }
                None => Err((
                    "the first line is no header".to_owned(),
                    format!("begin the file with `{ENDPOINTS}` or `{RUNTIMES}`"),
                )),
            };
            if let Err((message, hint)) = read
                && self.errors.len() < ERRORS_MAX
            {
                let file = source.path.to_owned();
                self.errors.push(ParseError { file, line: number, message, hint });
            }
            if header.is_none() {
                return;
            }
        }
    }

    fn endpoint(&mut self, line: &str, origin: Origin) -> Result<(), Fault> {
        let [domain, matching, provider, kind, shared, source] = fields(line, ENDPOINTS)?;
        let matching = word(matching, HostMatch::from_word, HostMatch::ALL, HostMatch::word)?;
        let kind = word(kind, EndpointKind::from_word, EndpointKind::ALL, EndpointKind::word)?;
        let is_shared = match shared {
            "shared" => true,
            "dedicated" => false,
            other => {
                let message = format!("use `{other}` is unknown");
                return Err((message, "write dedicated or shared".to_owned()));
            }
        };
        let stars = domain.contains('*');
        let is_host = normal_host(&domain.replace('*', "x")).is_some();
        if !is_host || stars != (matching == HostMatch::Pattern) {
            let hint = "write a host name, with * only where match is pattern";
            return Err((format!("`{domain}` is no domain for {}", matching.word()), hint.into()));
        }
        let endpoint = Endpoint {
            domain: self.shared(domain.to_ascii_lowercase().trim_end_matches('.')),
            matching,
            provider: self.shared(provider),
            kind,
            is_shared,
            source: self.shared(source),
            origin,
        };
        self.entries.endpoints.push(endpoint);
        Ok(())
    }

    fn runtime(&mut self, line: &str, origin: Origin) -> Result<(), Fault> {
        let [name, kind, matching, pattern, weight, source] = fields(line, RUNTIMES)?;
        let kind = word(kind, RuntimeKind::from_word, RuntimeKind::ALL, RuntimeKind::word)?;
        let matching =
            word(matching, RuntimeMatch::from_word, RuntimeMatch::ALL, RuntimeMatch::word)?;
        let weight = word(weight, Weight::from_word, Weight::ALL, Weight::word)?;
        if matching == RuntimeMatch::Port && pattern.parse::<u16>().map_or(true, |port| port == 0) {
            return Err((format!("`{pattern}` is no port"), "write 1 to 65535".to_owned()));
        }
        if pattern.bytes().all(|byte| byte == b'*') {
            let hint = "write at least one character that is not *";
            return Err(("the pattern matches everything".to_owned(), hint.to_owned()));
        }
        let runtime = Runtime {
            name: self.shared(name),
            kind,
            matching,
            pattern: self.shared(pattern),
            weight,
            source: self.shared(source),
            origin,
        };
        self.entries.runtimes.push(runtime);
        Ok(())
    }

    /// One copy of each text.
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

fn fields<'a>(line: &'a str, header: &str) -> Result<[&'a str; 6], Fault> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let fields: [&str; 6] = fields.try_into().map_err(|fields: Vec<&str>| {
        let message = format!("{} fields instead of 6", fields.len());
        (message, format!("write `{header}`, with ; in place of commas within a field"))
    })?;
    let names = header.split(',');
    match names.zip(fields).find(|(_, field)| field.is_empty() || field.len() > FIELD_BYTES_MAX) {
        Some((name, _)) => {
            let hint = format!("write 1 to {FIELD_BYTES_MAX} bytes");
            Err((format!("{name} is empty or too long"), hint))
        }
        None => Ok(fields),
    }
}

fn word<T: Copy>(
    text: &str,
    read: impl Fn(&str) -> Option<T>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<T, Fault> {
    read(text).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|value| name(*value)).collect();
        (format!("`{text}` is unknown"), format!("write one of {}", known.join(", ")))
    })
}
