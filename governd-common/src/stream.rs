//! What the parsers of a connection's beginning share: the piece of the stream that is at hand, and
//! what they answer when it is used up.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{index::masked, limits::CHUNK_BYTES_MAX};

const INDEX_MASK: u32 = CHUNK_BYTES_MAX as u32 - 1;

/// A piece of a connection, in the order of the stream. The caller fills `bytes[..len]`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Chunk {
    /// The bytes.
    pub bytes: [u8; CHUNK_BYTES_MAX],
    /// Bytes in use.
    pub len: u32,
    /// Bytes that were taken already.
    pub at: u32,
}

impl Chunk {
    /// Bytes that are still to be taken.
    #[inline(always)]
    pub fn left(&self) -> u32 {
        self.len.saturating_sub(self.at)
    }

    /// Takes one byte; the caller knows that there is one.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> u8 {
        let byte = self.bytes.get(masked(self.at, INDEX_MASK)).copied().unwrap_or(0);
        self.at = self.at.wrapping_add(1);
        byte
    }
}

/// How far a parser came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// It needs the bytes that follow.
    More,
    /// It has what it looks for.
    Complete,
}
