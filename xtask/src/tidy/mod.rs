//! `cargo xtask tidy`: the rules of the house that neither rustfmt nor clippy knows.
//!
//! A rule is worth a check when breaking it is easy and noticing it is not. Each lives in the file
//! of its kind and has a test that shows it finding a violation. Findings are printed as
//! `file:line: rule: message`.

mod bans;
mod book;
mod budget;
mod manifest;
mod paths;
mod rooms;
mod rust;
mod text;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use self::rust::Rust;
use crate::{place, run as command, say};

/// A violation.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.message)
    }
}

/// Collects what one file violates.
struct Findings<'a> {
    file: &'a str,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, line: usize, rule: &'static str, message: impl Into<String>) {
        let file = self.file.to_owned();
        self.found.push(Finding { file, line, rule, message: message.into() });
    }
}

/// What rules need to know of the whole tree.
struct Tree {
    root: PathBuf,
    /// Names of maps, as `governd-common` lists them.
    maps: Vec<String>,
}

pub(crate) fn run() -> Result<()> {
    let root = place::root()?;
    let names = fs::read_to_string(root.join(bans::NAMES)).context(bans::NAMES)?;
    let tree = Tree { maps: bans::map_names(&names)?, root };
    let mut found = Vec::new();
    let files = files(&tree.root)?;
    for file in &files {
        let Ok(text) = fs::read_to_string(tree.root.join(file)) else {
            continue; // Not text: a capture or a corpus.
        };
        found.extend(check(&tree, file, &text)?);
    }
    for finding in &found {
        say::line(finding);
    }
    if !found.is_empty() {
        bail!("tidy found {} violations", found.len());
    }
    say::note(format_args!("tidy: {} files are in order", files.len()));
    Ok(())
}

/// Files of the project: what git tracks or would, relative to the root, in order.
pub(crate) fn files(root: &Path) -> Result<Vec<String>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let listing = command::read(command::command("git")?.current_dir(root).args(list))
        .context("tidy asks git which files belong to the project")?;
    let files = listing.split('\0').filter(|file| !file.is_empty() && root.join(file).is_file());
    let mut files: Vec<_> = files.map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// All rules on one file.
fn check(tree: &Tree, file: &str, text: &str) -> Result<Vec<Finding>> {
    let mut findings = Findings { file, found: Vec::new() };
    text::check(text, &mut findings);
    if file.ends_with(".md") {
        paths::check(&tree.root, text, &mut findings);
        book::check(&tree.root, text, &mut findings);
    }
    if file.ends_with("Cargo.toml") {
        manifest::check(text, &mut findings)?;
    }
    if file.ends_with(".rs") {
        let rust = Rust::parse(file, text).with_context(|| format!("{file} does not parse"))?;
        rooms::check(&rust, &mut findings);
        bans::check(&rust, &tree.maps, &mut findings);
        budget::check(&rust, &mut findings);
    }
    let mut found = findings.found;
    found.sort();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules and lines that a file of this name and text violates.
    pub(super) fn violations(file: &str, text: &str) -> Vec<(&'static str, usize)> {
        let tree = Tree { root: place::root().unwrap(), maps: vec!["TASKS".to_owned()] };
        let found = check(&tree, file, text).unwrap();
        found.into_iter().map(|finding| (finding.rule, finding.line)).collect()
    }

    #[test]
    fn the_tree_itself_is_listed() {
        let files = files(&place::root().unwrap()).unwrap();
        assert!(files.contains(&"xtask/src/tidy/mod.rs".to_owned()));
        assert!(files.iter().all(|file| !file.starts_with("target/")));
    }

    #[test]
    fn a_finding_names_file_line_rule_and_reason() {
        let tree = Tree { root: PathBuf::new(), maps: Vec::new() };
        let found = check(&tree, "governd/src/core/a.rs", "fn a() {}\nuse tokio::fs;\n").unwrap();
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["governd/src/core/a.rs:2: pure: `core` is pure and names `tokio::fs`"]
        );
    }
}
