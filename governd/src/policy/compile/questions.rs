//! Names below the search domains of the host: they may be asked for, and nothing is reached by
//! them.
//!
//! Resolver libraries may append these domains to a name before they ask for the name itself, and
//! some give up when a query is refused. What the policy itself names has its place first; then the
//! agents with the fewest names. Those for whom the tables have no place are left out, which
//! denies, with a warning.

use std::collections::BTreeMap;

use governd_common::table::subject_flag;

use super::{Claim, Compiler, Key, names, networks};
use crate::policy::{
    diagnostic::{Code, Diagnostic, Place},
    limits::{BLOCKS_MAX, NAMES_MAX},
    value::name::HostPattern,
};

/// Search domains that a warning spells out.
const DOMAINS_TOLD_MAX: usize = 4;

impl<'a> Compiler<'a, '_> {
    /// Adds what agents may ask for below the domains. After all names of the policy.
    pub(super) fn questions(&mut self, domains: &[String]) {
        if domains.is_empty() {
            return;
        }
        let all = self.askers();
        // More questions than there can be pairs are not even written down.
        let mut left = BLOCKS_MAX;
        let small = all.iter().take_while(|(_, names)| {
            let rest = left.checked_sub(names.len().saturating_mul(domains.len()));
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        // Where in the list of names each agent's questions begin, and the last one's end.
        let mut starts = vec![self.names.len()];
        for (_, names) in small {
            self.ask(names, domains);
            starts.push(self.names.len());
        }
        let fitting = match starts.last() {
            Some(end) if self.has_place(*end) => starts.len(),
            _ => starts.partition_point(|end| self.has_place(*end)),
        };
        // Where the policy itself has no place, that is what there is to say.
        let Some(last) = fitting.checked_sub(1) else { return };
        self.names.truncate(starts.get(last).copied().unwrap_or_default());
        let left_out = all.iter().skip(last).map(|(subject, _)| *subject);
        self.left_out(left_out.collect(), domains);
    }

    /// Agents that may ask only for what a rule opens, and the indices of the names that they may;
    /// those with the fewest first.
    fn askers(&self) -> Vec<(u32, Vec<usize>)> {
        let mut askers: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (subject, settings) in &self.compiled.image.subjects {
            if settings.flags & subject_flag::DNS_RESTRICT != 0 {
                askers.insert(*subject, Vec::new());
            }
        }
        for (index, (_, claim)) in self.names.iter().enumerate() {
            if claim.tier.opens()
                && !claim.ports.is_empty()
                && let Some(names) = askers.get_mut(&claim.subject)
            {
                names.push(index);
            }
        }
        let mut all: Vec<(u32, Vec<usize>)> = askers.into_iter().collect();
        all.retain(|(_, names)| !names.is_empty());
        all.sort_by_key(|(_, names)| names.len());
        all
    }

    fn ask(&mut self, names: &[usize], domains: &[String]) {
        for index in names {
            let Some((pattern, claim)) = self.names.get(*index).cloned() else { continue };
            let claim = Claim { ports: &[], specificity: 0, is_question: true, ..claim };
            for domain in domains {
                if let Ok(appended) = HostPattern::parse(&format!("{pattern}.{domain}")) {
                    self.names.push((appended, claim));
                }
            }
        }
    }

    /// Whether the tables have place for the first of the names, and for all networks.
    fn has_place(&self, first: usize) -> bool {
        let (mut nodes, mut pairs) = (0, 0);
        let mut count = |key: Key<'_>, claims: &mut [Claim<'a>]| {
            nodes += usize::from(matches!(key, Key::Name(_)));
            claims.sort_unstable_by_key(|claim| claim.subject);
            pairs += claims.chunk_by(|one, other| one.subject == other.subject).count();
        };
        names::nodes(self.names.get(..first).unwrap_or_default(), self.granted, &mut count);
        let addresses = networks::granted(self.granted, &self.compiled.agents);
        networks::nodes(&self.networks, &addresses, &mut count);
        // Each subject may have a block for names that the first bytes prove.
        nodes <= NAMES_MAX && pairs + self.compiled.image.subjects.len() <= BLOCKS_MAX
    }

    fn left_out(&mut self, mut agents: Vec<u32>, domains: &[String]) {
        agents.sort_unstable();
        let Some((first, others)) = agents.split_first() else { return };
        let facts = self.compiled.agents.iter().find(|facts| facts.subject == *first);
        let name = facts.map_or("unregistered", |facts| &*facts.name);
        let more = match others.len() {
            0 => String::new(),
            more => format!(" and of {more} more agents"),
        };
        let named = domains.iter().take(DOMAINS_TOLD_MAX).map(String::as_str);
        let message = format!(
            "the names of `{name}`{more} cannot be asked for below the search domains of this host \
             ({}): the kernel's tables have no place for that",
            named.collect::<Vec<_>>().join(", ")
        );
        let hint = "use wildcards; an agent whose resolver library gives up when such a query is \
                    refused needs `dns: any`";
        let settings = self.compiled.image.subjects.iter().find(|(subject, _)| subject == first);
        let rule = settings.map(|(_, settings)| settings.default_rule as usize);
        let place = rule.and_then(|rule| self.places.get(rule).cloned().flatten());
        let place = place.unwrap_or(Place { file: "the policy".into(), line: 0, column: 0 });
        self.out.push(Diagnostic::warning(Code::Limit, &place, message).hint(hint));
    }
}
