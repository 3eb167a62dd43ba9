//! The decision as global functions, which the verifier checks once, whatever their arguments.
//!
//! Such a function takes and gives numbers. What calls it sees any number come back, so that the
//! many ways through a decision are not followed on from it. In a function that is checked with its
//! callers they are, and on kernels before 6.4 without much being recognised as seen before.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_boot_ns};
use governd_common::{
    decide::{Decision, Flow, Named, by_name, decide_by},
    delegation::{Side, both, strictness},
    table::{Subject, ever},
    verdict::{Loss, Mode, Reason},
};

use crate::{
    emit::count,
    tables::{
        QUARANTINED, SETTINGS, View, halves, is_quarantined, may_be_bound, subject_in, whole,
        will_have_been,
    },
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
    /// The subject that learned names, and the one whose rules are asked.
    who: u64,
    /// Both halves of the address.
    high: u64,
    low: u64,
    /// Slot, flags of what is named, port and protocol.
    what: u64,
}

impl Question {
    const SLOT: u32 = 48;
    /// Bits of what is named.
    const NAMED: u64 = 0xffff << 32;

    #[inline(always)]
    const fn who(learner: u32, subject: u32) -> u64 {
        (learner as u64) << 32 | subject as u64
    }

    #[inline(always)]
    const fn slot(&self) -> u32 {
        (self.what >> Self::SLOT) as u32 & 1
    }

    #[inline(always)]
    const fn learner(&self) -> u32 {
        (self.who >> 32) as u32
    }

    #[inline(always)]
    const fn named_flags(&self) -> u32 {
        (self.what >> 32) as u32 & 0xffff
    }

    #[inline(always)]
    fn of(slot: u32, flow: &Flow, named_flags: u32) -> Self {
        let (high, low) = halves(&flow.address);
        let what = u64::from(slot) << Self::SLOT | u64::from(named_flags) << 32;
        Self {
            who: Self::who(flow.subject, flow.subject),
            high,
            low,
            what: what | u64::from(flow.port) << 8 | u64::from(flow.protocol),
        }
    }

    #[inline(always)]
    fn flow(&self, now_ns: u64) -> Flow {
        Flow {
            subject: self.who as u32,
            address: whole(self.high, self.low),
            port: (self.what >> 8) as u16,
            protocol: self.what as u8,
            now_ns,
        }
    }

    #[inline(always)]
    fn view(&self) -> Option<View> {
        let slot = self.slot();
        // SAFETY: an array's element stays where it is, and is written only while not in force.
        let settings = SETTINGS.get_ptr(slot).map(|settings| unsafe { &*settings })?;
        Some(View { slot, generation: 0, settings })
    }
}

/// What no decision is packed as.
const NONE: u64 = 0;

/// Nearly every subject is one agent, so that is asked first.
#[inline(always)]
fn decision_of(who: u64, high: u64, low: u64, what: u64, set: u32) -> u64 {
    match decision_of_one(who, high, low, what, set) {
        NONE => decision_of_all(who, high, low, what, set),
        decision => decision,
    }
}

/// The strictest of what the policies of the agents say that a subject stands for.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decision_of_all(who: u64, high: u64, low: u64, what: u64, set: u32) -> u64 {
    let question = Question { who, high, low, what };
    let Some(settings) = settings_of(question.slot(), who as u32) else {
        return Decision::FAULT.pack();
    };
    let mut strictest = NONE;
    for member in &settings.members {
        if *member == 0 {
            break;
        }
        let who = Question::who(who as u32, *member);
        // Each has a name of its own that lets the flow begin.
        let is_named = what & Question::NAMED != 0;
        let set = if is_named { set } else { best_name_of(who, high, low, what) };
        strictest = stricter_of(strictest, decision_of_one(who, high, low, what, set));
    }
    strictest
}

/// In a stack frame of its own: Linux 6.1 rounds each up to 32 bytes, and allows 512 for all
/// that are in use at a time.
#[inline(never)]
fn settings_of(slot: u32, subject: u32) -> Option<&'static Subject> {
    subject_in(slot, subject)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stricter_of(one: u64, other: u64) -> u64 {
    if one == NONE {
        return other;
    }
    let is_stricter = strictness_of(other) > strictness_of(one);
    let (one, other) = if is_stricter { (other, one) } else { (one, other) };
    both(Decision::unpack(one), Decision::unpack(other)).pack()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn strictness_of(decision: u64) -> u32 {
    strictness(&Decision::unpack(decision))
}

/// What the policy of one agent says; [`NONE`] of a subject that stands for several.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decision_of_one(who: u64, high: u64, low: u64, what: u64, set: u32) -> u64 {
    let question = Question { who, high, low, what };
    let Some(settings) = settings_of(question.slot(), who as u32) else {
        return Decision::FAULT.pack();
    };
    if question.learner() == who as u32 && !settings.is_alone() {
        return NONE;
    }
    if is_held(who) != 0 {
        return Decision::quarantine(settings.default_rule).pack();
    }
    let Some(view) = question.view() else {
        return Decision::FAULT.pack();
    };
    let named = Named { set, flags: question.named_flags() };
    // Only whether an address is bound to the name that is known depends on the time here.
    let flow = question.flow(if named.flags != 0 { now_ns() } else { 0 });
    let side = Side { tables: &view, learner: question.learner() };
    let decision = decide_by(settings, &side, &flow, named);
    if decision.reason == Reason::Halt && decision.mode == Mode::Enforce {
        halt(flow.subject, side.learner);
    }
    decision.pack()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn best_name_of(who: u64, high: u64, low: u64, what: u64) -> u32 {
    let question = Question { who, high, low, what };
    question.view().map_or(0, |view| {
        let side = Side { tables: &view, learner: question.learner() };
        by_name(&side, &question.flow(now_ns()))
    })
}

/// Whether the agent is quarantined or the subject that stands for it, as [`Question`] has both. In
/// a stack frame of its own; 1 if so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_held(who: u64) -> u32 {
    let (subject, agent) = ((who >> 32) as u32, who as u32);
    let is_held = is_quarantined(agent) || (subject != agent && is_quarantined(subject));
    is_held.into()
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper only reads the clock.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// An agent is quarantined by its rule, and the process at once, too, where it is one that the
/// agent started. In a stack frame of its own; gives nothing that counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn halt(agent: u32, subject: u32) -> u32 {
    will_have_been(ever::QUARANTINED);
    keep(agent, now_ns());
    if subject != agent {
        keep(subject, now_ns());
    }
    0
}

/// From here on nothing of the subject passes, whether the daemon runs or not. In a stack frame of
/// its own; gives nothing that counts.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn quarantine(subject: u32, now_ns: u64) -> u32 {
    will_have_been(ever::QUARANTINED);
    keep(subject, now_ns);
    0
}

#[inline(always)]
fn keep(subject: u32, now_ns: u64) {
    if let Err(error) = QUARANTINED.insert(subject, now_ns, u64::from(BPF_NOEXIST))
        && error != -EEXIST
    {
        count(Loss::Tables);
    }
}

const EEXIST: i32 = 17;
