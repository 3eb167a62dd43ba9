//! Agents that nobody registered and a person quarantined: each has a subject, which reaches
//! nothing and which no selector gives. The daemon says which processes it is.

use std::sync::Arc;

use governd_common::{
    table::Subject,
    verdict::{Mode, Verdict},
};

use super::Compiler;
use crate::policy::{image::AgentFacts, limits::SUBJECTS_MAX, value::Tier};

impl Compiler<'_, '_> {
    pub(super) fn held(&mut self, name: &Arc<str>) {
        let is_named = self.compiled.agents.iter().any(|agent| agent.name == *name);
        if is_named || self.compiled.image.subjects.len() >= SUBJECTS_MAX {
            return;
        }
        let subject = self.ids.subject(name);
        let text = "deny: nobody registered it, and it is quarantined".to_owned();
        let default_rule = self.rule(&format!("{name}/default"), subject, text, Tier::Deny, None);
        let settings = Subject {
            mode: Mode::Enforce as u8,
            default_verdict: Verdict::Deny as u8,
            flags: 0,
            default_rule,
            members: Subject::ALONE,
        };
        self.compiled.image.subjects.push((subject, settings));
        let facts = AgentFacts::unknown(subject, Arc::clone(name), Mode::Enforce);
        self.compiled.started.push(facts);
        self.compiled.held.push((Arc::clone(name), subject));
    }
}
