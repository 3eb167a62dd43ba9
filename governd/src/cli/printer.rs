//! The only place that writes to the terminal: data on stdout, everything else on stderr.
//!
//! What would move the cursor or hide text is replaced, whoever wrote it: a process chooses its own
//! name.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

/// Colours of words in a line of `watch` and in tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// As the terminal has it.
    Plain,
    /// Something was stopped.
    Bad,
    /// Something would have been stopped, or needs a look.
    Warn,
    /// Something was allowed, or is well.
    Good,
    /// Less important.
    Dim,
}

/// Where output goes and how it looks.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    json: bool,
    colours: bool,
}

impl Printer {
    /// A printer for this process's stdout. Colours need a terminal and no `NO_COLOR`
    /// (<https://no-color.org>).
    pub fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, colours: wanted && !json && io::stdout().is_terminal() }
    }

    /// Whether `--json` was asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A word in a colour, if colours are on.
    pub fn paint(&self, tone: Tone, text: impl Display) -> String {
        let code = match tone {
            Tone::Plain => return text.to_string(),
            Tone::Bad => 31,
            Tone::Warn => 33,
            Tone::Good => 32,
            Tone::Dim => 2,
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// One line of data on stdout.
    ///
    /// # Errors
    /// stdout is closed: the reader has seen enough, and the verb ends.
    pub fn line(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", self.harmless(&text.to_string()))?;
        out.flush()
    }

    /// Text that has its own newlines, on stdout.
    ///
    /// # Errors
    /// stdout is closed.
    pub fn text(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write!(out, "{}", self.harmless(&text.to_string()))?;
        out.flush()
    }

    /// A value as one line of JSON on stdout.
    ///
    /// # Errors
    /// stdout is closed, or the value cannot be JSON.
    pub fn value(&self, value: &impl Serialize) -> io::Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// A remark on stderr, which must not stop anything if it cannot be written.
    pub fn note(&self, text: impl Display) {
        writeln!(io::stderr().lock(), "{}", self.harmless(&text.to_string())).ok();
    }

    /// Lines without what a terminal obeys, but for this printer's own colours.
    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let is_kept = |one: char| is_printed(one) || one == '\n' || one == '\t';
        if text.chars().all(is_kept) {
            return Cow::Borrowed(text);
        }
        let mut left = String::with_capacity(text.len());
        for (at, one) in text.char_indices() {
            let rest = text.get(at..).unwrap_or_default();
            let is_colour = self.colours && COLOURS.iter().any(|colour| rest.starts_with(colour));
            left.push(if is_kept(one) || is_colour { one } else { char::REPLACEMENT_CHARACTER });
        }
        Cow::Owned(left)
    }
}

/// Everything that [`Printer::paint`] puts around a word.
const COLOURS: [&str; 5] = ["\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[0m"];

/// One line of text that somebody else wrote, such as the name of a process.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|one| if is_printed(one) { one } else { char::REPLACEMENT_CHARACTER })
        .collect()
}

/// False for what a terminal obeys: control characters, and those that begin a line or change the
/// direction of writing (Unicode Standard Annex 9).
fn is_printed(one: char) -> bool {
    let turns =
        matches!(one, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !one.is_control() && !turns && !matches!(one, '\u{2028}' | '\u{2029}')
}

/// Columns of unequal width, two spaces apart, the last one as long as it is.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (Tone, String)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The rows as lines.
    pub fn lines(&self, printer: &Printer) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(_, text)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| aligned(row, &widths, printer)).collect()
    }
}

fn aligned(row: &[(Tone, String)], widths: &[usize], printer: &Printer) -> String {
    let mut line = String::new();
    for (index, ((tone, text), width)) in row.iter().zip(widths).enumerate() {
        line.push_str(&printer.paint(*tone, text));
        if index + 1 < row.len() {
            let gap = width.saturating_sub(text.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', gap));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_characters_and_rows_do_not_end_in_blanks() {
        let mut table = Table::default();
        let cell = |text: &str| (Tone::Plain, text.to_string());
        table.row([cell("µ"), cell("b"), cell("c")]);
        table.row([cell("long"), cell("x")]);
        let printer = Printer { json: false, colours: false };
        assert_eq!(table.lines(&printer), ["µ     b  c", "long  x"]);
    }

    #[test]
    fn what_a_terminal_obeys_is_replaced_but_for_own_colours() {
        let coloured = Printer { json: false, colours: true };
        let plain = Printer { json: false, colours: false };
        let painted = coloured.paint(Tone::Bad, "DENY");
        assert_eq!(coloured.harmless(&painted), painted);
        assert_eq!(plain.harmless(&painted), "\u{fffd}[31mDENY\u{fffd}[0m");
        for text in ["\x1b[2K", "\x1b[8m", "\r", "\x08", "\u{9b}2K", "\u{202e}", "\u{2028}"] {
            let shown = coloured.harmless(text).into_owned();
            assert!(shown.starts_with('\u{fffd}'), "{text:?}: {shown:?}");
            assert!(printable(text).starts_with('\u{fffd}'), "{text:?}");
        }
        assert_eq!(plain.harmless("two\nlines\tµ"), "two\nlines\tµ");
        assert_eq!(printable("two\nlines"), "two\u{fffd}lines");
    }

    #[test]
    fn a_tone_without_colours_is_the_text() {
        let plain = Printer { json: false, colours: false };
        let coloured = Printer { json: false, colours: true };
        assert_eq!(plain.paint(Tone::Bad, "deny"), "deny");
        assert_eq!(coloured.paint(Tone::Bad, "deny"), "\x1b[31mdeny\x1b[0m");
    }
}
