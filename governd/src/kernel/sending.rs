//! The tracepoint at which bytes are queued to be sent.

use governd_common::names::program;

use super::{KernelError, btf::Btf, own::Kind};

/// `BPF_PROG_TYPE_TRACING` and `BPF_TRACE_RAW_TP` (include/uapi/linux/bpf.h).
const TRACING: u32 = 26;
const TRACE_RAW_TP: u32 = 23;

/// By which the kernel may tell, the better one first: before a TCP socket has the bytes (Linux
/// 6.16), and after any socket has them (Linux 6.3).
const TRACEPOINTS: [&str; 2] = ["tcp_sendmsg_locked", "sock_send_length"];

/// The program's kind on a kernel; `None` where it has no such tracepoint.
pub(crate) fn kind(btf: &Btf) -> Option<Kind> {
    let function = TRACEPOINTS.iter().find_map(|name| btf.tracepoint(name))?;
    Some(Kind { program_type: TRACING, attach_type: TRACE_RAW_TP, function })
}

/// As [`kind`], of the running kernel, if the program is this one.
pub(crate) fn kind_of(name: &str) -> Result<Option<Kind>, KernelError> {
    if name != program::TCP_SEND {
        return Ok(None);
    }
    Ok(kind(&Btf::of_kernel()?))
}
