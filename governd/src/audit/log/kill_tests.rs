//! `kill -9` of a writer on a real disk: whatever it said was durable is there, and signed.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Disk, Log, Options, Reader, public_key, verify};

const DIRECTORY_VARIABLE: &str = "GOVERND_TEST_LOG";
const KILLS: u64 = 25;

fn record(index: u64) -> String {
    format!(
        "{{\"sequence\":{index},\"p\":\"{}\"}}",
        "x".repeat(usize::try_from(index % 97).unwrap())
    )
}

fn options(directory: &Path) -> Options {
    Options { segment_bytes_max: 20_000, ..Options::new(directory) }
}

/// Appends as fast as it can and prints how much is durable.
#[test]
#[ignore = "the process that the test below kills"]
fn a_writer_that_never_ends() {
    // Without a parent to kill it there is nothing to write for: a run of every test ends here.
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from) else { return };
    let (mut log, opened) = Log::open(Disk, options(&directory)).unwrap();
    assert_eq!(opened.damage, None);
    let mut out = std::io::stdout();
    loop {
        for _ in 0..=log.durable() % 7 {
            log.append(&record(log.next_index())).unwrap();
        }
        let durable = log.commit().unwrap();
        writeln!(out, "durable {durable}").unwrap();
    }
}

fn writer(directory: &Path) -> Child {
    let name = "audit::log::kill_tests::a_writer_that_never_ends";
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(DIRECTORY_VARIABLE, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_durable_before_kill_9_is_there_once_and_in_order() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    let mut durable = 0;
    for kill in 0..KILLS {
        let mut child = writer(directory);
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut out = out.lines().map_while(Result::ok);
        let mut said = || out.find_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok());
        durable = said().expect("it writes").max(durable);
        // Anywhere in a commit: their length differs by far more than these steps.
        std::thread::sleep(Duration::from_micros(kill * 379));
        child.kill().unwrap();
        child.wait().unwrap();
        durable = std::iter::from_fn(said).last().unwrap_or(durable).max(durable);

        let (mut log, opened) = Log::open(Disk, options(directory)).unwrap();
        assert_eq!(opened.damage, None);
        let end = log.commit().unwrap();
        assert!(end >= durable, "{durable} were durable, {end} are there");
        drop(log);
        let mut reader = Reader::new(Disk, directory, 0);
        for index in 0..end {
            let line = reader.read().unwrap().unwrap();
            assert_eq!((line.index, line.bytes), (index, record(index).into_bytes()));
        }
        assert_eq!(reader.read().unwrap(), None);
        let report = verify(&Disk, directory, &public_key(&Disk, directory).unwrap()).unwrap();
        assert_eq!((report.wrong, report.signed), (None, end));
        durable = end;
    }
    assert!(durable > KILLS);
}
