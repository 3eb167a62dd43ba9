//! Runs the commands that the documentation shows, so that they stay true.
//!
//! A fenced block whose info string is `sh test` is run in the workspace's folder by `bash`, with
//! the built programs in PATH, and must succeed; `sh test root` is run only as root.

use std::{env, fs};

use anyhow::{Context, Result};

use super::tally::Tally;
use crate::{place, run, say, tidy};

/// A block of commands.
#[derive(Debug, Eq, PartialEq)]
struct Block {
    line: usize,
    needs_root: bool,
    commands: String,
}

pub(super) fn run(is_root: bool, tally: &mut Tally) -> Result<()> {
    let root = place::root()?;
    let folders = std::iter::once(place::programs()?).chain(place::search_path());
    let path = env::join_paths(folders)?;
    for file in tidy::files(&root)?.into_iter().filter(|file| file.ends_with(".md")) {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("reading {file}"))?;
        for block in blocks(&text) {
            let name = format!("{file}:{}", block.line);
            if block.needs_root && !is_root {
                tally.skipped.push(format!("{name}: needs root"));
                continue;
            }
            let mut bash = run::command("bash")?;
            bash.args(["-euo", "pipefail", "-c", &block.commands]);
            bash.current_dir(&root).env("PATH", &path);
            match run::read(&mut bash) {
                Ok(_) => {
                    say::line(format_args!("test {name} ... ok"));
                    tally.pass();
                }
                Err(error) => {
                    say::line(format_args!("test {name} ... FAILED\n{error:#}"));
                    tally.fail(name);
                }
            }
        }
    }
    Ok(())
}

/// The blocks of a page that are meant to be run.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in page.lines().enumerate() {
        match (open.take(), line.strip_prefix("```")) {
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.commands.push_str(line);
                block.commands.push('\n');
                open = Some(block);
            }
            (None, Some("sh test")) => open = Some(Block::at(index + 2, false)),
            (None, Some("sh test root")) => open = Some(Block::at(index + 2, true)),
            (None, _) => (),
        }
    }
    blocks
}

impl Block {
    const fn at(line: usize, needs_root: bool) -> Self {
        Self { line, needs_root, commands: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_blocks_are_taken() {
        let page =
            "# t\n```sh\nrm -r x\n```\n```sh test\ntrue\nls\n```\n\n```sh test root\nid\n```\n";
        assert_eq!(
            blocks(page),
            [
                Block { line: 6, needs_root: false, commands: "true\nls\n".to_owned() },
                Block { line: 11, needs_root: true, commands: "id\n".to_owned() },
            ]
        );
    }
}
