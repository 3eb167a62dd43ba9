//! How many decisions there were since start.

use governd_common::verdict::{Mode, Verdict};

/// Decisions since start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Allowed by the policy.
    pub allowed: u64,
    /// Refused.
    pub denied: u64,
    /// Denied by the policy and let through, in monitor mode.
    pub would_deny: u64,
    /// Policies that were refused.
    pub refused_policies: u64,
}

impl Counts {
    /// Takes a decision in.
    pub fn decision(&mut self, verdict: Verdict, mode: Mode) {
        let count = match (verdict, mode) {
            (Verdict::Allow, _) => &mut self.allowed,
            (Verdict::Deny, Mode::Enforce) => &mut self.denied,
            (Verdict::Deny, Mode::Monitor) => &mut self.would_deny,
        };
        *count += 1;
    }
}
