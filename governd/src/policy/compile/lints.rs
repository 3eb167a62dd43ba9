//! Rules that never decide.

use std::collections::{HashMap, HashSet};

use governd_common::verdict::Verdict;

use super::{Compiler, Diagnostic};
use crate::policy::diagnostic::Code;

impl Compiler<'_, '_> {
    /// Warns of rules of which nothing is left in the tables, because others that say as much or
    /// more are about all of it.
    pub(super) fn shadowed(&mut self) {
        let entries = self.compiled.image.blocks.iter().flat_map(|(_, _, block)| {
            let used = block.entries.iter().take(block.len as usize);
            used.filter(|entry| entry.port_first <= entry.port_last)
        });
        let deciding: HashSet<u32> = entries.map(|entry| entry.rule).collect();
        let names = self.names.iter().map(|(_, claim)| claim);
        let claims = names.chain(self.networks.iter().map(|(_, claim)| claim));
        let claiming = claims.filter(|claim| claim.subject != 0 && !claim.ports.is_empty());
        let mut idle: Vec<u32> =
            claiming.map(|claim| claim.rule).filter(|rule| !deciding.contains(rule)).collect();
        idle.sort_unstable();
        idle.dedup();
        for rule in idle {
            let Some(place) = self.places.get(rule as usize).cloned().flatten() else { continue };
            let text = self.compiled.rule(rule).map(|rule| rule.text.to_string());
            let message = format!("this rule never decides: {}", text.unwrap_or_default());
            let hint = "another rule, or several together, are about all of it and say as much or \
                        more; where both say as much, deny wins, and then the first";
            self.out.push(Diagnostic::warning(Code::ShadowedRule, &place, message).hint(hint));
        }
    }

    /// Warns of single addresses that are denied with less weight than some name is allowed:
    /// whoever answers for that name in DNS can lead to the address.
    pub(super) fn weak_denials(&mut self) {
        let mut allowed: HashMap<u32, u16> = HashMap::new();
        for (_, claim) in self.names.iter().filter(|(pattern, _)| !pattern.is_wildcard()) {
            if claim.tier.verdict() == Verdict::Allow && !claim.ports.is_empty() {
                let most = allowed.entry(claim.subject).or_default();
                *most = (*most).max(claim.specificity);
            }
        }
        let denials = self.networks.iter().filter(|(network, claim)| {
            network.is_host() && claim.tier.verdict() == Verdict::Deny && claim.subject != 0
        });
        let weak = denials.filter(|(_, claim)| {
            allowed.get(&claim.subject).is_some_and(|most| *most > claim.specificity)
        });
        let mut told: Vec<(u32, String)> =
            weak.map(|(network, claim)| (claim.rule, network.to_string())).collect();
        told.sort_unstable();
        told.dedup_by_key(|(rule, _)| *rule);
        for (rule, network) in told {
            let Some(place) = self.places.get(rule as usize).cloned().flatten() else { continue };
            let message = format!(
                "a name that another rule allows is reached at {network} if DNS says so: that rule \
                 names ports or a protocol, and this one does not"
            );
            let hint = "add `ports: [\"1-65535\"]` and, for each, `protocol: tcp` and `udp`";
            self.out.push(Diagnostic::warning(Code::WeakDenial, &place, message).hint(hint));
        }
    }
}
