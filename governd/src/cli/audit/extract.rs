//! What an extract proves that `governd audit export` wrote.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde_json::json;

use super::Outcome;
use crate::{
    audit::{
        canonical::integer,
        checkpoint::{Checkpoint, Opens},
        extract::{Check, HEAD_BYTES_MAX, Head, MARK},
        record::RECORD_BYTES_MAX,
    },
    cli::{
        exit::{Exit, Failure},
        printer::{Printer, Tone},
        unwritable,
    },
};

/// Whether a file begins as an extract does.
pub(super) fn is_one(path: &Path) -> bool {
    let mut begin = vec![0; MARK.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == MARK.as_bytes()
}

/// Checks it against the key, and says what it proves.
pub(super) fn check(path: &Path, key: &dyn Opens, printer: &Printer) -> Outcome {
    let unreadable = |error: io::Error| {
        let error = anyhow::Error::from(error).context(format!("cannot read {}", path.display()));
        Failure::new(Exit::Usage, error, "give a file that `governd audit export` wrote")
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut begin = Vec::new();
    file.by_ref().take(HEAD_BYTES_MAX as u64).read_to_end(&mut begin).map_err(unreadable)?;
    // What is cut in the middle of a character is behind the head.
    let text = begin.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let (head, bytes) = match Head::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => return said(Err(error.to_string()), printer),
    };
    file.seek(SeekFrom::Start(bytes as u64)).map_err(unreadable)?;
    let checked = head.check(key).map_err(|error| error.to_string());
    let checked = match checked {
        Ok(mut check) => {
            push_lines(&mut check, BufReader::new(file)).map_err(unreadable)?;
            check.finish().map_err(|error| error.to_string())
        }
        Err(error) => Err(error),
    };
    said(checked.map(|checkpoint| (head, checkpoint)), printer)
}

fn push_lines(check: &mut Check, mut from: impl BufRead) -> io::Result<()> {
    let mut line = Vec::new();
    // One byte more than a record has, and its newline, tell what is none.
    let longest = RECORD_BYTES_MAX as u64 + 2;
    while from.by_ref().take(longest).read_until(b'\n', &mut line)? > 0 {
        check.push(line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
    Ok(())
}

fn said(checked: Result<(Head, Checkpoint), String>, printer: &Printer) -> Outcome {
    let is_proven = checked.is_ok();
    match (checked, printer.is_json()) {
        (Ok((Head { range, .. }, Checkpoint { origin, size, .. })), true) => {
            printer.value(&json!({
                "first": integer(range.start),
                "last": integer(range.end - 1),
                "origin": origin,
                "proven": true,
                "size": integer(size),
            }))
        }
        (Ok((Head { range, .. }, Checkpoint { origin, size, .. })), false) => {
            let (first, last) = (range.start, range.end - 1);
            let said = format!("records {first} to {last} of the {size} that {origin} signed");
            printer.line(format!("{} {said}", printer.paint(Tone::Good, "proven:")))
        }
        (Err(error), true) => printer.value(&json!({"proven": false, "wrong": error})),
        (Err(error), false) => {
            printer.line(format!("{} {error}", printer.paint(Tone::Bad, "not proven:")))
        }
    }
    .map_err(unwritable)?;
    Ok(if is_proven { Exit::Yes } else { Exit::No })
}
