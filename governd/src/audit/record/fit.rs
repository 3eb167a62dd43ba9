//! Keeps a record within its size. What is too long is cut from its end, the cut says how many
//! bytes went, and the record lists which fields it hit.

use serde_json::{Value, json};

use super::RECORD_BYTES_MAX;
use crate::audit::canonical;

/// What a string and an array may have, from the usual limits down to what fits any record: no
/// class has more than 100 strings outside of arrays.
const STEPS: &[Limits] = &[
    Limits { string_bytes_max: 4_096, items_max: 64 },
    Limits { string_bytes_max: 1_024, items_max: 32 },
    Limits { string_bytes_max: 256, items_max: 16 },
    Limits { string_bytes_max: 96, items_max: 4 },
];

/// Names of cut fields that are listed.
const CUTS_MAX: usize = 32;
const BYTES_PER_KILOBYTE: usize = 1_024;

#[derive(Clone, Copy)]
struct Limits {
    /// Bytes of a string in canonical JSON, its mark included.
    string_bytes_max: usize,
    items_max: usize,
}

/// Cuts a line that is too long.
pub(super) fn fit(line: &mut String) {
    if STEPS.first().is_none_or(|usual| line.len() > usual.string_bytes_max) {
        // What was written as JSON reads again; were it not so, the log would refuse the line.
        let cut = serde_json::from_str(line).map(|value| shorten(line, &value));
        *line = cut.unwrap_or_default();
    }
}

fn shorten(whole: &str, value: &Value) -> String {
    let (mut text, mut cuts) = (String::new(), Vec::new());
    for limits in STEPS {
        cuts.clear();
        let mut candidate = value.clone();
        if whole.len() > limits.string_bytes_max {
            cut(&mut candidate, *limits, &mut String::new(), &mut cuts);
        }
        if cuts.is_empty() && whole.len() <= RECORD_BYTES_MAX {
            return whole.to_owned();
        }
        mark(&mut candidate, whole.len(), &cuts);
        text = canonical::to_string(&candidate);
        if text.len() <= RECORD_BYTES_MAX {
            break;
        }
    }
    debug_assert!(text.len() <= RECORD_BYTES_MAX, "a record has more fields than the steps allow");
    text
}

fn mark(value: &mut Value, whole_bytes: usize, cuts: &[String]) {
    let listed: Vec<&String> = cuts.iter().take(CUTS_MAX).collect();
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("is_truncated".to_owned(), Value::Bool(true));
        let kilobytes = whole_bytes.div_ceil(BYTES_PER_KILOBYTE);
        metadata.insert("untruncated_size".to_owned(), kilobytes.into());
    }
    if let Some(own) = value.pointer_mut("/unmapped/governd").and_then(Value::as_object_mut) {
        own.insert("cut".to_owned(), json!(listed));
    }
}

fn cut(value: &mut Value, limits: Limits, path: &mut String, cuts: &mut Vec<String>) {
    let parent = path.len();
    match value {
        Value::String(text) => {
            if cut_text(text, limits.string_bytes_max) {
                cuts.push(path.clone());
            }
        }
        Value::Array(items) => {
            if items.len() > limits.items_max {
                items.truncate(limits.items_max);
                cuts.push(format!("{path}[]"));
            }
            for (position, item) in items.iter_mut().enumerate() {
                path.push_str(&format!("[{position}]"));
                cut(item, limits, path, cuts);
                path.truncate(parent);
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                if parent > 0 {
                    path.push('.');
                }
                path.push_str(key);
                cut(item, limits, path, cuts);
                path.truncate(parent);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Cuts a string so that its canonical form has at most so many bytes; true if it was too long.
pub(super) fn cut_text(text: &mut String, bytes_max: usize) -> bool {
    // An escape is at most six bytes for one.
    if text.len() * 6 <= bytes_max || canonical::escaped_len(text) <= bytes_max {
        return false;
    }
    let room = bytes_max.saturating_sub(CUT_MARK_BYTES_MAX);
    let (mut used, mut keep) = (0, 0);
    for (at, c) in text.char_indices() {
        used += canonical::escaped_char_len(c);
        if used > room {
            break;
        }
        keep = at + c.len_utf8();
    }
    let gone = text.len() - keep;
    text.truncate(keep);
    text.push_str(&format!("…[cut {gone} bytes]"));
    true
}

/// `…[cut 18446744073709551615 bytes]`.
const CUT_MARK_BYTES_MAX: usize = 35;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cut_string_fits_and_says_so(text in any::<String>(), bytes_max in 40_usize..200) {
            let mut cut = text.clone();
            let was_cut = cut_text(&mut cut, bytes_max);
            prop_assert_eq!(was_cut, canonical::escaped_len(&text) > bytes_max);
            prop_assert!(canonical::escaped_len(&cut) <= bytes_max);
            prop_assert_eq!(cut.ends_with(" bytes]"), was_cut || text.ends_with(" bytes]"));
        }
    }
}
