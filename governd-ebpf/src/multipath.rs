//! Connections over several paths (MPTCP, RFC 8684).
//!
//! What a process sends is queued in a socket above those of the paths. Each path's packets show
//! who sends while that process pushes them; but a path that is opened later sends from a worker of
//! the kernel's, and so does one that takes what another could not deliver. So the socket above has
//! an owner as well, whoever sent with it last, and a packet of a path is that one's.
//!
//! Processes of enforced agents get no such sockets from the kernel ([`crate::sock`]); what is left
//! is what others give them, and what agents do that are only watched.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_sk_storage_get, generated::bpf_skc_to_mptcp_sock},
    programs::BtfTracePointContext,
};
use governd_common::{
    table::{SocketOwner, ever},
    verdict::Loss,
};

use crate::{
    emit::count,
    sending::{self, Sends},
    tables::{SOCKETS, has_been},
    task::{SocketPointer, connection_of, layout},
};

/// `mptcp_subflow_get_send(subflow)`: bytes are about to be given to one of the paths.
#[inline(always)]
pub(crate) fn judge(context: &BtfTracePointContext) {
    let Some(sends) = Sends::current() else {
        return;
    };
    let socket = connection_of(context.arg(0));
    if sending::is_own(socket, &sends) {
        return;
    }
    // What an acknowledgement sets free is pushed in the context that it interrupted.
    match SocketPointer::of_context(socket.cast_const()).is_owned() {
        Some(true) => sending::take(socket, &sends),
        Some(false) => {}
        None => count(Loss::Read),
    }
}

/// The owner of the connection that the socket is a path of, or null. Nearly no host has one.
#[inline(always)]
pub(crate) fn owner_above(socket: *mut bpf_sock) -> *mut SocketOwner {
    if layout!(path_connection) == 0 || socket.is_null() || !has_been(ever::MULTIPATH) {
        return ptr::null_mut();
    }
    // SAFETY: the helper gives null for what is no full socket, or no path. The map is that of
    // socket storage, and the connection lives as long as its paths.
    unsafe {
        let above: *mut c_void = bpf_skc_to_mptcp_sock(socket.cast()).cast();
        if above.is_null() {
            return ptr::null_mut();
        }
        let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
        bpf_sk_storage_get(map, above, ptr::null_mut(), 0).cast()
    }
}
