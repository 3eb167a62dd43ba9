//! What a run writes into pages that are otherwise written by hand: which kernels governd was tried
//! on, into the README and `docs/kernels.md`, and there also what the verifier looked at.
//!
//! A run that tries only some kernels replaces what is said of them, and keeps the rest.

use anyhow::{Context, Result};

use super::{
    outcome::{DISCOVERY, Outcome, Program, TESTS, Trial},
    release::RELEASES,
};

/// Relative to the workspace: everything.
pub(super) const PAGE: &str = "docs/kernels.md";
/// The same: which kernels, and no more.
pub(super) const README: &str = "README.md";
const BEGIN: &str = "<!-- written by `cargo xtask vm` -->";
const END: &str = "<!-- end of what it writes -->";

/// What is told of a kernel: the first ones by a run of the core, the last two by one of the bypass
/// table.
const FACTS: [&str; 6] = [
    "Linux",
    "kernel (package)",
    "doctor",
    "tests passed",
    "shadow agents",
    "techniques as expected",
];
/// How a remark of the bypass table begins.
const TECHNIQUE: &str = "technique ";
/// The first column of what the verifier said.
const PROGRAM: &str = "program";
/// In the place of what nobody tried.
const BLANK: &str = "-";

/// A row of a table: its cells.
type Row = Vec<String>;

/// What is known of kernels.
#[derive(Default)]
pub(super) struct Table {
    /// The facts, by release; what the run did not try is blank.
    kernels: Vec<Row>,
    /// What the verifier said: release, program, words.
    programs: Vec<(String, String, String)>,
    /// Release, and what failed or is degraded there.
    remarks: Vec<(String, String)>,
}

impl Table {
    /// Adds what a kernel did.
    pub(super) fn add(&mut self, release: &str, version: &str, outcome: &Outcome) {
        let tests = outcome.tests();
        let kernel = match &outcome.booted {
            Some((kernel, _)) => format!("{kernel} ({version})"),
            None => format!("{version}, does not boot"),
        };
        let tests_passed = match outcome.step(TESTS) {
            Some(_) => format!("{} of {}", tests.passed, tests.passed + tests.failed),
            None => "not run".to_owned(),
        };
        let doctor = doctor(outcome).to_owned();
        self.kernels.push(row(release, 1, [kernel, doctor, tests_passed]));
        let said = |program: &Program| (release.to_owned(), program.name.clone(), verdict(program));
        self.programs.extend(outcome.programs().iter().map(said));
        let failures = tests.failures.iter().map(|test| format!("failed: {test}"));
        for remark in outcome.fault.iter().cloned().chain(outcome.complaints()).chain(failures) {
            self.remarks.push((release.to_owned(), remark));
        }
    }

    /// Adds what came of techniques and of looking for agents on a kernel.
    pub(super) fn add_attack(&mut self, release: &str, outcome: &Outcome) {
        let agents = match outcome.step(DISCOVERY).map(|step| step.fault.is_none()) {
            Some(true) => "found",
            Some(false) => "not found",
            None => "not run",
        };
        let agents = agents.to_owned();
        let techniques = outcome.techniques();
        let as_expected = techniques.as_ref().map_or("not run".to_owned(), |techniques| {
            let differing = techniques.differing().len();
            format!("{} of {}", techniques.tried - differing, techniques.tried)
        });
        self.kernels.push(row(release, FACTS.len() - 2, [agents, as_expected]));
        let differences = techniques.into_iter().flat_map(|techniques| techniques.differences);
        let remarks = differences.map(|line| (release.to_owned(), format!("{TECHNIQUE}{line}")));
        self.remarks.extend(remarks);
    }

    /// Which kernels.
    pub(super) fn matrix(&self) -> String {
        let head = FACTS.map(str::to_owned).to_vec();
        table(std::iter::once(&head).chain(&self.kernels))
    }

    /// Everything.
    pub(super) fn text(&self) -> String {
        let mut text = self.matrix();
        if !self.remarks.is_empty() {
            text.push('\n');
        }
        for (release, remark) in &self.remarks {
            text += &format!("- {release}: {}\n", remark.replace('\n', " "));
        }
        let counts = self.counts();
        if counts.len() > 1 {
            text += &format!("\n{}", table(&counts));
        }
        text
    }

    /// What the verifier said: programs below each other, kernels side by side.
    fn counts(&self) -> Vec<Row> {
        let releases: Vec<_> = self.kernels.iter().filter_map(|row| row.first()).collect();
        let mut names: Vec<_> = self.programs.iter().map(|(_, name, _)| name).collect();
        names.sort();
        names.dedup();
        let cell = |release: &str, name: &str| {
            let mut said = self.programs.iter();
            let said = said.find(|(of, program, _)| of == release && program == name);
            said.map_or(BLANK, |(_, _, words)| words).to_owned()
        };
        let first = PROGRAM.to_owned();
        let head = std::iter::once(first).chain(releases.iter().map(|&name| name.clone()));
        let row = |name: &String| {
            let cells = releases.iter().map(|release| cell(release, name));
            std::iter::once(format!("`{name}`")).chain(cells).collect()
        };
        std::iter::once(head.collect()).chain(names.into_iter().map(row)).collect()
    }

    /// Takes over what the page says of what was not tried.
    fn keep(&mut self, block: &str) {
        let tried = |column: usize| -> Vec<String> {
            let rows = self.kernels.iter();
            let is_tried = |row: &&Row| row.get(column).is_some_and(|cell| cell != BLANK);
            rows.filter(is_tried).filter_map(|row| row.first().cloned()).collect()
        };
        let (cores, attacks) = (tried(1), tried(FACTS.len() - 1));
        let is_kept = |release: &str, by: &[String]| {
            order(release).is_some() && !by.iter().any(|name| name == release)
        };
        let mut releases = Vec::new();
        for row in block.lines().filter_map(cells) {
            match row.split_first() {
                Some((first, rest)) if first == PROGRAM => releases = rest.to_vec(),
                Some((first, rest)) if first.starts_with('`') => {
                    let name = first.trim_matches('`');
                    let said = releases.iter().zip(rest);
                    let said = said.filter(|(release, _)| is_kept(release, &cores));
                    let said = said.filter(|(_, words)| *words != BLANK);
                    self.programs.extend(
                        said.map(|(release, words)| {
                            (release.clone(), name.to_owned(), words.clone())
                        }),
                    );
                }
                Some((first, _)) if order(first).is_some() => self.keep_row(row),
                _ => {}
            }
        }
        let remarks = block.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(": "));
        let remarks = remarks.filter(|(release, text)| {
            is_kept(release, if text.starts_with(TECHNIQUE) { &attacks } else { &cores })
        });
        self.remarks.extend(remarks.map(|(release, text)| (release.to_owned(), text.to_owned())));
        self.kernels.sort_by_key(|row| order(row.first().map_or("", String::as_str)));
        self.remarks.sort_by_key(|(release, text)| (order(release), text.starts_with(TECHNIQUE)));
    }

    /// Takes over a kernel's row, or those of its cells that are blank here.
    fn keep_row(&mut self, mut row: Row) {
        row.resize(FACTS.len(), BLANK.to_owned());
        match self.kernels.iter_mut().find(|known| known.first() == row.first()) {
            Some(known) => {
                for (cell, before) in known.iter_mut().zip(row).filter(|(cell, _)| *cell == BLANK) {
                    *cell = before;
                }
            }
            None => self.kernels.push(row),
        }
    }
}

/// A kernel's row with the cells that a run knows, from a column on.
fn row<const KNOWN: usize>(release: &str, from: usize, known: [String; KNOWN]) -> Row {
    let mut row = vec![BLANK.to_owned(); FACTS.len()];
    row.splice(from..from + KNOWN, known);
    row.splice(..1, [release.to_owned()]);
    row
}

/// Rows as Markdown, the first of them the head.
fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut text = String::new();
    for (number, row) in rows.into_iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if number == 0 {
            text += &format!("|{}\n", " --- |".repeat(row.len()));
        }
    }
    text
}

/// The cells of a line of a table.
fn cells(line: &str) -> Option<Row> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inner.split(" | ").map(str::to_owned).collect())
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

/// The two pages with what was found out in its place: the README, and the one about kernels.
pub(super) fn written(readme: &str, page: &str, mut table: Table) -> Result<(String, String)> {
    let (before, block, after) = parts(page, PAGE)?;
    table.keep(block);
    let page = format!("{before}{BEGIN}\n\n{}\n{END}{after}", table.text());
    let (before, _, after) = parts(readme, README)?;
    let readme = format!("{before}{BEGIN}\n\n{}\n{END}{after}", table.matrix());
    Ok((readme, page))
}

/// What stands before, in and after the place.
fn parts<'a>(page: &'a str, name: &str) -> Result<(&'a str, &'a str, &'a str)> {
    let hint =
        || format!("{name} has no place for the table; hint: put it between {BEGIN} and {END}");
    let (before, rest) = page.split_once(BEGIN).with_context(hint)?;
    let (block, after) = rest.split_once(END).with_context(hint)?;
    Ok((before, block, after))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vm::outcome::StepOutcome;

    fn of_steps(kernel: &str, steps: [(&str, &str); 2]) -> Outcome {
        let step = |(name, output): (&str, &str)| StepOutcome {
            name: name.to_owned(),
            fault: None,
            output: output.lines().map(str::to_owned).collect(),
        };
        Outcome {
            booted: Some((kernel.to_owned(), Duration::from_secs(2))),
            steps: steps.map(step).into(),
            fault: None,
        }
    }

    fn outcome(kernel: &str, doctor: &str, tests: &str) -> Outcome {
        of_steps(kernel, [("doctor", doctor), ("kernel", tests)])
    }

    fn attacked(techniques: &str) -> Outcome {
        of_steps("6.12.2", [("discovery", "found"), ("bypass", techniques)])
    }

    const TECHNIQUES: &str = "a01_x block reached stopped 0 7 \n2 techniques, 1 stopped\n\
        1 outcomes differ:\nd01_x with governd: reached, not stopped, 3 packets: 7\n";
    const DOCTOR: &str = r#"{"probes":[{"name":"btf","outcome":"ok","detail":"a"},
        {"name":"program connect4","outcome":"ok","detail":"loads, 120 instructions verified"},
        {"name":"program connect6","outcome":"missing","detail":"why"}]}"#;
    const TESTS: &str = "test a ... FAILED\ntest result: FAILED. 3 passed; 1 failed; 0 ignored";

    #[test]
    fn a_run_of_some_kernels_keeps_what_is_said_of_the_others() {
        let readme = format!("# governd\n{BEGIN}\n{END}\n");
        let page = format!("# Kernels\n\n{BEGIN}\nold\n{END}\n\nend\n");
        let mut both = Table::default();
        both.add("6.12", "6.12.1-1", &outcome("6.12.1", DOCTOR, TESTS));
        both.add("5.10", "5.10.1-1", &outcome("5.10.1", DOCTOR, ""));
        let (readme, first) = written(&readme, &page, both).unwrap();
        let mut one = Table::default();
        let more = DOCTOR.replace("connect6", "sendmsg4");
        one.add("6.12", "6.12.2-1", &outcome("6.12.2", &more, TESTS));
        let (readme, second) = written(&readme, &first, one).unwrap();
        let mut attack = Table::default();
        attack.add_attack("6.12", &attacked(TECHNIQUES));
        let (readme, third) = written(&readme, &second, attack).unwrap();
        let mut again = Table::default();
        again.add("6.12", "6.12.2-1", &outcome("6.12.2", &more, TESTS));
        let (readme, fourth) = written(&readme, &third, again).unwrap();
        assert_eq!(third, fourth, "a run of one half keeps the other");
        let matrix = "| Linux | kernel (package) | doctor | tests passed | shadow agents | techniques as expected |\n\
             | --- | --- | --- | --- | --- | --- |\n\
             | 5.10 | 5.10.1 (5.10.1-1) | degraded | 0 of 0 | - | - |\n\
             | 6.12 | 6.12.2 (6.12.2-1) | degraded | 3 of 4 | found | 1 of 2 |\n";
        let expected = format!(
            "# Kernels\n\n{BEGIN}\n\n{matrix}\n\
             - 5.10: program connect6 is missing: why\n\
             - 6.12: program sendmsg4 is missing: why\n\
             - 6.12: failed: a\n\
             - 6.12: technique d01_x with governd: reached, not stopped\n\n\
             | program | 5.10 | 6.12 |\n\
             | --- | --- | --- |\n\
             | `connect4` | 120 | 120 |\n\
             | `connect6` | **refused** | - |\n\
             | `sendmsg4` | - | **refused** |\n\n{END}\n\nend\n"
        );
        assert_eq!(third, expected);
        assert_eq!(readme, format!("# governd\n{BEGIN}\n\n{matrix}\n{END}\n"));
    }

    #[test]
    fn a_machine_that_does_not_boot_has_a_row_and_a_remark() {
        let mut table = Table::default();
        let fault = Some("did not boot".to_owned());
        table.add("6.12", "2-1", &Outcome { fault, ..Outcome::default() });
        let text = table.text();
        assert!(
            text.contains("| 6.12 | 2-1, does not boot | not run | not run | - | - |\n"),
            "{text}"
        );
        assert!(text.ends_with("\n- 6.12: did not boot\n"), "{text}");
    }

    #[test]
    fn a_page_without_a_place_is_told() {
        let error = written("", "# Kernels\n", Table::default()).unwrap_err();
        assert!(error.to_string().contains("no place for the table"), "{error}");
    }
}
