//! Options that take a socket's packets out of sight.
//!
//! A packet socket may ask to send past every hook of an interface, and an XDP socket is nothing
//! without its rings, which options make. So those are what an enforced subject does not get. The
//! program runs for every option of every socket on the host: what is asked for tells most apart
//! before anything is looked up. As in [`crate::asking`], who asks is the entry in the task map.

use core::ptr;

use aya_ebpf::{bindings::bpf_sockopt, programs::SockoptContext};
use governd_common::{event::Hook, table::subject_flag};

use crate::{asking::Asking, outcome::Outcome, tables::View, task::TaskPointer};

/// Options longer than this are not shown in whole; the kernel takes them from the caller, if it
/// is told to, and is confused by them otherwise (Documentation/bpf/prog_cgroup_sockopt.rst).
const SHOWN_BYTES_MAX: i32 = 4_096;
const SOL_PACKET: i32 = 263;
const PACKET_QDISC_BYPASS: i32 = 20;
const SOL_UDP: i32 = 17;
const UDP_ENCAP: i32 = 100;
const SOL_XDP: i32 = 283;
const AF_INET: u16 = 2;
const AF_PACKET: u16 = 17;
const AF_XDP: u16 = 44;

/// Decides about an option, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SockoptContext) -> i32 {
    let sockopt: *mut bpf_sockopt = context.sockopt;
    // SAFETY: the kernel fills the context; these programs may read these fields.
    let (level, name, len) = unsafe {
        (
            ptr::read_volatile(&raw const (*sockopt).level),
            ptr::read_volatile(&raw const (*sockopt).optname),
            ptr::read_volatile(&raw const (*sockopt).optlen),
        )
    };
    if len > SHOWN_BYTES_MAX {
        // SAFETY: as above, and they may write this one.
        unsafe { ptr::write_volatile(&raw mut (*sockopt).optlen, 0) };
    }
    match (level, name) {
        (SOL_PACKET, PACKET_QDISC_BYPASS) => judge_hiding(AF_PACKET),
        (SOL_XDP, _) => judge_hiding(AF_XDP),
        // The end of a tunnel sends in anybody's context.
        (SOL_UDP, UDP_ENCAP) => judge_hiding(AF_INET),
        _ => Outcome::Pass.answer(),
    }
}

#[inline(always)]
fn judge_hiding(family: u16) -> i32 {
    let Some(view) = View::current() else {
        return Outcome::Pass.answer();
    };
    let tgid = TaskPointer::current().tgid();
    match Asking::of(&view, tgid, subject_flag::RAW_SOCKETS) {
        Ok(asking) => {
            asking.report_socket(Hook::Option, family, 0, 0);
            asking.outcome().answer()
        }
        Err(outcome) => outcome.answer(),
    }
}
