//! DNS over TCP: the messages of each direction, in the order of the stream.
//!
//! What both directions share: where a connection stands, and how its next message gets into the
//! scratch memory. Bytes are taken from the SYN on; what was taken before is passed over. A message
//! that is not whole is kept with the socket.
//!
//! One run takes one message. If the packet holds more, the program calls itself.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::SkStorage,
    helpers::{bpf_get_socket_cookie, bpf_sk_storage_get, generated::bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use governd_common::{
    dns::{
        Dns,
        framing::{Framing, LENGTH_BYTES},
    },
    limits::DNS_MESSAGE_BYTES_MAX,
    verdict::Loss,
};

use crate::{
    dns::DnsScratch,
    emit::count,
    segment::Segment,
    skb::{copy, load},
    tables::DNS_READERS,
};

/// A message, or what there is of it.
pub(crate) type Message = [u8; DNS_MESSAGE_BYTES_MAX];

const OFFSET_MASK: u32 = DNS_MESSAGE_BYTES_MAX as u32 - 1;

/// One direction of a DNS connection. All zeroes is one that nobody saw the beginning of. Each is
/// stored by itself: both together are more than newer kernels give to a value.
#[repr(C)]
pub(crate) struct Side {
    /// The connection of the socket that it belongs to, see `SocketOwner::connects`.
    connects: u32,
    pub(crate) stage: u32,
    /// Sequence number of the first byte that was not taken.
    next: u32,
    framing: Framing,
    bytes: Message,
}

/// What becomes of a direction.
pub(crate) mod stage {
    /// Nobody saw it begin.
    pub(crate) const UNSEEN: u32 = 0;
    /// Each byte so far was taken.
    pub(crate) const READ: u32 = 1;
    /// Some byte was not: the messages in it cannot be told any more.
    pub(crate) const LOST: u32 = 2;
    /// A message of it was refused.
    pub(crate) const REFUSED: u32 = 3;
}

/// What a packet brings to a direction.
pub(crate) enum Bytes {
    /// So many, at this place in the packet, are next.
    Next { at: u32, len: u32 },
    /// All were taken before.
    Known,
    /// Others come before them.
    Gap,
}

/// How far a message came.
pub(crate) enum Reading {
    /// The bytes are used up.
    More,
    /// It is in the scratch memory.
    Message,
    /// It begins, and is too long to be read.
    TooLong,
    /// The packet cannot be read.
    Fault,
}

/// A direction of the socket's connection, which is made if it is to be; null if there is none.
#[inline(always)]
pub(crate) fn of_socket(
    sides: &SkStorage<Side>,
    socket: *mut bpf_sock,
    is_made: bool,
) -> *mut Side {
    let map = ptr::from_ref(sides).cast_mut().cast();
    let flags = if is_made { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
    // SAFETY: the map is that of socket storage, and the socket a full one.
    let stored = unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), flags) };
    if stored.is_null() && is_made {
        count(Loss::Sockets);
    }
    stored.cast()
}

/// The right to read the answers of a socket. Packets come in without the socket's lock, so two
/// CPUs may have one each. There is no atomic exchange for this target, but an entry of a map can
/// be made only once.
pub(crate) struct Reader {
    cookie: u64,
}

impl Reader {
    /// `None` while another CPU reads.
    #[inline(always)]
    pub(crate) fn of(context: &SkBuffContext) -> Option<Self> {
        // SAFETY: the helper takes the context of this program's type.
        let cookie = unsafe { bpf_get_socket_cookie(context.skb.skb.cast()) };
        let is_only = DNS_READERS.insert(cookie, 1, u64::from(BPF_NOEXIST)).is_ok();
        is_only.then_some(Self { cookie })
    }

    /// Lets other CPUs read.
    #[inline(always)]
    pub(crate) fn end(self) {
        if DNS_READERS.remove(self.cookie).is_err() {
            count(Loss::DnsStream);
        }
    }
}

impl Side {
    /// Forgets an earlier connection of the socket.
    #[inline(always)]
    pub(crate) fn belong_to(&mut self, connects: u16) {
        if !self.is_of(connects) {
            self.connects = u32::from(connects);
            self.stage = stage::UNSEEN;
        }
    }

    /// True for the present connection of the socket.
    #[inline(always)]
    pub(crate) fn is_of(&self, connects: u16) -> bool {
        self.connects == u32::from(connects)
    }

    /// Takes note of the direction's SYN. The same one may come again.
    #[inline(always)]
    pub(crate) fn begin(&mut self, segment: &Segment) {
        if self.stage == stage::UNSEEN {
            self.stage = stage::READ;
            self.next = segment.first();
            self.framing.begin_again();
        }
    }

    /// What of a packet's bytes is next.
    #[inline(always)]
    pub(crate) fn place(&self, segment: &Segment) -> Bytes {
        let taken = self.next.wrapping_sub(segment.first());
        if taken > i32::MAX as u32 {
            return Bytes::Gap;
        }
        if taken >= segment.len {
            return Bytes::Known;
        }
        Bytes::Next { at: segment.at.wrapping_add(taken), len: segment.len.wrapping_sub(taken) }
    }

    /// True while the packet has bytes that were not taken.
    #[inline(always)]
    pub(crate) fn wants_more(&self, segment: &Segment) -> bool {
        matches!(self.place(segment), Bytes::Next { .. })
    }

    /// Takes bytes up to the end of a message. A message that is whole is in `scratch.dns`.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        context: &SkBuffContext,
        mut at: u32,
        mut len: u32,
        scratch: &mut DnsScratch,
    ) -> Reading {
        for _ in 0..LENGTH_BYTES {
            if len == 0 || !self.framing.wants_length() {
                break;
            }
            let Some(octet) = load::<u8>(context, at) else {
                return Reading::Fault;
            };
            self.next = self.next.wrapping_add(1);
            at = at.wrapping_add(1);
            len = len.wrapping_sub(1);
            if self.framing.push_length(octet) {
                return Reading::TooLong;
            }
        }
        if self.framing.wants_length() {
            return Reading::More;
        }
        let piece = self.framing.piece(len);
        if self.framing.is_too_long() {
            self.take(piece);
            return Reading::More;
        }
        if piece != 0 {
            scratch.joint.piece = piece;
            scratch.joint.filled = self.framing.filled();
            if scratch.joint.filled != 0 {
                copy(scratch.joint.message(), &self.bytes);
            }
            if !scratch.joint.load(context, at) {
                return Reading::Fault;
            }
        }
        let message_len = self.framing.message_len();
        let is_whole = self.take(piece);
        if !is_whole {
            copy(&mut self.bytes, scratch.joint.message());
            return Reading::More;
        }
        copy(message_of(&mut scratch.dns), scratch.joint.message());
        scratch.dns.len = message_len;
        Reading::Message
    }

    /// Takes bytes of a message; true if it is whole.
    #[inline(always)]
    fn take(&mut self, bytes: u32) -> bool {
        self.next = self.next.wrapping_add(bytes);
        let is_whole = self.framing.take(bytes);
        if is_whole {
            self.framing.begin_again();
        }
        is_whole
    }
}

/// The beginning of a parser's buffer, which is as long as the longest message.
#[inline(always)]
fn message_of(dns: &mut Dns) -> &mut Message {
    // SAFETY: the buffer is longer.
    unsafe { &mut *dns.bytes.as_mut_ptr().cast() }
}

/// Where the pieces of a message come together. It is twice as long as a message, so that a piece
/// of any length at any place of one stays inside.
#[repr(C)]
pub(crate) struct Joint {
    /// Bytes of the message that were there before.
    filled: u32,
    /// Bytes of the piece.
    piece: u32,
    bytes: [Message; 2],
}

impl Joint {
    #[inline(always)]
    fn message(&mut self) -> &mut Message {
        // SAFETY: the first of the two.
        unsafe { &mut *self.bytes.as_mut_ptr() }
    }

    /// Copies the piece behind what is there; false if the packet does not have it.
    #[inline(always)]
    fn load(&mut self, context: &SkBuffContext, at: u32) -> bool {
        // SAFETY: reads fields back, so that the compiler does not know their ranges and keeps the
        // masks, by which the verifier knows them: 0 to the maximum, and 1 to the maximum.
        let (filled, len) = unsafe {
            (ptr::read_volatile(&raw const self.filled), ptr::read_volatile(&raw const self.piece))
        };
        let filled = filled & OFFSET_MASK;
        let len = (len.wrapping_sub(1) & OFFSET_MASK) + 1;
        let start = self.bytes.as_mut_ptr().cast::<u8>();
        // SAFETY: the two are at most as much as there is, and the helper checks the packet's.
        unsafe {
            let to = start.add(filled as usize).cast();
            bpf_skb_load_bytes(context.skb.skb.cast(), at, to, len) == 0
        }
    }
}
