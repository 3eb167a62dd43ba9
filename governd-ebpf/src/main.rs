//! Table of the hooks; the work is in the module of each family.
//!
//! Every program is attached to the root of the cgroup v2 tree, or to the one that the daemon is
//! told to govern, and finds the policy for the current process by itself: a socket made elsewhere
//! and a process that changes its cgroup are seen all the same.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![cfg_attr(feature = "calls", feature(asm_experimental_arch))]
#![allow(
    internal_features,
    reason = "the target has no atomic types, since it cannot compare and exchange; what it can is \
              to add (BPF_XADD, since Linux 3.18)"
)]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_sock_addr,
    macros::{
        cgroup_device, cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, cgroup_sysctl,
        classifier, raw_tracepoint,
    },
    programs::{
        BtfTracePointContext, DeviceContext, LsmContext, RawTracePointContext, SkBuffContext,
        SockAddrContext, SockContext, SockoptContext, SysctlContext, TcContext,
    },
};
use governd_common::event::Hook;

mod again;
mod answer;
mod answer_tcp;
mod asking;
mod caller;
mod decision;
mod dns;
mod dns_stream;
mod egress;
mod elsewhere;
mod emit;
mod frame;
mod hello;
mod hits;
mod limit;
mod local;
#[cfg_attr(feature = "calls", path = "calls.rs")]
mod loops;
mod lsm;
mod memory;
mod multipath;
mod note;
mod outcome;
mod owner;
mod process;
mod query;
mod query_tcp;
mod quic;
mod reading;
mod segment;
mod sending;
mod skb;
mod sock;
mod sock_addr;
mod sockopt;
mod state;
mod subject;
mod sysctl;
mod tables;
mod tails;
mod task;
mod traffic;
mod unix;
mod wire;

/// Since Linux 4.17: `connect(2)` on IPv4, TCP Fast Open included, before the first packet and in
/// the caller's context, so that the caller gets an error.
#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    sock_addr::judge(&context, Hook::Connect, sock_addr::destination_v4(&context))
}

/// Since Linux 4.17: `connect(2)` on IPv6 sockets, to IPv4 addresses in mapped form too.
#[cgroup_sock_addr(connect6)]
fn connect6(context: SockAddrContext) -> i32 {
    sock_addr::judge(&context, Hook::Connect, sock_addr::destination_v6(&context))
}

/// Since Linux 4.18: `sendto(2)` and `sendmsg(2)` with a destination on UDP over IPv4, also from
/// IPv6 sockets to mapped addresses, once per message.
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(context: SockAddrContext) -> i32 {
    sock_addr::judge(&context, Hook::Sendmsg, sock_addr::destination_v4(&context))
}

/// Since Linux 4.18: `sendto(2)` and `sendmsg(2)` with a destination on UDP over IPv6.
#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(context: SockAddrContext) -> i32 {
    sock_addr::judge(&context, Hook::Sendmsg, sock_addr::destination_v6(&context))
}

/// Since Linux 4.10: `socket(2)` on IPv4 and IPv6, the only hook that raw and ping sockets pass.
#[cgroup_sock(sock_create)]
fn sock_create(context: SockContext) -> i32 {
    sock::judge(&context)
}

/// Since Linux 5.9: the last descriptor of a socket on IPv4 or IPv6 is closed.
#[cgroup_sock(sock_release)]
fn sock_release(context: SockContext) -> i32 {
    traffic::report(&context)
}

/// Since Linux 4.10: packets on their way to a socket, before the application can read them, so
/// that an address is bound to its name before anybody can connect to it.
#[cgroup_skb(ingress)]
fn skb_ingress(context: SkBuffContext) -> i32 {
    answer::judge(&context)
}

/// Since Linux 4.10: packets on their way out, whichever socket they come from.
#[cgroup_skb(egress)]
fn skb_egress(context: SkBuffContext) -> i32 {
    egress::judge(&context)
}

/// Called by `skb_egress`, and not attached: packets to port 53.
#[cgroup_skb(egress)]
fn skb_query(context: SkBuffContext) -> i32 {
    query::judge(&context)
}

/// Called by `skb_query`, and not attached: packets to port 53 over TCP.
#[cgroup_skb(egress)]
fn skb_query_tcp(context: SkBuffContext) -> i32 {
    query_tcp::judge(&context)
}

/// Called by `skb_ingress`, and not attached: packets from port 53 over TCP.
#[cgroup_skb(ingress)]
fn skb_answer_tcp(context: SkBuffContext) -> i32 {
    answer_tcp::judge(&context)
}

/// Called by `skb_egress`, and not attached: packets of connections whose first bytes have to name
/// an allowed server.
#[cgroup_skb(egress)]
fn skb_hello(context: SkBuffContext) -> i32 {
    hello::judge(&context)
}

/// Called by `skb_egress`, and not attached: packets of connections of agents that nobody
/// registered.
#[cgroup_skb(egress)]
fn skb_note(context: SkBuffContext) -> i32 {
    note::read(&context)
}

/// Called by `skb_egress`, and not attached: what sockets send where a rule allows QUIC.
#[cgroup_skb(egress)]
fn skb_quic(context: SkBuffContext) -> i32 {
    quic::judge(&context)
}

/// Called by `skb_egress`, and not attached: packets that go elsewhere than their socket says.
#[cgroup_skb(egress)]
fn skb_elsewhere(context: SkBuffContext) -> i32 {
    elsewhere::judge(&context)
}

/// Since Linux 6.7: `connect(2)` on local sockets. aya has no name for the hook, so the section is
/// that of another one of the same type, and the daemon loads the program by itself.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/connect4/unix")]
fn connect_unix(context: *mut bpf_sock_addr) -> i32 {
    unix::judge(&SockAddrContext::new(context))
}

/// Since Linux 6.7: `sendto(2)` and `sendmsg(2)` with a destination on local sockets; as above.
#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/sendmsg4/unix")]
fn sendmsg_unix(context: *mut bpf_sock_addr) -> i32 {
    unix::judge(&SockAddrContext::new(context))
}

/// Since Linux 4.15: a device is opened or made.
#[cgroup_device]
fn device(context: DeviceContext) -> i32 {
    local::judge_device(&context)
}

/// Since Linux 5.3: `setsockopt(2)` on every kind of socket.
#[cgroup_sockopt(setsockopt)]
fn setsockopt(context: SockoptContext) -> i32 {
    sockopt::judge(&context)
}

/// Since Linux 5.2: a file below `/proc/sys` is read or written.
#[cgroup_sysctl]
fn sysctl(context: SysctlContext) -> i32 {
    sysctl::judge(&context)
}

/// Since Linux 5.7, where BPF is a security module: `bpf(2)`. The daemon loads these by itself, as
/// it does those of local sockets.
#[unsafe(no_mangle)]
#[unsafe(link_section = "lsm/bpf")]
fn lsm_bpf(_: *mut c_void) -> i32 {
    lsm::judge_bpf()
}

/// As above: a signal to a process.
#[unsafe(no_mangle)]
#[unsafe(link_section = "lsm/task_kill")]
fn lsm_kill(context: *mut c_void) -> i32 {
    lsm::judge_kill(&LsmContext::new(context))
}

/// As above: `ptrace(2)`, and reading or writing what belongs to another process.
#[unsafe(no_mangle)]
#[unsafe(link_section = "lsm/ptrace_access_check")]
fn lsm_ptrace(context: *mut c_void) -> i32 {
    lsm::judge_ptrace(&LsmContext::new(context))
}

/// Since Linux 6.6 at this place (tcx): frames that an interface is about to send.
#[classifier]
fn frame(context: TcContext) -> i32 {
    frame::judge(&context)
}

/// Since Linux 6.6, as above: packets, where nobody but an agent changes them.
#[classifier]
fn wire(context: TcContext) -> i32 {
    wire::judge(&context)
}

/// Since Linux 4.17 as a raw tracepoint: in the parent, before the child runs.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn process_fork(context: RawTracePointContext) -> i32 {
    process::fork(&context);
    0
}

/// Since Linux 4.17 as a raw tracepoint: the new program is in place and has not run.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(context: RawTracePointContext) -> i32 {
    process::exec(&context);
    0
}

/// Since Linux 4.17 as a raw tracepoint: each thread, when it runs no more code of its program.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(context: RawTracePointContext) -> i32 {
    process::exit(&context);
    0
}

/// Since Linux 6.14 at little cost: the lock of a process's memory, before it is taken.
#[raw_tracepoint(tracepoint = "mmap_lock_start_locking")]
fn memory_lock(context: RawTracePointContext) -> i32 {
    memory::judge(&context);
    0
}

/// Since Linux 6.16, before the bytes are in the queue; since Linux 6.3 the tracepoint
/// `sock_send_length` in its place, when they are. The daemon loads it for the one that there is.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/tcp_sendmsg_locked")]
fn tcp_send(context: *mut c_void) -> i32 {
    sending::judge(&BtfTracePointContext::new(context));
    0
}

/// Since Linux 6.3: any socket was given bytes to send. Where the program before is told of TCP
/// alone, this one sees the rest.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/sock_send_length")]
fn any_send(context: *mut c_void) -> i32 {
    sending::judge_any(&BtfTracePointContext::new(context));
    0
}

/// Since Linux 5.13: one of the paths of a multipath connection is chosen, for what it has to send.
/// The daemon loads it as it does those before.
#[unsafe(no_mangle)]
#[unsafe(link_section = "tp_btf/mptcp_subflow_get_send")]
fn path_send(context: *mut c_void) -> i32 {
    multipath::judge(&BtfTracePointContext::new(context));
    0
}

/// The compiler wants one; no program here can panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
