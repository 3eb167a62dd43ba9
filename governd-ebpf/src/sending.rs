//! Bytes that a governed process queues in a connection of somebody else's.
//!
//! [`crate::owner`] sees who sends where a packet leaves in the sender's context. Queued bytes need
//! not: those of a corked socket wait for a timer, and those for a full window for the peer. So a
//! TCP socket that is nobody's, or another subject's, becomes the sender's as bytes are queued, and
//! what it is connected to is judged at its next packet.
//!
//! The program runs for every send on the host; nearly all are of processes that nobody tracks.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE, helpers::bpf_sk_storage_get,
    programs::BtfTracePointContext,
};
use governd_common::{
    decide::Tables as _,
    table::{SocketOwner, socket_flag},
    verdict::Loss,
};

use crate::{
    emit::count,
    subject,
    tables::{SOCKETS, View},
    task::SocketPointer,
};

/// `tcp_sendmsg_locked(sk, …)` and `sock_send_length(sk, …)`: the current task sends.
#[inline(always)]
pub(crate) fn judge(context: &BtfTracePointContext) {
    let tgid = subject::doer();
    let (subject, root) = match subject::tracked(tgid) {
        Some(task) => (task.subject, task.root),
        None if subject::is_lost(tgid) => (SocketOwner::LOST, 0),
        None => return,
    };
    let socket: *mut c_void = context.arg(0);
    let stored = storage(socket, ptr::null_mut(), 0);
    // SAFETY: not null; the storage lives as long as the socket.
    if !stored.is_null() && unsafe { (*stored).subject } == subject {
        // This is nearly every send of an agent.
        return;
    }
    let is_known = subject == SocketOwner::LOST
        || View::current().is_some_and(|view| view.subject(subject).is_some());
    if is_known {
        take(socket, subject, tgid, root);
    }
}

/// Makes the socket the sender's.
#[inline(always)]
fn take(socket: *mut c_void, subject: u32, tgid: u32, root: u32) {
    let pointer = SocketPointer::of_context(socket.cast_const());
    let (Some(is_tcp), Some(is_kernels)) = (pointer.is_tcp(), pointer.is_kernels()) else {
        count(Loss::Read);
        return;
    };
    // A network file system sends in the context of who uses it.
    if !is_tcp || is_kernels {
        return;
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
