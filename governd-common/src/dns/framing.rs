//! Messages in a stream: each has its length before it, in two octets (RFC 1035 section 4.2.2).
//!
//! [`Framing`] counts; the bytes themselves are the caller's. A message longer than
//! [`DNS_MESSAGE_BYTES_MAX`] is passed over, and what follows it is found all the same.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::DNS_MESSAGE_BYTES_MAX;

/// Octets of a length.
pub const LENGTH_BYTES: u32 = 2;

/// How far one direction of a connection was read. All zeroes is a valid beginning.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Framing {
    /// Octets of the length that were read.
    length_octets: u32,
    /// Length of the message, in bytes.
    len: u32,
    /// Bytes of the message that were read.
    filled: u32,
}

impl Framing {
    /// Begins with a new message.
    #[inline(always)]
    pub fn begin_again(&mut self) {
        self.length_octets = 0;
        self.len = 0;
        self.filled = 0;
    }

    /// True while the length is not known.
    #[inline(always)]
    pub fn wants_length(&self) -> bool {
        self.length_octets < LENGTH_BYTES
    }

    /// Takes an octet of the length; true if it was the last and the message is too long to read.
    #[inline(always)]
    pub fn push_length(&mut self, octet: u8) -> bool {
        self.len = (self.len << 8 | u32::from(octet)) & u32::from(u16::MAX);
        self.length_octets = self.length_octets.wrapping_add(1);
        !self.wants_length() && self.is_too_long()
    }

    /// True if the message is passed over.
    #[inline(always)]
    pub fn is_too_long(&self) -> bool {
        self.len > DNS_MESSAGE_BYTES_MAX as u32
    }

    /// Length of the message, in bytes.
    #[inline(always)]
    pub fn message_len(&self) -> u32 {
        self.len
    }

    /// Where in the message the next byte belongs.
    #[inline(always)]
    pub fn filled(&self) -> u32 {
        self.filled
    }

    /// How many of the bytes at hand belong to the message.
    #[inline(always)]
    pub fn piece(&self, at_hand: u32) -> u32 {
        let missing = self.len.saturating_sub(self.filled);
        if missing < at_hand { missing } else { at_hand }
    }

    /// Takes so many bytes of the message; true if it is whole.
    #[inline(always)]
    pub fn take(&mut self, bytes: u32) -> bool {
        self.filled = self.filled.wrapping_add(bytes);
        self.filled >= self.len
    }
}
