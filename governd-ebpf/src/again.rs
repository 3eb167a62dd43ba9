//! A live connection under a policy that came into force after it was made.
//!
//! What it was allowed for still counts: the name that its first bytes proved, or that DNS gave
//! when it was made, although the binding may have ended since. A connection whose first bytes went
//! by unread, and would have to name a server now, cannot prove anything any more and is refused.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, programs::SkBuffContext};
use governd_common::{
    decide::{Decision, Flow, Named, Proof, Tables as _},
    table::{SocketOwner, socket_flag, subject_flag},
    verdict::{Reason, Verdict},
};

use crate::{
    decision::{decide_into, decide_named_into},
    egress::{Target, report},
    hello,
    outcome::Outcome,
    tables::View,
};

/// Judges the connection and stores the outcome with its owner.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext, view: &View, kind: u32, owner: &mut SocketOwner) {
    owner.generation = view.generation;
    let Some(settings) = view.subject(owner.subject) else {
        owner.verdict = Verdict::Allow as u8;
        owner.stage = 0;
        return;
    };
    let judges_accepted = settings.flags & subject_flag::JUDGE_ACCEPTED != 0;
    let is_left_alone = owner.flags & socket_flag::ACCEPTED != 0 && !judges_accepted;
    let SocketOwner { subject, address, port, protocol, .. } = *owner;
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let is_named = owner.flags & socket_flag::NAMED != 0;
    let is_plaintext = owner.flags & socket_flag::PLAINTEXT != 0;
    if is_named {
        owner.name_set = hello::set_now(context, view);
    }
    let flow = Flow { subject, address, port, protocol, now_ns };
    let mut decision = Decision::FAULT;
    let mut verdict = 0;
    if !is_named {
        verdict = decide_into(view, &flow, &mut decision);
    }
    if verdict == 0 && (is_named || owner.name_set != 0) {
        let mut named = Named::by_dns(owner.name_set);
        if is_named {
            named = Named::by_bytes(owner.name_set, is_plaintext);
            // For whom the address was bound to the name is another question, if that changed.
            if owner.flags & socket_flag::FOREIGN == 0 {
                named = named.proven();
            }
        }
        verdict = decide_named_into(view, &flow, named, &mut decision);
    }
    if is_left_alone && decision.reason != Reason::Quarantine {
        verdict = 0;
        decision.verdict = Verdict::Allow;
        decision.reason = Reason::Accepted;
        decision.proof = Proof::None;
    }
    match decision.proof {
        Proof::Name if owner.stage == 0 => {
            let is_foreign = owner.flags & socket_flag::FOREIGN != 0;
            decision.verdict = Verdict::Deny;
            decision.reason = if is_foreign { Reason::ForeignSocket } else { Reason::NoServerName };
        }
        Proof::Name => owner.stage = Proof::Name as u8,
        Proof::Denials if owner.stage != 0 && !is_named => owner.stage = Proof::Denials as u8,
        Proof::Quic => owner.flags |= socket_flag::QUIC,
        // The head of every request is read, once one was.
        Proof::None if !is_named => owner.stage = 0,
        Proof::None | Proof::Denials => {}
    }
    // Where its packets go in the end is judged again as well.
    owner.flags &= !(socket_flag::GRANTED | socket_flag::TRANSLATED);
    if decision.reason == Reason::Granted {
        owner.flags |= socket_flag::GRANTED;
    }
    let outcome = Outcome::of(&decision);
    owner.verdict = if outcome == Outcome::Refuse { 0 } else { Verdict::Allow as u8 };
    if verdict == 0 || decision.verdict == Verdict::Deny {
        report(context, view, kind, owner, &Target { address, port, protocol }, &decision);
    }
}
