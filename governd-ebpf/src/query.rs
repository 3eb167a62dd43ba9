//! DNS queries on their way out.

use aya_ebpf::programs::SkBuffContext;

use crate::outcome::Outcome;

/// Decides about a query, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(_context: &SkBuffContext) -> i32 {
    Outcome::Pass as i32
}
