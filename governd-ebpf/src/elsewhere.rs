//! Packets that go elsewhere than the hook before saw.
//!
//! Rules of the packet filter that translate destinations run between `connect` or `sendmsg` and
//! egress (`NF_INET_LOCAL_OUT`), and who has a network namespace may write them. So such a packet
//! is judged by where it goes, too. A connection whose first packet goes elsewhere is one to there
//! from then on: what its first bytes have to name is a server that the policy allows there. One
//! that went elsewhere before cannot prove that any more.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, programs::SkBuffContext};
use governd_common::{
    decide::{Decision, Flow, Proof, Tables as _},
    table::{SocketOwner, socket_flag},
    verdict::{Reason, Verdict},
};

use crate::{
    decision::decide_into,
    egress::{self, Packet, Target},
    outcome::Outcome,
    segment::Segment,
    state::Sender,
    tables::View,
};

const PROTOCOL_TCP: u8 = 6;

/// Decides about a packet, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    let Some(sender) = Sender::of(context) else {
        return Outcome::Pass as i32;
    };
    let kind = sender.kind();
    let owner = sender.owner;
    let packet = Packet::read(context).unwrap_or(Packet::UNREADABLE);
    if judge_target(context, kind, owner, &packet.target()) == Outcome::Refuse {
        return Outcome::Refuse as i32;
    }
    egress::go_on(context, kind, owner, &packet) as i32
}

/// A trusted resolver on this host may listen on another port than it is asked on, as a container
/// engine's does (127.0.0.11). What it is asked is read all the same.
#[inline(always)]
pub(crate) fn is_local_resolver(view: &View, owner: &SocketOwner, target: &Target) -> bool {
    egress::is_to_own_resolver(owner, &target.address)
        && target.address.is_loopback()
        && view.is_resolver(&target.address)
}

#[inline(always)]
fn judge_target(
    context: &SkBuffContext,
    kind: u32,
    owner: &mut SocketOwner,
    target: &Target,
) -> Outcome {
    let Some(view) = View::current() else {
        return Outcome::Refuse;
    };
    if view.subject(owner.subject).is_none() {
        // The policy no longer has the subject: its sockets are nobody's.
        return Outcome::Pass;
    }
    if is_local_resolver(&view, owner, target) {
        return Outcome::Pass;
    }
    let Target { address, port, protocol } = *target;
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let flow = Flow { subject: owner.subject, address, port, protocol, now_ns };
    let mut decision = Decision::FAULT;
    if decide_into(&view, &flow, &mut decision) == Verdict::Allow as u32 {
        if follow(context, owner, target, &decision) {
            return Outcome::Pass;
        }
        unproved(&mut decision);
    }
    let outcome = Outcome::of(&decision);
    if owner.generation != 0 {
        // All that the connection sends goes there: it is refused, or reported, once.
        owner.flags |= socket_flag::TRANSLATED;
        if outcome == Outcome::Refuse {
            owner.verdict = Verdict::Deny as u8;
        }
    }
    egress::report(context, &view, kind, owner, target, &decision);
    outcome
}

/// Goes on by what the destination asks to be proved; false if that cannot be proved any more.
#[inline(always)]
fn follow(
    context: &SkBuffContext,
    owner: &mut SocketOwner,
    target: &Target,
    decision: &Decision,
) -> bool {
    if decision.proof == Proof::Quic {
        owner.flags |= socket_flag::QUIC;
    }
    if target.protocol != PROTOCOL_TCP {
        return true;
    }
    let is_first = Segment::read(context).is_some_and(|segment| segment.is_syn());
    if !is_first {
        return decision.proof != Proof::Name;
    }
    if owner.connects == u16::MAX {
        return false;
    }
    owner.address = target.address;
    owner.port = target.port;
    owner.connects += 1;
    owner.flags &= !socket_flag::OF_CONNECTION;
    owner.stage = decision.proof as u8;
    owner.name_set = if decision.proof == Proof::None { decision.set } else { 0 };
    if decision.reason == Reason::Granted {
        owner.flags |= socket_flag::GRANTED;
    }
    true
}

/// What is allowed there is not this.
#[inline(always)]
pub(crate) fn unproved(decision: &mut Decision) {
    decision.verdict = Verdict::Deny;
    decision.reason = Reason::NoServerName;
    decision.quiet = false;
    decision.proof = Proof::None;
}
