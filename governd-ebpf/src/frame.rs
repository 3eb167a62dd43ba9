//! Frames of packet sockets, at the interface: no other hook sees them. So are those of other
//! families that are not IP's (LLC, IEEE 802.15.4, PPP over Ethernet and the like).
//!
//! Such a socket sends in the context of the process that calls, so the current task is the
//! sender. Everything that does not come from such a socket passes before anything is looked up.
//! Sockets that ask for it (`PACKET_QDISC_BYPASS`) and XDP sockets send past this hook too: what
//! they need of [`crate::sockopt`] they do not get.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::{bpf_get_socket_cookie, bpf_skb_cgroup_id},
    programs::TcContext,
};
use governd_common::{event::Hook, table::subject_flag};

use crate::{asking::Asking, outcome::Outcome, subject::tracked, tables::View, task::TaskPointer};

/// The device of a macvtap interface, where who writes to it sends, and no other interface had the
/// frame before. What other devices give came in by an interface of theirs.
const AF_UNSPEC: u32 = 0;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
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
    // SAFETY: the kernel fills the context.
    let has_come_in = unsafe { (*skb).ingress_ifindex } != 0;
    if family == AF_INET || family == AF_INET6 || (family == AF_UNSPEC && has_come_in) {
        return TCX_NEXT;
    }
    let tgid = TaskPointer::current().tgid();
    let Some(view) = View::current() else {
        let is_tracked = tgid.is_some_and(|tgid| tracked(tgid).is_some());
        return if is_tracked { TCX_DROP } else { TCX_NEXT };
    };
    let outcome = match Asking::of(&view, tgid, subject_flag::RAW_SOCKETS) {
        Ok(asking) => {
            // SAFETY: the helpers take the context of this program's type.
            let (cgroup, cookie) =
                unsafe { (bpf_skb_cgroup_id(skb), bpf_get_socket_cookie(skb.cast())) };
            asking.report_socket(Hook::Frame, family as u16, cgroup, cookie);
            asking.outcome()
        }
        Err(outcome) => outcome,
    };
    if outcome == Outcome::Refuse { TCX_DROP } else { TCX_NEXT }
}
