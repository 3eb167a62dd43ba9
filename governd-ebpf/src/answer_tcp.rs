//! DNS answers over TCP on their way in: each teaches as one over UDP does, when it is whole.
//!
//! Answers are read only of connections whose queries are (see [`crate::query_tcp`]). Where bytes
//! are missing, those of enforced subjects wait: the packet is dropped and comes again after them.
//! Other sockets get their packets as they come, and the connection teaches nothing more.

use aya_ebpf::programs::SkBuffContext;
use governd_common::{
    decide::Tables as _,
    names::tail,
    table::SocketOwner,
    verdict::{Loss, Mode, Verdict},
};

use crate::{
    answer,
    dns::take_scratch,
    dns_stream::{self, Bytes, Reader, Reading, Side, stage},
    emit::count,
    outcome::Outcome,
    segment,
    skb::Segment,
    state::{self, End},
    tables::{DNS_ANSWERS, FLOWS, INGRESS_TAILS, SOCKETS, View},
};

/// Looks at a packet, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    // Captures are replayed message by message.
    if state::is_replay() {
        return Outcome::Pass as i32;
    }
    let socket = state::socket(context);
    if socket.is_null() {
        return Outcome::Pass as i32;
    }
    let owner = state::stored(context, socket, End::Receiver, &SOCKETS, &FLOWS);
    if owner.is_null() {
        return Outcome::Pass as i32;
    }
    let answers = dns_stream::of_socket(&DNS_ANSWERS, socket, false);
    if answers.is_null() {
        return Outcome::Pass as i32;
    }
    // SAFETY: both storages live as long as the socket; the reader keeps the answers for this CPU,
    // and what egress changes is read once.
    let (owner, answers): (&mut SocketOwner, &mut Side) = unsafe { (&mut *owner, &mut *answers) };
    let Some(view) = View::current() else {
        return Outcome::Pass as i32;
    };
    let (Some(ends), Some(segment)) = (Segment::read(context), segment::Segment::read(context))
    else {
        return Outcome::Pass as i32;
    };
    if !view.is_resolver(&ends.source) && owner.subject == 0 {
        return Outcome::Pass as i32;
    }
    if segment.len == 0 && !segment.is_syn() {
        return Outcome::Pass as i32;
    }
    let settings = view.subject(owner.subject);
    let is_enforced = SocketOwner::is_agent(owner.subject)
        && settings.is_some_and(|settings| settings.mode != Mode::Monitor as u8);
    let run = Run { context, view: &view, is_enforced };
    let Some(reader) = Reader::of(context) else {
        return run.lose(answers) as i32;
    };
    let outcome = run.packet(answers, owner, &ends, &segment);
    let is_more =
        outcome == Outcome::Pass && answers.stage == stage::READ && answers.wants_more(&segment);
    reader.end();
    if is_more {
        // SAFETY: nothing here waits to be dropped.
        unsafe { INGRESS_TAILS.tail_call(context, tail::ANSWER_TCP) };
        return run.lose(answers) as i32;
    }
    outcome as i32
}

/// What a run knows beside the connection.
struct Run<'a> {
    context: &'a SkBuffContext,
    view: &'a View,
    is_enforced: bool,
}

impl Run<'_> {
    /// Bytes are missing.
    #[inline(always)]
    fn lose(&self, answers: &mut Side) -> Outcome {
        if self.is_enforced {
            return Outcome::Refuse;
        }
        answers.stage = stage::LOST;
        count(Loss::DnsStream);
        Outcome::Pass
    }

    #[inline(always)]
    fn packet(
        &self,
        answers: &mut Side,
        owner: &mut SocketOwner,
        ends: &Segment,
        segment: &segment::Segment,
    ) -> Outcome {
        if !answers.is_of(owner.connects) {
            return Outcome::Pass;
        }
        if segment.is_syn() {
            answers.begin(segment);
        }
        match answers.stage {
            stage::READ => {}
            stage::REFUSED if self.is_enforced => return Outcome::Refuse,
            _ => return Outcome::Pass,
        }
        match answers.place(segment) {
            Bytes::Known => Outcome::Pass,
            Bytes::Gap => self.lose(answers),
            Bytes::Next { at, len } => self.read(answers, owner, ends, at, len),
        }
    }

    #[inline(always)]
    fn read(
        &self,
        answers: &mut Side,
        owner: &mut SocketOwner,
        ends: &Segment,
        at: u32,
        len: u32,
    ) -> Outcome {
        let Some(scratch) = take_scratch() else {
            return self.lose(answers);
        };
        let outcome = match answers.read(self.context, at, len, scratch) {
            Reading::Fault => self.lose(answers),
            Reading::More => Outcome::Pass,
            Reading::TooLong => {
                count(Loss::Dns);
                Outcome::Pass
            }
            Reading::Message => {
                let outcome = answer::learn(self.context, self.view, owner, ends, scratch);
                if outcome == Outcome::Refuse {
                    answers.stage = stage::REFUSED;
                    owner.verdict = Verdict::Deny as u8;
                }
                outcome
            }
        };
        scratch.release();
        outcome
    }
}
