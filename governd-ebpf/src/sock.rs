//! Sockets at their creation: those that no later hook sees are refused here.
//!
//! Raw and ping sockets send without `connect` or `sendmsg` hooks, and so do protocols that the
//! kernel's cgroup hooks leave out (SCTP, UDP-Lite once connected). MPTCP opens further paths from
//! a kernel thread, of which no hook could tell whose they are. What is left is TCP and UDP.

use core::ptr;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{bpf_get_socket_cookie, bpf_sk_storage_get},
    programs::SockContext,
};
use governd_common::{
    address::Address,
    decide::{Decision, Proof, Tables as _},
    event::{EventKind, FlowEvent, Hook},
    table::{SocketOwner, Subject, ever, subject_flag},
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::{self, Wake, count},
    outcome::{EACCES, Fault, Outcome},
    subject::{self, Who},
    tables::{SOCKETS, View, is_quarantined, will_have_been},
    task::PROTOCOL_MPTCP,
};

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const PROTOCOL_TCP: u32 = 6;
const PROTOCOL_UDP: u32 = 17;
const EPROTONOSUPPORT: i32 = 93;

/// Decides about a new socket, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SockContext) -> i32 {
    let Some(view) = View::current() else {
        let tgid = subject::current_tgid();
        if subject::tracked(tgid).is_none() && !subject::is_lost(tgid) {
            return Outcome::Pass.answer();
        }
        count(Loss::Tables);
        let who = Who::unregistered(tgid);
        return conclude(context, 0, &who, &Fault::NoPolicy.decision());
    };
    let (who, settings) = subject::current_with_settings(&view);
    if who.is_lost {
        return conclude(context, view.generation, &who, &Fault::LostTask(view).decision());
    }
    if !SocketOwner::is_agent(who.subject) {
        return Outcome::Pass.answer();
    }
    if is_quarantined(who.subject) {
        let decision = Decision::quarantine(0);
        return conclude(context, view.generation, &who, &decision);
    }
    let settings = settings.or_else(|| view.subject(who.subject));
    let decision =
        settings.map_or(Decision::FAULT, |settings| judge_governed(context, settings, &who));
    conclude(context, view.generation, &who, &decision)
}

#[inline(always)]
fn judge_governed(context: &SockContext, settings: &Subject, who: &Who) -> Decision {
    let is_multipath = protocol(context) == u32::from(PROTOCOL_MPTCP);
    let is_allowed = has_later_hooks(context)
        || (!is_multipath && settings.flags & subject_flag::RAW_SOCKETS != 0);
    let decision = Decision {
        verdict: if is_allowed { Verdict::Allow } else { Verdict::Deny },
        reason: if is_multipath { Reason::Mptcp } else { Reason::RawSocket },
        mode: Mode::from_byte(settings.mode),
        rule: settings.default_rule,
        set: 0,
        proof: Proof::None,
        quiet: is_allowed,
    };
    if own(context, who) { decision } else { Fault::SocketStorage(decision).decision() }
}

/// True for sockets whose destinations the `connect` and `sendmsg` hooks see.
#[inline(always)]
fn has_later_hooks(context: &SockContext) -> bool {
    matches!(
        (socket_type(context), protocol(context)),
        (SOCK_STREAM, PROTOCOL_TCP) | (SOCK_DGRAM, PROTOCOL_UDP)
    )
}

#[inline(always)]
fn conclude(context: &SockContext, generation: u64, who: &Who, decision: &Decision) -> i32 {
    if decision.verdict == Verdict::Deny {
        let event = FlowEvent {
            header: emit::header(EventKind::Flow, Hook::SockCreate as u16, generation, who),
            address: Address::UNSPECIFIED,
            port: 0,
            protocol: protocol(context) as u8,
            verdict: decision.verdict as u8,
            reason: decision.reason as u8,
            mode: decision.mode as u8,
            family: family(context),
            socket_type: socket_type(context),
            rule: decision.rule,
            set: 0,
            reserved: 0,
            cookie: cookie(context),
        };
        emit::event(event, Wake::Now);
    }
    // What a kernel without MPTCP says: programs that prefer it go on with TCP.
    let errno = if decision.reason == Reason::Mptcp { EPROTONOSUPPORT } else { EACCES };
    Outcome::of(decision).answer_with(errno)
}

#[inline(always)]
fn socket_type(context: &SockContext) -> u32 {
    // SAFETY: the kernel fills the context; this hook may read the field.
    unsafe { ptr::read_volatile(&raw const (*context.sock).type_) }
}

#[inline(always)]
fn protocol(context: &SockContext) -> u32 {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const (*context.sock).protocol) }
}

#[inline(always)]
fn family(context: &SockContext) -> u16 {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const (*context.sock).family) as u16 }
}

#[inline(always)]
fn cookie(context: &SockContext) -> u64 {
    // SAFETY: the helper takes the context of this program's type.
    unsafe { bpf_get_socket_cookie(context.as_ptr()) }
}

/// Writes the socket's owner; false if there was no memory for it.
#[inline(always)]
fn own(context: &SockContext, who: &Who) -> bool {
    if protocol(context) == u32::from(PROTOCOL_MPTCP) {
        will_have_been(ever::MULTIPATH);
    }
    let mut owner = SocketOwner::unconnected(who.subject, who.tgid, who.root);
    let sock: *mut bpf_sock = context.sock;
    // SAFETY: in this hook the context is the socket; the storage holds a `SocketOwner`.
    let stored = unsafe {
        bpf_sk_storage_get(
            ptr::from_ref(&SOCKETS).cast_mut().cast(),
            sock.cast(),
            ptr::from_mut(&mut owner).cast(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    };
    if stored.is_null() {
        count(Loss::Sockets);
    }
    !stored.is_null()
}
