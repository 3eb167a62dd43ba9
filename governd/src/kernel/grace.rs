//! The end of programs that judge by an earlier policy.
//!
//! A program reads once which policy is in force and uses that to its end. It is the kernel that
//! takes its time to say that all have ended, and no processor's, so other things are done
//! meanwhile.

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::thread::{MembarrierCommand, membarrier};

/// How long it takes where the kernel cannot say when all programs have ended.
const PERIOD: Duration = Duration::from_millis(100);

/// Waits for programs that may still judge by the policy before.
#[derive(Debug, Default)]
pub(super) struct Grace(Option<JoinHandle<()>>);

impl Grace {
    /// Begins to wait for the end of all programs that run now. Where the system gives no thread,
    /// that is all that is done.
    pub(super) fn begin(&mut self) {
        self.end();
        match thread::Builder::new().name("grace".into()).spawn(wait_for_programs) {
            Ok(waiting) => self.0 = Some(waiting),
            Err(_) => wait_for_programs(),
        }
    }

    /// Returns when they have ended.
    pub(super) fn end(&mut self) {
        if self.0.take().is_some_and(|waiting| waiting.join().is_err()) {
            wait_for_programs();
        }
    }
}

/// Waits until every program that ran when this was called has ended: they run in RCU read-side
/// critical sections, for whose end this command waits (kernel/sched/membarrier.c).
fn wait_for_programs() {
    if let Err(error) = membarrier(MembarrierCommand::Global) {
        tracing::debug!(%error, "no membarrier, waiting instead");
        thread::sleep(PERIOD);
    }
}
