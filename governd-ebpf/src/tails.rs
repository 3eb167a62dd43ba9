//! Calls from the egress program to the programs that do the rest of its work.
//!
//! A tail call does not return. Where one cannot be made, as on kernels that cannot load the other
//! program, nobody reads what the packet names: that of an enforced subject goes no further.

use aya_ebpf::programs::SkBuffContext;
use governd_common::{
    decide::{Decision, Proof, Tables as _},
    names::tail,
    table::SocketOwner,
    verdict::{Mode, Reason, Verdict},
};

use crate::{
    egress::{Target, report},
    outcome::Outcome,
    tables::{TAILS, View},
};

/// Leaves the packet to another program; comes back only if that one is missing.
#[inline(always)]
pub(crate) fn leave_to(
    context: &SkBuffContext,
    index: u32,
    kind: u32,
    owner: &SocketOwner,
    target: &Target,
) -> Outcome {
    // SAFETY: nothing here waits to be dropped.
    unsafe { TAILS.tail_call(context, index) };
    if owner.subject == 0 {
        return Outcome::Pass;
    }
    let Some(view) = View::current() else {
        return Outcome::Refuse;
    };
    let Some(settings) = view.subject(owner.subject) else {
        // The policy no longer has the subject: its sockets are nobody's.
        return Outcome::Pass;
    };
    let decision = Decision {
        verdict: Verdict::Deny,
        reason: match index {
            tail::QUERY => Reason::DnsName,
            tail::QUIC => Reason::Quic,
            tail::ELSEWHERE => Reason::NoRule,
            _ => Reason::NoServerName,
        },
        mode: Mode::from_byte(settings.mode),
        rule: settings.default_rule,
        set: 0,
        quiet: false,
        proof: Proof::None,
    };
    report(context, &view, kind, owner, target, &decision);
    Outcome::of(&decision)
}
