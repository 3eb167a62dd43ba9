//! What the test binaries share: arguments as the standard harness takes them, one test at a time,
//! and what happens without root.

use std::{
    env,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use libtest_mimic::{Arguments, Trial};

/// Options that take a value.
const VALUED: &[&str] = &["--skip", "--test-threads", "--format", "--color", "--logfile"];

/// What the tests measured, printed at the end: the harness puts a test's name and its outcome on
/// one line. A lock, because it is static; there is one thread, which never waits for it.
static MEASURED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what a test measured for the end of the run.
pub fn measured(line: String) {
    MEASURED.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

/// Runs the tests one after another, on this thread: they share a lab and its counts, and what dies
/// with its parent thread must live as long as the lab.
pub fn run(mut tests: Vec<Trial>) -> ExitCode {
    let (options, filters) = split(env::args());
    let mut arguments = Arguments::from_iter(options);
    arguments.test_threads = Some(1);
    if !filters.is_empty() {
        tests.retain(|test| filters.iter().any(|filter| test.name().contains(filter)));
    }
    if !rustix::process::geteuid().is_root() && !arguments.list {
        return skip(&tests);
    }
    let conclusion = libtest_mimic::run(&arguments, tests);
    for line in MEASURED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        println!("measured: {line}");
    }
    conclusion.exit_code()
}

/// Options, with the program's name, and filters, of which a test must contain one.
fn split(arguments: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let mut options = Vec::new();
    let mut filters = Vec::new();
    let mut is_value = true;
    for argument in arguments {
        if is_value || argument.starts_with('-') {
            is_value = VALUED.contains(&argument.as_str());
            options.push(argument);
        } else {
            filters.push(argument);
        }
    }
    (options, filters)
}

/// Says of each test that it did not run, as the standard harness does.
fn skip(tests: &[Trial]) -> ExitCode {
    for test in tests {
        println!("test {} ... ignored, needs root", test.name());
    }
    let count = tests.len();
    println!("test result: ok. 0 passed; 0 failed; {count} ignored; 0 measured; 0 filtered out");
    if env::var_os("CI").is_some() {
        eprintln!("error: with CI set nothing may be skipped\nhint: run as root");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_what_is_neither_an_option_nor_its_value() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (options, filters) =
            split(words("test a:: --include-ignored --skip b c --nocapture").into_iter());
        assert_eq!(options, words("test --include-ignored --skip b --nocapture"));
        assert_eq!(filters, words("a:: c"));
    }
}
