//! `expected.tsv`: how each technique ends today.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::attempt::{EXPECTED, REACHED, STOPPED};

/// What is expected of one technique.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Outcome without governd: `reached`, or another one with the reason.
    pub(crate) without: String,
    /// Outcome with governd in enforce mode; two, with `|` between, where it is a race.
    pub(crate) with: String,
    /// Why it is not stopped, or cannot run; may be empty for what is. For what is found it names
    /// the kind of the finding.
    pub(crate) reason: String,
}

/// Reads the table: id, without, with, reason; tabs between, `#` begins a comment line.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Row>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut rows = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let place = || format!("{}:{}", path.display(), index + 1);
        let mut columns = line.split('\t');
        let mut column = || columns.next().map(str::to_owned);
        let id = column().with_context(place)?;
        let without = column().with_context(place)?;
        let with = column().with_context(place)?;
        let reason = column().unwrap_or_default();
        for word in without.split('|').chain(with.split('|')) {
            ensure!(EXPECTED.contains(&word), "{}: {word} is no outcome", place());
        }
        let needs_reason = with != STOPPED || without != REACHED;
        ensure!(!needs_reason || !reason.is_empty(), "{}: the reason is missing", place());
        let doubled = rows.insert(id, Row { without, with, reason }).is_some();
        ensure!(!doubled, "{}: a second row for the same technique", place());
    }
    Ok(rows)
}
