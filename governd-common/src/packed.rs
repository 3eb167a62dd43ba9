//! A decision in one number, for functions of the programs that return nothing else.

use crate::{
    decide::{Decision, Proof},
    limits::{CIDRS_MAX, NAMES_MAX},
    verdict::{Mode, Reason, Verdict},
};

impl Decision {
    const SET: u32 = 32;
    const SET_BITS: u32 = 21;
    const REASON: u32 = Self::SET + Self::SET_BITS;
    const REASON_BITS: u32 = 6;
    const PROOF: u32 = Self::REASON + Self::REASON_BITS;
    const ALLOWS: u32 = Self::PROOF + 2;
    const ENFORCES: u32 = Self::ALLOWS + 1;
    const QUIET: u32 = Self::ENFORCES + 1;

    /// The decision in one number, for functions of the programs that return nothing else.
    #[inline(always)]
    pub const fn pack(&self) -> u64 {
        self.rule as u64
            | (self.set as u64) << Self::SET
            | (self.reason as u64) << Self::REASON
            | (self.proof as u64) << Self::PROOF
            | (self.verdict as u64) << Self::ALLOWS
            | (self.mode as u64) << Self::ENFORCES
            | (self.quiet as u64) << Self::QUIET
    }

    /// The decision that a number stands for; a denial where it stands for none.
    #[inline(always)]
    pub const fn unpack(packed: u64) -> Self {
        let reason = (packed >> Self::REASON) as u8 & ((1 << Self::REASON_BITS) - 1);
        let Some(reason) = Reason::from_byte(reason) else {
            return Self::FAULT;
        };
        Self {
            verdict: Verdict::from_byte((packed >> Self::ALLOWS) as u8 & 1),
            reason,
            mode: Mode::from_byte((packed >> Self::ENFORCES) as u8 & 1),
            rule: packed as u32,
            set: (packed >> Self::SET) as u32 & ((1 << Self::SET_BITS) - 1),
            quiet: packed >> Self::QUIET & 1 != 0,
            proof: Proof::from_byte((packed >> Self::PROOF) as u8 & 3),
        }
    }
}

const _: () = {
    assert!(Decision::QUIET == 63 && Reason::ALL.len() < 1 << Decision::REASON_BITS);
    assert!(NAMES_MAX + CIDRS_MAX < 1 << Decision::SET_BITS);
};
