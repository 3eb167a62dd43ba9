//! What changes between two compiled policies, in terms of rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::image::Compiled;

/// The change from one policy to another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Agents before and after.
    pub agents: (usize, usize),
    /// Rules before and after, defaults among them.
    pub rules: (usize, usize),
    /// Rules that are new or say something new: their id and text.
    pub added: Vec<(Arc<str>, Arc<str>)>,
    /// Rules that are gone or said something else: their id and text.
    pub removed: Vec<(Arc<str>, Arc<str>)>,
}

impl Change {
    /// Compares two policies.
    pub fn between(before: &Compiled, after: &Compiled) -> Self {
        let (old, new) = (rules(before), rules(after));
        let pick = |from: &BTreeSet<(Arc<str>, Arc<str>)>, without: &BTreeSet<_>| {
            from.difference(without).cloned().collect()
        };
        Self {
            agents: (before.agents_registered(), after.agents_registered()),
            rules: (before.rules.len(), after.rules.len()),
            added: pick(&new, &old),
            removed: pick(&old, &new),
        }
    }

    /// True if no rule changed; owners, matches and modes may have.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

fn rules(compiled: &Compiled) -> BTreeSet<(Arc<str>, Arc<str>)> {
    let pair = |rule: &super::image::RuleFacts| (Arc::clone(&rule.id), Arc::clone(&rule.text));
    compiled.rules.iter().map(pair).collect()
}
