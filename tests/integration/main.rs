//! The integration tests: the built `governd`, judged from outside, in one lab. Each module is one
//! subject. They run one after another, because they share the lab and its counts.

use std::{
    env,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use governd_tests::Lab;
use libtest_mimic::{Arguments, Trial};

mod lab;

type Test = (&'static str, fn(&Lab) -> Result<()>);

const SUBJECTS: &[&[Test]] = &[lab::TESTS];

/// What the tests measured, printed at the end: the harness puts a test's name and its outcome
/// on one line. A lock, because it is static; there is one thread, which never waits for it.
static MEASURED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what a test measured for the end of the run.
fn measured(line: String) {
    MEASURED.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One lab, whose counts a second test would change. One thread is this one, so what dies with
    // its parent thread lives as long as the lab.
    arguments.test_threads = Some(1);
    if !rustix::process::geteuid().is_root() && !arguments.list {
        return skip();
    }
    // The first test builds the lab. A lock, because a test must be able to move between threads;
    // there is one thread, which never waits for it.
    let lab: Arc<Mutex<Option<Lab>>> = Arc::default();
    let tests = SUBJECTS.iter().copied().flatten().copied().map(|(name, test)| {
        let lab = Arc::clone(&lab);
        Trial::test(name, move || {
            let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
            run(&mut lab, test).map_err(|error| format!("{error:#}").into())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, tests.collect());
    // Nothing else holds the lab now: it is taken down before the process ends.
    drop(lab);
    for line in MEASURED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        println!("measured: {line}");
    }
    conclusion.exit_code()
}

fn run(lab: &mut Option<Lab>, test: fn(&Lab) -> Result<()>) -> Result<()> {
    let lab = match lab {
        Some(lab) => lab,
        None => lab.insert(Lab::start()?),
    };
    test(lab)
}

/// Says of each test that it did not run, as the standard harness does.
fn skip() -> ExitCode {
    let names = SUBJECTS.iter().copied().flatten().map(|(name, _)| name);
    let count = names.map(|name| println!("test {name} ... ignored, needs root")).count();
    println!("test result: ok. 0 passed; 0 failed; {count} ignored; 0 measured; 0 filtered out");
    if env::var_os("CI").is_some() {
        eprintln!("error: with CI set nothing may be skipped\nhint: run as root");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
