//! `cargo xtask test`: everything that a test needs, then every test, then one summary.
//!
//! A test that needs root (eBPF programs, network namespaces) carries `#[ignore = "needs root"]`
//! or says `skipped: needs root` when it runs. As root all of them run; without it they are named
//! as skipped, and with `CI` set that is a failure.
//! Committed fuzz corpora are replayed by ordinary tests and need nothing special here.

mod docs;
pub(crate) mod tally;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use self::tally::Tally;
use crate::{
    run, say,
    setup::{self, Part},
};

/// Where property tests begin on a CI machine; any number does.
const PROPTEST_SEED: &str = "20261121";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains one of these
    filters: Vec<String>,
}

impl Arguments {
    /// Every test.
    pub(crate) fn all() -> Self {
        Self { filters: Vec::new() }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    setup::provide(&[Part::Build, Part::Test])?;
    // The integration tests start the daemon as a program, which `cargo test` alone need not build.
    // Asked for together with the tests, nothing is built twice with other features.
    run::loud(run::cargo()?.args(["build", "--lib", "--bins", "--tests"]))?;
    let is_root = run::is_root();
    let mut tally = Tally::default();
    let is_whole = arguments.filters.is_empty();
    run_tests(&["--lib", "--bins", "--tests"], &arguments.filters, is_root, &mut tally)?;
    // An ignored example is one that cannot run, so `--include-ignored` is not for these.
    run_tests(&["--doc"], &arguments.filters, false, &mut tally)?;
    if is_whole {
        docs::run(is_root, &mut tally)?;
    }
    summary(&tally, started);
    verdict(&tally, is_whole, run::is_ci())
}

/// Runs `cargo test` and counts what it says, while it says it.
fn run_tests(targets: &[&str], filters: &[String], all: bool, tally: &mut Tally) -> Result<()> {
    let mut command = run::cargo()?;
    command.args(["test", "--no-fail-fast"]).args(targets).arg("--").args(filters);
    if all {
        command.arg("--include-ignored");
    } else {
        // A test that looks for root itself says in its output that it did nothing.
        command.arg("--show-output");
    }
    if run::is_ci() {
        // The same cases in every run, so that a red one is the change's doing; elsewhere they are
        // new each time.
        command.env("PROPTEST_RNG_SEED", PROPTEST_SEED);
    }
    say::note(run::text(&command));
    let before = tally.failed;
    let is_success = tee(&mut command, |line| tally.read(line))?;
    if !is_success && tally.failed == before {
        // A test binary that did not compile or that crashed prints no result.
        tally.fail(format!("{} failed without naming a test", run::text(&command)));
    }
    Ok(())
}

/// Runs a command, prints the lines of its stdout and hands them over; true if it succeeded.
fn tee(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", run::text(command)))?;
    let stdout = child.stdout.take().context("the child has no stdout")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        say::line(&line);
        each(&line);
    }
    Ok(child.wait()?.success())
}

fn summary(tally: &Tally, started: Instant) {
    say::line("");
    for name in &tally.failures {
        say::line(format_args!("failed: {name}"));
    }
    for name in &tally.skipped {
        say::line(format_args!("skipped: {name}"));
    }
    say::line(format_args!(
        "summary: {} passed, {} failed, {} skipped in {:.0} s",
        tally.passed,
        tally.failed,
        tally.skipped.len(),
        started.elapsed().as_secs_f64()
    ));
}

fn verdict(tally: &Tally, is_whole: bool, is_ci: bool) -> Result<()> {
    if tally.failed > 0 {
        bail!("{} failed; hint: `cargo xtask test <name>` runs one alone", tally.failed);
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    if is_ci && is_whole && !tally.skipped.is_empty() {
        bail!("{} skipped, which CI does not allow; hint: run as root", tally.skipped.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: usize, failed: usize, skipped: usize) -> Tally {
        let skipped = vec!["t: needs root".to_owned(); skipped];
        Tally { passed, failed, skipped, ..Tally::default() }
    }

    #[test]
    fn what_is_skipped_fails_only_where_ci_runs_everything() {
        for (case, is_whole, is_ci, is_ok) in [
            (tally(3, 0, 0), true, true, true),
            (tally(3, 0, 1), true, false, true),
            (tally(3, 0, 1), true, true, false),
            (tally(3, 0, 1), false, true, true),
            (tally(3, 1, 0), true, false, false),
            (tally(0, 0, 0), true, false, false),
        ] {
            let row = format!("{case:?} {is_whole} {is_ci}");
            assert_eq!(verdict(&case, is_whole, is_ci).is_ok(), is_ok, "{row}");
        }
    }

    #[test]
    fn lines_are_handed_over_and_failure_is_told() {
        let mut lines = Vec::new();
        let is_success =
            tee(Command::new("printf").arg("a\nb"), |line| lines.push(line.to_owned())).unwrap();
        assert_eq!((is_success, lines), (true, vec!["a".to_owned(), "b".to_owned()]));
        assert!(!tee(&mut Command::new("false"), |_| ()).unwrap());
    }
}
