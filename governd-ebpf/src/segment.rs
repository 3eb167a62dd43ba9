//! What a TCP packet brings.

use aya_ebpf::programs::SkBuffContext;

use crate::skb::load;

const FLAG_SYN: u8 = 1 << 1;
const FLAG_URGENT: u8 = 1 << 5;

/// What a packet brings.
pub(crate) struct Segment {
    sequence: u32,
    flags: u8,
    /// Where the bytes begin in the packet, and how many there are.
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Segment {
    /// The first of a direction: what it brings begins one number later.
    #[inline(always)]
    pub(crate) fn is_syn(&self) -> bool {
        self.flags & FLAG_SYN != 0
    }

    /// A byte of it may not be part of the stream.
    #[inline(always)]
    pub(crate) fn is_urgent(&self) -> bool {
        self.flags & FLAG_URGENT != 0
    }

    /// Number of the first byte that it brings.
    #[inline(always)]
    pub(crate) fn first(&self) -> u32 {
        self.sequence.wrapping_add(u32::from(self.is_syn()))
    }

    #[inline(always)]
    pub(crate) fn read(context: &SkBuffContext) -> Option<Self> {
        let first: u8 = load(context, 0)?;
        let header = if first >> 4 == 4 { u32::from(first & 0xf) * 4 } else { 40 };
        let [offset, flags]: [u8; 2] = load(context, header + 12)?;
        let at = header + u32::from(offset >> 4) * 4;
        let len = context.len().saturating_sub(at);
        Some(Self { sequence: u32::from_be_bytes(load(context, header + 4)?), flags, at, len })
    }
}
