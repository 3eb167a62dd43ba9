//! What connections of agents that nobody registered say of themselves: for the inventory alone.
//!
//! Nothing is judged here and every packet passes. What cannot be read is left unread, and the
//! connection is not looked at again. Until then the state is kept as `hello` would keep it, since
//! a governed process may still get the socket: what was read counts there as read, and a
//! connection that is no more looked at cannot prove anything.

use aya_ebpf::{bindings::bpf_sock, programs::SkBuffContext};
use governd_common::{
    decide::{Decision, Proof},
    names::tail,
    table::SocketOwner,
    verdict::{Mode, Reason, Verdict},
};

use crate::{
    hello::{self, Beginning, HelloScratch, RECORD_HANDSHAKE, Run, SOURCE_TLS},
    outcome::Outcome,
    reading::{Reading, read_tls},
    segment::Segment,
    skb::load_chunk,
    state::Sender,
    tables::{TAILS, View},
};

/// Reads a packet, and gives the program's return value.
#[inline(always)]
pub(crate) fn read(context: &SkBuffContext) -> i32 {
    if let Some(Sender { socket, owner }) = Sender::of(context)
        && !follow(context, socket, owner)
    {
        owner.stage = 0;
    }
    Outcome::Pass as i32
}

/// Reads what is new; false if nothing more is to be read of the connection.
#[inline(always)]
fn follow(context: &SkBuffContext, socket: *mut bpf_sock, owner: &SocketOwner) -> bool {
    let (Some(view), Some(segment)) = (View::current(), Segment::read(context)) else {
        return false;
    };
    let is_syn = segment.is_syn();
    if segment.len == 0 && !is_syn {
        return true;
    }
    let beginning = hello::beginning(context, socket, is_syn);
    if beginning.is_null() {
        return false;
    }
    // SAFETY: the storage lives as long as the socket, whose lock keeps other packets away.
    let beginning = unsafe { &mut *beginning };
    let sequence = segment.first();
    if is_syn {
        hello::begin(beginning, owner, sequence);
        if segment.len == 0 {
            return true;
        }
    }
    let is_this = beginning.has_syn != 0 && beginning.connects == u32::from(owner.connects);
    let read = beginning.next.wrapping_sub(sequence);
    if !is_this || segment.is_urgent() || read > i32::MAX as u32 {
        return false;
    }
    if read >= segment.len {
        return true;
    }
    let Some(scratch) = HelloScratch::take() else {
        return false;
    };
    let at = segment.at.wrapping_add(read);
    let len = segment.len.wrapping_sub(read);
    let run = Run { context, view: &view, kind: 0 };
    let is_more = read_chunk(&run, owner, beginning, scratch, at, len);
    scratch.give_back();
    if is_more && scratch.chunk.at < len {
        // SAFETY: nothing here waits to be dropped.
        unsafe { TAILS.tail_call(context, tail::NOTE) };
        return false;
    }
    is_more
}

#[inline(always)]
fn read_chunk(
    run: &Run<'_>,
    owner: &SocketOwner,
    beginning: &mut Beginning,
    scratch: &mut HelloScratch,
    at: u32,
    len: u32,
) -> bool {
    let chunk = &mut scratch.chunk;
    if !load_chunk(run.context, at, len, chunk) {
        return false;
    }
    if beginning.source == 0 {
        if chunk.bytes[0] != RECORD_HANDSHAKE {
            return false;
        }
        beginning.source = SOURCE_TLS;
    }
    let reading = read_tls(&mut beginning.hello, scratch);
    beginning.next = beginning.next.wrapping_add(scratch.chunk.at);
    match reading {
        Reading::More => true,
        Reading::Named => {
            run.report(owner, beginning, &mut scratch.event, &NOTED, 0);
            false
        }
        Reading::Refused(..) | Reading::Over => false,
    }
}

/// What was decided when it connected.
const NOTED: Decision = Decision {
    verdict: Verdict::Allow,
    reason: Reason::Unregistered,
    mode: Mode::Monitor,
    rule: 0,
    set: 0,
    quiet: true,
    proof: Proof::None,
};
