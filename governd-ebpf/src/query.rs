//! DNS queries on their way out: who asked what, so that only its answer is believed, and whether
//! it may be asked.
//!
//! What is kept is the whole question with its socket, server and id; [`crate::answer`] takes it
//! when the answer comes. It is kept only where the server is a trusted resolver and the network
//! namespace is one that root made: in a namespace that a user made for himself anybody is the
//! resolver.
//!
//! Refused are packets of governed subjects that say to come from a trusted resolver, their queries
//! for service bindings (RFC 9460), and of restricted ones everything but plain questions for names
//! that some rule of the subject allows.

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_ktime_get_boot_ns, programs::SkBuffContext};
use governd_common::{
    decide::Tables as _,
    dns::dns_type,
    key::DecisionKey,
    limits::MEMBERS_MAX,
    names::tail,
    table::{Pending, SocketOwner, Subject, socket_flag, subject_flag},
    verdict::{Loss, Mode, Reason},
};

use crate::{
    dns::{DnsScratch, Report, take_scratch},
    egress,
    emit::count,
    loops::Helper,
    outcome::Outcome,
    skb::{PORT_DNS, PROTOCOL_TCP, PROTOCOL_UDP, Segment, load_message, may_change},
    state::Sender,
    subject::learner,
    tables::{DECISIONS, PENDING, TAILS, View, subject_in},
    task::SocketPointer,
};

/// Decides about a query, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    let Some(sender) = Sender::of(context) else {
        return Outcome::Pass as i32;
    };
    let owner = &*sender.owner;
    let Some(view) = View::current() else {
        return Outcome::Pass as i32;
    };
    // The policy no longer has the subject: its sockets are nobody's.
    let Some(settings) = view.subject(owner.subject) else {
        return Outcome::Pass as i32;
    };
    let Some(segment) = Segment::read(context) else {
        return Outcome::Pass as i32;
    };
    let is_answer = segment.source_port == PORT_DNS && view.is_resolver(&segment.source);
    let is_agent = SocketOwner::is_agent(owner.subject);
    let is_forged = is_agent && is_answer;
    let is_query = segment.destination_port == PORT_DNS
        || egress::is_to_own_resolver(owner, &segment.destination);
    let is_enforced = is_agent && settings.mode != Mode::Monitor as u8;
    let unread = if is_enforced { Outcome::Refuse } else { Outcome::Pass } as i32;
    let is_quic = is_quic(&view, owner, &segment);
    if !is_forged && !is_query {
        return if is_quic { leave_to_quic(context, unread) } else { Outcome::Pass as i32 };
    }
    // What is read here need not be what the server gets.
    let is_changing = is_enforced && may_change(context);
    if !is_forged && !is_changing && segment.protocol == PROTOCOL_TCP {
        // SAFETY: nothing here waits to be dropped.
        unsafe { TAILS.tail_call(context, tail::QUERY_TCP) };
        return unread;
    }
    let Some(scratch) = take_scratch() else {
        count(Loss::Pending);
        return unread;
    };
    let asking = Asking { context, view: &view, owner, settings, segment: &segment };
    let outcome =
        if is_forged { asking.forge(scratch) } else { asking.datagram(scratch, is_changing) };
    scratch.release();
    if outcome == Outcome::Pass && is_quic {
        leave_to_quic(context, unread)
    } else {
        outcome as i32
    }
}

/// Whether it has to be QUIC as well, by a rule that allows that alone: everything but what is for
/// a trusted resolver.
#[inline(always)]
fn is_quic(view: &View, owner: &SocketOwner, segment: &Segment) -> bool {
    let is_flagged = owner.flags & socket_flag::QUIC != 0 && segment.protocol == PROTOCOL_UDP;
    let is_asked = segment.destination_port == PORT_DNS && view.is_resolver(&segment.destination);
    is_flagged && !is_asked
}

/// Comes back with the second outcome where that program is missing.
#[inline(always)]
fn leave_to_quic(context: &SkBuffContext, unread: i32) -> i32 {
    // SAFETY: nothing here waits to be dropped.
    unsafe { TAILS.tail_call(context, tail::QUIC) };
    unread
}

/// Who asks, and how.
pub(crate) struct Asking<'a> {
    pub(crate) context: &'a SkBuffContext,
    pub(crate) view: &'a View,
    pub(crate) owner: &'a SocketOwner,
    pub(crate) settings: &'a Subject,
    pub(crate) segment: &'a Segment,
}

impl Asking<'_> {
    /// A governed process does not answer in the place of a resolver, least of all itself.
    #[inline(always)]
    fn forge(&self, scratch: &mut DnsScratch) -> Outcome {
        scratch.set = 0;
        scratch.dns.question_type = 0;
        scratch.dns.name.clear();
        let mode = Mode::from_byte(self.settings.mode);
        self.report(Reason::DnsAnswer, mode, scratch);
        if mode == Mode::Enforce { Outcome::Refuse } else { Outcome::Pass }
    }

    #[inline(always)]
    fn datagram(&self, scratch: &mut DnsScratch, is_changing: bool) -> Outcome {
        let at = self.segment.datagram_at();
        let is_read = !is_changing && load_message(self.context, at, &mut scratch.dns);
        if !is_read {
            scratch.dns.len = 0;
        }
        self.message(scratch)
    }

    /// Decides about the message in the scratch memory; one of no length could not be read.
    #[inline(always)]
    pub(crate) fn message(&self, scratch: &mut DnsScratch) -> Outcome {
        let is_question = scratch.dns.query::<Helper>().is_ok();
        scratch.set = 0;
        if is_question {
            scratch.find_set(self.view);
        }
        if let Some(reason) = self.reason_against(is_question, scratch) {
            let mode = Mode::from_byte(self.settings.mode);
            self.report(reason, mode, scratch);
            if mode == Mode::Enforce {
                return Outcome::Refuse;
            }
        }
        // What ordinary programs ask about ordinary names is nobody's business.
        let is_of_interest = self.owner.subject != 0 || scratch.set != 0;
        if is_question && is_of_interest {
            self.keep(scratch);
        }
        Outcome::Pass
    }

    #[inline(always)]
    fn reason_against(&self, is_question: bool, scratch: &mut DnsScratch) -> Option<Reason> {
        let subject = self.owner.subject;
        if !SocketOwner::is_agent(subject) {
            return None;
        }
        if self.settings.flags & subject_flag::DNS_RESTRICT != 0 {
            let is_plain = is_question && scratch.dns.carries_nothing_else::<Helper>().is_ok();
            if !is_plain || may_ask(self.view.slot, subject, scratch.set) == 0 {
                return Some(Reason::DnsName);
            }
        }
        let is_binding = dns_type::is_service_binding(scratch.dns.question_type);
        (is_question && is_binding).then_some(Reason::DnsRecord)
    }

    /// Keeps the question until its answer comes.
    #[inline(always)]
    #[expect(clippy::needless_borrows_for_generic_args, reason = "a copy would be on the stack")]
    fn keep(&self, scratch: &mut DnsScratch) {
        let Self { context, view, owner, segment, .. } = *self;
        let skb = context.skb.skb.cast_const().cast();
        let is_roots =
            SocketPointer::of_packet(skb).is_some_and(SocketPointer::is_in_initial_user_namespace);
        if !is_roots || !view.is_resolver(&segment.destination) {
            return;
        }
        scratch.write_query(context, segment.destination, segment.protocol);
        // SAFETY: the helper only reads the clock.
        let time_ns = unsafe { bpf_ktime_get_boot_ns() };
        let pending = Pending { time_ns, subject: learner(view.slot, owner.subject), reserved: 0 };
        if PENDING.insert(&scratch.query, pending, u64::from(BPF_ANY)).is_err() {
            count(Loss::Pending);
        }
    }

    #[inline(always)]
    fn report(&self, reason: Reason, mode: Mode, scratch: &mut DnsScratch) {
        let Self { context, view, owner, settings, segment } = *self;
        let report = Report {
            // SAFETY: the helper only reads the clock.
            time_ns: unsafe { bpf_ktime_get_boot_ns() },
            subject: owner.subject,
            resolver: segment.destination,
            protocol: segment.protocol,
            reason: reason as u8,
            mode,
            rule: settings.default_rule,
        };
        report.send(context, view, owner, scratch);
    }
}

/// 1 if a rule of the subject allows something to the names of a set; where it stands for several
/// agents, a rule of each that is restricted. Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn may_ask(slot: u32, subject: u32, set: u32) -> u32 {
    let Some(settings) = subject_in(slot, subject) else {
        return 0;
    };
    if settings.is_alone() {
        return speaks_for(slot, subject, set);
    }
    for member in settings.members.iter().take(MEMBERS_MAX) {
        if *member == 0 {
            break;
        }
        let Some(own) = subject_in(slot, *member) else {
            return 0;
        };
        let counts = own.mode >= settings.mode && own.flags & subject_flag::DNS_RESTRICT != 0;
        if counts && speaks_for(slot, *member, set) == 0 {
            return 0;
        }
    }
    1
}

/// Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn speaks_for(slot: u32, subject: u32, set: u32) -> u32 {
    // SAFETY: entries of a slot in force are neither changed nor removed.
    let block = unsafe { DECISIONS.get(DecisionKey { slot, subject, set }) };
    block.is_some_and(|block| block.speaks_for()).into()
}
