//! What the programs of both directions read of a packet.

use core::ptr;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_probe_read_kernel, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use governd_common::{
    address::Address,
    dns::Dns,
    limits::{CHUNK_BYTES_MAX, DNS_MESSAGE_BYTES_MAX},
    stream::Chunk,
    verdict::Loss,
};

use crate::{emit::count, task::is_in_shared_pages};

pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;
pub(crate) const PORT_DNS: u16 = 53;
const UDP_HEADER_BYTES: u32 = 8;

#[inline(always)]
pub(crate) fn load<T>(context: &SkBuffContext, offset: u32) -> Option<T> {
    context.load(offset as usize).ok()
}

/// Whether somebody may still write to the packet's bytes, so that the peer need not get what is
/// read here.
#[inline(always)]
pub(crate) fn may_change(context: &SkBuffContext) -> bool {
    is_in_shared_pages(context.skb.skb.cast_const().cast()).unwrap_or_else(|| {
        count(Loss::Read);
        false
    })
}

/// Something that gives parts of a packet.
pub(crate) trait Part {
    /// What is at so many bytes from the network header.
    fn part<T: Copy>(&self, offset: u32) -> Option<T>;
}

/// By a helper, wherever the packet's pieces are.
impl Part for SkBuffContext {
    #[inline(always)]
    fn part<T: Copy>(&self, offset: u32) -> Option<T> {
        load(self, offset)
    }
}

/// The piece of a packet that begins with the network header, where it lies.
#[derive(Clone, Copy)]
pub(crate) struct InPlace {
    start: usize,
    end: usize,
}

impl InPlace {
    #[inline(always)]
    pub(crate) fn of(context: &SkBuffContext) -> Self {
        let skb: *mut __sk_buff = context.skb.skb;
        // SAFETY: the kernel fills the context.
        unsafe { Self { start: (*skb).data as usize, end: (*skb).data_end as usize } }
    }

    /// Whether so many bytes are in this piece.
    #[inline(always)]
    pub(crate) fn holds(self, bytes: usize) -> bool {
        self.start + bytes <= self.end
    }
}

impl Part for InPlace {
    #[inline(always)]
    fn part<T: Copy>(&self, offset: u32) -> Option<T> {
        let offset = offset as usize;
        if !self.holds(offset + size_of::<T>()) {
            return None;
        }
        // SAFETY: the verifier knows where the piece ends, and what is read are integers.
        Some(unsafe { ptr::read_unaligned((self.start + offset) as *const T) })
    }
}

/// First byte of an IPv4 header without options.
pub(crate) const PLAIN_V4: u8 = 0x45;
/// Bytes of such a header, of one of IPv6, and of ports behind either.
const HEADER_V4_BYTES: u32 = 20;
const HEADER_V6_BYTES: u32 = 40;
const PORTS_BYTES: u32 = 4;

/// The bytes where TCP and UDP have the port that a packet comes from, if its headers are in one
/// piece, as they nearly always are. Of other protocols, and of fragments, they are something else.
#[inline(always)]
pub(crate) fn source_port_in_place(context: &SkBuffContext) -> Option<u16> {
    let place = InPlace::of(context);
    if !place.holds((HEADER_V4_BYTES + PORTS_BYTES) as usize) {
        return None;
    }
    let first: u8 = place.part(0)?;
    let at = match first {
        PLAIN_V4 => HEADER_V4_BYTES,
        _ if first >> 4 == 6 => HEADER_V6_BYTES,
        _ => return None,
    };
    place.part(at).map(u16::from_be_bytes)
}

/// Where a TCP or UDP packet comes from and goes to.
pub(crate) struct Segment {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) protocol: u8,
    /// Where the header of TCP or UDP begins.
    header: u32,
}

impl Segment {
    /// `None` for everything else: other protocols, fragments, extension headers, which no resolver
    /// and no ordinary client sends.
    #[inline(always)]
    pub(crate) fn read(context: &SkBuffContext) -> Option<Self> {
        let version: u8 = load(context, 0)?;
        let is_v4 = version >> 4 == 4;
        let (protocol, header) = if is_v4 {
            (load::<u8>(context, 9)?, u32::from(version & 0xf) * 4)
        } else {
            (load::<u8>(context, 6)?, 40)
        };
        if protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP {
            return None;
        }
        let ports: [u8; 4] = load(context, header)?;
        let (source, destination) = if is_v4 {
            // A fragment has no ports of its own.
            let fragment: [u8; 2] = load(context, 6)?;
            if u16::from_be_bytes(fragment) & 0x3fff != 0 {
                return None;
            }
            (Address::v4(load(context, 12)?), Address::v4(load(context, 16)?))
        } else {
            (Address::v6(load(context, 8)?), Address::v6(load(context, 24)?))
        };
        let [source_high, source_low, high, low] = ports;
        Some(Self {
            source,
            destination,
            source_port: u16::from_be_bytes([source_high, source_low]),
            destination_port: u16::from_be_bytes([high, low]),
            protocol,
            header,
        })
    }

    /// Where the payload of UDP begins.
    #[inline(always)]
    pub(crate) fn datagram_at(&self) -> u32 {
        self.header + UDP_HEADER_BYTES
    }
}

/// Copies the rest of the packet as a message; false if it is empty, too long or cannot be read.
#[inline(always)]
pub(crate) fn load_message(context: &SkBuffContext, at: u32, dns: &mut Dns) -> bool {
    let len = context.len().wrapping_sub(at);
    if len == 0 || len > DNS_MESSAGE_BYTES_MAX as u32 {
        return false;
    }
    dns.len = len;
    let skb: *mut __sk_buff = context.skb.skb;
    // SAFETY: reads a field back, so that the compiler does not know its range and keeps the mask,
    // by which the verifier knows it: 1 to the maximum.
    let len = unsafe { ptr::read_volatile(&raw const dns.len) };
    let len = (len.wrapping_sub(1) & (DNS_MESSAGE_BYTES_MAX as u32 - 1)) + 1;
    // SAFETY: the length is at most that of the buffer, and the helper checks the packet's.
    unsafe { bpf_skb_load_bytes(skb.cast(), at, dns.bytes.as_mut_ptr().cast(), len) == 0 }
}

/// Copies up to a chunk of the packet; false if it cannot be read.
#[inline(always)]
pub(crate) fn load_chunk(context: &SkBuffContext, at: u32, len: u32, chunk: &mut Chunk) -> bool {
    let most = CHUNK_BYTES_MAX as u32;
    chunk.len = if len < most { len } else { most };
    chunk.at = 0;
    // SAFETY: reads a field back, so that the compiler does not know its range and keeps the mask,
    // by which the verifier knows it: 1 to the maximum.
    let len = unsafe { ptr::read_volatile(&raw const chunk.len) };
    let len = (len.wrapping_sub(1) & (most - 1)) + 1;
    let to = chunk.bytes.as_mut_ptr().cast();
    // SAFETY: the length is at most that of the buffer, and the helper checks the packet's.
    unsafe { bpf_skb_load_bytes(context.skb.skb.cast(), at, to, len) == 0 }
}

/// Copies by a helper: the verifier would follow a loop byte by byte.
#[inline(always)]
pub(crate) fn copy<T>(to: &mut T, from: &T) {
    // SAFETY: both are of the helper's size.
    let copied = unsafe {
        bpf_probe_read_kernel(
            ptr::from_mut(to).cast(),
            size_of::<T>() as u32,
            ptr::from_ref(from).cast(),
        )
    };
    if copied != 0 {
        count(Loss::Read);
    }
}
