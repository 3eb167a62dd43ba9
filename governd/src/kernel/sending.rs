//! The tracepoints at which bytes are queued to be sent, and given to a path of several.

use governd_common::names::program;

use super::{btf::Btf, program::Kind};

/// `BPF_PROG_TYPE_TRACING` and `BPF_TRACE_RAW_TP` (include/uapi/linux/bpf.h).
const TRACING: u32 = 26;
const TRACE_RAW_TP: u32 = 23;

/// By which the kernel may tell, the better one first: before a TCP socket has the bytes (Linux
/// 6.16), and after any socket has them (Linux 6.3).
const TRACEPOINTS: [&str; 2] = ["tcp_sendmsg_locked", ANY_TRACEPOINT];

/// By which it tells of what any socket was given to send, the connections among them that have
/// several paths.
const ANY_TRACEPOINT: &str = "sock_send_length";

/// By which it tells of the paths of a connection (Linux 5.13).
const PATH_TRACEPOINT: &str = "mptcp_subflow_get_send";

/// The helper that goes from a path to its connection, since Linux 5.19.
const PATH_HELPER: &str = "BPF_FUNC_skc_to_mptcp_sock";

/// Kind of the program on what is queued; `None` where the kernel has no such tracepoint.
pub(crate) fn queue_kind(btf: &Btf) -> Option<Kind> {
    TRACEPOINTS.iter().find_map(|name| kind(btf, name))
}

/// Where a path has its connection, and the kind of the program on paths; `None` where the kernel
/// lacks what that takes.
pub(crate) fn paths(btf: &Btf) -> Option<(u32, Kind)> {
    let connection = btf.offset("mptcp_subflow_context", "conn").ok()?;
    let kind = kind(btf, PATH_TRACEPOINT)?;
    btf.has_name(PATH_HELPER).then_some((connection, kind))
}

/// Kinds of those of these programs that the kernel has tracepoints for.
pub(crate) fn kinds(btf: &Btf) -> impl Iterator<Item = (&'static str, Kind)> {
    let kinds = [
        (program::TCP_SEND, queue_kind(btf)),
        (program::ANY_SEND, kind(btf, ANY_TRACEPOINT)),
        (program::PATH_SEND, paths(btf).map(|(_, kind)| kind)),
    ];
    kinds.into_iter().filter_map(|(name, kind)| Some((name, kind?)))
}

fn kind(btf: &Btf, tracepoint: &str) -> Option<Kind> {
    let function = btf.tracepoint(tracepoint)?;
    Some(Kind { program_type: TRACING, attach_type: TRACE_RAW_TP, function })
}
