//! How often each rule decided, over policies and restarts.
//!
//! A rule is told by its id and its text: what was counted for `bot/egress/1` before somebody wrote
//! another destination there is not counted for that one. The kernel counts by a policy's
//! generation and the rule's number in it; which rule that was is written down with every policy,
//! so that a daemon can tell what was counted before it was started.

use std::{collections::BTreeMap, sync::Arc};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::policy::image::{Compiled, RuleFacts};

/// Rules that are remembered; those of other policies go first, and of these those that decided
/// longest ago.
const TOTALS_MAX: usize = 131_072;

/// How often a rule decided.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Total {
    /// How often.
    pub hits: u64,
    /// The last time, in milliseconds since the epoch.
    pub last_ms: u64,
}

/// All of it, as it is kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleHits {
    totals: BTreeMap<u64, Total>,
    /// Rules by number, of the policy in force and the one before it.
    numbered: BTreeMap<u64, Vec<u64>>,
    #[serde(skip)]
    has_changed: bool,
}

impl RuleHits {
    /// A policy came into force.
    pub fn install(&mut self, generation: u64, policy: &Compiled) {
        let keys: Vec<u64> = policy.rules.iter().map(key).collect();
        while self.numbered.len() > 1 {
            self.numbered.pop_first();
        }
        if self.totals.len() > TOTALS_MAX {
            self.forget(&keys);
        }
        self.numbered.insert(generation, keys);
        self.has_changed = true;
    }

    fn forget(&mut self, present: &[u64]) {
        let present: std::collections::HashSet<u64> = present.iter().copied().collect();
        let others = self.totals.iter().filter(|(key, _)| !present.contains(key));
        let mut others: Vec<(u64, u64)> =
            others.map(|(key, total)| (total.last_ms, *key)).collect();
        others.sort_unstable();
        for (_, key) in others.iter().take(self.totals.len() - TOTALS_MAX) {
            self.totals.remove(key);
        }
    }

    /// Takes in what a rule of a generation decided. What no known policy had is left out.
    pub fn count(&mut self, generation: u64, rule: u32, hits: u64, last_ms: u64) {
        let keys = self.numbered.get(&generation);
        let Some(key) = keys.and_then(|keys| keys.get(rule as usize)).copied() else {
            return;
        };
        let total = self.totals.entry(key).or_default();
        total.hits = total.hits.saturating_add(hits);
        total.last_ms = total.last_ms.max(last_ms);
        self.has_changed = true;
    }

    /// How often a rule decided.
    pub fn of(&self, rule: &RuleFacts) -> Total {
        self.totals.get(&key(rule)).copied().unwrap_or_default()
    }

    /// What is to be written, if something changed since the last time.
    pub fn to_save(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        serde_json::to_string(self).ok()
    }

    /// What was to be written was not.
    pub fn keep_changed(&mut self) {
        self.has_changed = true;
    }
}

/// A number for the rule's id and text.
fn key(rule: &RuleFacts) -> u64 {
    let RuleFacts { id, text, .. } = rule;
    let parts: [&Arc<str>; 2] = [id, text];
    let digest = digest(&SHA256, parts.map(|part| &**part).join("\0").as_bytes());
    let first = digest.as_ref().first_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::value::Tier;

    fn rule(id: &str, text: &str) -> RuleFacts {
        let (id, text) = (id.into(), text.into());
        RuleFacts { id, subject: 1, text, tier: Tier::Allow, source: None }
    }

    fn policy(rules: &[(&str, &str)]) -> Compiled {
        let rules = rules.iter().map(|(id, text)| rule(id, text)).collect();
        Compiled { rules, ..Compiled::default() }
    }

    #[test]
    fn counts_follow_a_rule_over_policies_and_restarts_and_not_its_number() {
        let (first, second) = (("bot/egress/1", "allow a"), ("bot/egress/2", "allow b"));
        let mut hits = RuleHits::default();
        hits.install(1, &policy(&[first, second]));
        hits.count(1, 1, 3, 50);
        // The rule moves, and another one has its number.
        hits.install(2, &policy(&[("bot/egress/1", "deny c"), first, second]));
        hits.count(1, 1, 1, 40);
        hits.count(2, 2, 1, 60);
        hits.count(2, 0, 7, 70);
        hits.count(9, 0, 100, 99);
        hits.count(2, 9, 100, 99);
        let text = hits.to_save().unwrap();
        assert_eq!(hits.to_save(), None);
        let mut read: RuleHits = serde_json::from_str(&text).unwrap();
        // What was counted while no daemon ran.
        read.count(2, 2, 2, 80);
        let of = |id, text| read.of(&rule(id, text));
        assert_eq!(of("bot/egress/2", "allow b"), Total { hits: 7, last_ms: 80 });
        assert_eq!(of("bot/egress/1", "deny c"), Total { hits: 7, last_ms: 70 });
        assert_eq!(of("bot/egress/1", "allow a"), Total::default());
    }

    #[test]
    fn what_is_forgotten_are_other_policies_rules_the_oldest_first() {
        let mut hits = RuleHits::default();
        let present = policy(&[("bot/egress/1", "allow a")]);
        hits.totals.insert(key(&present.rules[0]), Total { hits: 1, last_ms: 0 });
        for index in 0..TOTALS_MAX as u64 + 2 {
            hits.totals.insert(index, Total { hits: 1, last_ms: 1 + index });
        }
        hits.install(1, &present);
        assert_eq!(hits.totals.len(), TOTALS_MAX);
        assert_eq!(hits.of(&present.rules[0]).hits, 1);
        assert!(!hits.totals.contains_key(&2) && hits.totals.contains_key(&3));
    }
}
