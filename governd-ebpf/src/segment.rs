//! What a TCP packet brings.

use aya_ebpf::programs::SkBuffContext;

use crate::skb::load;

/// What a packet brings.
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    /// Where the bytes begin in the packet, and how many there are.
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Segment {
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
