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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use governd_common::{
        address::Address,
        decide::{Flow, Named, decide_named},
    };

    use super::*;
    use crate::policy::{
        compile::{Endpoint, Surroundings},
        ids::Ids,
        load,
        tables::ImageTables,
        tests::host::TestHost,
    };

    const POLICY: &str = "\
apiVersion: governd.dev/v1
kind: HostPolicy
metadata: {name: all}
spec: {mode: MODE, unregistered: monitor, on_log_failure: deny-ai}
---
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: bot}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  match: [{exe: /opt/bot}]
  egress:
    rules:
      - {allow: [api.openai.com], ports: [443]}
      - {allow: [a.example, 10.0.0.0/8]}
";

    #[test]
    fn ai_is_denied_to_everybody_and_what_was_enforced_still_is() {
        let ai = "api.openai.com";
        // Mode, subject, name, refused by the policy, refused while nothing is recorded.
        let rows = [
            ("enforce", 1, ai, false, true),
            ("enforce", 1, "eu.api.openai.com", true, true),
            ("enforce", 1, "a.example", false, false),
            ("enforce", 1, "b.example", true, true),
            ("enforce", 0, ai, false, true),
            ("enforce", 0, "b.example", false, false),
            ("monitor", 1, ai, false, true),
            ("monitor", 1, "b.example", false, false),
            ("monitor", 0, ai, false, true),
            ("monitor", 0, "b.example", false, false),
        ];
        for (mode, subject, name, before, meanwhile) in rows {
            let text = POLICY.replace("MODE", mode);
            let endpoints = ["api.openai.com", "*.api.openai.com"].map(|pattern| Endpoint {
                pattern: pattern.to_owned(),
                provider: "openai".into(),
                kind: "model-api",
            });
            let host = TestHost::default();
            let around =
                Surroundings { host: &host, endpoints: &endpoints, model_ports: &[], mode: None };
            let documents = load(&[("p.yaml", &*text)]).unwrap();
            let mut compiled = documents.compile(&around, &mut Ids::default()).unwrap();
            assert!(compiled.denies_unrecorded_ai);
            let refuses = |compiled: &Compiled| {
                let tables = ImageTables::new(&compiled.image);
                let set = tables.name_set(name).unwrap_or(0);
                let flow = Flow {
                    subject,
                    address: Address::from(IpAddr::from([203, 0, 113, 9])),
                    port: 443,
                    protocol: 6,
                    now_ns: 1,
                };
                decide_named(&tables, &flow, Named::by_bytes(set, false).proven()).refuses()
            };
            let row = format!("{mode} {subject} {name}");
            assert_eq!(refuses(&compiled), before, "{row}");
            deny_ai(&mut compiled);
            assert_eq!(refuses(&compiled), meanwhile, "{row}");
            for number in 0..compiled.rules.len() as u32 {
                assert!(compiled.rule(number).is_some());
            }
        }
    }
}
