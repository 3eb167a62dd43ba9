//! Runs the commands and checks the policies that the documentation shows, so that they stay true.
//!
//! By the info string of a fenced block: `sh test` is run in the workspace's folder by `bash`, with
//! the built programs in PATH, and must succeed; `sh test root` is run only as root; `yaml policy`
//! must pass `governd policy check`.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::tally::Tally;
use crate::{place, run, say, tidy};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Shell,
    RootShell,
    Policy,
}

impl Kind {
    fn of(info: &str) -> Option<Self> {
        match info {
            "sh test" => Some(Self::Shell),
            "sh test root" => Some(Self::RootShell),
            "yaml policy" => Some(Self::Policy),
            _ => None,
        }
    }
}

/// A block that is meant to be run or checked.
#[derive(Debug, Eq, PartialEq)]
struct Block {
    line: usize,
    kind: Kind,
    text: String,
}

pub(super) fn run(is_root: bool, tally: &mut Tally) -> Result<()> {
    let root = place::root()?;
    let programs = place::programs()?;
    let path = env::join_paths(std::iter::once(programs.clone()).chain(place::search_path()))?;
    let scratch = tempfile::tempdir()?;
    for file in tidy::files(&root)?.into_iter().filter(|file| file.ends_with(".md")) {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("reading {file}"))?;
        for block in blocks(&text) {
            let name = format!("{file}:{}", block.line);
            if block.kind == Kind::RootShell && !is_root {
                tally.skipped.push(format!("{name}: needs root"));
                continue;
            }
            let mut command = match block.kind {
                Kind::Policy => check(&programs, scratch.path(), &block)?,
                Kind::Shell | Kind::RootShell => shell(&path, &block),
            };
            let result = run::read(command.current_dir(&root));
            let outcome = if result.is_ok() { "ok" } else { "FAILED" };
            say::line(format_args!("test {name} ... {outcome}"));
            match result {
                Ok(_) => tally.pass(),
                Err(error) => tally.fail(format!("{name}: {error:#}")),
            }
        }
    }
    Ok(())
}

fn shell(path: &OsStr, block: &Block) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &block.text]).env("PATH", path);
    bash
}

fn check(programs: &Path, scratch: &Path, block: &Block) -> Result<Command> {
    let file: PathBuf = scratch.join("policy.yaml");
    fs::write(&file, &block.text)?;
    let mut governd = Command::new(programs.join("governd"));
    governd.args(["policy", "check"]).arg(file);
    Ok(governd)
}

/// The marked blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (open.take(), line.strip_prefix("```")) {
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, Some(info)) => {
                let first = index + 2;
                open = Kind::of(info).map(|kind| Block { line: first, kind, text: String::new() });
            }
            (None, None) => (),
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_blocks_are_taken() {
        let page = "# t\n```sh\nrm -r x\n```\n```sh test\ntrue\nls\n```\n\n```sh test root\nid\n```\n\
                    ```yaml policy\nkind: Agent\n```\n```yaml\nkind: Other\n```\n";
        let block = |line, kind, text: &str| Block { line, kind, text: text.to_owned() };
        assert_eq!(
            blocks(page),
            [
                block(6, Kind::Shell, "true\nls\n"),
                block(11, Kind::RootShell, "id\n"),
                block(14, Kind::Policy, "kind: Agent\n"),
            ]
        );
    }

    #[test]
    fn a_block_that_fails_at_any_line_fails() {
        let block = |text: &str| Block { line: 1, kind: Kind::Shell, text: text.to_owned() };
        let path = env::var_os("PATH").unwrap();
        assert!(run::read(&mut shell(&path, &block("true\ntrue\n"))).is_ok());
        assert!(run::read(&mut shell(&path, &block("false\ntrue\n"))).is_err());
        assert!(run::read(&mut shell(&path, &block("false | true\n"))).is_err());
    }
}
