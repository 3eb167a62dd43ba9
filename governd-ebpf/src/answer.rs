//! Packets that come in: DNS answers teach what an address stands for.
//!
//! Only an answer of a trusted resolver that repeats a query of its own socket (see
//! [`crate::query`]) teaches anything, and only its addresses on the CNAME chain of the question
//! count, as the set of the *question's* name and for who asked alone. This runs before the packet
//! is queued to the socket, so the binding is there before the application has the address.
//!
//! Answers with service bindings (RFC 9460) do not reach enforced subjects: these records lead to
//! other names and hide the name in the handshake.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::bpf_ktime_get_boot_ns,
    programs::SkBuffContext,
};
use governd_common::{
    decide::Tables as _,
    dns::{DnsRefusal, dns_type},
    event::DnsAddress,
    key::BindingKey,
    limits::{
        BINDING_SETS_MAX, BINDING_TTL_MAX_S, BINDING_TTL_MIN_S, DNS_ADDRESSES_MAX, PENDING_MAX_S,
    },
    names::tail,
    repeat::{Loop, Repeat as _, Step, Work},
    table::{Binding, BoundSet, SocketOwner, place_of_rank},
    verdict::{Loss, Mode, Reason},
};

use crate::{
    dns::{DnsScratch, Report, Round, take_scratch},
    emit::count,
    limit,
    loops::Helper,
    outcome::Outcome,
    skb::{PORT_DNS, PROTOCOL_TCP, Segment, load_message, source_port_in_place},
    state::{self, End, is_replay},
    tables::{BINDINGS, FLOWS, INGRESS_TAILS, PENDING, SOCKETS, View, is_marked_bound, mark_bound},
};

const NS_PER_S: u64 = 1_000_000_000;

/// Looks at a packet, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    limit::count_received(context);
    // This is nearly every packet.
    if source_port_in_place(context).is_some_and(|port| port != PORT_DNS) {
        return Outcome::Pass as i32;
    }
    let Some(segment) = Segment::read(context) else {
        return Outcome::Pass as i32;
    };
    if segment.source_port != PORT_DNS {
        return Outcome::Pass as i32;
    }
    if segment.protocol == PROTOCOL_TCP {
        // SAFETY: nothing here waits to be dropped.
        unsafe { INGRESS_TAILS.tail_call(context, tail::ANSWER_TCP) };
        return Outcome::Pass as i32;
    }
    let Some(view) = View::current() else {
        return Outcome::Pass as i32;
    };
    let owner = owner(context);
    if !is_trusted(&view, &segment) && owner.subject == 0 {
        return Outcome::Pass as i32;
    }
    let Some(scratch) = take_scratch() else {
        count(Loss::Dns);
        return Outcome::Pass as i32;
    };
    let mut outcome = Outcome::Pass;
    if load_message(context, segment.datagram_at(), &mut scratch.dns) {
        outcome = learn(context, &view, &owner, &segment, scratch);
    } else {
        count(Loss::Dns);
    }
    scratch.release();
    outcome as i32
}

/// Learns from the message in the scratch memory, and says whether it may be delivered.
#[inline(always)]
pub(crate) fn learn(
    context: &SkBuffContext,
    view: &View,
    owner: &SocketOwner,
    segment: &Segment,
    scratch: &mut DnsScratch,
) -> Outcome {
    let is_error = match scratch.dns.answer::<Helper>() {
        Ok(()) => false,
        // An error teaches nothing, and is the answer that was waited for.
        Err(DnsRefusal::Rcode) => true,
        // Nor do answers about names that no rule can speak of.
        Err(DnsRefusal::Direction | DnsRefusal::Name | DnsRefusal::Class | DnsRefusal::Extra) => {
            return Outcome::Pass;
        }
        Err(
            DnsRefusal::Length | DnsRefusal::Opcode | DnsRefusal::Questions | DnsRefusal::Malformed,
        ) => {
            count(Loss::Dns);
            return Outcome::Pass;
        }
    };
    scratch.find_set(view);
    if refuses_service_bindings(context, view, owner, segment, scratch) {
        return Outcome::Refuse;
    }
    if !is_trusted(view, segment) || (scratch.set == 0 && owner.subject == 0) {
        // What ordinary programs ask about ordinary names is nobody's business.
        return Outcome::Pass;
    }
    scratch.write_query(context, segment.source, segment.protocol);
    if is_replay() {
        // Where there are no sockets, nobody keeps what they ask.
        // SAFETY: the helper only reads the clock.
        let now_ns = unsafe { bpf_ktime_get_boot_ns() };
        scratch.round = Round { now_ns, subject: owner.subject, reserved: 0, best: 0 };
    } else if !take_pending(scratch) {
        count(Loss::Unasked);
        return Outcome::Pass;
    }
    if is_error || scratch.dns.addresses_len == 0 {
        return Outcome::Pass;
    }
    if scratch.set != 0 {
        Helper::repeat::<_, BindAddress>(scratch.dns.addresses_len, scratch);
    }
    let report = Report {
        time_ns: scratch.round.now_ns,
        subject: scratch.round.subject,
        resolver: segment.source,
        protocol: segment.protocol,
        reason: 0,
        mode: Mode::Monitor,
        rule: 0,
    };
    report.send(context, view, owner, scratch);
    Outcome::Pass
}

/// In a capture nothing tells which resolver a host trusts.
#[inline(always)]
fn is_trusted(view: &View, segment: &Segment) -> bool {
    is_replay() || view.is_resolver(&segment.source)
}

/// Takes the query that the answer repeats, and with it who learns; false if there is none, or one
/// that is too old.
#[inline(always)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "a copy would be on the stack")]
fn take_pending(scratch: &mut DnsScratch) -> bool {
    // SAFETY: the helper only reads the clock.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: an entry that is reused while it is read was evicted, and is then not removed below
    // under its old key.
    let Some(pending) = (unsafe { PENDING.get(&scratch.query) }) else {
        return false;
    };
    let (asked_ns, subject) = (pending.time_ns, pending.subject);
    scratch.round = Round { now_ns, subject, reserved: 0, best: 0 };
    // Of two answers that come at once only one finds the entry to remove.
    let is_taken = PENDING.remove(&scratch.query).is_ok();
    is_taken && now_ns.wrapping_sub(asked_ns) < u64::from(PENDING_MAX_S) * NS_PER_S
}

/// True if the message has service bindings and its reader is an enforced subject.
#[inline(always)]
fn refuses_service_bindings(
    context: &SkBuffContext,
    view: &View,
    owner: &SocketOwner,
    segment: &Segment,
    scratch: &mut DnsScratch,
) -> bool {
    let has_some = scratch.dns.service_bindings != 0
        || dns_type::is_service_binding(scratch.dns.question_type);
    if !SocketOwner::is_agent(owner.subject) || !has_some {
        return false;
    }
    let Some(settings) = view.subject(owner.subject) else {
        return false;
    };
    let mode = Mode::from_byte(settings.mode);
    let report = Report {
        // SAFETY: the helper only reads the clock.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        subject: owner.subject,
        resolver: segment.source,
        protocol: segment.protocol,
        reason: Reason::DnsRecord as u8,
        mode,
        rule: settings.default_rule,
    };
    report.send(context, view, owner, scratch);
    mode == Mode::Enforce
}

/// The owner of the socket that the packet is for; nobody where it has none.
#[inline(always)]
fn owner(context: &SkBuffContext) -> SocketOwner {
    let nobody = SocketOwner::unconnected(0, 0, 0);
    let socket = state::socket(context);
    if socket.is_null() {
        return nobody;
    }
    let stored = state::stored(context, socket, End::Receiver, &SOCKETS, &FLOWS);
    // SAFETY: the storage lives as long as the socket.
    if stored.is_null() { nobody } else { unsafe { *stored } }
}

pub(crate) struct BindAddress;

impl Work<DnsScratch> for BindAddress {
    #[inline(always)]
    fn of(scratch: &DnsScratch) -> Loop {
        Loop::Addresses(scratch.dns.place)
    }

    #[inline(always)]
    fn step(index: u32, scratch: &mut DnsScratch) -> Step {
        let at = index as usize & (DNS_ADDRESSES_MAX - 1);
        let Some(DnsAddress { address, ttl_s }) = scratch.dns.addresses.get(at).copied() else {
            return Step::Stop;
        };
        let ttl_s = ttl_s.clamp(BINDING_TTL_MIN_S, BINDING_TTL_MAX_S);
        let Round { now_ns, subject, .. } = scratch.round;
        let set = scratch.set;
        let expires_ns = now_ns + u64::from(ttl_s) * NS_PER_S;
        let bound = BoundSet { expires_ns, set, reserved: 0 };
        bind(&BindingKey { subject, address }, bound, &mut scratch.round);
        Step::Again
    }
}

/// Adds a set to what an address stands for, in the place of the same set, else of the one that
/// expires first.
#[inline(always)]
fn bind(key: &BindingKey, bound: BoundSet, round: &mut Round) {
    if !is_marked_bound(&key.address) {
        mark_bound(&key.address);
        // It stands for nothing yet, unless a daemon without marks was here.
        if insert(key, bound, BPF_NOEXIST) {
            return;
        }
    }
    let Some(binding) = BINDINGS.get_ptr_mut(key) else {
        if !insert(key, bound, BPF_ANY) {
            count(Loss::Bindings);
        }
        return;
    };
    // SAFETY: a value of the map; two CPUs that write at once may cost one of the two sets.
    let sets = unsafe { &mut (*binding).sets };
    round.best = 0;
    if sets.first().is_none_or(|first| first.set != bound.set) {
        round.best = u64::MAX;
        for (at, place) in sets.iter().enumerate() {
            let rank = place.rank(at, bound.set, round.now_ns);
            if rank < round.best() {
                round.best = rank;
            }
        }
    }
    if let Some(place) = sets.get_mut(place_of_rank(round.best())) {
        // A program that reads meanwhile must not see the new set with the old one's time.
        place.expires_ns = 0;
        place.set = bound.set;
        place.expires_ns = bound.expires_ns;
    }
}

/// True if the address stands for the set now, and for no other.
#[inline(always)]
fn insert(key: &BindingKey, bound: BoundSet, how: u32) -> bool {
    let mut binding = Binding { sets: [BoundSet::UNUSED; BINDING_SETS_MAX] };
    if let Some(first) = binding.sets.first_mut() {
        *first = bound;
    }
    BINDINGS.insert(key, binding, u64::from(how)).is_ok()
}
