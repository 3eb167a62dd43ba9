//! What is known of a process. Fields that could not be learned are `None`; records say so.

use std::{path::PathBuf, sync::Arc};

use super::{digest::Digest, workload::Workload};

/// A process, as kernel events and /proc describe it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Process {
    /// Process id (`tgid`) in the initial pid namespace.
    pub pid: u32,
    /// When it started: `CLOCK_BOOTTIME`, in nanoseconds. Together with `pid` it identifies the
    /// process for as long as the host is up.
    pub started_ns: u64,
    /// Parent's pid.
    pub parent: Option<u32>,
    /// Name of the thread group leader (`comm`).
    pub name: String,
    /// Executable.
    pub exe: Option<Exe>,
    /// Digest of the executable; `None` if the file could not be looked at.
    pub digest: Option<Arc<Digest>>,
    /// Arguments, redacted: anything that looks like a secret is `[redacted]`.
    pub args: Option<Arc<[String]>>,
    /// Real user id.
    pub uid: Option<u32>,
    /// User name of `uid`.
    pub user: Option<Arc<str>>,
    /// Real group id.
    pub gid: Option<u32>,
    /// cgroup v2 id.
    pub cgroup_id: Option<u64>,
    /// cgroup v2 path below the mount, with a leading slash.
    pub cgroup: Option<Arc<str>>,
    /// Unit, container and pod; `None` if it belongs to none.
    pub workload: Option<Arc<Workload>>,
    /// Who logged in to what became this process.
    pub login: Login,
    /// Session of the kernel (setsid(2)): the pid of whoever began it.
    pub session: Option<u32>,
    /// Trace that it is a part of, as whoever started it said (W3C Trace Context); 32 digits.
    pub trace: Option<Arc<str>>,
}

/// The login that a process comes from, which it keeps whatever it runs as (audit of the kernel).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Login {
    /// User id; `None` if nobody logged in, or the kernel does not keep it.
    pub uid: Option<u32>,
    /// Number of the session; `None` likewise.
    pub session: Option<u32>,
}

/// An executable file.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Exe {
    /// Path in the mount namespace of the process; lossy for non-UTF-8 names.
    pub path: PathBuf,
    /// `s_dev` of its file system: `major << 20 | minor`.
    pub device: u32,
    /// Inode.
    pub inode: u64,
}

impl Process {
    /// SHA-256 of its executable in hexadecimal, once it is known.
    pub fn sha256(&self) -> Option<&Arc<str>> {
        self.digest.as_ref()?.sha256()
    }
}

/// One step of a lineage, nearest ancestor first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ancestor {
    /// Process id.
    pub pid: u32,
    /// Name or file name of the executable.
    pub name: String,
    /// Executable path, where known.
    pub exe: Option<PathBuf>,
}
