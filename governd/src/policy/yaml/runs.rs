//! Long lists of names, read without the YAML parser.
//!
//! Most of a large policy is lists with one plain word on each line. Of such a run of lines the
//! parser is shown the first and the last; the lines between are left empty for it, so that places
//! and offsets stay as they are, and become items of the list behind the first one. That is the
//! same as what the parser would have made of them where the first line is an item of a list. What
//! it is, the parser says: it may also stand in a text of many lines. Then, and wherever there
//! could be aliases, the whole text is parsed.

use std::{borrow::Cow, collections::HashMap};

/// Lines between the first and the last that are worth it.
const LINES_MIN: usize = 16;

/// The lines that were left out of a text.
#[derive(Debug, Default)]
pub(super) struct Runs<'a> {
    /// By the line of the first item, from 1.
    runs: HashMap<u32, Run<'a>>,
}

/// Items of one list that follow one another, each on a line of its own.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// Column of every item, from 1.
    pub(super) column: u32,
    /// The first item.
    pub(super) first: &'a str,
    /// The items behind it that were left out.
    pub(super) rest: Vec<&'a str>,
}

impl<'a> Runs<'a> {
    /// Leaves long runs out of a text.
    pub(super) fn cut(text: &'a str) -> (Cow<'a, str>, Self) {
        let mut runs = Self::default();
        // What an alias stands for may be much, and is counted by the parser alone.
        if text.contains('&') {
            return (Cow::Borrowed(text), runs);
        }
        let mut left = String::new();
        let mut copied = 0;
        let mut open: Option<Open<'a>> = None;
        let mut offset = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let found = item(line);
            if let Some(run) = &mut open
                && let Some((column, word)) = found
                && run.column == column
            {
                run.words.push((offset, word));
            } else {
                runs.close(text, open.take(), (&mut left, &mut copied));
                open = found.map(|(column, word)| Open {
                    line: number as u32 + 1,
                    column,
                    words: vec![(offset, word)],
                });
            }
            offset += line.len();
        }
        runs.close(text, open, (&mut left, &mut copied));
        if runs.runs.is_empty() {
            return (Cow::Borrowed(text), runs);
        }
        left.push_str(text.get(copied..).unwrap_or_default());
        (Cow::Owned(left), runs)
    }

    fn close(
        &mut self,
        text: &'a str,
        open: Option<Open<'a>>,
        (left, copied): (&mut String, &mut usize),
    ) {
        let Some(Open { line, column, words }) = open else { return };
        let [(_, first), (second, _), .., (last, _)] = words.as_slice() else { return };
        if words.len() < LINES_MIN + 2 {
            return;
        }
        // Spaces for what was there, so that every offset behind it stays.
        left.push_str(text.get(*copied..*second).unwrap_or_default());
        let between = text.get(*second..*last).unwrap_or_default();
        left.extend(between.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        *copied = *last;
        let rest = words.iter().skip(1).take(words.len() - 2).map(|(_, word)| *word).collect();
        self.runs.insert(line, Run { column, first, rest });
    }

    /// The run that begins with an item, once.
    pub(super) fn take(&mut self, line: u32, column: u32, word: &str) -> Option<Run<'a>> {
        let run = self.runs.get(&line)?;
        if run.column != column || run.first != word {
            return None;
        }
        self.runs.remove(&line)
    }

    /// Whether every run was an item's.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

struct Open<'a> {
    line: u32,
    column: u32,
    /// Where the line begins, and its word.
    words: Vec<(usize, &'a str)>,
}

/// The column and the word of a line that is an item of a list and nothing else, if the word can be
/// nothing but text: with a dot it is no truth value and no date, and with a second one, a slash or
/// a letter that no number has, it is no number.
fn item(line: &str) -> Option<(u32, &str)> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let indented = line.trim_start_matches(' ');
    let word = indented.strip_prefix("- ")?;
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'/');
    let is_text = |byte: u8| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E');
    let (mut dots, mut has_text) = (0, false);
    for byte in word.bytes() {
        if !is_fine(byte) {
            return None;
        }
        dots += u32::from(byte == b'.');
        has_text = has_text || byte == b'/' || is_text(byte);
    }
    let begins = word.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_word = begins && dots > 0 && (dots > 1 || has_text);
    is_word.then(|| ((line.len() - word.len()) as u32 + 1, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_left_out_but_for_its_ends() {
        let lines: String = (0..40).map(|number| format!("  - a{number}.example\n")).collect();
        let text = format!("list:\n{lines}more: 1\n");
        let (left, mut runs) = Runs::cut(&text);
        assert_eq!(left.len(), text.len());
        assert_eq!(
            left.split_whitespace().collect::<Vec<_>>(),
            ["list:", "-", "a0.example", "-", "a39.example", "more:", "1"]
        );
        assert!(runs.take(2, 4, "a0.example").is_none());
        let run = runs.take(2, 5, "a0.example").unwrap();
        assert_eq!((run.rest.len(), run.rest[0]), (38, "a1.example"));
        assert!(runs.is_empty());
        assert!(Runs::cut(&text.replace("list:", "list: &all")).1.is_empty());
    }

    #[test]
    fn words_that_could_be_anything_but_text_are_the_parsers() {
        for line in [
            "- 1.5", "- 1.5e3", "- 1e3", "- true", "- .inf", "- a", "-  a.b", "- a.b ", "- a.b: c",
            "a.b",
        ] {
            assert_eq!(item(line), None, "{line}");
        }
        for (line, column) in
            [("- a.b\n", 3), ("    - 10.0.0.0/8\n", 7), ("- 1.2.3.4", 3), ("- 0x1.8", 3)]
        {
            assert_eq!(item(line).map(|(column, _)| column), Some(column), "{line}");
        }
    }
}
