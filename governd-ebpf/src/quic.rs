//! QUIC where a rule allows it. The name that a connection asks for can only be read in user space,
//! so what an agent sends to begin one goes there and no further. Once user space has read a name
//! that the policy allows, what the client sends again may pass, and whatever follows; a name that
//! is not allowed silences the socket.
//!
//! What is lost on its way is sent again by every client after a fraction of a second, so nobody is
//! told. Nothing passes while user space does not answer. A socket may have several connections:
//! another connection id than those that were allowed asks again. The server chooses a new one for
//! the client to send to, which no key here can tell from the client's own choice; so each allowed
//! name is good for one more id, and if that begins a connection, it is refused after its first
//! packet.
//!
//! Programs that are no agents are not kept waiting: only what they send after a refused name is
//! stopped.

use core::{mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY},
    helpers::{bpf_ringbuf_output, generated::bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use governd_common::{
    address::Address,
    decide::{Decision, Proof, Tables as _},
    event::{EventKind, InitialEvent},
    key::QuicKey,
    limits::{DATAGRAMS_MAX, INITIAL_BYTES_MAX, INITIALS_MAX},
    table::{QUIC_ID_WORDS, QuicFlow, SocketOwner, Subject, quic_state},
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    egress::{self, Target},
    emit::count,
    hello::HelloScratch,
    outcome::Outcome,
    skb::load,
    state::Sender,
    tables::{EVENTS, QUIC_FLOWS, View},
};

const FORM_LONG: u8 = 0x80;
const UDP_HEADER_BYTES: u32 = 8;
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;
/// Where a long header has the length of the destination's connection id (RFC 8999 section 5.1).
const ID_LEN_AT: u32 = 5;
const ID_BYTES_MAX: u32 = 20;
const PROTOCOL_UDP: u8 = 17;
/// Datagrams with a long header, and others, that may be sent together: those that begin a
/// connection have at least 1,200 bytes each, and user space is shown 4,096.
const LONG_DATAGRAMS_MAX: u32 = 3;

/// Decides about a datagram, or several that are sent together, and gives the program's return
/// value.
#[inline(always)]
pub(crate) fn judge(context: &SkBuffContext) -> i32 {
    let Some(sender) = Sender::of(context) else {
        return Outcome::Pass as i32;
    };
    judge_owned(context, sender.kind(), sender.owner) as i32
}

#[inline(always)]
fn judge_owned(context: &SkBuffContext, kind: u32, owner: &SocketOwner) -> Outcome {
    let Some(view) = View::current() else {
        return Outcome::Refuse;
    };
    let Some(settings) = view.subject(owner.subject) else {
        // The policy no longer has the subject: its sockets are nobody's.
        return Outcome::Pass;
    };
    let Some(run) = Run::new(context, &view, owner) else {
        return Outcome::Refuse;
    };
    let outcome = run.judge(kind, settings);
    if Mode::from_byte(settings.mode) == Mode::Enforce { outcome } else { Outcome::Pass }
}

/// What the headers of the datagrams say.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Heads {
    /// No long one.
    Short,
    /// A long one of a version that nobody can read.
    Strange,
    /// Long ones, of allowed connections.
    Known,
    /// A long one of another connection.
    New,
}

/// What a run knows of the packet.
struct Run<'a> {
    context: &'a SkBuffContext,
    view: &'a View,
    owner: &'a SocketOwner,
    key: QuicKey,
    /// Where the first datagram begins.
    at: u32,
    /// Bytes of each datagram but the last; 0 for one datagram.
    piece: u32,
}

impl<'a> Run<'a> {
    #[inline(always)]
    fn new(context: &'a SkBuffContext, view: &'a View, owner: &'a SocketOwner) -> Option<Self> {
        let first: u8 = load(context, 0)?;
        let is_v4 = first >> 4 == 4;
        let header = if is_v4 { u32::from(first & 0xf) * 4 } else { 40 };
        let address =
            if is_v4 { Address::v4(load(context, 16)?) } else { Address::v6(load(context, 24)?) };
        let port = u16::from_be_bytes(load(context, header + 2)?);
        let key = QuicKey { cookie: egress::cookie(context), address, port, reserved: [0; 3] };
        let skb: *mut __sk_buff = context.skb.skb;
        // SAFETY: the kernel fills the context; these programs may read the field.
        let piece = unsafe { ptr::read_volatile(&raw const (*skb).gso_size) };
        Some(Self { context, view, owner, key, at: header + UDP_HEADER_BYTES, piece })
    }

    #[inline(always)]
    fn judge(&self, kind: u32, settings: &Subject) -> Outcome {
        let is_agent = SocketOwner::is_agent(self.owner.subject);
        let wait = if is_agent { Outcome::Lose } else { Outcome::Pass };
        let before = QUIC_FLOWS.get_ptr_mut(self.key);
        let Some(known) = before.or_else(|| self.begin()) else {
            return Outcome::Refuse;
        };
        // SAFETY: a value of the map. Others may write it meanwhile: a lost count makes it one
        // more that waits, and a lost id one that is asked for again.
        let known = unsafe { &mut *known };
        if known.state == quic_state::REFUSED {
            return Outcome::Refuse;
        }
        let is_allowed =
            known.state == quic_state::ALLOWED && known.generation == self.view.generation;
        match self.heads(known) {
            Heads::Strange => Outcome::Refuse,
            Heads::Short if is_allowed => Outcome::Pass,
            // The socket's first one there, which should have begun a connection.
            Heads::Short if is_agent && before.is_none() => {
                self.report(kind, settings);
                Outcome::Refuse
            }
            Heads::Short => wait,
            heads => {
                if known.waiting >= INITIALS_MAX || !self.show() {
                    return Outcome::Lose;
                }
                known.waiting += 1;
                if is_allowed && heads == Heads::Known { Outcome::Pass } else { wait }
            }
        }
    }

    /// Makes room for what is the first that a socket sends there.
    #[inline(always)]
    fn begin(&self) -> Option<*mut QuicFlow> {
        let none = QuicFlow {
            generation: 0,
            waiting: 0,
            state: quic_state::PENDING,
            ids: [[0; QUIC_ID_WORDS]; 2],
        };
        QUIC_FLOWS.insert(self.key, none, u64::from(BPF_ANY)).ok()?;
        QUIC_FLOWS.get_ptr_mut(self.key)
    }

    /// Reads the headers; an allowed connection takes the first other id that comes.
    #[inline(always)]
    fn heads(&self, known: &mut QuicFlow) -> Heads {
        if !self.has_long_header() {
            return Heads::Short;
        }
        let len = self.context.len();
        let mut place = self.at;
        for _ in 0..LONG_DATAGRAMS_MAX {
            let first = load::<u8>(self.context, place).unwrap_or(0);
            if first & FORM_LONG != 0 {
                let version = load(self.context, place + 1).map_or(0, u32::from_be_bytes);
                if version != VERSION_1 && version != VERSION_2 {
                    return Heads::Strange;
                }
                if !self.is_known(place, known) {
                    return Heads::New;
                }
            }
            place = place.wrapping_add(self.piece);
            if self.piece == 0 || place >= len {
                return Heads::Known;
            }
        }
        Heads::Strange
    }

    #[inline(always)]
    fn has_long_header(&self) -> bool {
        has_long_header(self.context.skb.skb, self.at, self.piece) != 0
    }

    #[inline(always)]
    fn is_known(&self, place: u32, known: &mut QuicFlow) -> bool {
        let Some(id) = read_id(self.context, place.wrapping_add(ID_LEN_AT)) else {
            return false;
        };
        let [own, servers] = &mut known.ids;
        if known.state == quic_state::ALLOWED && is_unset(servers) && !is_same(own, &id) {
            *servers = id;
        }
        is_same(own, &id) || is_same(servers, &id)
    }

    /// Nothing that could name a server.
    #[inline(always)]
    fn report(&self, kind: u32, settings: &Subject) {
        let decision = Decision {
            verdict: Verdict::Deny,
            reason: Reason::Quic,
            mode: Mode::from_byte(settings.mode),
            rule: settings.default_rule,
            set: 0,
            proof: Proof::None,
            quiet: false,
        };
        let QuicKey { address, port, .. } = self.key;
        let target = Target { address, port, protocol: PROTOCOL_UDP };
        egress::report(self.context, self.view, kind, self.owner, &target, &decision);
    }

    /// Shows the datagrams to user space, at once: somebody waits. False if they cannot be shown.
    #[inline(always)]
    fn show(&self) -> bool {
        let Some(scratch) = HelloScratch::take() else {
            return false;
        };
        let event = &mut scratch.initial;
        event.header = egress::header(self.context, self.view, self.owner, EventKind::Initial);
        event.cookie = self.key.cookie;
        event.piece = self.piece;
        event.reserved = 0;
        event.reserved_too = 0;
        event.port = self.key.port;
        event.address = self.key.address;
        let is_sent = send(self.context, self.at, event);
        scratch.give_back();
        is_sent
    }
}

/// Whether any of the datagrams has one; 1 if so. Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn has_long_header(skb: *mut __sk_buff, at: u32, piece: u32) -> u32 {
    let context = SkBuffContext::new(skb);
    let len = context.len();
    let mut place = at;
    for _ in 0..DATAGRAMS_MAX {
        if place >= len {
            break;
        }
        if load::<u8>(&context, place).unwrap_or(FORM_LONG) & FORM_LONG != 0 {
            return 1;
        }
        if piece == 0 {
            break;
        }
        place = place.wrapping_add(piece);
    }
    0
}

/// The connection id at its length, as `quic_id` gives it.
#[inline(always)]
fn read_id(context: &SkBuffContext, at: u32) -> Option<[u64; QUIC_ID_WORDS]> {
    let len = u32::from(load::<u8>(context, at)?);
    if len > ID_BYTES_MAX {
        return None;
    }
    // One word more than an id has, which stays 0: the mask below is a power of two.
    let mut id = [0_u64; QUIC_ID_WORDS + 1];
    if len != 0 {
        // SAFETY: reads a variable back, so that the compiler does not know its range and keeps
        // the mask, by which the verifier of Linux 6.1 knows that it is not 0.
        let len = unsafe { ptr::read_volatile(&raw const len) };
        let len = (len.wrapping_sub(1) & (size_of_val(&id) as u32 - 1)) + 1;
        let to = id.as_mut_ptr().cast();
        // SAFETY: the length is at most that of the words.
        if unsafe { bpf_skb_load_bytes(context.skb.skb.cast(), at + 1, to, len) } != 0 {
            return None;
        }
    }
    let [first, second, third, _] = id;
    Some([first, second, third | u64::from(len) << 56])
}

/// Without a branch for each number, of which the verifier would follow every one.
#[inline(always)]
fn is_same(one: &[u64; QUIC_ID_WORDS], other: &[u64; QUIC_ID_WORDS]) -> bool {
    (one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) == 0
}

#[inline(always)]
fn is_unset(id: &[u64; QUIC_ID_WORDS]) -> bool {
    is_same(id, &[0; QUIC_ID_WORDS])
}

/// Copies the datagrams and writes the event.
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
