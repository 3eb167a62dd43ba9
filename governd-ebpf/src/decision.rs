//! The decision as global functions, which the verifier checks once, whatever their arguments.
//!
//! Such a function takes and gives numbers. What calls it sees any number come back, so that the
//! many ways through a decision are not followed on from it. In a function that is checked with its
//! callers they are, and on kernels before 6.4 without much being recognised as seen before.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_boot_ns};
use governd_common::{
    address::Address,
    decide::{Decision, Flow, Named, Proof, by_name, decide_named},
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::count,
    tables::{QUARANTINED, SETTINGS, View, may_be_bound},
    task::layout,
};

/// Decides about a flow, of which nothing but the destination is known; gives the verdict's code.
/// The time is taken where it is needed, and not from the flow.
#[inline(always)]
pub(crate) fn decide_into(view: &View, flow: &Flow, decision: &mut Decision) -> u32 {
    let Question { who, high, low, what } = Question::of(view.slot, flow, 0);
    let is_marked = may_be_bound(&flow.address);
    let set = if is_marked { best_name_of(who, high, low, what) } else { 0 };
    *decision = Decision::unpack(decision_of(who, high, low, what, set));
    decision.verdict as u32
}

/// Decides about a flow, of which a name is known; gives the verdict's code.
#[inline(always)]
pub(crate) fn decide_named_into(
    view: &View,
    flow: &Flow,
    named: Named,
    decision: &mut Decision,
) -> u32 {
    let Question { who, high, low, what } = Question::of(view.slot, flow, named.flags);
    *decision = Decision::unpack(decision_of(who, high, low, what, named.set));
    decision.verdict as u32
}

/// A flow in numbers.
struct Question {
    /// Slot and subject.
    who: u64,
    /// Both halves of the address.
    high: u64,
    low: u64,
    /// Flags of what is named, port and protocol.
    what: u64,
}

impl Question {
    #[inline(always)]
    fn of(slot: u32, flow: &Flow, named_flags: u32) -> Self {
        let address = u128::from_ne_bytes(flow.address.bytes);
        let what = u64::from(named_flags) << 32 | u64::from(flow.port) << 8;
        Self {
            who: u64::from(slot) << 32 | u64::from(flow.subject),
            high: (address >> 64) as u64,
            low: address as u64,
            what: what | u64::from(flow.protocol),
        }
    }

    #[inline(always)]
    fn flow(&self, now_ns: u64) -> Flow {
        let address = u128::from(self.high) << 64 | u128::from(self.low);
        Flow {
            subject: self.who as u32,
            address: Address { bytes: address.to_ne_bytes() },
            port: (self.what >> 8) as u16,
            protocol: self.what as u8,
            now_ns,
        }
    }

    #[inline(always)]
    fn view(&self) -> Option<View> {
        let slot = (self.who >> 32) as u32;
        // SAFETY: an array's element stays where it is, and is written only while not in force.
        let settings = SETTINGS.get_ptr(slot).map(|settings| unsafe { &*settings })?;
        Some(View { slot, generation: 0, settings })
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decision_of(who: u64, high: u64, low: u64, what: u64, set: u32) -> u64 {
    let question = Question { who, high, low, what };
    let Some(view) = question.view() else {
        return Decision::FAULT.pack();
    };
    let named = Named { set, flags: (what >> 32) as u32 };
    // Only whether an address is bound to the name that is known depends on the time here.
    let flow = question.flow(if named.flags != 0 { now_ns() } else { 0 });
    let mut decision = decide_named(&view, &flow, named);
    if decision.reason == Reason::Halt && decision.mode == Mode::Enforce {
        quarantine(flow.subject, now_ns());
    }
    if layout!(has_loops) == 0 {
        leave_unread(&mut decision);
    }
    decision.pack()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn best_name_of(who: u64, high: u64, low: u64, what: u64) -> u32 {
    let question = Question { who, high, low, what };
    question.view().map_or(0, |view| by_name(&view, &question.flow(now_ns())))
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper only reads the clock.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// From here on nothing of the subject passes, whether the daemon runs or not.
#[inline(always)]
pub(crate) fn quarantine(subject: u32, now_ns: u64) {
    if let Err(error) = QUARANTINED.insert(subject, now_ns, u64::from(BPF_NOEXIST))
        && error != -EEXIST
    {
        count(Loss::Tables);
    }
}

const EEXIST: i32 = 17;

/// Where nobody can read names, no first bytes prove one. A policy that enforces denials of names
/// is not taken there, so that nothing else is to be proved.
#[inline(always)]
fn leave_unread(decision: &mut Decision) {
    if decision.proof == Proof::Name {
        decision.verdict = Verdict::Deny;
        decision.reason = Reason::NoServerName;
        decision.quiet = false;
    }
    decision.proof = Proof::None;
}
