//! Calls from the egress program to the programs that do the rest of its work.
//!
//! A tail call does not return; where one cannot be made, the packet of a governed subject goes no
//! further.

use aya_ebpf::programs::SkBuffContext;
use governd_common::table::SocketOwner;

use crate::{outcome::Outcome, tables::TAILS};

/// Leaves the packet to another program; comes back only if that one is missing.
#[inline(always)]
pub(crate) fn leave_to(context: &SkBuffContext, index: u32, owner: &SocketOwner) -> Outcome {
    // SAFETY: nothing here waits to be dropped.
    unsafe { TAILS.tail_call(context, index) };
    if owner.subject == 0 { Outcome::Pass } else { Outcome::Refuse }
}
