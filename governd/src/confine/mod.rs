//! What a process of governd gives up: capabilities, system calls, files.
//!
//! Capabilities and files belong to threads and are inherited by those that a thread starts, so
//! they are given up by the first thread while it is the only one. What governd needs at its start
//! and what it needs later are nearly the same, because a new policy, a removed pin or a new
//! network namespace makes it load, attach and enter again; what only the start needs is done
//! before. System calls can be refused to all threads at once, so that comes when everything is
//! built.
//!
//! The unit of `deploy/systemd/` and the manifests of `deploy/kubernetes/` limit the process from
//! outside, too. This holds however it is started, and where both say something, the narrower one
//! counts.

mod calls;
mod capabilities;
mod files;

use std::io;

use rustix::{process::Gid, thread};

pub use calls::{REFUSED, Refused, When};
pub use capabilities::{DAEMON, Kept, SINK, keep};
pub use files::{Confined, landlock, write_only_below};

/// What a thread may do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Privileges {
    /// Names of the capabilities that it has.
    pub capabilities: Vec<&'static str>,
    /// Whether programs that it starts can get more than it has.
    pub may_gain: bool,
    /// Whether the kernel refuses it system calls.
    pub is_filtered: bool,
}

impl Privileges {
    /// Those of the calling thread, as the kernel tells.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn present() -> io::Result<Self> {
        use thread::SecureComputingMode::Filter;
        let effective = thread::capabilities(None)?.effective;
        Ok(Self {
            capabilities: capabilities::names(effective),
            may_gain: !thread::no_new_privs()?,
            is_filtered: thread::secure_computing_mode()? == Filter,
        })
    }
}

/// Keeps these capabilities and no others, and becomes a member of this group and of no other: the
/// calling thread, and all that it starts.
///
/// # Errors
/// What was not given up, and why. What comes after it is given up all the same.
pub fn confine(kept: &[Kept], group: Option<u32>) -> Result<(), Vec<ConfineError>> {
    let mut errors = Vec::new();
    let mut note = |outcome: Result<(), ConfineError>| errors.extend(outcome.err());
    // A member may give the group a file, which otherwise takes CAP_CHOWN. Who may not choose its
    // groups has them from a service manager.
    let groups: Vec<_> = group.map(Gid::from_raw).into_iter().collect();
    match thread::set_thread_groups(&groups) {
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => note(Err(ConfineError::Groups(error.into()))),
    }
    note(capabilities::keep(kept).map_err(ConfineError::Capabilities));
    note(thread::set_no_new_privs(true).map_err(|error| ConfineError::NewPrivileges(error.into())));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Refuses what [`REFUSED`] lists to the calling thread and all that it starts.
///
/// # Errors
/// The kernel has no such filters.
pub fn refuse_calls() -> Result<(), ConfineError> {
    calls::refuse().map_err(ConfineError::Calls)
}

/// Refuses it to every thread of the process.
///
/// # Errors
/// The kernel has no such filters.
pub fn refuse_calls_everywhere() -> Result<(), ConfineError> {
    calls::refuse_everywhere().map_err(ConfineError::Calls)
}

/// What a process could not give up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Groups.
    #[error("cannot leave groups")]
    Groups(#[source] io::Error),
    /// Capabilities.
    #[error("cannot give up capabilities")]
    Capabilities(#[source] io::Error),
    /// Programs that it starts could get more.
    #[error("cannot refuse new privileges")]
    NewPrivileges(#[source] io::Error),
    /// System calls.
    #[error("cannot give up system calls")]
    Calls(#[source] seccompiler::Error),
}
