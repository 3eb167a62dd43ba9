//! The rules of one subject at one node, as the entries of a block.

use std::fmt::Display;

use governd_common::{
    limits::RULES_PER_BLOCK_MAX,
    table::{RuleBlock, RuleEntry, entry_flag},
    verdict::Verdict,
};

use super::{Claim, EMPTY_BLOCK};
use crate::policy::{
    diagnostic::{Code, Diagnostic, Place},
    model::Rule,
    value::{Tier, Verify},
};

/// Entries of a block.
pub(super) const LEN: usize = RULES_PER_BLOCK_MAX;

/// An entry that is not in use.
pub(super) const EMPTY_ENTRY: RuleEntry = RuleEntry {
    port_first: 0,
    port_last: 0,
    protocol: 0,
    verdict: 0,
    specificity: 0,
    rule: 0,
    flags: 0,
    reserved: [0; 3],
};

/// More port ranges than a block holds.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct TooMany {
    /// How many are needed.
    pub(super) count: usize,
    /// The rule of the first entry that has no place.
    pub(super) rule: u32,
}

impl TooMany {
    pub(super) fn diagnostic(&self, target: &dyn Display, place: Option<Place>) -> Diagnostic {
        let message = format!(
            "the agent's rules give `{target}` {} port ranges; at most {LEN} can be kept for one \
             destination",
            self.count
        );
        let place = place.unwrap_or(Place { file: "the policy".into(), line: 0, column: 0 });
        Diagnostic::error(Code::Limit, &place, message)
            .hint("name wider ranges, or leave `ports` out of the rule on the wildcard or network")
    }
}

/// Builds a block: the most specific first, the stricter tier before others, then in the
/// order of the rules. What an entry before it covers already is left out.
pub(super) fn block(claims: &[Claim<'_>]) -> Result<RuleBlock, TooMany> {
    let mut sorted: Vec<&Claim<'_>> = claims.iter().collect();
    sorted
        .sort_by_key(|claim| (std::cmp::Reverse(claim.specificity), claim.tier as u8, claim.rule));
    let mut kept: Vec<RuleEntry> = Vec::new();
    for entry in sorted.into_iter().flat_map(entries) {
        if !covered(&kept, &entry) {
            kept.push(entry);
        }
    }
    if kept.len() > LEN {
        // A query that is refused is no reason to refuse a policy.
        kept.retain(|entry| !is_question(entry));
    }
    if let Some(first) = kept.get(LEN) {
        return Err(TooMany { count: kept.len(), rule: first.rule });
    }
    let mut block = RuleBlock { len: kept.len() as u32, ..EMPTY_BLOCK };
    for (slot, entry) in block.entries.iter_mut().zip(kept) {
        *slot = entry;
    }
    Ok(block)
}

/// Blocks, one after the other: most are like the one before.
#[derive(Default)]
pub(super) struct Latest<'a> {
    claims: Vec<Claim<'a>>,
    block: Option<RuleBlock>,
}

impl<'a> Latest<'a> {
    /// As [`block`].
    pub(super) fn block(&mut self, claims: &[Claim<'a>]) -> Result<RuleBlock, TooMany> {
        if let Some(block) = self.block.filter(|_| self.claims == claims) {
            return Ok(block);
        }
        let block = block(claims)?;
        self.claims.clear();
        self.claims.extend_from_slice(claims);
        self.block = Some(block);
        Ok(block)
    }
}

/// No port is between these: the entry only says that the name may be asked for.
const NO_PORT: (u16, u16) = (1, 0);

fn entries<'a>(claim: &'a Claim<'_>) -> impl Iterator<Item = RuleEntry> + 'a {
    let ports = claim.ports.iter().map(|ports| (ports.first(), ports.last()));
    let question = claim.is_question.then_some(NO_PORT);
    ports.chain(question).map(|(port_first, port_last)| RuleEntry {
        port_first,
        port_last,
        protocol: claim.protocol.number(),
        verdict: claim.tier.verdict() as u8,
        specificity: claim.specificity,
        rule: claim.rule,
        flags: claim.flags,
        reserved: [0; 3],
    })
}

fn is_question(entry: &RuleEntry) -> bool {
    (entry.port_first, entry.port_last) == NO_PORT
}

/// Whether entries before it leave nothing of an entry, one of them or several together.
fn covered(before: &[RuleEntry], entry: &RuleEntry) -> bool {
    let by_one = before.iter().any(|one| {
        one.port_first <= entry.port_first
            && entry.port_last <= one.port_last
            && (one.protocol == 0 || one.protocol == entry.protocol)
    });
    by_one || (!is_question(entry) && is_covered_together(before, entry))
}

/// Whether no port is left, from the first to the last. Entries for another protocol count for
/// nothing; one for every protocol is left as long as it is for those that no entry names.
fn is_covered_together(before: &[RuleEntry], entry: &RuleEntry) -> bool {
    let fitting = before.iter().filter(|one| one.protocol == 0 || one.protocol == entry.protocol);
    let mut ranges: Vec<(u16, u16)> =
        fitting.map(|one| (one.port_first, one.port_last)).filter(|one| one.0 <= one.1).collect();
    ranges.sort_unstable();
    let mut left = u32::from(entry.port_first);
    for (first, last) in ranges {
        if u32::from(first) > left {
            break;
        }
        left = left.max(u32::from(last) + 1);
    }
    left > u32::from(entry.port_last)
}

/// How a rule decides and what proves a name, as an entry says it.
pub(super) fn entry_flags(rule: &Rule) -> u8 {
    let verify = match rule.verify {
        Verify::Both => 0,
        Verify::Sni => entry_flag::VERIFY_SNI,
        Verify::Dns => entry_flag::VERIFY_DNS,
    };
    let plaintext = if rule.plaintext == Verdict::Allow { entry_flag::PLAINTEXT } else { 0 };
    let quic = if rule.quic == Verdict::Allow { entry_flag::QUIC } else { 0 };
    let tier = match rule.tier {
        Tier::Approve => entry_flag::APPROVE,
        Tier::Halt => entry_flag::HALT,
        Tier::Deny | Tier::Notify | Tier::Allow => 0,
    };
    verify | plaintext | quic | tier
}
