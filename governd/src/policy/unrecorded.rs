//! What a policy is while nothing can be recorded, where it says `on_log_failure: deny-ai`: AI
//! endpoints are denied, to everybody and in every mode.
//!
//! A change of the tables and not of documents, so that it comes and goes at once and needs nothing
//! of the programs. Agents that are only monitored reach everything else meanwhile: their denials
//! are for the record alone, and there is none.

use std::collections::BTreeSet;

use governd_common::{
    limits::RULES_PER_BLOCK_MAX,
    table::{RuleBlock, RuleEntry, Subject, subject_flag},
    verdict::{Mode, Verdict},
};

use super::{
    compile,
    image::{Compiled, RuleFacts},
    value::Tier,
};

/// Denies AI endpoints, as the catalogue has them, to every subject.
pub fn deny_ai(compiled: &mut Compiled) {
    let sets = ai_sets(compiled);
    let denials: Vec<(u32, u32)> = compiled
        .agents
        .iter()
        .zip(compiled.rules.len() as u32..)
        .map(|(agent, rule)| (agent.subject, rule))
        .collect();
    for agent in &compiled.agents {
        compiled.rules.push(RuleFacts {
            id: format!("{}/unrecorded", agent.name).into(),
            subject: agent.subject,
            text: "deny AI endpoints while the log cannot be written".into(),
            tier: Tier::Deny,
            source: None,
        });
    }
    for (subject, rule) in denials {
        release_if_monitored(compiled, subject);
        let image = &mut compiled.image;
        image.blocks.retain(|(of, set, _)| *of != subject || !sets.contains(set));
        image.blocks.extend(sets.iter().map(|set| (subject, *set, denial(rule))));
        for (_, settings) in image.subjects.iter_mut().filter(|(of, _)| *of == subject) {
            settings.mode = Mode::Enforce as u8;
            settings.flags |= subject_flag::NAME_DENIALS;
        }
    }
    for agent in &mut compiled.agents {
        agent.mode = Mode::Enforce;
    }
    compile::delegation::settle(compiled);
}

/// Sets of names that are AI endpoints, or lie below one: those for which the unregistered have a
/// rule of theirs.
fn ai_sets(compiled: &Compiled) -> BTreeSet<u32> {
    let is_ai = |entry: &RuleEntry| {
        let rule = compiled.rule(entry.rule);
        rule.is_some_and(|rule| rule.subject == 0 && rule.id.starts_with(compile::AI_RULES))
    };
    let blocks = compiled.image.blocks.iter().filter(|(subject, ..)| *subject == 0);
    let ai = blocks.filter(|(.., block)| block.entries.iter().take(block.len as usize).any(is_ai));
    ai.map(|(_, set, _)| *set).collect()
}

/// Takes away the rules of a subject whose denials are not carried out.
fn release_if_monitored(compiled: &mut Compiled, subject: u32) {
    let image = &mut compiled.image;
    let Some((_, settings)) = image.subjects.iter_mut().find(|(of, _)| *of == subject) else {
        return;
    };
    if Mode::from_byte(settings.mode) == Mode::Enforce {
        return;
    }
    *settings = Subject {
        default_verdict: Verdict::Allow as u8,
        flags: subject_flag::LOOPBACK
            | subject_flag::QUIET_DEFAULT
            | subject_flag::RAW_SOCKETS
            | subject_flag::LOCAL_SOCKETS,
        ..*settings
    };
    image.blocks.retain(|(of, ..)| *of != subject);
    image.networks.retain(|(of, ..)| *of != subject);
    image.local_sockets.retain(|(of, _)| *of != subject);
}

/// Nothing is more specific, and every port is meant.
fn denial(rule: u32) -> RuleBlock {
    let unused = RuleEntry {
        port_first: 0,
        port_last: 0,
        protocol: 0,
        verdict: Verdict::Deny as u8,
        specificity: 0,
        rule: 0,
        flags: 0,
        reserved: [0; 3],
    };
    let mut entries = [unused; RULES_PER_BLOCK_MAX];
    if let Some(first) = entries.first_mut() {
        *first = RuleEntry { port_last: u16::MAX, specificity: u16::MAX, rule, ..unused };
    }
    RuleBlock { len: 1, entries }
}
