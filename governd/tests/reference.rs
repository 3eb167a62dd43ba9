//! The reference pages are what the program says of itself: the documents' schema, the command
//! line, and one record of each kind.
//!
//! `GOVERND_WRITE_REFERENCE=1 cargo test -p governd --test reference` writes them again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf};

use clap::{Arg, Command};
use governd::{cli, policy::document};
use serde_json::{Map, Value};

const WRITE: &str = "GOVERND_WRITE_REFERENCE";
/// Longest value that is shown of a record.
const EXAMPLE_CHARS_MAX: usize = 60;

fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn compare(name: &str, page: &str) {
    let file = home().join("../docs/reference").join(name);
    if env::var_os(WRITE).is_some() {
        fs::write(&file, page).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    let differs = there.lines().zip(page.lines()).position(|(old, new)| old != new);
    assert!(
        there == page,
        "docs/reference/{name} is not what the program says, from line {:?} on\n\
         hint: {WRITE}=1 cargo test -p governd --test reference",
        differs.map(|line| line + 1)
    );
}

/// One line of a table, without what would end a cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn policy_reference() {
    let schema = document::schema();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap();
    let mut page = String::from(
        "# Policy reference\n\nEvery field of every document, from the schema that `governd policy \
         schema` prints. [Policy](../policy.md) explains them by example.\n",
    );
    let kinds = definitions.iter().filter(|(_, each)| each.pointer("/properties/kind").is_some());
    let (kinds, parts): (Vec<_>, Vec<_>) = (
        kinds.collect(),
        definitions.iter().filter(|(_, each)| each.pointer("/properties/kind").is_none()).collect(),
    );
    for (name, definition) in kinds.into_iter().chain(parts) {
        let Some(properties) = definition.get("properties").and_then(Value::as_object) else {
            continue;
        };
        let about = definition.get("description").and_then(Value::as_str).unwrap_or_default();
        write!(page, "\n## {name}\n\n{about}\n\n").unwrap();
        page.push_str("| field | is | required | what it says |\n|---|---|---|---|\n");
        fields(&mut page, "", properties, definition);
    }
    compare("policy.md", &page);
}

fn fields(page: &mut String, prefix: &str, properties: &Map<String, Value>, owner: &Value) {
    let required = owner.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|it| it == name));
    for (name, field) in properties {
        let path = format!("{prefix}{name}");
        let about = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let word = if is_required(name) { "yes" } else { "" };
        writeln!(page, "| `{path}` | {} | {word} | {} |", kind(field), cell(about)).unwrap();
        if let Some(inner) = field.get("properties").and_then(Value::as_object) {
            fields(page, &format!("{path}."), inner, field);
        }
    }
}

/// What a field is, in words.
fn kind(schema: &Value) -> String {
    let list = |values: &[Value]| {
        let words: Vec<_> = values.iter().filter(|it| it["type"] != "null").map(kind).collect();
        words.join(" or ")
    };
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.rsplit('/').next().unwrap_or(name);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", cell(value.as_str().unwrap_or_default()));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let words = values.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    if let Some(values) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
        return list(values);
    }
    if let Some(items) = schema.get("items") {
        return format!("list of {}", kind(items));
    }
    match schema.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            let words = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            words.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

#[test]
fn command_reference() {
    let mut page = String::from(
        "# Command reference\n\nEvery verb and every flag, from the program's own command line. `governd VERB --help` \
         says the same. Exit codes: 0 yes, 1 the answer is no, 2 usage, 3 an invalid configuration or policy, 4 the \
         environment, 5 an internal error.\n",
    );
    let mut root = cli::command();
    root.build();
    for verb in root.get_subcommands().filter(|verb| verb.get_name() != "help") {
        command(&mut page, "governd", verb);
    }
    compare("commands.md", &page);
}

fn command(page: &mut String, above: &str, command_: &Command) {
    let name = format!("{above} {}", command_.get_name());
    let about = command_.get_long_about().or(command_.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    write!(page, "\n## {name}\n\n{}\n", about.trim()).unwrap();
    let arguments: Vec<_> = command_
        .get_arguments()
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        .filter(|argument| !argument.is_hide_set())
        .collect();
    if !arguments.is_empty() {
        page.push_str("\n| argument | what it says | default | variable |\n|---|---|---|---|\n");
    }
    for argument in arguments {
        let about = argument.get_long_help().or(argument.get_help());
        let about = cell(&about.map(ToString::to_string).unwrap_or_default());
        let default: Vec<_> = argument
            .get_default_values()
            .iter()
            .filter(|_| argument.get_action().takes_values())
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let variable = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy()));
        writeln!(
            page,
            "| `{}` | {about} | {} | {} |",
            spelled(argument),
            default.join(", "),
            variable.unwrap_or_default()
        )
        .unwrap();
    }
    for verb in command_.get_subcommands().filter(|verb| verb.get_name() != "help") {
        command(page, &name, verb);
    }
}

fn spelled(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match argument.get_long() {
        Some(long) if argument.get_action().takes_values() => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None if argument.is_required_set() => value,
        None => format!("[{value}]"),
    }
}

#[test]
fn record_reference() {
    let mut page = String::from(
        "# Record reference\n\nOne record of each kind, field by field: what the tests of the types write, and check against \
         OCSF 1.8.0's own requirements. A record is one line of canonical JSON (RFC 8785) of at most 32 KiB. What OCSF has no attribute \
         for is below `unmapped.governd`. Fields that have nothing to say are left out. \
         User names and command lines stand beside a record and are in their places where it is shown or exported; in the line that is \
         hashed, and below, stands a salted digest.\n",
    );
    let directory = home().join("src/audit/record/snapshots");
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let name = name.rsplit("__").next().unwrap().replace('_', " ");
        let text = fs::read_to_string(&file).unwrap();
        let line = text.lines().rfind(|line| line.starts_with('{')).unwrap();
        record(&mut page, &name, &serde_json::from_str(line).unwrap());
    }
    compare("records.md", &page);
}

fn record(page: &mut String, name: &str, record: &Value) {
    let number = |field: &str| record.get(field).map(ToString::to_string).unwrap_or_default();
    write!(
        page,
        "\n## {name}\n\nOCSF class {}, activity {}.\n\n| field | example |\n|---|---|\n",
        number("class_uid"),
        number("activity_id")
    )
    .unwrap();
    let mut leaves = BTreeMap::new();
    flatten(String::new(), record, &mut leaves);
    for (path, example) in leaves {
        let short: String = example.chars().take(EXAMPLE_CHARS_MAX).collect();
        let rest = if short.len() < example.len() { "…" } else { "" };
        writeln!(page, "| `{path}` | `{}{rest}` |", short.replace('|', "\\|")).unwrap();
    }
}

/// Every leaf by its path; of a list its first.
fn flatten(path: String, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(format!("{path}{dot}{name}"), inner, leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                flatten(format!("{path}[]"), item, leaves);
            }
        }
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            leaves.entry(path).or_insert(text);
        }
    }
}
