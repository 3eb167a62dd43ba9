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

mod runs;

use runs::Runs;

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
    let (left, runs) = Runs::cut(text);
    if !runs.is_empty()
        && let Ok(raws) = serde_saphyr::from_multiple_with_options(&left, options())
    {
        let mut found = Diagnostics::default();
        let mut reader = Reader::new(file, &left, &mut found, runs);
        let nodes = reader.nodes(raws);
        if reader.runs.is_empty() && reader.count <= NODES_PER_SOURCE_MAX {
            out.extend(found);
            return nodes;
        }
    }
    match serde_saphyr::from_multiple_with_options(text, options()) {
        Ok(raws) => Reader::new(file, text, out, Runs::default()).nodes(raws),
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
    /// What was left out of the text.
    runs: Runs<'a>,
    /// Nodes so far.
    count: usize,
}

impl<'a> Reader<'a> {
    fn new(file: &'a Arc<str>, text: &'a str, out: &'a mut Diagnostics, runs: Runs<'a>) -> Self {
        Self { file, text, out, is_clean: true, runs, count: 0 }
    }

    fn nodes(&mut self, raws: Vec<Spanned<Raw>>) -> Vec<Node> {
        let nodes = raws.into_iter().map(|raw| self.node(raw)).collect();
        if self.is_clean { nodes } else { Vec::new() }
    }

    /// Items of a list, and behind the first of a run those that were left out.
    fn items(&mut self, raws: Vec<Spanned<Raw>>) -> Vec<Node> {
        let mut items = Vec::with_capacity(raws.len());
        for raw in raws {
            let node = self.node(raw);
            let run = match &node.value {
                Value::Text(text) => self.runs.take(node.line, node.column, text),
                _ => None,
            };
            let (mut line, column) = (node.line, node.column);
            items.push(node);
            for word in run.into_iter().flat_map(|run| run.rest) {
                line += 1;
                let value = Value::Text(word.to_owned());
                items.push(Node { line, column, value, reported: Cell::new(false) });
                self.count += 1;
            }
        }
        items
    }

    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        self.count += 1;
        let Spanned { value, referenced, defined } = raw;
        let location =
            if matches!(value, Raw::Map(_) | Raw::Seq(_)) { referenced } else { defined };
        let (line, column) = (location.line() as u32, location.column() as u32);
        let value = match value {
            Raw::Map(entries) => {
                let node = |(key, value)| (self.key(key), self.node(value));
                Value::Map(entries.into_iter().map(node).collect())
            }
            Raw::Seq(items) => Value::Seq(self.items(items)),
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

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn parsed(file: &Arc<str>, text: &str) -> Option<Vec<Node>> {
        let raws = serde_saphyr::from_multiple_with_options(text, options()).ok()?;
        let mut out = Diagnostics::default();
        Some(Reader::new(file, text, &mut out, Runs::default()).nodes(raws))
    }

    /// Places and values.
    fn words(nodes: &[Node], out: &mut Vec<String>) {
        for Node { line, column, value, .. } in nodes {
            match value {
                Value::Map(entries) => {
                    out.push(format!("{line}:{column} map {}", entries.len()));
                    for (key, value) in entries {
                        out.push(format!("{}:{} {:?}", key.line, key.column, key.value));
                        words(std::slice::from_ref(value), out);
                    }
                }
                Value::Seq(items) => {
                    out.push(format!("{line}:{column} list {}", items.len()));
                    words(items, out);
                }
                other => out.push(format!("{line}:{column} {other:?}")),
            }
        }
    }

    fn line() -> impl Strategy<Value = String> {
        let run = ("[0-9a-z]{1,3}\\.[0-9a-zE./-]{1,3}", select(vec![1_usize, 17, 18, 19, 40]))
            .prop_map(|(word, times)| format!("- {word}\n").repeat(times));
        let other = select(vec![
            "- - a.b\n",
            "- a.b: c\n",
            "a.b:\n",
            "- |\n",
            "  more.text\n",
            "- 'a.b\n",
            "'\n",
            "# c\n",
            "\n",
            "---\n",
            "- [a.b,\n",
            "]\n",
            "- a.b # c\n",
            "- text\n",
        ]);
        let some = prop_oneof![3 => run, 2 => other.prop_map(str::to_owned)];
        (select(vec!["", "  "]), some).prop_map(|(indent, lines)| {
            lines.lines().map(|line| format!("{indent}{line}\n")).collect::<String>()
        })
    }

    proptest! {
        #[test]
        fn lists_are_read_as_the_parser_reads_them(lines in vec(line(), 0..8)) {
            let file: Arc<str> = "p.yaml".into();
            let text = lines.concat();
            let mut out = Diagnostics::default();
            let found = read(&file, text.as_bytes(), &mut out);
            let expected = parsed(&file, &text);
            prop_assert_eq!(out.has_errors(), expected.is_none(), "{}", text);
            let (mut one, mut other) = (Vec::new(), Vec::new());
            words(&found, &mut one);
            words(&expected.unwrap_or_default(), &mut other);
            prop_assert_eq!(one, other, "{}", text);
        }
    }

    #[test]
    fn what_is_left_out_for_the_parser_counts_as_nodes_all_the_same() {
        let file: Arc<str> = "p.yaml".into();
        let run = "- a.b\n".repeat(100_000);
        let read_with = |others: usize| {
            let text = format!("a:\n{run}b: [{}1]\n", "1,".repeat(others));
            let mut out = Diagnostics::default();
            (read(&file, text.as_bytes(), &mut out).len(), out.has_errors())
        };
        // The parser alone would be shown too few of them to refuse either.
        assert_eq!(read_with(NODES_PER_SOURCE_MAX - 100_100), (1, false));
        assert_eq!(read_with(NODES_PER_SOURCE_MAX - 99_900), (0, true));
    }

    #[test]
    fn a_list_of_names_is_read_without_the_parser_where_it_is_one() {
        let file: Arc<str> = "p.yaml".into();
        let lines = "  - a.example\n".repeat(100);
        let (left, runs) = Runs::cut(&lines);
        assert!(!runs.is_empty() && left.split_whitespace().count() == 4);
        for text in [format!("a:\n{lines}"), format!("a: |\n{lines}"), format!("a: '\n{lines}'\n")]
        {
            let found = read(&file, text.as_bytes(), &mut Diagnostics::default());
            let (mut one, mut other) = (Vec::new(), Vec::new());
            words(&found, &mut one);
            words(&parsed(&file, &text).unwrap(), &mut other);
            assert_eq!(one, other, "{text}");
        }
    }
}
