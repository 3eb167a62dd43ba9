//! Bytes that a governed process queues in a socket of somebody else's.
//!
//! [`crate::owner`] sees who sends where a packet leaves in the sender's context. Queued bytes need
//! not: those of a corked socket wait for a timer, those for a full window for the peer, and those
//! of a datagram that is not whole for who completes it. So a socket that is nobody's, or another
//! subject's, becomes the sender's as bytes are queued, and what it is connected to is judged at
//! its next packet. Of a multipath connection that is the socket above its paths
//! ([`crate::multipath`]).
//!
//! The program runs for every send on the host; nearly all are of processes that nobody watches.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE, helpers::bpf_sk_storage_get,
    programs::BtfTracePointContext,
};
use governd_common::{
    decide::Tables as _,
    table::{SocketOwner, ever, socket_flag},
    verdict::Loss,
};

use crate::{
    emit::count,
    subject,
    tables::{SOCKETS, View, will_have_been},
    task::{KnownSocket, PROTOCOL_MPTCP, PROTOCOL_TCP, SocketPointer},
};

/// A governed process that sends.
pub(crate) struct Sends {
    subject: u32,
    tgid: u32,
    root: u32,
}

impl Sends {
    /// The current process, if it is governed.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        let tgid = subject::doer();
        if !subject::is_watched(tgid) {
            // This is nearly every send.
            return None;
        }
        match subject::entry(tgid) {
            Some(task) => Some(Self { subject: task.subject, tgid, root: task.root }),
            None if subject::is_lost(tgid) => {
                Some(Self { subject: SocketOwner::LOST, tgid, root: 0 })
            }
            None => None,
        }
    }
}

/// `tcp_sendmsg_locked(sk, …)` and `sock_send_length(sk, …)`: the current task sends.
#[inline(always)]
pub(crate) fn judge(context: &BtfTracePointContext) {
    let Some(sends) = Sends::current() else {
        return;
    };
    let socket: *mut c_void = context.arg(0);
    if !is_own(socket, &sends) {
        take(socket, &sends);
    }
}

/// `sock_send_length(sk, …)`, for all but TCP over one path: multipath connections, and sockets
/// with a datagram that is not whole, which whoever has the socket may complete and send.
#[inline(always)]
pub(crate) fn judge_any(context: &BtfTracePointContext) {
    let socket = KnownSocket::new(context.arg(0));
    let is_meant = match socket.protocol() {
        PROTOCOL_TCP => false,
        PROTOCOL_MPTCP => true,
        _ => socket.is_inet() && socket.has_queued(),
    };
    if is_meant {
        judge(context);
    }
}

/// Whether the socket is the sender's already, which nearly every one of an agent is.
#[inline(always)]
pub(crate) fn is_own(socket: *mut c_void, sends: &Sends) -> bool {
    let stored = storage(socket, ptr::null_mut(), 0);
    // SAFETY: not null; the storage lives as long as the socket.
    !stored.is_null() && unsafe { (*stored).subject } == sends.subject
}

/// Makes a socket the sender's, if the policy knows that one.
#[inline(always)]
pub(crate) fn take(socket: *mut c_void, &Sends { subject, tgid, root }: &Sends) {
    let is_known = subject == SocketOwner::LOST
        || View::current().is_some_and(|view| view.subject(subject).is_some());
    if !is_known {
        return;
    }
    let pointer = SocketPointer::of_context(socket.cast_const());
    let (Some(is_inet), Some(is_kernels)) = (pointer.is_inet(), pointer.is_kernels()) else {
        count(Loss::Read);
        return;
    };
    // A network file system sends in the context of who uses it.
    if !is_inet || is_kernels {
        return;
    }
    if pointer.may_have_paths() {
        will_have_been(ever::MULTIPATH);
    }
    let mut owner = SocketOwner::unconnected(0, tgid, root);
    let stored = storage(socket, &raw mut owner, BPF_SK_STORAGE_GET_F_CREATE);
    if stored.is_null() {
        count(Loss::Sockets);
        return;
    }
    // SAFETY: just checked; the storage lives as long as the socket.
    let stored = unsafe { &mut *stored };
    let was_owned = stored.subject != 0;
    (stored.subject, stored.tgid, stored.root) = (subject, tgid, root);
    stored.flags |= socket_flag::FOREIGN;
    if stored.generation != 0 {
        // An earlier hook saw where it was connected to.
        stored.generation = SocketOwner::NOT_JUDGED;
    } else if !was_owned {
        stored.flags |= socket_flag::QUEUED;
    }
}

/// What is stored for the socket, or null.
#[inline(always)]
fn storage(socket: *mut c_void, first: *mut SocketOwner, flags: u32) -> *mut SocketOwner {
    let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
    // SAFETY: the map is that of socket storage, and holds a `SocketOwner`; the kernel gives the
    // socket, and the sender holds it.
    unsafe { bpf_sk_storage_get(map, socket, first.cast(), u64::from(flags)) }.cast()
}
