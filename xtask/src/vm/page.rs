//! The table of `docs/kernels.md`. The page around it is written by hand.
//!
//! A run that tries only some kernels replaces their rows and keeps the others, as long as the
//! columns are the same.

use anyhow::{Context, Result};

use super::{
    outcome::{Outcome, Program, TESTS, Trial},
    release::RELEASES,
};

/// Relative to the workspace.
pub(super) const PAGE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- written by `cargo xtask vm` -->";
const END: &str = "<!-- end of what it writes -->";

/// A row: cells by column, the release first.
type Row = Vec<String>;

/// A table in the making, with remarks on its rows.
#[derive(Default)]
pub(super) struct Table {
    columns: Row,
    rows: Vec<Row>,
    remarks: Vec<(String, String)>,
}

impl Table {
    /// Adds what a kernel did.
    pub(super) fn add(&mut self, release: &str, version: &str, outcome: &Outcome) {
        let programs = outcome.programs();
        if programs.len() + FACTS > self.columns.len() {
            self.columns = columns(&programs);
        }
        let tests = outcome.tests();
        let kernel = match &outcome.booted {
            Some((kernel, _)) => format!("{kernel} ({version})"),
            None => version.to_owned(),
        };
        let mut row = vec![
            release.to_owned(),
            kernel,
            if outcome.booted.is_some() { "yes" } else { "no" }.to_owned(),
            doctor(outcome).to_owned(),
            match outcome.step(TESTS) {
                Some(_) => format!("{} of {}", tests.passed, tests.passed + tests.failed),
                None => "not run".to_owned(),
            },
        ];
        row.extend(programs.iter().map(verdict));
        self.rows.push(row);
        let failures = tests.failures.iter().map(|test| format!("failed: {test}"));
        for remark in outcome.fault.iter().cloned().chain(outcome.complaints()).chain(failures) {
            self.remarks.push((release.to_owned(), remark));
        }
    }

    /// The table and its remarks as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let rule = self.columns.iter().map(|_| "---".to_owned()).collect();
        for row in [&self.columns, &rule].into_iter().chain(&self.rows) {
            let missing = self.columns.len().saturating_sub(row.len());
            let blanks = std::iter::repeat_n("-", missing);
            let cells: Vec<_> = row.iter().map(String::as_str).chain(blanks).collect();
            text += &format!("| {} |\n", cells.join(" | "));
        }
        if !self.remarks.is_empty() {
            text.push('\n');
        }
        for (release, remark) in &self.remarks {
            text += &format!("- {release}: {}\n", remark.replace('\n', " "));
        }
        text
    }

    /// Takes over what the page says of kernels that were not tried.
    fn keep(&mut self, block: &str) {
        let cells = |line: &str| -> Option<Row> {
            let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
            Some(inner.split(" | ").map(str::to_owned).collect())
        };
        let mut old = block.lines().filter_map(cells);
        if old.next().as_ref() != Some(&self.columns) {
            return;
        }
        let tried: Vec<_> = self.rows.iter().filter_map(|row| row.first().cloned()).collect();
        let is_kept = |release: &str| {
            RELEASES.iter().any(|known| known.name == release)
                && !tried.iter().any(|name| name == release)
        };
        self.rows.extend(old.filter(|row| row.first().is_some_and(|name| is_kept(name))));
        let remarks = block.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(": "));
        let remarks = remarks.filter(|(release, _)| is_kept(release));
        self.remarks.extend(remarks.map(|(release, text)| (release.to_owned(), text.to_owned())));
        self.rows.sort_by_key(|row| order(row.first().map_or("", String::as_str)));
        self.remarks.sort_by_key(|(release, _)| order(release));
    }
}

/// Columns before those of the programs.
const FACTS: usize = 5;

fn columns(programs: &[Program]) -> Row {
    let facts: [&str; FACTS] = ["release", "kernel (package)", "boots", "doctor", "tests passed"];
    let programs = programs.iter().map(|program| format!("`{}`", program.name));
    facts.into_iter().map(str::to_owned).chain(programs).collect()
}

fn order(release: &str) -> Option<usize> {
    RELEASES.iter().position(|known| known.name == release)
}

fn doctor(outcome: &Outcome) -> &'static str {
    let doctor = outcome.step(super::outcome::DOCTOR);
    match doctor.map(|step| step.fault.is_none()) {
        Some(true) if outcome.complaints().is_empty() => "ok",
        Some(true) => "degraded",
        Some(false) => "failed",
        None => "not run",
    }
}

fn verdict(program: &Program) -> String {
    match program.trial {
        Trial::Accepted(Some(instructions)) => instructions.to_string(),
        Trial::Accepted(None) => "accepted".to_owned(),
        Trial::LeftOut => "left out".to_owned(),
        Trial::Refused => "**refused**".to_owned(),
    }
}

/// The page with the table in its place.
pub(super) fn written(page: &str, mut table: Table) -> Result<String> {
    let hint =
        || format!("{PAGE} has no place for the table; hint: put it between {BEGIN} and {END}");
    let (before, rest) = page.split_once(BEGIN).with_context(hint)?;
    let (block, after) = rest.split_once(END).with_context(hint)?;
    table.keep(block);
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", table.text()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vm::outcome::StepOutcome;

    fn outcome(kernel: &str, doctor: &str, tests: &str) -> Outcome {
        let step = |name: &str, output: &str| StepOutcome {
            name: name.to_owned(),
            fault: None,
            output: output.lines().map(str::to_owned).collect(),
        };
        Outcome {
            booted: Some((kernel.to_owned(), Duration::from_secs(2))),
            steps: vec![step("doctor", doctor), step("kernel", tests)],
            fault: None,
        }
    }

    const DOCTOR: &str = r#"{"probes":[{"name":"btf","outcome":"ok","detail":"a"},
        {"name":"program connect4","outcome":"ok","detail":"loads, 120 instructions verified"},
        {"name":"program connect6","outcome":"missing","detail":"why"}]}"#;
    const TESTS: &str = "test a ... FAILED\ntest result: FAILED. 3 passed; 1 failed; 0 ignored";

    #[test]
    fn a_run_of_some_kernels_keeps_the_rows_of_the_others() {
        let page = format!("# Kernels\n\n{BEGIN}\nold\n{END}\n\nend\n");
        let mut both = Table::default();
        both.add("6.12", "6.12.1-1", &outcome("6.12.1", DOCTOR, TESTS));
        both.add("5.10", "5.10.1-1", &outcome("5.10.1", DOCTOR, ""));
        let first = written(&page, both).unwrap();
        let mut one = Table::default();
        one.add("6.12", "6.12.2-1", &outcome("6.12.2", DOCTOR, TESTS));
        let second = written(&first, one).unwrap();
        let expected = format!(
            "# Kernels\n\n{BEGIN}\n\n\
             | release | kernel (package) | boots | doctor | tests passed | `connect4` | \
             `connect6` |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n\
             | 5.10 | 5.10.1 (5.10.1-1) | yes | degraded | 0 of 0 | 120 | **refused** |\n\
             | 6.12 | 6.12.2 (6.12.2-1) | yes | degraded | 3 of 4 | 120 | **refused** |\n\n\
             - 5.10: program connect6 is missing: why\n\
             - 6.12: program connect6 is missing: why\n\
             - 6.12: failed: a\n\n{END}\n\nend\n"
        );
        assert_eq!(second, expected);
    }

    #[test]
    fn a_machine_that_does_not_boot_has_a_row_and_a_remark() {
        let mut table = Table::default();
        table.add("6.1", "1-1", &outcome("6.1.0", DOCTOR, ""));
        let fault = Some("did not boot".to_owned());
        table.add("6.12", "2-1", &Outcome { fault, ..Outcome::default() });
        let text = table.text();
        let row = "| 6.12 | 2-1 | no | not run | not run | - | - |\n";
        assert!(text.contains(row), "{text}");
        assert!(text.ends_with("\n- 6.12: did not boot\n"), "{text}");
    }

    #[test]
    fn a_page_without_a_place_is_told() {
        let error = written("# Kernels\n", Table::default()).unwrap_err();
        assert!(error.to_string().contains("no place for the table"), "{error}");
    }
}
