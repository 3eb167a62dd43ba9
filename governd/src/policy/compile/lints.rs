//! Rules that never decide.

use std::collections::HashSet;

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
            let hint = "another rule is about all of it and says as much or more; where both say \
                        as much, deny wins, and then the first";
            self.out.push(Diagnostic::warning(Code::ShadowedRule, &place, message).hint(hint));
        }
    }
}
