//! Which file an interpreter runs, for policies that recognise an agent by it. A thread of its own
//! looks, as it may be on a file system that does not answer.

use std::{io, sync::Arc};

use governd_common::event::EventHeader;
use tokio::sync::Notify;

use super::{called, entry, root::Root};
use crate::{
    catalog::{Command, Target},
    core::process::Process,
    workload::{
        limits::SCRIPTS_WAITING_MAX, mounts::FileIdentity, proc::ProcFs, table::Known,
        worker::Worker,
    },
};

/// A file: `s_dev` of its file system, and inode.
pub type FileId = (u32, u64);

/// Of whom it is wanted.
#[derive(Debug)]
pub struct Question {
    /// The process.
    pub known: Known,
    /// What the kernel said when it executed its file; `None` if it ran already.
    pub executed: Option<EventHeader>,
}

/// The thread. Each question has an answer: `None` if there is no such file, or it is not known.
pub type Scripts = Worker<Question, (Question, Option<FileId>)>;

impl Scripts {
    /// Starts the thread, over a proc file system; who waits for `news` is woken by each answer.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(proc: ProcFs, news: Arc<Notify>) -> io::Result<Self> {
        Self::spawn_notifying("scripts", SCRIPTS_WAITING_MAX, news, move |question: Question| {
            let file = look(&proc, &question.known.process);
            Some((question, file))
        })
    }
}

/// Whether a command line says that a file is run.
pub fn has_script(process: &Process) -> bool {
    let command = Command::parse(process.args.as_deref().unwrap_or_default());
    matches!(command.target, Some(Target::Script(_) | Target::Module(_)))
}

fn look(proc: &ProcFs, process: &Process) -> Option<FileId> {
    let root = Root::of(proc, process.pid)?;
    let args = process.args.as_deref().unwrap_or_default();
    let exe = process.exe.as_ref()?.path.to_str()?;
    let found = entry(&root, &Command::parse(args), called(args, exe))?;
    let identity = FileIdentity::of(&found.link.path())?;
    let device = proc.device(process.pid, &identity, &proc.own_mounts());
    proc.still_runs(process).then_some((device, identity.inode))
}
