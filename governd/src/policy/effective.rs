//! What a policy lets an agent reach, as it is in force: groups, denials, tiers and approvals that
//! do not hold any more are taken in.

use governd_common::{decide::Decision, verdict::Reason};
use serde::Serialize;

use super::{
    compile::hosts::Choice,
    image::{AgentFacts, Compiled},
    reach::{Reach, Side, regions, spread, starts},
    value::{mode_word, verdict_word},
};

/// What is in force for one agent.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Effective {
    /// The agent, or `unregistered`.
    pub agent: String,
    /// The host policy that holds.
    pub host_policy: Choice,
    /// Its owner.
    pub owner: Option<String>,
    /// `monitor` or `enforce`.
    pub mode: &'static str,
    /// Why its approval does not hold, in words.
    pub lapse: Option<String>,
    /// Agents of this host below which it reaches only what they allow, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<String>,
    /// Destinations, each without those that have an entry of their own.
    pub destinations: Vec<Row>,
}

/// What is in force about a destination.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// The destination, and the rule that decides, or the reason where none does.
    #[serde(flatten)]
    pub reach: Reach,
    /// The rule's tier, or `allow` or `deny` where none decides.
    pub tier: &'static str,
}

/// What is in force for an agent of the policy.
pub fn effective(compiled: &Compiled, facts: &AgentFacts) -> Effective {
    let mut side = Side::new(compiled);
    side.subject = facts.subject;
    let mut destinations = Vec::new();
    for region in regions(&[&side]) {
        let starts = starts(&[&side], &region);
        let found = spread(&starts, |port, protocol| {
            Some(decided(compiled, side.decide(&region.member, port, protocol)))
        });
        destinations.extend(found.into_iter().map(|one| {
            let (tier, rule) = one.key;
            let destination = region.words.clone();
            let (ports, protocols) = (one.ports, one.protocols);
            Row { reach: Reach { destination, ports, protocols, rule }, tier }
        }));
    }
    let lapse = facts.lapse.as_ref().map(|lapse| {
        let (why, tier) = (lapse.cause.words(), lapse.fallback.word());
        format!("{why}; what it was allowed is `{tier}`")
    });
    Effective {
        agent: facts.name.to_string(),
        host_policy: compiled.host_policy.clone(),
        owner: facts.owner.as_deref().map(str::to_owned),
        mode: mode_word(facts.mode),
        lapse,
        below: below(compiled, facts.subject),
        destinations,
    }
}

/// Names of agents that can start one without leaving it its own rights.
fn below(compiled: &Compiled, agent: u32) -> Vec<String> {
    let starts = compiled.image.delegations.iter();
    let starts = starts.filter(|((_, started), next)| *started == agent && *next != agent);
    let by = starts.filter_map(|((by, _), _)| compiled.agents.iter().find(|it| it.subject == *by));
    by.map(|facts| facts.name.to_string()).collect()
}

/// The tier, and what decides.
fn decided(compiled: &Compiled, decision: Decision) -> (&'static str, String) {
    let verdict = verdict_word(decision.verdict);
    let rule = compiled.rule(decision.rule);
    match (decision.reason, rule) {
        (Reason::Rule | Reason::Approval | Reason::Halt, Some(rule)) => {
            (rule.tier.word(), rule.id.to_string())
        }
        (Reason::NoRule | Reason::Unregistered, Some(rule)) => (verdict, rule.id.to_string()),
        (reason, _) => (verdict, reason.word().to_owned()),
    }
}
