//! A rule that fits a flow, and which of two counts.

use crate::{
    decide::Flow,
    limits::RULES_PER_BLOCK_MAX,
    table::{RuleBlock, entry_flag},
    verdict::{Reason, Verdict},
};

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PORT_HTTPS: u16 = 443;

/// A rule that fits, or none, in one number: from the highest bit its flags (8), whether there is
/// one (1), whether it allows (1), how specific it is (16) and its number (32).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hit(pub u64);

impl Hit {
    /// No rule.
    pub const NONE: Self = Self(0);

    const FLAGS: u32 = 50;
    const IS_SOME: u32 = 49;
    const ALLOWS: u32 = 48;
    const SPECIFICITY: u32 = 32;

    /// The first entry of a block that fits.
    #[inline(always)]
    pub fn in_block(block: &RuleBlock, port: u16, protocol: u8) -> Self {
        for (index, entry) in block.entries.iter().enumerate().take(RULES_PER_BLOCK_MAX) {
            if index as u32 >= block.len {
                break;
            }
            let port_fits = entry.port_first <= port && port <= entry.port_last;
            if port_fits && (entry.protocol == 0 || entry.protocol == protocol) {
                let allows = u64::from(entry.verdict == Verdict::Allow as u8);
                return Self(
                    u64::from(entry.flags) << Self::FLAGS
                        | 1 << Self::IS_SOME
                        | allows << Self::ALLOWS
                        | u64::from(entry.specificity) << Self::SPECIFICITY
                        | u64::from(entry.rule),
                );
            }
        }
        Self::NONE
    }

    /// Whether it is a person who decides.
    #[inline(always)]
    pub fn needs_grant(self) -> bool {
        self.has(entry_flag::APPROVE)
    }

    /// The same, with a grant that holds.
    #[inline(always)]
    pub const fn granted(self) -> Self {
        Self(self.0 | 1 << Self::ALLOWS)
    }

    /// Why the rule's verdict is what it is.
    #[inline(always)]
    pub(crate) fn reason(self) -> Reason {
        match (self.has(entry_flag::APPROVE), self.allows()) {
            (true, true) => Reason::Granted,
            (true, false) => Reason::Approval,
            _ if self.has(entry_flag::HALT) => Reason::Halt,
            _ => Reason::Rule,
        }
    }

    pub(crate) fn allows(self) -> bool {
        self.0 >> Self::ALLOWS & 1 != 0
    }

    pub(crate) fn rule(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(crate) fn has(self, flag: u8) -> bool {
        (self.0 >> Self::FLAGS) as u8 & flag != 0
    }

    /// Whether a rule on a name that allows is for this kind of traffic: UDP carries no name that
    /// the kernel can read.
    #[inline(always)]
    pub(crate) fn admits(self, flow: &Flow) -> bool {
        match (flow.protocol, flow.port) {
            (PROTOCOL_TCP, _) => true,
            (PROTOCOL_UDP, PORT_HTTPS) => self.has(entry_flag::QUIC),
            (PROTOCOL_UDP, _) => self.has(entry_flag::QUIC | entry_flag::VERIFY_DNS),
            _ => self.has(entry_flag::VERIFY_DNS),
        }
    }

    /// Between a name and a network: the more specific, then the denial.
    pub(crate) fn rank(self) -> u64 {
        let is_some = self.0 >> Self::IS_SOME & 1;
        let specificity = self.0 >> Self::SPECIFICITY & 0xffff;
        let denies = (self.0 >> Self::ALLOWS & 1) ^ 1;
        is_some << 17 | specificity << 1 | denies
    }

    /// Among names: one that lets this traffic pass, one that needs no name in it, then the
    /// allowing one, then the more specific.
    #[inline(always)]
    pub fn rank_of_name(self, flow: &Flow) -> u64 {
        let opens = u64::from(self.allows() & self.admits(flow));
        let is_by_dns = opens & u64::from(self.has(entry_flag::VERIFY_DNS));
        let plain = self.0 >> Self::SPECIFICITY & 0x3_ffff;
        opens << 19
            | is_by_dns << 18
            | (plain & 0xffff)
            | (plain >> 16 & 1) << 17
            | plain >> 17 << 16
    }
}
