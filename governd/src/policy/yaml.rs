//! YAML text to a tree in which every node knows its line and column.
//!
//! The tree is the common ground of all kinds of documents: the kind is known only after the text
//! was read, and a derived type alone would stop at its first error and lose positions. What YAML
//! can do to a reader is bounded here: size, nodes, nesting, aliases; merge keys and duplicate keys
//! are refused, and so are characters that make text look other than it is.

use std::{cell::Cell, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Error, Location, MergeKeyPolicy, MessageFormatter, Spanned, UserMessageFormatter,
    options::DuplicateKeyPolicy,
};

use super::{
    diagnostic::{Code, Diagnostic, Diagnostics, Place},
    limits::{
        ALIAS_NODES_MAX, ALIASES_MAX, BAD_CHARACTERS_MAX, DOCUMENTS_PER_SOURCE_MAX, NESTING_MAX,
        NODES_PER_SOURCE_MAX, SOURCE_BYTES_MAX,
    },
};

/// A value of a document.
#[derive(Debug)]
pub(crate) struct Node {
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column, from 1, in characters.
    pub(crate) column: u32,
    /// The value.
    pub(crate) value: Value,
    /// Set once a diagnostic was made for it: later passes leave it out.
    pub(crate) reported: Cell<bool>,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Value {
    /// A mapping: keys as text, in the order of the file.
    Map(Vec<(Node, Node)>),
    /// A sequence.
    Seq(Vec<Node>),
    /// A scalar that YAML takes for text, or one in quotes.
    Text(String),
    /// A number, as it was written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// Nothing, or `null`.
    Null,
}

impl Node {
    /// The value of a key of a mapping.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        let is_named = |key: &Self| matches!(&key.value, Value::Text(text) if text == name);
        entries.iter().find(|(key, _)| is_named(key)).map(|(_, value)| value)
    }

    /// Its place in a file.
    pub(crate) fn place(&self, file: &Arc<str>) -> Place {
        Place { file: Arc::clone(file), line: self.line, column: self.column }
    }
}

/// Reads all documents of a file. What cannot be read at all is reported, and gives none.
pub(crate) fn read(file: &Arc<str>, bytes: &[u8], out: &mut Diagnostics) -> Vec<Node> {
    let Some(text) = checked_text(file, bytes, out) else {
        return Vec::new();
    };
    match serde_saphyr::from_multiple_with_options::<Spanned<Raw>>(text, options()) {
        Ok(raws) => {
            let mut reader = Reader { file, text, out, is_clean: true };
            let nodes = raws.into_iter().map(|raw| reader.node(raw)).collect();
            if reader.is_clean { nodes } else { Vec::new() }
        }
        Err(error) => {
            out.push(yaml_diagnostic(file, text, error.without_snippet()));
            Vec::new()
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIAS_NODES_MAX,
            max_replay_stack_depth: NESTING_MAX,
        },
        budget: serde_saphyr::budget! {
            max_documents: DOCUMENTS_PER_SOURCE_MAX,
            max_nodes: NODES_PER_SOURCE_MAX,
            max_depth: NESTING_MAX,
            flow_nesting_limit: NESTING_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_total_scalar_bytes: 2 * SOURCE_BYTES_MAX,
        },
    }
}

/// The text of a file, if it is short enough, UTF-8 and free of characters that deceive.
fn checked_text<'a>(file: &Arc<str>, bytes: &'a [u8], out: &mut Diagnostics) -> Option<&'a str> {
    let whole = Place { file: Arc::clone(file), line: 0, column: 0 };
    if bytes.len() > SOURCE_BYTES_MAX {
        let message = format!("the file is larger than {SOURCE_BYTES_MAX} bytes");
        let hint = "split it: every *.yaml file of the policy directory is read";
        out.push(Diagnostic::error(Code::TooLarge, &whole, message).hint(hint));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let place = position(file, &String::from_utf8_lossy(valid));
            let message = "the file is not UTF-8 from here on";
            out.push(Diagnostic::error(Code::BadCharacter, &place, message));
            return None;
        }
    };
    let is_bad = |(offset, character): &(usize, char)| {
        let is_layout = matches!(character, '\n' | '\r' | '\t');
        let is_mark = *offset == 0 && *character == '\u{feff}';
        deceives(*character) && !is_layout && !is_mark
    };
    let bad: Vec<(usize, char)> =
        text.char_indices().filter(is_bad).take(BAD_CHARACTERS_MAX).collect();
    for (offset, character) in &bad {
        let place = position(file, text.get(..*offset).unwrap_or_default());
        out.push(bad_character(&place, *character));
    }
    bad.is_empty().then_some(text)
}

/// The place right after a text.
fn position(file: &Arc<str>, before: &str) -> Place {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    Place { file: Arc::clone(file), line: line as u32, column: column as u32 }
}

/// Control characters, and those that reorder, join or hide text (UAX #9, UTS #39).
pub(crate) fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn bad_character(place: &Place, character: char) -> Diagnostic {
    let code = u32::from(character);
    let message = format!("the character U+{code:04X} is not allowed in a policy");
    Diagnostic::error(Code::BadCharacter, place, message)
        .hint("it is invisible or changes how the text around it looks; delete it")
}

fn yaml_diagnostic(file: &Arc<str>, text: &str, error: &Error) -> Diagnostic {
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let mut place = Place {
        file: Arc::clone(file),
        line: location.line() as u32,
        column: location.column() as u32,
    };
    let line = text.lines().nth((location.line() as usize).saturating_sub(1)).unwrap_or_default();
    let indent = line.chars().take_while(|one| one.is_whitespace()).collect::<String>();
    if let Some(column) = indent.chars().position(|one| one == '\t') {
        place.column = column as u32 + 1;
        let message = "a tab cannot indent YAML";
        return Diagnostic::error(Code::Yaml, &place, message).hint("use spaces");
    }
    let message = UserMessageFormatter.format_message(error).into_owned();
    let diagnostic = |message: String| Diagnostic::error(Code::Yaml, &place, message);
    match innermost(error) {
        Error::UnknownAnchor { .. } => {
            diagnostic("a plain word that begins with `*` is an alias in YAML".to_owned())
                .hint("put a wildcard in quotes: \"*.example.com\"")
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            diagnostic(format!("the key `{key}` is there twice")).hint("keep one of the two")
        }
        Error::MergeKeyNotAllowed { .. } => {
            diagnostic("merge keys (`<<`) are not allowed in a policy".to_owned())
                .hint("write the fields out")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            let message = format!("the YAML is larger than a policy may be: {message}");
            Diagnostic::error(Code::Limit, &place, message)
                .hint("write lists out instead of repeating aliases, or split the file")
        }
        _ => diagnostic(message),
    }
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => innermost(error),
        other => other,
    }
}

/// What serde-saphyr hands over; numbers are taken from the text, as they were written.
enum Raw {
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
    Seq(Vec<Spanned<Self>>),
    Text(String),
    Number,
    Bool(bool),
    Null,
}

struct Reader<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    out: &'a mut Diagnostics,
    is_clean: bool,
}

impl Reader<'_> {
    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        let Spanned { value, referenced, defined } = raw;
        let location =
            if matches!(value, Raw::Map(_) | Raw::Seq(_)) { referenced } else { defined };
        let (line, column) = (location.line() as u32, location.column() as u32);
        let value = match value {
            Raw::Map(entries) => {
                let node = |(key, value)| (self.key(key), self.node(value));
                Value::Map(entries.into_iter().map(node).collect())
            }
            Raw::Seq(items) => Value::Seq(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Text(text) => {
                // Escapes (`"\u202e"`) and multi-line text are seen only here.
                if let Some(bad) = text.chars().find(|one| deceives(*one) && *one != '\n') {
                    let place = Place { file: Arc::clone(self.file), line, column };
                    self.out.push(bad_character(&place, bad));
                    self.is_clean = false;
                }
                Value::Text(text)
            }
            Raw::Number => Value::Number(self.slice(defined)),
            Raw::Bool(flag) => Value::Bool(flag),
            Raw::Null => Value::Null,
        };
        Node { line, column, value, reported: Cell::new(false) }
    }

    /// A key is text, whatever it looks like.
    fn key(&mut self, raw: Spanned<Raw>) -> Node {
        let written = self.slice(raw.defined);
        let mut node = self.node(raw);
        if !matches!(node.value, Value::Text(_)) {
            node.value = Value::Text(written);
        }
        node
    }

    fn slice(&self, location: Location) -> String {
        let span = location.span();
        let bounds = span.byte_offset().zip(span.byte_len()).map(|(start, len)| {
            let start = start as usize;
            start..start + len as usize
        });
        bounds.and_then(|bounds| self.text.get(bounds)).unwrap_or_default().trim().to_owned()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, a list, text, a number, true or false")
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
