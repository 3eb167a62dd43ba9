//! Indices that the verifier can follow.

/// `index` within a mask. The compiler must not see where the index comes from: it would drop the
/// mask as redundant where an earlier comparison bounds the index, and the verifier, which does not
/// connect a value in map memory with a comparison of an earlier load, would refuse the access.
#[inline(always)]
pub(crate) fn masked(index: u32, mask: u32) -> usize {
    (core::hint::black_box(index) & mask) as usize
}
