//! One technique: a program in `attempts` that tries to get a token to a forbidden destination.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

/// The token arrived at a forbidden destination.
pub(crate) const REACHED: &str = "reached";
/// It did not.
pub(crate) const STOPPED: &str = "stopped";
/// The technique does not exist on this machine.
pub(crate) const CANNOT: &str = "cannot";

/// A technique, as its header describes it.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// File name without its ending.
    pub(crate) id: String,
    /// File name.
    pub(crate) file: String,
    /// Whether it needs root; otherwise it runs as nobody without a capability.
    pub(crate) needs_root: bool,
    /// `block`, `detect` where a kernel policy cannot refuse it, or `out` where it is out of reach.
    pub(crate) goal: String,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// [`REACHED`], [`STOPPED`] or [`CANNOT`].
    pub(crate) word: &'static str,
    /// What it printed.
    pub(crate) said: String,
}

impl Outcome {
    /// Reads an exit code: 0 reached, 2 cannot run here, anything else stopped.
    pub(crate) fn of(code: Option<i32>, said: String) -> Self {
        let word = match code {
            Some(0) => REACHED,
            Some(2) => CANNOT,
            _ => STOPPED,
        };
        Self { word, said }
    }
}

/// Every technique of a directory, in order of id.
pub(crate) fn all(directory: &Path) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let field = |name: &str| -> Result<&str> {
            let line = text.lines().find_map(|line| line.split_once(&format!("{name}: ")));
            Ok(line.with_context(|| format!("{}: no {name}", path.display()))?.1.trim())
        };
        let id = name(path.file_stem())?;
        ensure!(field("id")? == id, "{}: another id", path.display());
        attempts.push(Attempt {
            id,
            file: name(path.file_name())?,
            needs_root: field("needs")?.starts_with("root"),
            goal: field("expect")?.to_owned(),
        });
    }
    attempts.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(attempts)
}

impl Attempt {
    /// The program and its arguments, in a copy of the directory whose C files are built.
    pub(crate) fn command(&self, copy: &Path) -> Vec<PathBuf> {
        let source = copy.join("attempts").join(&self.file);
        match source.extension().and_then(|extension| extension.to_str()) {
            Some("c") => vec![copy.join("build").join(&self.id)],
            Some("py") => vec!["/usr/bin/python3".into(), source],
            _ => vec!["/bin/bash".into(), source],
        }
    }
}

fn name(part: Option<&std::ffi::OsStr>) -> Result<String> {
    Ok(part.and_then(|name| name.to_str()).context("a file name that is not UTF-8")?.to_owned())
}
