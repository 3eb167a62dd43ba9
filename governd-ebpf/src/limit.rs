//! Limits: what a subject does is counted where it is let pass, and too much of it is told or
//! denied.
//!
//! Nothing is counted, and nothing looked up, unless some subject of the policy has a limit. The
//! daemon makes the entries in which is counted; the counts are the same for all CPUs, and a count
//! that is lost while two of them begin a window is one of that window's first.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr,
};

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_ktime_get_boot_ns, programs::SkBuffContext};
use governd_common::{
    address::Address,
    decide::{Decision, Proof, Tables as _},
    key::{BindingKey, SubjectKey},
    limit::{Crossing, DESTINATION_KNOWN_NS, Limit, Limits, Used},
    limits::MEMBERS_MAX,
    table::{SocketOwner, settings_flag},
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    decision::quarantine,
    egress::{Target, report},
    emit::count,
    outcome::Outcome,
    state::{self, End},
    tables::{DESTINATIONS, FLOWS, LIMITS, SOCKETS, USAGES, View, halves, subject_in, whole},
};

/// What counting comes to: nothing, or a crossing and whether it is the window's first.
#[derive(Clone, Copy)]
struct Counted(u32);

impl Counted {
    const WITHIN: Self = Self(0);
    const NOTIFY: u32 = 1;
    const HALT: u32 = 2;
    const IS_FIRST: u32 = 4;
    /// It is one of several agents that the subject stands for, and its own mode counts.
    const OF_MEMBER: u32 = 8;
    const IS_ENFORCED: u32 = 16;
    const LIMIT_SHIFT: u32 = 8;

    #[inline(always)]
    fn is(self, crossing: u32) -> bool {
        self.0 & crossing != 0
    }

    /// Of two, the one that denies, and first the one whose denials are carried out.
    #[inline(always)]
    fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    #[inline(always)]
    fn rank(self) -> u32 {
        let is_enforced = !self.is(Self::OF_MEMBER) || self.is(Self::IS_ENFORCED);
        match (self.is(Self::HALT), is_enforced) {
            (true, true) => 3,
            (true, false) => 2,
            _ if self.is(Self::NOTIFY) => 1,
            _ => 0,
        }
    }

    /// What it comes to for one of several agents; who is enforced is quarantined.
    #[inline(always)]
    fn of_member(self, slot: u32, member: u32) -> Self {
        let own = subject_in(slot, member);
        let is_enforced = own.is_none_or(|own| own.mode != Mode::Monitor as u8);
        if self.is(Self::HALT) && is_enforced {
            // SAFETY: the helper only reads the clock.
            quarantine(member, unsafe { bpf_ktime_get_boot_ns() });
        }
        Self(self.0 | Self::OF_MEMBER | if is_enforced { Self::IS_ENFORCED } else { 0 })
    }

    #[inline(always)]
    fn reason(self) -> Reason {
        match self.0 >> Self::LIMIT_SHIFT {
            0 => Limit::Connections.reason(),
            1 => Limit::Destinations.reason(),
            _ => Limit::Bytes.reason(),
        }
    }
}

/// Counts a destination that the policy lets a subject reach, and changes the decision where that
/// is too much.
#[inline(always)]
pub(crate) fn count_destination(
    view: &View,
    subject: u32,
    is_connect: bool,
    address: &Address,
    decision: &mut Decision,
) {
    let is_counted = view.has(settings_flag::HAS_LIMITS)
        && subject != 0
        && !decision.refuses()
        && !matches!(decision.reason, Reason::Resolver | Reason::Loopback);
    if !is_counted {
        return;
    }
    let who = u64::from(view.slot) << 32 | u64::from(subject);
    let (high, low) = halves(address);
    let counted = Counted(destination_counted_for_all(who, high, low, u32::from(is_connect)));
    apply(counted, subject, decision);
}

/// Too much is told once in a window, and denied each time. In a stack frame of its own; gives a
/// number for the verifier.
#[inline(never)]
fn apply(counted: Counted, subject: u32, decision: &mut Decision) -> u32 {
    if counted.is(Counted::HALT) {
        decision.verdict = Verdict::Deny;
        decision.proof = Proof::None;
        if counted.is(Counted::OF_MEMBER) {
            let is_enforced = counted.is(Counted::IS_ENFORCED);
            decision.mode = if is_enforced { Mode::Enforce } else { Mode::Monitor };
        }
        if decision.mode == Mode::Enforce {
            // SAFETY: the helper only reads the clock.
            quarantine(subject, unsafe { bpf_ktime_get_boot_ns() });
        }
    } else if !(counted.is(Counted::NOTIFY) && counted.is(Counted::IS_FIRST)) {
        return 0;
    }
    decision.reason = counted.reason();
    decision.quiet = false;
    0
}

/// The same for every agent that a subject stands for, and the worst of it. Global, for the
/// verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn destination_counted_for_all(who: u64, high: u64, low: u64, is_connect: u32) -> u32 {
    let (slot, subject) = ((who >> 32) as u32, who as u32);
    let Some(settings) = subject_in(slot, subject) else {
        return Counted::WITHIN.0;
    };
    if settings.is_alone() {
        return destination_counted(who, high, low, is_connect);
    }
    let mut worst = Counted::WITHIN;
    for member in settings.members.iter().take(MEMBERS_MAX) {
        if *member == 0 {
            break;
        }
        let who = u64::from(slot) << 32 | u64::from(*member);
        let counted = Counted(destination_counted(who, high, low, is_connect));
        worst = worst.worse(counted.of_member(slot, *member));
    }
    worst.0
}

/// Bytes that go out, for every agent that a subject stands for. Global, for the verifier to check
/// it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sent_counted_for_all(slot: u32, subject: u32, bytes: u64) -> u32 {
    let Some(settings) = subject_in(slot, subject) else {
        return Counted::WITHIN.0;
    };
    if settings.is_alone() {
        return amount_counted(slot, subject, Limit::Bytes as u32, bytes);
    }
    let mut worst = Counted::WITHIN;
    for member in settings.members.iter().take(MEMBERS_MAX) {
        if *member == 0 {
            break;
        }
        let counted = Counted(amount_counted(slot, *member, Limit::Bytes as u32, bytes));
        worst = worst.worse(counted.of_member(slot, *member));
    }
    worst.0
}

/// A connection and a destination, and the worse of the two. Global, for the verifier to check it
/// once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn destination_counted(who: u64, high: u64, low: u64, is_connect: u32) -> u32 {
    let (slot, subject) = ((who >> 32) as u32, who as u32);
    let mut worst = Counted::WITHIN;
    if is_connect != 0 {
        worst = Counted(amount_counted(slot, subject, Limit::Connections as u32, 1));
    }
    // SAFETY: entries of a slot in force are neither changed nor removed.
    let limits = unsafe { LIMITS.get(SubjectKey { slot, subject }) };
    if limits.is_none_or(|limits| !limits.counts(Limit::Destinations)) {
        return worst.0;
    }
    let address = whole(high, low);
    if is_known(&BindingKey { subject, address }) {
        return worst.0;
    }
    let second = Counted(amount_counted(slot, subject, Limit::Destinations as u32, 1));
    let is_worse = second.is(Counted::HALT) && !worst.is(Counted::HALT);
    let is_only = second.is(Counted::NOTIFY) && worst.0 == Counted::WITHIN.0;
    if is_worse || is_only { second.0 } else { worst.0 }
}

/// Whether the subject reached the address not long ago; from now on it did.
#[inline(always)]
fn is_known(destination: &BindingKey) -> bool {
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    if let Some(last_ns) = DESTINATIONS.get_ptr_mut(*destination) {
        // SAFETY: an entry that is reused meanwhile is another subject's destination, which is then
        // known for as long as this one would be.
        let before_ns = unsafe { ptr::replace(last_ns, now_ns) };
        return now_ns < before_ns.saturating_add(DESTINATION_KNOWN_NS);
    }
    // One that cannot be kept counts each time.
    DESTINATIONS.insert(*destination, now_ns, u64::from(BPF_ANY)).ok();
    false
}

/// Counts a packet that goes out, with what came in since the last one, and gives what becomes of
/// it.
#[inline(always)]
pub(crate) fn count_packet(
    context: &SkBuffContext,
    view: &View,
    kind: u32,
    owner: &SocketOwner,
) -> Outcome {
    let is_counted = view.has(settings_flag::HAS_BYTE_LIMITS)
        && !state::is_replay()
        && !owner.address.is_loopback();
    if !is_counted {
        return Outcome::Pass;
    }
    let bytes = u64::from(context.len());
    let counted = Counted(sent_counted_for_all(view.slot, owner.subject, bytes));
    // A window that goes on is told once; who is enforced is quarantined at once.
    if !counted.is(Counted::IS_FIRST) {
        return Outcome::Pass;
    }
    let Some(settings) = view.subject(owner.subject) else {
        return Outcome::Pass;
    };
    let mut decision = Decision {
        verdict: Verdict::Allow,
        reason: Reason::BytesLimit,
        mode: Mode::from_byte(settings.mode),
        rule: settings.default_rule,
        set: 0,
        quiet: false,
        proof: Proof::None,
    };
    apply(counted, owner.subject, &mut decision);
    let SocketOwner { address, port, protocol, .. } = *owner;
    report(context, view, kind, owner, &Target { address, port, protocol }, &decision);
    Outcome::of(&decision)
}

/// Counts a packet that comes in. What is too much is found by the next one that goes out: the
/// other side's wait for it, if nothing else.
#[inline(always)]
pub(crate) fn count_received(context: &SkBuffContext) {
    let Some(view) = View::current() else {
        return;
    };
    if !view.has(settings_flag::HAS_BYTE_LIMITS) || state::is_replay() {
        return;
    }
    let socket = state::socket(context);
    if socket.is_null() {
        return;
    }
    let owner = state::stored(context, socket, End::Receiver, &SOCKETS, &FLOWS);
    if owner.is_null() {
        return;
    }
    // SAFETY: not null; the storage lives as long as the socket.
    let (subject, is_local) = unsafe { ((*owner).subject, (*owner).address.is_loopback()) };
    if subject == 0 || is_local {
        return;
    }
    received_counted_for_all(view.slot, subject, u64::from(context.len()));
}

/// Global, for the verifier to check it once; gives nothing that counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn received_counted_for_all(slot: u32, subject: u32, bytes: u64) -> u32 {
    let Some(settings) = subject_in(slot, subject) else {
        return 0;
    };
    for subject in settings.members_or(subject) {
        if subject == 0 {
            break;
        }
        // SAFETY: entries of a slot in force are neither changed nor removed.
        let limits = unsafe { LIMITS.get(SubjectKey { slot, subject }) };
        if limits.is_some_and(|limits| limits.counts(Limit::Bytes))
            && let Some(used) = used(subject, Limit::Bytes as u32)
        {
            // SAFETY: the helper only reads the clock.
            add(used, Limit::Bytes, bytes, unsafe { bpf_ktime_get_boot_ns() });
        }
    }
    0
}

/// Counts an amount, and gives a [`Counted`]. Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn amount_counted(slot: u32, subject: u32, limit: u32, amount: u64) -> u32 {
    let kind = match limit {
        0 => Limit::Connections,
        1 => Limit::Destinations,
        _ => Limit::Bytes,
    };
    // SAFETY: entries of a slot in force are neither changed nor removed.
    let Some(limits) = (unsafe { LIMITS.get(SubjectKey { slot, subject }) }) else {
        return Counted::WITHIN.0;
    };
    if !limits.counts(kind) {
        return Counted::WITHIN.0;
    }
    let Some(used) = used(subject, limit) else {
        // What cannot be counted is too much where something is at stake.
        count(Loss::Tables);
        let halts = limits.of(Crossing::Halt, kind) != 0;
        return if halts { Counted::HALT | limit << Counted::LIMIT_SHIFT } else { 0 };
    };
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    add(used, kind, amount, now_ns);
    // SAFETY: the entry is the map's; another CPU may write it, which costs a count.
    let sum = unsafe { (*used).sum(kind, now_ns) };
    crossed(limits, used, kind, sum, now_ns)
}

#[inline(always)]
fn crossed(limits: &Limits, used: *mut Used, kind: Limit, sum: u64, now_ns: u64) -> u32 {
    let (halt, notify) = (limits.of(Crossing::Halt, kind), limits.of(Crossing::Notify, kind));
    let (mut counted, crossing) = if halt != 0 && sum > halt {
        (Counted::HALT, Crossing::Halt)
    } else if notify != 0 && sum > notify {
        (Counted::NOTIFY, Crossing::Notify)
    } else {
        return Counted::WITHIN.0;
    };
    let window = now_ns / kind.window_ns() + 1;
    // SAFETY: as above; told twice is no harm.
    let told = unsafe {
        let told = &raw mut (*used).told;
        if crossing as u8 == Crossing::Halt as u8 { &mut (*told)[1] } else { &mut (*told)[0] }
    };
    if *told != window {
        *told = window;
        counted |= Counted::IS_FIRST;
    }
    counted | (kind as u32) << Counted::LIMIT_SHIFT
}

/// Where a subject's amounts are counted.
#[inline(always)]
fn used(subject: u32, limit: u32) -> Option<*mut Used> {
    let usage = USAGES.get_ptr_mut(subject)?;
    // SAFETY: the entry is the map's; the list has one for each limit.
    unsafe {
        let list = &raw mut (*usage).used;
        match limit {
            0 => Some(&raw mut (*list)[0]),
            1 => Some(&raw mut (*list)[1]),
            _ => Some(&raw mut (*list)[2]),
        }
    }
}

#[inline(always)]
fn add(used: *mut Used, limit: Limit, amount: u64, now_ns: u64) {
    let number = now_ns / limit.window_ns();
    // SAFETY: the entry is the map's, and written by all CPUs: the count by atomic additions, and
    // the number where a window begins.
    unsafe {
        let windows = &raw mut (*used).windows;
        let window = if number & 1 == 0 { &raw mut (*windows)[0] } else { &raw mut (*windows)[1] };
        if ptr::read_volatile(&raw const (*window).number) != number {
            ptr::write_volatile(&raw mut (*window).count, 0);
            ptr::write_volatile(&raw mut (*window).number, number);
        }
        add_to(&raw mut (*window).count, amount);
    }
}

/// Adds in one step, whatever other CPUs add.
///
/// # Safety
/// The number is a map's.
#[inline(always)]
pub(crate) unsafe fn add_to(number: *mut u64, amount: u64) {
    // SAFETY: as above.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(number, amount) };
}
