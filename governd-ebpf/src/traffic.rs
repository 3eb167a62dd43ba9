//! The end of a connection, with what went through it.
//!
//! The kernel counts the bytes of every TCP connection, so they are read once, when the last
//! descriptor goes: no packet costs anything for being counted, and a socket that is nobody's
//! costs a lookup when it is closed. What the kernel sends after that is not in the count.

use aya_ebpf::{EbpfContext as _, helpers::bpf_get_socket_cookie, programs::SockContext};
use governd_common::{
    event::{EventKind, TrafficEvent},
    table::SocketOwner,
    verdict::Loss,
};

use crate::{
    emit::{self, Wake, count},
    owner,
    subject::Who,
    task::SocketPointer,
};

const PORT_DNS: u16 = 53;
const PROTOCOL_TCP: u8 = 6;
/// The kernel closes a socket whatever a program says.
const CLOSED: i32 = 1;

/// Reports what went through a connection, if it is of interest whose it was.
#[inline(always)]
pub(crate) fn report(context: &SockContext) -> i32 {
    let owner = owner::of_socket(context.sock);
    if owner.is_null() {
        return CLOSED;
    }
    // SAFETY: not null; the storage lives as long as the socket.
    let owner: &SocketOwner = unsafe { &*owner };
    let is_connected = owner.generation != 0 && owner.protocol == PROTOCOL_TCP;
    if !is_connected || (owner.subject == 0 && owner.port == PORT_DNS) {
        return CLOSED;
    }
    let Some((sent, received)) = SocketPointer::of_context(context.as_ptr()).traffic() else {
        count(Loss::Read);
        return CLOSED;
    };
    // SYN and FIN take a place in the sequence.
    if sent <= 1 && received <= 1 {
        return CLOSED;
    }
    let SocketOwner { tgid, subject, root, generation, .. } = *owner;
    let who = Who { tgid, subject, root, is_lost: false };
    let event = TrafficEvent {
        header: emit::header(EventKind::Traffic, 0, generation, &who),
        address: owner.address,
        port: owner.port,
        reserved: 0,
        set: owner.name_set,
        // SAFETY: the helper takes the context of this program's type.
        cookie: unsafe { bpf_get_socket_cookie(context.as_ptr()) },
        sent,
        received,
    };
    emit::event(event, Wake::OnTimer);
    CLOSED
}
