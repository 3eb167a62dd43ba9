//! What an interpreter runs for an agent: the file of the script or module, and the version of the
//! package that it belongs to. A thread of its own reads them, through the root directory of the
//! process, which symbolic links cannot lead out of.
//!
//! A file that has changed since the process started is not what it runs, and has no digest. What
//! is read counts only if the process still runs afterwards. Nobody waits for it.

use std::{io, sync::Arc};

use super::{
    clock,
    digest::hash,
    limits::{DIGEST_FILE_BYTES_MAX, PROGRAMS_WAITING_MAX},
    mounts::FileIdentity,
    proc::{ProcFs, TICK_NS},
    worker::Worker,
};
use crate::{
    catalog::{Command, Target},
    core::{digest::FileVersion, inventory::Program, process::Process},
};
use package::Kind;
use root::{Found, Root};

pub mod script;

mod package;
mod root;

/// Whose program is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whom the answer is for.
    pub tag: Arc<str>,
    /// A process that runs it.
    pub process: Arc<Process>,
}

/// The thread.
pub type Programs = Worker<Wanted, (Wanted, Program)>;

impl Programs {
    /// Starts the thread, over a proc file system.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(proc: ProcFs) -> io::Result<Self> {
        Self::spawn("programs", PROGRAMS_WAITING_MAX, move |wanted: Wanted| {
            let program = look(&proc, &wanted.process)?;
            Some((wanted, program))
        })
    }
}

/// What a process runs, if something of it is known and it still runs.
fn look(proc: &ProcFs, process: &Process) -> Option<Program> {
    let root = Root::of(proc, process.pid)?;
    let args = process.args.as_deref().unwrap_or_default();
    let command = Command::parse(args);
    let exe = process.exe.as_ref()?.path.to_str()?;
    let is_python = [exe, command.program].into_iter().any(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.starts_with("python") || name.starts_with("pypy")
    });
    let called = called(args, exe);
    let entry = entry(&root, &command, called);
    let kind = if is_python { Kind::Python { called } } else { Kind::Npm };
    // What Java and .NET run is of no package of these kinds, wherever it lies.
    let is_other = matches!(command.program, "java" | "dotnet");
    let version = match &entry {
        _ if is_other => None,
        Some(entry) => package::version(&root, &entry.path, kind),
        None if exe.contains("/node_modules/") => package::version(&root, exe, Kind::Npm),
        None => None,
    };
    let started_ns = process.started_ns;
    let sha256 = entry.as_ref().and_then(|entry| digest(&entry.link, started_ns));
    let program = Program { script: entry.map(|entry| entry.path.into()), sha256, version };
    let is_something = program.script.is_some() || program.version.is_some();
    (is_something && proc.still_runs(process)).then_some(program)
}

/// How an interpreter was called, from which follows where its packages are: one of a virtual
/// environment is a link to another.
fn called<'a>(args: &'a [String], exe: &'a str) -> &'a str {
    args.first().filter(|first| first.contains('/')).map_or(exe, String::as_str)
}

/// The file of the script or module that a command line tells an interpreter to run.
fn entry(root: &Root, command: &Command<'_>, called: &str) -> Option<Found> {
    match command.target? {
        Target::Script(script) => root.find(script),
        Target::Module(module) => package::module(root, called, module),
        _ => None,
    }
}

/// The digest of an open file that has not changed since a time of `CLOCK_BOOTTIME`.
fn digest(link: &root::Link, started_ns: u64) -> Option<Arc<str>> {
    let of_link = || FileIdentity::of(&link.path()).map(|found| found.version());
    let before = of_link().filter(|version| version.bytes <= DIGEST_FILE_BYTES_MAX)?;
    if !is_older(&before, started_ns) {
        return None;
    }
    let sha256 = hash(link.reopened().ok()?).ok()?;
    (of_link() == Some(before)).then_some(sha256)
}

/// Whether a version of a file came to be before a time. That of a change may be a tick early.
fn is_older(version: &FileVersion, time_ns: u64) -> bool {
    version.changed_ns().saturating_add(TICK_NS) < clock::wall_ns(time_ns)
}

#[cfg(test)]
mod tests;
