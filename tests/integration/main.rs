//! The integration tests: the built `governd`, judged from outside, in one lab. Each module is one
//! subject.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use governd_tests::{
    Lab,
    harness::{self, measured},
};
use libtest_mimic::Trial;

mod agents;
mod approval;
mod audit;
mod client;
mod containers;
mod controls;
mod crash;
mod delegation;
mod destroy;
mod disk;
mod enforce;
mod gap;
mod input;
mod lab;
mod lifecycle;
mod limits;
mod monitor;
mod network;
mod newcomer;
mod notices;
mod odd;
mod pages;
mod policy;
mod power;
mod proof;
mod quarantine;
mod recall;
mod record;
mod scripts;
mod sink;
mod swap;
mod tools;
mod unseen;
mod verbs;

type Test = (&'static str, fn(&Lab) -> Result<()>);

const SUBJECTS: &[&[Test]] = &[
    lab::TESTS,
    enforce::TESTS,
    monitor::TESTS,
    swap::TESTS,
    tools::TESTS,
    controls::TESTS,
    quarantine::TESTS,
    notices::TESTS,
    delegation::TESTS,
    limits::TESTS,
    approval::TESTS,
    proof::TESTS,
    newcomer::TESTS,
    pages::TESTS,
    destroy::TESTS,
    unseen::TESTS,
    input::TESTS,
    verbs::TESTS,
    agents::TESTS,
    odd::TESTS,
    containers::TESTS,
    recall::TESTS,
    scripts::TESTS,
    audit::TESTS,
    crash::TESTS,
    disk::TESTS,
    network::TESTS,
    power::TESTS,
    sink::TESTS,
    lifecycle::TESTS,
    gap::TESTS,
];

fn main() -> ExitCode {
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
    // When it returns nothing else holds the lab: it is taken down before the process ends.
    let code = harness::run(tests.collect());
    drop(lab);
    code
}

fn run(lab: &mut Option<Lab>, test: fn(&Lab) -> Result<()>) -> Result<()> {
    let lab = match lab {
        Some(lab) => lab,
        None => lab.insert(Lab::start()?),
    };
    test(lab)
}
