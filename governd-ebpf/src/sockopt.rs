//! Options that take a socket's packets out of sight, or make the kernel send by itself.
//!
//! A packet socket may ask to send past every hook of an interface, and an XDP socket is nothing
//! without its rings, which options make. Who joins a multicast group has the kernel tell the link
//! so, from no socket of the process's, with the group and sources of its choice (RFC 9776, RFC
//! 9777). So those are what an enforced subject does not get, but for groups that its rules allow.
//! The program runs for every option of every socket on the host: what is asked for tells most
//! apart before anything is looked up. As in [`crate::asking`], who asks is the entry in the task
//! map.

use core::ptr;

use aya_ebpf::{bindings::bpf_sockopt, programs::SockoptContext};
use governd_common::{
    address::Address,
    decide::Tables as _,
    event::Hook,
    table::{Subject, subject_flag},
    verdict::Verdict,
};

use crate::{asking::Asking, outcome::Outcome, tables::View, task::TaskPointer};

/// Options longer than this are not shown in whole; the kernel takes them from the caller, if it
/// is told to, and is confused by them otherwise (Documentation/bpf/prog_cgroup_sockopt.rst).
const SHOWN_BYTES_MAX: i32 = 4_096;
const SOL_PACKET: i32 = 263;
const PACKET_QDISC_BYPASS: i32 = 20;
const SOL_UDP: i32 = 17;
const UDP_ENCAP: i32 = 100;
const SOL_XDP: i32 = 283;
const SOL_IP: i32 = 0;
const IP_ADD_MEMBERSHIP: i32 = 35;
const IP_ADD_SOURCE_MEMBERSHIP: i32 = 39;
const SOL_IPV6: i32 = 41;
const IPV6_JOIN_GROUP: i32 = 20;
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const AF_INET: u16 = 2;
const AF_PACKET: u16 = 17;
const AF_XDP: u16 = 44;
/// Where the group is in the value: at its beginning, or behind the interface and the beginning of
/// a `struct sockaddr_in` or `struct sockaddr_in6` (include/uapi/linux/in.h, in6.h).
const GROUP_AT: usize = 0;
const GROUP_V4_AT: usize = 12;
const GROUP_V6_AT: usize = 16;

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
        (SOL_IP | SOL_IPV6, _) => match group(sockopt, level, name) {
            Some(group) => judge_group(&group),
            None => Outcome::Pass.answer(),
        },
        _ => Outcome::Pass.answer(),
    }
}

/// The group that is joined; `None` for other options.
#[inline(always)]
fn group(sockopt: *mut bpf_sockopt, level: i32, name: i32) -> Option<Address> {
    match (level, name) {
        (SOL_IP, IP_ADD_MEMBERSHIP | IP_ADD_SOURCE_MEMBERSHIP) => {
            value(sockopt, GROUP_AT).map(Address::v4)
        }
        (SOL_IP, MCAST_JOIN_GROUP | MCAST_JOIN_SOURCE_GROUP) => {
            value(sockopt, GROUP_V4_AT).map(Address::v4)
        }
        (SOL_IPV6, IPV6_JOIN_GROUP) => value(sockopt, GROUP_AT).map(Address::v6),
        (SOL_IPV6, MCAST_JOIN_GROUP | MCAST_JOIN_SOURCE_GROUP) => {
            value(sockopt, GROUP_V6_AT).map(Address::v6)
        }
        _ => None,
    }
}

/// Part of the option's value; `None` where it is shorter, which the kernel refuses.
#[inline(always)]
fn value<T: Copy>(sockopt: *mut bpf_sockopt, at: usize) -> Option<T> {
    // SAFETY: the kernel fills the context; these programs may read these fields.
    let (start, end) = unsafe {
        (
            ptr::read_volatile(&raw const (*sockopt).__bindgen_anon_2.optval) as usize,
            ptr::read_volatile(&raw const (*sockopt).__bindgen_anon_3.optval_end) as usize,
        )
    };
    if start + at + size_of::<T>() > end {
        return None;
    }
    // SAFETY: the verifier knows where the value ends, and what is read are bytes.
    Some(unsafe { ptr::read_unaligned((start + at) as *const T) })
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

#[inline(always)]
fn judge_group(group: &Address) -> i32 {
    let Some(view) = View::current() else {
        return Outcome::Pass.answer();
    };
    let tgid = TaskPointer::current().tgid();
    match Asking::of(&view, tgid, subject_flag::RAW_SOCKETS) {
        Ok(asking) if !may_join(&view, asking.subject(), group) => {
            asking.report_group(group);
            asking.outcome().answer()
        }
        Ok(_) => Outcome::Pass.answer(),
        Err(outcome) => outcome.answer(),
    }
}

/// Whether every agent that the subject stands for may reach the group, on whichever port.
#[inline(always)]
fn may_join(view: &View, subject: u32, group: &Address) -> bool {
    let Some(settings) = view.subject(subject) else {
        return true;
    };
    for member in settings.members_or(subject) {
        if member == 0 {
            break;
        }
        let Some(own) = view.subject(member) else {
            return false;
        };
        if own.mode >= settings.mode && !is_allowed(view, own, member, group) {
            return false;
        }
    }
    true
}

#[inline(always)]
fn is_allowed(view: &View, settings: &Subject, subject: u32, group: &Address) -> bool {
    match view.network(subject, group) {
        Some(network) => view.block(subject, network).is_some_and(|block| block.speaks_for()),
        None => Verdict::from_byte(settings.default_verdict) == Verdict::Allow,
    }
}
