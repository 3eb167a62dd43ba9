//! Sizes: what is larger is a flat table, or two things. Tests do not count.

use super::{Findings, rust::Rust};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;

pub(super) fn check(rust: &Rust<'_>, findings: &mut Findings<'_>) {
    let code = (1..=rust.lines.len()).filter(|line| !rust.is_test(*line)).count();
    if code > FILE_LINES_MAX {
        let message = format!("{code} lines without tests, at most {FILE_LINES_MAX}");
        findings.add(rust.lines.len(), "file-size", message);
    }
    for function in &rust.functions {
        let lines = function.lines.clone().count();
        if lines > FUNCTION_LINES_MAX && !rust.is_test(*function.lines.start()) {
            let message =
                format!("`{}` has {lines} lines, at most {FUNCTION_LINES_MAX}", function.name);
            findings.add(*function.lines.start(), "function-size", message);
        }
    }
    for (index, line) in rust.lines.iter().enumerate() {
        let chars = line.chars().count();
        // An address cannot be broken, and a row of test data reads best as one.
        let is_row = || line.contains('"') || rust.is_in_string(index + 1);
        let may_be_wide = line.contains("https://") || rust.is_test(index + 1) && is_row();
        if chars > LINE_CHARS_MAX && !may_be_wide {
            let message = format!("{chars} characters, at most {LINE_CHARS_MAX}");
            findings.add(index + 1, "line-width", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::violations;

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let line = "const A: u8 = 0;\n";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(100));
        let fits = line.repeat(FILE_LINES_MAX) + &tests;
        assert_eq!(violations("governd/src/app.rs", &fits), []);
        let large = line.repeat(FILE_LINES_MAX + 1);
        assert_eq!(violations("governd/src/app.rs", &large), [("file-size", FILE_LINES_MAX + 1)]);
    }

    #[test]
    fn a_function_is_measured_from_its_name_to_its_brace() {
        let function =
            |lines: usize| format!("/// Doc.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
        let file = "governd/src/app.rs";
        assert_eq!(violations(file, &function(FUNCTION_LINES_MAX)), []);
        assert_eq!(violations(file, &function(FUNCTION_LINES_MAX + 1)), [("function-size", 2)]);
        let test = format!("#[cfg(test)]\nmod t {{\n{}}}\n", function(FUNCTION_LINES_MAX + 1));
        assert_eq!(violations(file, &test), []);
        let method = format!("impl A {{\n{}}}\n", function(FUNCTION_LINES_MAX + 1));
        assert_eq!(violations(file, &method), [("function-size", 3)]);
    }

    #[test]
    fn a_line_is_measured_in_characters() {
        let comment = |chars: usize| format!("//{}\n", "ä".repeat(chars - 2));
        assert_eq!(violations("governd/src/app.rs", &comment(LINE_CHARS_MAX)), []);
        let long = comment(LINE_CHARS_MAX + 1);
        assert_eq!(violations("governd/src/app.rs", &long), [("line-width", 1)]);
        assert_eq!(violations("governd/src/policy/tests.rs", &long), [("line-width", 1)]);
        let row = format!("const A: &str = \"{}\";\n", "a".repeat(LINE_CHARS_MAX));
        assert_eq!(violations("governd/src/policy/tests.rs", &row), []);
        let page = format!("const A: &str = \"\n{}\n\";\n", "a".repeat(LINE_CHARS_MAX + 1));
        assert_eq!(violations("governd/src/policy/tests.rs", &page), []);
        assert_eq!(violations("governd/src/app.rs", &page), [("line-width", 2)]);
    }
}
