//! DNS queries over TCP on their way out: each is judged as one over UDP is, when it is whole.
//!
//! Pieces of a query pass before it is whole: nobody answers a piece, or asks others for it. The
//! packet that completes a forbidden query is dropped, with all that comes after it, and the daemon
//! ends the socket. Of an enforced subject that may not ask for everything, nothing passes that
//! cannot be read: bytes of a connection whose beginning nobody saw, and urgent ones.

use aya_ebpf::programs::SkBuffContext;
use governd_common::{
    decide::Tables as _,
    names::tail,
    table::{SocketOwner, Subject, subject_flag},
    verdict::{Loss, Mode, Verdict},
};

use crate::{
    dns::{DnsScratch, take_scratch},
    dns_stream::{self, Bytes, Reading, Side, stage},
    emit::count,
    outcome::Outcome,
    query::Asking,
    segment,
    skb::Segment,
    state::{self, Sender},
    tables::{DNS_ANSWERS, DNS_QUERIES, TAILS, View},
};

/// Decides about a packet, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    // Captures are replayed message by message.
    if state::is_replay() {
        return Outcome::Pass as i32;
    }
    let Some(Sender { socket, owner }) = Sender::of(context) else {
        return Outcome::Pass as i32;
    };
    let Some(view) = View::current() else {
        return Outcome::Pass as i32;
    };
    let Some(settings) = view.subject(owner.subject) else {
        return Outcome::Pass as i32;
    };
    let run = Run { context, view: &view, settings, subject: owner.subject };
    let (Some(ends), Some(segment)) = (Segment::read(context), segment::Segment::read(context))
    else {
        return run.without_reading() as i32;
    };
    if segment.len == 0 && !segment.is_syn() {
        return Outcome::Pass as i32;
    }
    let queries = dns_stream::of_socket(&DNS_QUERIES, socket, true);
    if queries.is_null() {
        return run.without_reading() as i32;
    }
    if segment.is_syn() {
        let answers = dns_stream::of_socket(&DNS_ANSWERS, socket, true);
        if answers.is_null() {
            return run.without_reading() as i32;
        }
        // SAFETY: as the owner's; none of this connection came yet.
        unsafe { (*answers).belong_to(owner.connects) };
    }
    // SAFETY: as the owner's.
    run.packet(unsafe { &mut *queries }, owner, &ends, &segment) as i32
}

/// What a run knows beside the connection.
struct Run<'a> {
    context: &'a SkBuffContext,
    view: &'a View,
    settings: &'a Subject,
    subject: u32,
}

impl Run<'_> {
    #[inline(always)]
    fn is_enforced(&self) -> bool {
        SocketOwner::is_agent(self.subject) && self.settings.mode != Mode::Monitor as u8
    }

    /// Only names of its rules may be asked for.
    #[inline(always)]
    fn is_restricted(&self) -> bool {
        self.subject != 0 && self.settings.flags & subject_flag::DNS_RESTRICT != 0
    }

    /// The packet cannot be read now; it will be sent again.
    #[inline(always)]
    fn without_reading(&self) -> Outcome {
        if self.is_enforced() { Outcome::Refuse } else { Outcome::Pass }
    }

    #[inline(always)]
    fn packet(
        &self,
        queries: &mut Side,
        owner: &mut SocketOwner,
        ends: &Segment,
        segment: &segment::Segment,
    ) -> Outcome {
        if segment.is_syn() {
            queries.belong_to(owner.connects);
            queries.begin(segment);
            if segment.len == 0 {
                return Outcome::Pass;
            }
        }
        if queries.stage == stage::REFUSED && self.is_enforced() {
            return Outcome::Refuse;
        }
        let mut next = None;
        if self.is_read(queries, owner, segment) {
            match queries.place(segment) {
                Bytes::Known => return Outcome::Pass,
                Bytes::Gap => return self.lose(queries),
                Bytes::Next { at, len } => next = Some((at, len)),
            }
        } else if !self.minds_unread(queries, owner) {
            return Outcome::Pass;
        }
        let Some(scratch) = take_scratch() else {
            return self.lose(queries);
        };
        let reading = match next {
            Some((at, len)) => queries.read(self.context, at, len, scratch),
            None => Reading::TooLong,
        };
        let outcome = self.judge(queries, owner, ends, scratch, reading);
        scratch.release();
        let is_more =
            outcome == Outcome::Pass && queries.stage == stage::READ && queries.wants_more(segment);
        if is_more {
            // SAFETY: nothing here waits to be dropped.
            unsafe { TAILS.tail_call(self.context, tail::QUERY_TCP) };
            return self.lose(queries);
        }
        outcome
    }

    /// Every byte of the connection was taken so far.
    #[inline(always)]
    fn is_read(&self, queries: &Side, owner: &SocketOwner, segment: &segment::Segment) -> bool {
        let is_this = queries.is_of(owner.connects) && queries.stage == stage::READ;
        is_this && !segment.is_urgent()
    }

    /// What is asked cannot be told any more. True if that is to be judged: in monitor mode, once.
    #[inline(always)]
    fn minds_unread(&self, queries: &mut Side, owner: &SocketOwner) -> bool {
        queries.belong_to(owner.connects);
        let is_new = queries.stage != stage::LOST;
        queries.stage = stage::LOST;
        self.is_restricted() && (is_new || self.is_enforced())
    }

    /// Bytes are missing, or cannot be read now. Of an enforced subject they come again, and the
    /// packet after them.
    #[inline(always)]
    fn lose(&self, queries: &mut Side) -> Outcome {
        if self.is_enforced() {
            return Outcome::Refuse;
        }
        queries.stage = stage::LOST;
        count(Loss::DnsStream);
        Outcome::Pass
    }

    #[inline(always)]
    fn judge(
        &self,
        queries: &mut Side,
        owner: &mut SocketOwner,
        segment: &Segment,
        scratch: &mut DnsScratch,
        reading: Reading,
    ) -> Outcome {
        match reading {
            Reading::More => return Outcome::Pass,
            Reading::Fault => return self.lose(queries),
            Reading::TooLong => scratch.dns.len = 0,
            Reading::Message => {}
        }
        let Self { context, view, settings, .. } = *self;
        let outcome = Asking { context, view, owner, settings, segment }.message(scratch);
        if outcome == Outcome::Refuse {
            queries.stage = stage::REFUSED;
            owner.verdict = Verdict::Deny as u8;
        }
        outcome
    }
}
