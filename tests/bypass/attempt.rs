//! One technique: a program in `attempts` that tries to get a token to a forbidden destination.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

/// The token arrived at a forbidden destination, or for a control at the allowed one.
pub(crate) const REACHED: &str = "reached";
/// It arrived, and a finding in the log names the technique and the process.
pub(crate) const FOUND: &str = "found";
/// It did not arrive, but packets did.
pub(crate) const LEAKED: &str = "leaked";
/// Nothing arrived.
pub(crate) const STOPPED: &str = "stopped";
/// The technique does not exist on this machine.
pub(crate) const CANNOT: &str = "cannot";
/// The attempt could not prepare what it needs, so that it proves nothing. Never expected.
pub(crate) const BROKEN: &str = "broken";

/// Every word that `expected.tsv` may use.
pub(crate) const EXPECTED: [&str; 5] = [REACHED, FOUND, LEAKED, STOPPED, CANNOT];

/// The header of an attempt ends within its first lines.
const HEADER_LINES: usize = 12;

/// Which governd an attempt meets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// One that all others meet too.
    Shared,
    /// Its own, because the attempt is directed against governd.
    Own,
    /// Its own, whose state lies on a small file system.
    Spool,
    /// Its own, whose policy changes once the attempt is connected.
    PolicyChange,
    /// Its own, which starts once the attempt is connected.
    LateDaemon,
}

/// A technique, as its header describes it.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// File name without its ending.
    pub(crate) id: String,
    /// File name.
    pub(crate) file: String,
    /// Whether it needs root; otherwise it runs as nobody without a capability.
    pub(crate) needs_root: bool,
    /// `block`, `detect` where a kernel policy cannot refuse it, `out` where it is out of reach, or
    /// `control` for what must reach with governd as well.
    pub(crate) goal: String,
    /// Which governd it meets.
    pub(crate) stage: Stage,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// One of the words above.
    pub(crate) word: &'static str,
    /// What it printed.
    pub(crate) said: String,
    /// Packets that arrived at forbidden addresses meanwhile.
    pub(crate) packets: u64,
    /// Its process, the ancestor of all others that it started.
    pub(crate) pid: u32,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Outcome {
    /// Reads an exit code: 0 reached, 2 cannot run here, 3 could not prepare, anything else
    /// stopped.
    pub(crate) fn of(code: Option<i32>, said: String, pid: u32) -> Self {
        let word = match code {
            Some(0) => REACHED,
            Some(2) => CANNOT,
            Some(3) => BROKEN,
            _ => STOPPED,
        };
        Self { word, said, packets: 0, pid, took: Duration::ZERO }
    }

    /// The outcome under governd, where packets count as well.
    pub(crate) fn counted(self) -> Self {
        let word = if self.word == STOPPED && self.packets > 0 { LEAKED } else { self.word };
        Self { word, ..self }
    }
}

/// Every technique of a directory, in order of id.
pub(crate) fn all(directory: &Path) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        attempts.push(read(&path).with_context(|| path.display().to_string())?);
    }
    attempts.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(attempts)
}

fn read(path: &Path) -> Result<Attempt> {
    let text = fs::read_to_string(path)?;
    let find = |name: &str| {
        let start = format!("{name}: ");
        let mut header = text.lines().take(HEADER_LINES);
        header.find_map(|line| Some(line.split_once(&start)?.1.trim()))
    };
    let field = |name: &str| find(name).with_context(|| format!("no {name}"));
    let id = name(path.file_stem())?;
    ensure!(field("id")? == id, "another id");
    Ok(Attempt {
        id,
        file: name(path.file_name())?,
        needs_root: field("needs")?.starts_with("root"),
        goal: field("expect")?.to_owned(),
        stage: match find("stage") {
            None => Stage::Shared,
            Some("own") => Stage::Own,
            Some("spool") => Stage::Spool,
            Some("policy-change") => Stage::PolicyChange,
            Some("late-daemon") => Stage::LateDaemon,
            Some(other) => bail!("{other} is no stage"),
        },
    })
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
