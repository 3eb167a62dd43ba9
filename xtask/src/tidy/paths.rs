//! Paths that the documentation names exist.
//!
//! A path is what stands in backticks and looks like one. In the pages that describe the tree every
//! such word must exist; elsewhere only what begins at a folder of the project.

use std::path::Path;

use super::Findings;

/// Pages whose paths are all the project's.
const MAPS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];
/// Words with a slash that are names of something else, by their first part.
const OTHERS: &[&str] = &["cgroup", "cgroup_skb", "governd.dev", "raw_tp", "target"];
const EXTENSIONS: &[&str] = &[".lock", ".md", ".rs", ".sh", ".toml", ".yaml"];

pub(super) fn check(root: &Path, page: &str, findings: &mut Findings<'_>) {
    let is_map = MAPS.contains(&findings.file);
    let mut is_fenced = false;
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        }
        if is_fenced {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        for word in quoted.chain(targets(line)).filter(|word| is_path(root, word, is_map)) {
            if !root.join(word).exists() {
                findings.add(index + 1, "path-exists", format!("`{word}` does not exist"));
            }
        }
    }
}

/// Targets of links, without anchors.
pub(super) fn targets(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(target, _)| target.split('#').next().unwrap_or(target))
}

fn is_path(root: &Path, word: &str, is_map: bool) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    if word.is_empty() || word.starts_with('/') || !word.chars().all(is_plain) {
        return false;
    }
    let first = word.split('/').next().unwrap_or(word);
    // From the page's own place: `book` looks at links.
    if first == ".." || OTHERS.contains(&first) {
        return false;
    }
    let is_file = EXTENSIONS.iter().any(|extension| word.ends_with(extension));
    if is_map {
        word.contains('/') || is_file
    } else {
        word.contains('/') && root.join(first).is_dir()
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::violations;

    #[test]
    fn what_a_page_names_exists() {
        let page = "`xtask/src/tidy/` and `xtask/src/untidy/`,\n\
                    [a](xtask/Cargo.toml#x) [b](NO.md)\n\
                    `/etc/governd/x.yaml` `cgroup/connect4` `a b/c` `core`\n\
                    ```sh\n`no/such`\n```\n";
        let missing = [("path-exists", 1), ("path-exists", 2)];
        assert_eq!(violations("ARCHITECTURE.md", page), missing);
        let manual = "`application/json` `xtask/src/gone.rs`\n";
        assert_eq!(violations("docs/a.md", manual), [("path-exists", 1)]);
    }
}
