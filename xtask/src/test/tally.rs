//! Counts tests from what the test harness prints.

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Names of what failed.
    pub(crate) failures: Vec<String>,
    /// Names of what did not run, with the reason.
    pub(crate) skipped: Vec<String>,
    /// The test whose captured output is being read.
    pub(super) speaker: Option<String>,
    /// Tests of the harness being read that passed by doing nothing.
    pub(super) idle: usize,
}

/// What a test prints that looks for root itself and does nothing without it.
const SKIPPED: &str = "skipped: needs root";

impl Tally {
    /// Reads one line of a harness: `test <name> ... <outcome>`. The closing `test result:` line
    /// repeats the sums, and a name between that the test itself printed would be no outcome.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed").saturating_sub(self.idle);
            self.idle = 0;
            self.failed += count(counts, "failed");
            return;
        }
        let output = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = output {
            self.speaker = Some(name.to_owned());
        } else if line == SKIPPED
            && let Some(name) = self.speaker.take()
        {
            self.skipped.push(format!("{name}: needs root"));
            self.idle += 1;
        }
        let Some(rest) = line.strip_prefix("test ") else { return };
        let Some((name, outcome)) = rest.split_once(" ... ") else { return };
        if outcome == "FAILED" {
            self.failures.push(name.to_owned());
        } else if let Some(reason) = outcome.strip_prefix("ignored") {
            let reason = reason.trim_start_matches(", ");
            // An example in the documentation that cannot run says so in its own text.
            if !reason.is_empty() {
                self.skipped.push(format!("{name}: {reason}"));
            }
        }
    }

    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn fail(&mut self, name: String) {
        self.failed += 1;
        self.failures.push(name);
    }
}

/// The number before a word in `ok. 3 passed; 0 failed; …`.
fn count(counts: &str, word: &str) -> usize {
    let parts = counts.split([';', '.']).map(str::trim);
    let number = parts.filter_map(|part| part.strip_suffix(word)).next();
    number.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_over_several_harnesses() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test a::d ... ignored, needs root",
            "test src/lib.rs - x (line 3) ... ignored",
            "test says nothing of an outcome",
            "successes:",
            "---- a::e stdout ----",
            "skipped: needs root",
            "skipped: needs root",
            "test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; \
             finished in 0.00s",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            tally.read(line);
        }
        assert_eq!((tally.passed, tally.failed), (12, 1));
        assert_eq!(tally.failures, ["a::c"]);
        assert_eq!(tally.skipped, ["a::d: needs root", "a::e: needs root"]);
    }
}
