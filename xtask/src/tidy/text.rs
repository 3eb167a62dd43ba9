//! What no file of the project says: where packages come from, where a developer's files are, and
//! promises that nobody tracks. Generated files are not committed.

use super::Findings;

/// Parts of addresses that machines are told by their own configuration. Written in two halves, so
/// that this list does not find itself.
const ADDRESSES: &[&str] = &[
    concat!("artif", "actory"),
    concat!("crates", ".io"),
    concat!("deb.deb", "ian.org"),
    concat!("files.python", "hosted"),
    concat!("pypi", ".org"),
    concat!("registry.", "npmjs"),
    concat!("static.rust", "-lang"),
];
const MACHINE_PATHS: &[&str] = &[
    concat!("/.ca", "rgo/registry"),
    concat!("/wo", "rk/"),
    concat!("/.rust", "up/"),
    concat!("../sha", "red"),
];
const PROMISES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
const GENERATED: &[&str] = &[concat!("@gene", "rated"), concat!("DO NOT ", "EDIT")];

pub(super) fn check(text: &str, findings: &mut Findings<'_>) {
    if findings.file.ends_with("Cargo.lock") {
        return; // cargo writes it, with the address of its own registry.
    }
    for (index, line) in text.lines().enumerate() {
        let mut add = |rule, message: String| findings.add(index + 1, rule, message);
        if let Some(address) = ADDRESSES.iter().find(|address| line.contains(**address)) {
            add("address", format!("`{address}` is for a machine's own configuration to say"));
        }
        if let Some(path) = MACHINE_PATHS.iter().find(|path| line.contains(**path)) {
            add("machine-path", format!("`{path}` exists on one machine only"));
        }
        if let Some(word) = PROMISES.iter().find(|word| is_promise(line, word)) {
            add("promise", format!("{word} without an issue; write `{word}(#1)` or do it"));
        }
        if let Some(mark) = GENERATED.iter().find(|mark| index < 10 && line.contains(**mark)) {
            add("generated", format!("`{mark}`: generate it in the build instead"));
        }
    }
}

/// Whether the word stands alone in the line and names no issue.
fn is_promise(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line.get(..at), line.get(at + word.len()..));
        let after = after.unwrap_or_default();
        !before.is_some_and(|text| text.ends_with(is_part))
            && !after.starts_with(is_part)
            && !after.starts_with("(#")
    })
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::violations;

    #[test]
    fn addresses_of_registries_and_places_of_machines_are_found() {
        let text = concat!("a\nhttps://index.crates", ".io/x\n/wo", "rk/a\nb\n");
        assert_eq!(violations("a.txt", text), [("address", 2), ("machine-path", 3)]);
        assert_eq!(violations("Cargo.lock", text), []);
    }

    #[test]
    fn a_promise_names_its_issue() {
        let bare = concat!("// TO", "DO: later\n");
        assert_eq!(violations("a.sh", bare), [("promise", 1)]);
        let tracked = concat!("// TO", "DO(#7): later\nmktemp /tmp/XX", "XXXX\n");
        assert_eq!(violations("a.sh", tracked), []);
    }

    #[test]
    fn generated_files_are_not_committed() {
        let text = concat!("// code gene", "rated by x. DO NOT ", "EDIT.\n");
        assert_eq!(violations("a.ts", text), [("generated", 1)]);
    }
}
