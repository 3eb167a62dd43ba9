//! The book is whole: links lead to files that are there, and its table of contents names every
//! page of the manuals.

use std::{fs, path::Path};

use super::{Findings, paths::targets};

const BOOK: &str = "docs";
const CONTENTS: &str = "docs/SUMMARY.md";

pub(super) fn check(root: &Path, page: &str, findings: &mut Findings<'_>) {
    let file = Path::new(findings.file);
    if !file.starts_with(BOOK) {
        return;
    }
    let place = root.join(file.parent().unwrap_or(file));
    let mut is_fenced = false;
    for (index, line) in page.lines().enumerate() {
        is_fenced ^= line.trim_start().starts_with("```");
        let links = targets(line).filter(|target| !target.is_empty() && !target.contains(':'));
        for target in links.filter(|_| !is_fenced) {
            if !place.join(target).is_file() {
                findings.add(index + 1, "link", format!("`{target}` leads nowhere"));
            }
        }
    }
    if findings.file == CONTENTS {
        let named: Vec<_> = page.lines().flat_map(targets).collect();
        let mut pages = Vec::new();
        list(&root.join(BOOK), Path::new(""), &mut pages);
        for page in pages.iter().filter(|page| !named.contains(&page.as_str())) {
            if root.join(BOOK).join(page) != root.join(CONTENTS) {
                findings.add(1, "contents", format!("`{page}` is not in the contents"));
            }
        }
    }
}

/// The pages below a folder, as the contents name them. What cannot be listed has none.
fn list(folder: &Path, name: &Path, pages: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = name.join(entry.file_name());
        if entry.path().is_dir() {
            list(&entry.path(), &name, pages);
        } else if name.extension().is_some_and(|extension| extension == "md") {
            pages.push(name.display().to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::violations;

    #[test]
    fn links_lead_to_files_from_where_they_stand() {
        let page = "[a](policy.md#x) [b](../policy.md) [c](https://example.com/a.md) [d](#here)\n\
                    ```sh\n[e](gone.md)\n```\n";
        assert_eq!(violations("docs/a.md", page), [("link", 1)]);
        assert_eq!(violations("docs/concepts/a.md", page), [("link", 1)]);
        assert_eq!(violations("NOTES.md", page), []);
    }

    #[test]
    fn a_page_that_the_contents_lack_is_found() {
        let found = violations("docs/SUMMARY.md", "# Summary\n\n- [Policy](policy.md)\n");
        assert!(found.contains(&("contents", 1)), "{found:?}");
    }
}
