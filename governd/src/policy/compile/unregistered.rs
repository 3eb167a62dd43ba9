//! What holds for everything that is no agent.

use std::collections::BTreeMap;

use governd_common::{
    table::{Subject, entry_flag, subject_flag},
    verdict::Verdict,
};

use super::{AI_RULES, Claim, Compiler, EVERY_PORT, specificity};
use crate::policy::{
    image::AgentFacts,
    value::{Posture, Tier, name::HostPattern, port::Protocol},
    words,
};

impl Compiler<'_, '_> {
    /// Subject 0: the host's posture, and the AI endpoints that it is about.
    pub(super) fn unregistered(&mut self, endpoints: &[(HostPattern, &str)]) {
        let posture = self.host.unregistered;
        let default = if posture == Posture::Deny { Verdict::Deny } else { Verdict::Allow };
        let tier = if posture == Posture::Monitor { Tier::Allow } else { Tier::Deny };
        let mode = self.mode.unwrap_or(self.host.mode);
        let word = posture.word();
        let place = self.host.place.clone();
        let text = format!("unregistered: {word}");
        self.rule("unregistered/default", 0, text, Tier::of(default), place.clone());
        self.ai_rules(0, AI_RULES, tier, &format!("unregistered: {word}"), endpoints);
        let mut flags = subject_flag::LOOPBACK;
        if posture == Posture::DenyAi && !endpoints.is_empty() {
            flags |= subject_flag::NAME_DENIALS;
        }
        if posture != Posture::Deny {
            flags |= subject_flag::QUIET_DEFAULT | subject_flag::RAW_SOCKETS;
            flags |= subject_flag::LOCAL_SOCKETS;
        }
        let settings = Subject {
            mode: mode as u8,
            default_verdict: default as u8,
            flags,
            default_rule: 0,
            members: Subject::ALONE,
        };
        self.compiled.image.subjects.push((0, settings));
        self.compiled.agents.push(AgentFacts::unknown(0, "unregistered", mode));
    }

    /// What somebody who is no agent may do with AI endpoints, one rule for each of their
    /// providers.
    pub(super) fn ai_rules(
        &mut self,
        subject: u32,
        prefix: &str,
        tier: Tier,
        why: &str,
        endpoints: &[(HostPattern, &str)],
    ) {
        let place = self.host.place.clone();
        let mut by_label: BTreeMap<&str, u32> = BTreeMap::new();
        for (pattern, label) in endpoints {
            let rule = match by_label.get(label) {
                Some(rule) => *rule,
                None => {
                    let text = format!("{} {label} ({why})", tier.word());
                    let id = format!("{prefix}{}", words::slug(label));
                    let rule = self.rule(&id, subject, text, tier, place.clone());
                    by_label.insert(label, rule);
                    rule
                }
            };
            let claim = Claim {
                subject,
                rule,
                tier,
                specificity: specificity::of_name(pattern, false, Protocol::Any),
                ports: EVERY_PORT,
                protocol: Protocol::Any,
                // What is allowed here is only to be recorded.
                flags: entry_flag::VERIFY_DNS | entry_flag::QUIC,
                is_question: false,
            };
            self.names.push((pattern.clone(), claim));
        }
    }
}
