//! The hooks on local sockets.

use governd_common::names::program;

use super::own::Kind;

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR` (include/uapi/linux/bpf.h).
const CGROUP_SOCK_ADDR: u32 = 18;

/// The programs and their attach types, `BPF_CGROUP_UNIX_CONNECT` and `BPF_CGROUP_UNIX_SENDMSG`.
pub(crate) const PROGRAMS: [(&str, u32); 2] =
    [(program::CONNECT_UNIX, 49), (program::SENDMSG_UNIX, 50)];

/// A program's kind, if it is one of these.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    let (_, attach_type) = *PROGRAMS.iter().find(|(program, _)| *program == name)?;
    Some(Kind { program_type: CGROUP_SOCK_ADDR, attach_type, function: 0 })
}
