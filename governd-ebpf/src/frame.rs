//! Frames of packet sockets, at the interface: no other hook sees them.
//!
//! A packet socket sends in the context of the process that calls, so the current task is the
//! sender. Everything that does not come from such a socket passes before anything is looked up.
//! Sockets that ask for it (`PACKET_QDISC_BYPASS`) and XDP sockets send past this hook too: what
//! they need of [`crate::sockopt`] they do not get.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_skb_cgroup_id},
    programs::TcContext,
};
use governd_common::{
    address::Address,
    decide::Tables as _,
    event::{EventHeader, EventKind, FlowEvent, Hook},
    limits::COMM_BYTES,
    table::subject_flag,
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::{self, Wake, count},
    outcome::{Fault, Outcome},
    subject::{is_lost, tracked},
    tables::{View, is_quarantined},
    task::TaskPointer,
};

const AF_PACKET: u32 = 17;
/// PPP over a network interface, whose sockets send frames as well.
const AF_PPPOX: u32 = 24;
const SOCK_RAW: u32 = 3;
/// To the next program at the interface (include/uapi/linux/bpf.h).
pub(crate) const TCX_NEXT: i32 = -1;
pub(crate) const TCX_DROP: i32 = 2;

/// Decides about a frame, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &TcContext) -> i32 {
    let skb: *mut __sk_buff = context.skb.skb;
    // SAFETY: the kernel fills the context.
    let socket: *mut bpf_sock = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return TCX_NEXT;
    }
    // SAFETY: every socket has a family.
    let family = unsafe { ptr::read_volatile(&raw const (*socket).family) };
    if family != AF_PACKET && family != AF_PPPOX {
        return TCX_NEXT;
    }
    let view = View::current();
    let Some(tgid) = TaskPointer::current().tgid() else {
        count(Loss::Read);
        return of_lost(view);
    };
    let Some(task) = tracked(tgid) else {
        return if is_lost(tgid) { of_lost(view) } else { TCX_NEXT };
    };
    let Some(view) = view else {
        return TCX_DROP;
    };
    let Some(settings) = view.subject(task.subject) else {
        return TCX_NEXT;
    };
    let is_quarantined = is_quarantined(task.subject);
    if settings.flags & subject_flag::RAW_SOCKETS != 0 && !is_quarantined {
        return TCX_NEXT;
    }
    let mode = if is_quarantined { Mode::Enforce } else { Mode::from_byte(settings.mode) };
    let header = EventHeader {
        kind: EventKind::Flow as u16,
        hook: Hook::Frame as u16,
        tgid,
        // SAFETY: the helpers read the clock and the packet's socket.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        generation: view.generation,
        // SAFETY: see above.
        cgroup: unsafe { bpf_skb_cgroup_id(skb) },
        uid: 0,
        gid: 0,
        subject: task.subject,
        root: task.root,
        comm: [0; COMM_BYTES],
    };
    let event = FlowEvent {
        header,
        address: Address::UNSPECIFIED,
        port: 0,
        protocol: 0,
        verdict: Verdict::Deny as u8,
        reason: Reason::RawSocket as u8,
        mode: mode as u8,
        family: family as u16,
        socket_type: SOCK_RAW,
        rule: settings.default_rule,
        set: 0,
        reserved: 0,
        // SAFETY: the helper takes the context of this program's type.
        cookie: unsafe { bpf_get_socket_cookie(skb.cast()) },
    };
    emit::event(event, Wake::Now);
    if mode == Mode::Enforce { TCX_DROP } else { TCX_NEXT }
}

/// What becomes of a frame of a process of which nobody can say whose it is.
#[inline(always)]
fn of_lost(view: Option<View>) -> i32 {
    match view {
        Some(view) if Fault::LostTask(view).outcome() == Outcome::Refuse => TCX_DROP,
        _ => TCX_NEXT,
    }
}
