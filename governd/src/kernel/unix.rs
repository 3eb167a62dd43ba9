//! The hooks on local sockets.

use governd_common::names::program;

use super::program::Kind;

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR` (include/uapi/linux/bpf.h).
const CGROUP_SOCK_ADDR: u32 = 18;

/// The programs and their attach types, `BPF_CGROUP_UNIX_CONNECT` and `BPF_CGROUP_UNIX_SENDMSG`.
pub(crate) const PROGRAMS: [(&str, u32); 2] =
    [(program::CONNECT_UNIX, 49), (program::SENDMSG_UNIX, 50)];

/// What is attached at which hook of a cgroup.
pub(crate) fn hook(name: &str) -> Option<u32> {
    PROGRAMS.iter().find(|(program, _)| *program == name).map(|(_, hook)| *hook)
}

/// The programs' kinds.
pub(crate) fn kinds() -> impl Iterator<Item = (&'static str, Kind)> {
    let kind = |attach_type| Kind { program_type: CGROUP_SOCK_ADDR, attach_type, function: 0 };
    PROGRAMS.into_iter().map(move |(name, attach_type)| (name, kind(attach_type)))
}
