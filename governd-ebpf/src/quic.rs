//! QUIC where a rule allows it: the datagrams in which a connection names its server go to user
//! space too, which has the means to read them, and a socket that named a server which is not
//! allowed sends nothing any more.
//!
//! Every packet with a long header goes there, since a socket may have several connections. What
//! cannot be shown to user space, because it is too long, of an unknown version or too much at a
//! time, does not go out.

use core::{mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY},
    helpers::{bpf_ringbuf_output, generated::bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use governd_common::{
    address::Address,
    event::{EventKind, InitialEvent},
    limits::{DATAGRAMS_MAX, INITIAL_BYTES_MAX, INITIALS_MAX},
    table::{QuicSocket, SocketOwner},
    verdict::Loss,
};

use crate::{
    egress,
    emit::count,
    hello::HelloScratch,
    outcome::Outcome,
    skb::load,
    tables::{EVENTS, QUIC_SOCKETS, View},
};

const FORM_LONG: u8 = 0x80;
const UDP_HEADER_BYTES: u32 = 8;
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;

/// Decides about a datagram, or several that are sent together.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext, owner: &SocketOwner) -> Outcome {
    let cookie = egress::cookie(context);
    let known = QUIC_SOCKETS.get_ptr_mut(cookie);
    // SAFETY: a value of the map.
    if known.is_some_and(|socket| unsafe { (*socket).refused } != 0) {
        return Outcome::Refuse;
    }
    let Some(first) = load::<u8>(context, 0) else {
        return Outcome::Refuse;
    };
    let is_v4 = first >> 4 == 4;
    let header = if is_v4 { u32::from(first & 0xf) * 4 } else { 40 };
    let at = header + UDP_HEADER_BYTES;
    let skb: *mut __sk_buff = context.skb.skb;
    // SAFETY: the kernel fills the context; these programs may read the field.
    let piece = unsafe { ptr::read_volatile(&raw const (*skb).gso_size) };
    if !names_server(context, at, piece) {
        return Outcome::Pass;
    }
    let version: [u8; 4] = load(context, at + 1).unwrap_or_default();
    let version = u32::from_be_bytes(version);
    let is_long = load::<u8>(context, at).unwrap_or(0) & FORM_LONG != 0;
    if is_long && version != VERSION_1 && version != VERSION_2 {
        return Outcome::Refuse;
    }
    if !wait(known, cookie) {
        return Outcome::Refuse;
    }
    let Some(view) = View::current() else {
        return Outcome::Refuse;
    };
    let Some(scratch) = HelloScratch::take() else {
        return Outcome::Refuse;
    };
    let event = &mut scratch.initial;
    event.header = egress::header(context, &view, owner, EventKind::Initial);
    event.cookie = cookie;
    event.piece = piece;
    event.reserved = 0;
    event.reserved_too = 0;
    event.port = u16::from_be_bytes(load(context, header + 2).unwrap_or_default());
    event.address = if is_v4 {
        Address::v4(load(context, 16).unwrap_or_default())
    } else {
        Address::v6(load(context, 24).unwrap_or_default())
    };
    let is_sent = send(context, at, event);
    scratch.give_back();
    if is_sent { Outcome::Pass } else { Outcome::Refuse }
}

/// Whether one of the datagrams has a long header.
#[inline(always)]
fn names_server(context: &SkBuffContext, at: u32, piece: u32) -> bool {
    let len = context.len();
    let mut place = at;
    for _ in 0..DATAGRAMS_MAX {
        if place >= len {
            break;
        }
        if load::<u8>(context, place).unwrap_or(FORM_LONG) & FORM_LONG != 0 {
            return true;
        }
        if piece == 0 {
            break;
        }
        place = place.wrapping_add(piece);
    }
    false
}

/// Counts a datagram that user space has to judge; false if there are too many.
#[inline(always)]
fn wait(known: Option<*mut QuicSocket>, cookie: u64) -> bool {
    let Some(socket) = known else {
        let socket = QuicSocket { waiting: 1, refused: 0 };
        return QUIC_SOCKETS.insert(cookie, socket, u64::from(BPF_ANY)).is_ok();
    };
    // SAFETY: a value of the map; a lost count only makes it one more that may wait.
    let socket = unsafe { &mut *socket };
    if socket.waiting >= INITIALS_MAX {
        return false;
    }
    socket.waiting += 1;
    true
}

/// Copies the datagrams and writes the event, at once: user space should not be late.
#[inline(always)]
fn send(context: &SkBuffContext, at: u32, event: &mut InitialEvent) -> bool {
    let len = context.len().wrapping_sub(at);
    if len == 0 || len > INITIAL_BYTES_MAX as u32 {
        return false;
    }
    event.len = len;
    // SAFETY: reads a field back, so that the compiler does not know its range and keeps the mask,
    // by which the verifier knows it: 1 to the maximum.
    let len = unsafe { ptr::read_volatile(&raw const event.len) };
    let len = (len.wrapping_sub(1) & (INITIAL_BYTES_MAX as u32 - 1)) + 1;
    let to = event.bytes.as_mut_ptr().cast();
    // SAFETY: the length is at most that of the buffer, and the helper checks the packet's.
    if unsafe { bpf_skb_load_bytes(context.skb.skb.cast(), at, to, len) } != 0 {
        return false;
    }
    let used = offset_of!(InitialEvent, bytes) as u64 + u64::from(len);
    let ring = ptr::from_ref(&EVENTS).cast_mut().cast();
    let wake = u64::from(aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP);
    // SAFETY: the event is as long as that, or longer.
    let written = unsafe { bpf_ringbuf_output(ring, ptr::from_mut(event).cast(), used, wake) };
    if written != 0 {
        count(Loss::Ring);
    }
    written == 0
}
