//! Every command of `governd` that a page shows has verbs and flags that there are, wherever it
//! stands: in a block, in a table or in the middle of a sentence.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, Command};
use governd::cli;

const PROGRAM: &str = "governd";
/// What ends a command in a line of shell.
const ENDS: [&str; 6] = ["#", "|", "||", ">", "&&", "--"];
/// The fewest commands that there are to check; fewer mean that they are not found.
const COMMANDS_MIN: usize = 150;

/// Pages that people read, but for references, which are generated, and the changelog, which tells
/// of what was.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages: Vec<_> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    for folder in ["docs", "docs/concepts"] {
        let files = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|it| it == "md")));
    }
    pages
}

/// The commands of a line: what follows the program's name, up to the end of a code span or of the
/// shell's command.
fn commands(line: &str, is_block: bool) -> Vec<Vec<String>> {
    let spans: Vec<&str> =
        if is_block { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
    spans.into_iter().filter_map(|span| command(span, is_block)).collect()
}

fn command(text: &str, is_block: bool) -> Option<Vec<String>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    // In a block it may stand behind a prompt, or after what starts it elsewhere.
    let is_program = |word: &str| word == PROGRAM || word.ends_with("/bin/governd");
    let is_shown = |before: &[&str]| match before {
        [] => true,
        [prompt] if is_block && (*prompt == "$" || *prompt == "#") => true,
        [.., last] => is_block && *last == "--",
    };
    let at = (0..words.len()).find(|at| {
        let (before, rest) = words.split_at(*at);
        rest.first().is_some_and(|word| is_program(word)) && is_shown(before)
    })?;
    let words = words.into_iter().skip(at + 1).take_while(|word| !ENDS.contains(word));
    let words: Vec<String> = words.map(|word| word.replace(['[', ']'], "")).collect();
    (!words.is_empty()).then_some(words)
}

/// What there is not of a command.
fn unknown(root: &Command, words: &[String]) -> Option<String> {
    let mut current = root;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(flag) = word.strip_prefix("--") {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            let fits = |arg: &&Arg| arg.get_long() == Some(name);
            let Some(arg) = current.get_arguments().find(fits) else {
                return Some(format!("`{}` has no --{name}", current.get_name()));
            };
            if arg.get_action().takes_values() && value.is_empty() {
                words.next();
            }
        } else if let Some(next) = current.find_subcommand(word) {
            current = next;
        } else if let Some(short) = word.strip_prefix('-').and_then(|it| it.chars().next()) {
            if !current.get_arguments().any(|arg| arg.get_short() == Some(short)) {
                return Some(format!("`{}` has no -{short}", current.get_name()));
            }
            words.next();
        } else if word.chars().all(|c| c.is_uppercase()) && current.has_subcommands() {
            // Stands for any verb.
            return None;
        } else if current.get_positionals().next().is_none() {
            return Some(format!("`{}` knows no `{word}`", current.get_name()));
        }
    }
    None
}

#[test]
fn every_command_of_a_page_is_there() {
    let mut root = cli::command();
    root.build();
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let mut block: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            if let Some(info) = line.strip_prefix("```") {
                block = if block.is_some() { None } else { Some(info) };
                continue;
            }
            let is_shell = block.is_some_and(|info| info.starts_with("sh") || info == "console");
            if block.is_some() && !is_shell {
                continue;
            }
            for words in commands(line, is_shell) {
                seen += 1;
                let fault = unknown(&root, &words);
                let place = format!("{}:{}", page.display(), number + 1);
                wrong.extend(fault.map(|fault| format!("{place}: {}: {fault}", words.join(" "))));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= COMMANDS_MIN, "only {seen} commands are found");
}

#[test]
fn a_command_that_is_not_there_is_found() {
    let mut root = cli::command();
    root.build();
    let rows = [
        ("see `governd status`", false, true),
        ("see `governd status --jsn`", false, false),
        ("see `governd states`", false, false),
        ("$ governd policy check FILE --json | jq .", true, true),
        ("kubectl exec pod -- /usr/bin/governd policy chek", true, false),
        ("`governd agents register ID -o FILE`", false, true),
        ("`governd agents register ID -z FILE`", false, false),
    ];
    for (line, is_block, is_there) in rows {
        let found = commands(line, is_block);
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!(unknown(&root, &found[0]).is_none(), is_there, "{line}");
    }
}
