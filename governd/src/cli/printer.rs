//! The only place that writes to the terminal: data on stdout, everything else on stderr.

use std::{
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
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Text that has its own newlines, on stdout.
    ///
    /// # Errors
    /// stdout is closed.
    pub fn text(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write!(out, "{text}")?;
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
        writeln!(io::stderr().lock(), "{text}").ok();
    }
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
    fn a_tone_without_colours_is_the_text() {
        let plain = Printer { json: false, colours: false };
        let coloured = Printer { json: false, colours: true };
        assert_eq!(plain.paint(Tone::Bad, "deny"), "deny");
        assert_eq!(coloured.paint(Tone::Bad, "deny"), "\x1b[31mdeny\x1b[0m");
    }
}
