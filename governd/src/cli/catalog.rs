//! `governd catalog`: what is known of AI endpoints and runtimes.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::Additions,
    printer::{Printer, Table, Tone},
    unwritable,
};
use crate::{
    app::catalogue::{self, CatalogueError},
    catalog::{Catalog, Ecosystem, Endpoint, EndpointKind, Runtime, RuntimeKind},
};

/// `governd catalog`.
#[derive(Args, Debug)]
pub(super) struct Verb {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the catalogue's entries.
    List(List),
    /// Show what an input matches, and from which entry.
    Lookup(Lookup),
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    additions: Additions,
    /// Only entries of this kind, such as model-api or coding-agent.
    #[arg(long, value_name = "KIND", value_parser = entry_kind)]
    kind: Option<&'static str>,
    /// Only entries of this provider or product.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON object per entry.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Lookup {
    #[command(flatten)]
    additions: Additions,
    /// Host names, executables, command lines, ports, variables' names or packages. Without any,
    /// lines of KIND, a tab and VALUE are read from stdin; each gets an answer.
    #[arg(value_name = "NAME|EXE|ARGV|PORT|ENV|PACKAGE")]
    inputs: Vec<String>,
    /// What the inputs are, instead of a guess.
    #[arg(long = "as", value_name = "KIND")]
    kind: Option<Kind>,
    /// Print one JSON object per input.
    #[arg(long)]
    json: bool,
}

/// What an input is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Kind {
    /// A host name.
    #[value(alias = "host", alias = "domain", alias = "endpoint", alias = "dns", alias = "sni")]
    Name,
    /// An executable's path or file name.
    #[value(alias = "executable", alias = "binary")]
    Exe,
    /// A command line.
    #[value(alias = "cmdline", alias = "command", alias = "args")]
    Argv,
    /// A TCP port that a process listens on.
    Port,
    /// The name of an environment variable.
    #[value(alias = "variable", alias = "envvar")]
    Env,
    /// A package of npm or PyPI.
    Package,
    /// A package of npm.
    Npm,
    /// A package of PyPI.
    Pypi,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Exe => "exe",
            Self::Argv => "argv",
            Self::Port => "port",
            Self::Env => "env",
            Self::Package => "package",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
        }
    }

    /// What an input most likely is.
    fn guess(input: &str) -> Self {
        let is_variable =
            |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if input.parse::<u16>().is_ok() {
            Self::Port
        } else if input.contains(char::is_whitespace) {
            Self::Argv
        } else if input.starts_with('@') {
            Self::Npm
        } else if input.contains('/') {
            Self::Exe
        } else if input.contains('_') && input.bytes().all(is_variable) {
            Self::Env
        } else if input.contains('.') {
            Self::Name
        } else {
            Self::Exe
        }
    }
}

/// An entry that matches, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Match<'a> {
    /// `endpoint` or `runtime`.
    catalog: &'static str,
    /// Provider or product.
    name: &'a str,
    kind: &'static str,
    #[serde(rename = "match")]
    matching: &'static str,
    pattern: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<&'static str>,
    source: &'a str,
    file: &'a str,
    line: u32,
}

impl<'a> From<&'a Endpoint> for Match<'a> {
    fn from(entry: &'a Endpoint) -> Self {
        Self {
            catalog: "endpoint",
            name: &entry.provider,
            kind: entry.kind.word(),
            matching: entry.matching.word(),
            pattern: &entry.domain,
            shared: Some(entry.is_shared),
            weight: None,
            source: &entry.source,
            file: &entry.origin.file,
            line: entry.origin.line,
        }
    }
}

impl<'a> From<&'a Runtime> for Match<'a> {
    fn from(entry: &'a Runtime) -> Self {
        Self {
            catalog: "runtime",
            name: &entry.name,
            kind: entry.kind.word(),
            matching: entry.matching.word(),
            pattern: &entry.pattern,
            shared: None,
            weight: Some(entry.weight.word()),
            source: &entry.source,
            file: &entry.origin.file,
            line: entry.origin.line,
        }
    }
}

impl Match<'_> {
    fn cells(&self) -> [(Tone, String); 6] {
        let strength = self.weight.unwrap_or(match self.shared {
            Some(true) => "shared",
            _ => "dedicated",
        });
        [
            (Tone::Good, self.name.to_owned()),
            (Tone::Plain, self.kind.to_owned()),
            (Tone::Plain, self.matching.to_owned()),
            (Tone::Plain, self.pattern.to_owned()),
            (Tone::Plain, strength.to_owned()),
            (Tone::Dim, format!("{}:{} ({})", self.file, self.line, self.source)),
        ]
    }
}

/// One input and what it matches, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    kind: &'a str,
    value: &'a str,
    matches: Vec<Match<'a>>,
    /// Why it was not looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Verb {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            Action::List(list) => list.run(),
            Action::Lookup(lookup) => lookup.run(),
        }
    }
}

impl Additions {
    pub(super) fn load(&self) -> Result<Catalog, Failure> {
        catalogue::load(&self.catalog).map_err(|error| {
            let exit = match &error {
                CatalogueError::Unreadable(_) => Exit::Environment,
                CatalogueError::Invalid(_) => Exit::Invalid,
            };
            let hint = error.hint();
            Failure::new(exit, error, hint)
        })
    }
}

/// The word of a kind that entries have.
fn entry_kind(word: &str) -> Result<&'static str, String> {
    let endpoints = EndpointKind::ALL.iter().map(|kind| kind.word());
    let all: BTreeSet<&'static str> =
        endpoints.chain(RuntimeKind::ALL.iter().map(|kind| kind.word())).collect();
    all.get(word).copied().ok_or_else(|| {
        let all: Vec<&str> = all.into_iter().collect();
        format!("the kinds are: {}", all.join(", "))
    })
}

impl List {
    fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let catalog = self.additions.load()?;
        let endpoints = catalog.endpoints().iter().map(Match::from);
        let runtimes = catalog.runtimes().iter().map(Match::from);
        let wanted = |entry: &Match<'_>| {
            self.kind.is_none_or(|kind| kind == entry.kind)
                && self.name.as_deref().is_none_or(|name| name == entry.name)
        };
        let entries: Vec<Match<'_>> = endpoints.chain(runtimes).filter(wanted).collect();
        let exit = if entries.is_empty() { Exit::No } else { Exit::Yes };
        show(&entries, &printer).map_err(unwritable)?;
        Ok(exit)
    }
}

impl Lookup {
    fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let catalog = self.additions.load()?;
        let mut has_match = false;
        for input in &self.inputs {
            let kind = self.kind.unwrap_or_else(|| Kind::guess(input));
            let matches = matches(&catalog, kind, input).map_err(no_port)?;
            has_match |= !matches.is_empty();
            let answer = Answer { kind: kind.word(), value: input, matches, error: None };
            answer.show(&printer).map_err(unwritable)?;
        }
        let mut unread = Vec::new();
        if self.inputs.is_empty() {
            for (index, line) in io::stdin().lock().split(b'\n').enumerate() {
                let line = line.map_err(|error| Failure::plain(Exit::Environment, error))?;
                let line = String::from_utf8_lossy(&line);
                if line.trim().is_empty() {
                    continue;
                }
                let answer = answer(&catalog, self.kind, &line);
                has_match |= !answer.matches.is_empty();
                if answer.error.is_some() {
                    unread.push(index + 1);
                }
                answer.show(&printer).map_err(unwritable)?;
            }
        }
        match unread.as_slice() {
            [] if has_match => Ok(Exit::Yes),
            [] => Ok(Exit::No),
            [first, ..] => Err(unreadable(*first, unread.len())),
        }
    }
}

impl Answer<'_> {
    fn show(&self, printer: &Printer) -> io::Result<()> {
        if printer.is_json() {
            return printer.value(self);
        }
        let text = match &self.error {
            Some(error) => format!("is not looked up: {error}"),
            None if self.matches.is_empty() => "matches nothing".to_owned(),
            None => "matches".to_owned(),
        };
        printer.line(format!("{} {} {text}", self.kind, self.value))?;
        show(&self.matches, printer)
    }
}

/// What a line of stdin matches, or why it does not say what to look up.
fn answer<'a>(catalog: &'a Catalog, kind: Option<Kind>, line: &'a str) -> Answer<'a> {
    let Some((kind, value)) = parse(line, kind) else {
        let (kind, value) = line.trim_end_matches('\r').split_once('\t').unwrap_or(("", line));
        let error = "there is no such kind of input".to_owned();
        return Answer { kind, value, matches: Vec::new(), error: Some(error) };
    };
    let (matches, error) = match matches(catalog, kind, value) {
        Ok(matches) => (matches, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Answer { kind: kind.word(), value, matches, error }
}

/// A line of stdin: a kind, a tab and a value, or only a value if the kind is given.
fn parse(line: &str, kind: Option<Kind>) -> Option<(Kind, &str)> {
    let line = line.trim_end_matches('\r');
    match (line.split_once('\t'), kind) {
        (Some((word, value)), _) => Some((Kind::from_str(word.trim(), true).ok()?, value)),
        (None, Some(kind)) => Some((kind, line)),
        (None, None) => None,
    }
}

fn unreadable(first: usize, count: usize) -> Failure {
    let others = match count {
        1 => String::new(),
        count => format!(", nor can {} after it", count - 1),
    };
    let error = anyhow::anyhow!("line {first} of stdin cannot be read{others}");
    let kinds: Vec<&str> = Kind::value_variants().iter().map(|kind| kind.word()).collect();
    let hint = format!("write a kind ({}), a tab and a value", kinds.join(", "));
    Failure::new(Exit::Usage, error, hint)
}

/// A value that is no port.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no port")]
struct NoPort(String);

fn no_port(error: NoPort) -> Failure {
    Failure::new(Exit::Usage, error, "write a number from 0 to 65535")
}

fn matches<'a>(catalog: &'a Catalog, kind: Kind, value: &str) -> Result<Vec<Match<'a>>, NoPort> {
    let value = value.trim();
    let runtimes = match kind {
        Kind::Name => return Ok(catalog.lookup_host(value).map(Match::from).into_iter().collect()),
        Kind::Exe => catalog.lookup_exe(value),
        Kind::Argv => catalog.lookup_argv(&words(value)),
        Kind::Port => catalog.lookup_port(value.parse().map_err(|_| NoPort(value.to_owned()))?),
        Kind::Env => catalog.lookup_env(value),
        Kind::Npm => catalog.lookup_package(Ecosystem::Npm, value),
        Kind::Pypi => catalog.lookup_package(Ecosystem::Pypi, value),
        Kind::Package => {
            let mut both = catalog.lookup_package(Ecosystem::Npm, value);
            both.extend(catalog.lookup_package(Ecosystem::Pypi, value));
            both
        }
    };
    Ok(runtimes.into_iter().map(Match::from).collect())
}

/// Words of a command line; quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut quote = None;
    let mut is_open = false;
    for symbol in line.chars() {
        let is_quote = matches!(symbol, '"' | '\'');
        if quote == Some(symbol) {
            quote = None;
            continue;
        }
        if quote.is_none() && symbol.is_whitespace() {
            is_open = false;
            continue;
        }
        if !is_open {
            words.push(String::new());
            is_open = true;
        }
        if quote.is_none() && is_quote {
            quote = Some(symbol);
        } else if let Some(word) = words.last_mut() {
            word.push(symbol);
        }
    }
    words
}

fn show(entries: &[Match<'_>], printer: &Printer) -> io::Result<()> {
    if printer.is_json() {
        return entries.iter().try_for_each(|entry| printer.value(entry));
    }
    let mut table = Table::default();
    for entry in entries {
        table.row(entry.cells());
    }
    table.lines(printer).into_iter().try_for_each(|line| printer.line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_guessed() {
        let rows = [
            ("api.openai.com", Kind::Name),
            ("11434", Kind::Port),
            ("/usr/bin/claude", Kind::Exe),
            ("claude", Kind::Exe),
            ("python -m crewai", Kind::Argv),
            ("OPENAI_API_KEY", Kind::Env),
            ("@openai/codex", Kind::Npm),
            ("70000", Kind::Exe),
        ];
        for (input, expected) in rows {
            assert_eq!(Kind::guess(input), expected, "{input}");
        }
    }

    #[test]
    fn every_kind_of_entry_is_known_and_no_other_is() {
        let catalog = Catalog::built_in();
        let endpoints = catalog.endpoints().iter().map(|entry| entry.kind.word());
        let runtimes = catalog.runtimes().iter().map(|entry| entry.kind.word());
        for word in endpoints.chain(runtimes) {
            assert_eq!(entry_kind(word), Ok(word));
        }
        for word in ["nonsense", "", "Model-API"] {
            let said = entry_kind(word).unwrap_err();
            assert!(said.contains("coding-agent, ") && said.contains("model-api"), "{said}");
            assert_eq!(said.matches("llm-gateway").count(), 1, "{said}");
        }
    }

    #[test]
    fn lines_have_a_kind_and_a_value() {
        assert_eq!(parse("host\tapi.openai.com", None), Some((Kind::Name, "api.openai.com")));
        assert_eq!(parse("ARGV\tnode x\ty\r", None), Some((Kind::Argv, "node x\ty")));
        assert_eq!(parse("claude", Some(Kind::Exe)), Some((Kind::Exe, "claude")));
        assert_eq!(parse("claude", None), None);
        assert_eq!(parse("toaster\tx", Some(Kind::Exe)), None);
        let text = unreadable(5, 3).to_string();
        let says = |word| text.contains(word);
        assert!(says("line 5 of stdin") && says("2 after it") && says("name, exe, argv"), "{text}");
    }

    #[test]
    fn each_line_gets_an_answer() {
        let catalog = Catalog::built_in();
        let rows = [
            ("port\t11434", "port", 1, None),
            ("port\tollama", "port", 0, Some("`ollama` is no port")),
            ("toaster\tx", "toaster", 0, Some("there is no such kind of input")),
            ("x", "", 0, Some("there is no such kind of input")),
        ];
        for (line, kind, matches, error) in rows {
            let answer = answer(&catalog, None, line);
            assert_eq!(answer.kind, kind, "{line}");
            assert_eq!(answer.matches.len().min(1), matches, "{line}");
            assert_eq!(answer.error.as_deref(), error, "{line}");
        }
    }

    #[test]
    fn quotes_hold_words_together() {
        let rows: &[(&str, &[&str])] = &[
            ("node  a.js", &["node", "a.js"]),
            ("sh -c 'a b' \"c d\"e", &["sh", "-c", "a b", "c de"]),
            ("x ''", &["x", ""]),
            ("", &[]),
        ];
        for (line, expected) in rows {
            assert_eq!(words(line), *expected, "{line}");
        }
    }

    #[test]
    fn every_kind_is_looked_up() {
        let catalog = Catalog::built_in();
        let names = |kind, value| {
            let found = matches(&catalog, kind, value).unwrap();
            found.first().map(|entry| entry.name.to_owned())
        };
        let rows = [
            (Kind::Name, "api.openai.com", "openai"),
            (Kind::Exe, "/usr/local/bin/ollama", "ollama"),
            (Kind::Argv, "aider --model x", "aider"),
            (Kind::Port, "11434", "ollama"),
            (Kind::Env, "ANTHROPIC_API_KEY", "anthropic"),
            (Kind::Package, "crewai", "crewai"),
            (Kind::Npm, "@openai/codex", "codex"),
            (Kind::Pypi, "smolagents", "smolagents"),
        ];
        for (kind, value, expected) in rows {
            assert_eq!(names(kind, value).as_deref(), Some(expected), "{value}");
        }
        assert!(matches(&catalog, Kind::Port, "x").is_err());
        let found = matches(&catalog, Kind::Name, "api.openai.com").unwrap();
        let json = serde_json::to_value(&found[0]).unwrap();
        assert_eq!(json["match"], "exact");
        assert_eq!(json["shared"], false);
        assert!(json["line"].is_number() && json["weight"].is_null());
    }
}
