//! What becomes of an agent whose approval does not hold any more.
//!
//! Its rules fall to the tier that its document says: what was allowed is as strict as the tier,
//! and what was stricter stays so. A default that allows is one that denies then, unless the tier
//! allows. The tables are compiled from what is left, and the kernel knows nothing of approvals.

use std::{borrow::Cow, sync::Arc};

use governd_common::verdict::Verdict;

use super::{
    model::{Agent, Policy},
    value::{Tier, Verify, approval::Fallback},
};

/// Why an approval does not hold any more.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// Its last day is over.
    Expired,
    /// The agent is not what was approved.
    Drifted,
}

impl Cause {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Expired => "its approval is over",
            Self::Drifted => "it is not what was approved",
        }
    }
}

/// An agent whose approval does not hold, and what it falls to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lapse {
    /// The agent.
    pub agent: Arc<str>,
    /// Why.
    pub cause: Cause,
    /// What it falls to.
    pub fallback: Fallback,
}

/// Approvals that do not hold at a time, in milliseconds since the epoch, where these agents are
/// known to have drifted. Of an agent for which two things are to say, the stricter one.
pub fn lapses(policy: &Policy, now_ms: u64, drifted: &dyn Fn(&str) -> bool) -> Vec<Lapse> {
    let lapse = |agent: &Agent| {
        let approval = &agent.approval;
        let is_expired = approval.review_by.is_some_and(|day| day.is_over(now_ms));
        let expired = is_expired.then_some((approval.on_expired, Cause::Expired));
        let drifted = drifted(&agent.name).then_some((approval.on_drift, Cause::Drifted));
        let (fallback, cause) = expired.max(drifted)?;
        Some(Lapse { agent: Arc::clone(&agent.name), cause, fallback })
    };
    policy.agents.iter().filter_map(lapse).collect()
}

/// An agent as it is in force.
pub(super) fn in_force<'p>(agent: Cow<'p, Agent>, lapses: &[Lapse]) -> Cow<'p, Agent> {
    match lapses.iter().find(|lapse| lapse.agent == agent.name) {
        Some(lapse) => Cow::Owned(fallen(agent.into_owned(), lapse)),
        None => agent,
    }
}

fn fallen(mut agent: Agent, lapse: &Lapse) -> Agent {
    let tier = lapse.fallback.tier();
    // Of rules that are as specific the stricter tier counts, and among equal tiers the first rule.
    // Those whose tiers are equal from now on keep the order that they had by them.
    agent.rules.sort_by_key(|rule| rank(rule.tier));
    for rule in &mut agent.rules {
        if rule.tier.opens() {
            rule.tier = stricter(rule.tier, tier);
        }
        if rule.tier == Tier::Approve && rule.verify == Verify::Sni {
            // A grant is for an address that DNS gave, or nobody could tell what to grant.
            rule.verify = Verify::Both;
        }
    }
    if tier.verdict() == Verdict::Deny {
        agent.default = Verdict::Deny;
    }
    agent
}

fn stricter(one: Tier, other: Tier) -> Tier {
    if rank(one) <= rank(other) { one } else { other }
}

/// The stricter, the smaller.
fn rank(tier: Tier) -> Option<usize> {
    Tier::ALL.iter().position(|known| *known == tier)
}
