//! Whom a policy's records are about, as the records have them.

use std::sync::Arc;

use crate::{
    audit::record::Subject,
    policy::{
        image::{AgentFacts, Compiled},
        value::approval::Risk,
    },
};

/// Everything that a policy has a number for.
pub(super) fn of(policy: &Compiled) -> Vec<(u32, Arc<Subject>)> {
    let agents = policy.agents.iter().chain(&policy.started);
    let mut subjects: Vec<_> =
        agents.map(|agent| (agent.subject, Arc::new(record_of(agent)))).collect();
    subjects.sort_by_key(|(id, _)| *id);
    subjects.dedup_by_key(|(id, _)| *id);
    subjects
}

/// An agent, for a record.
fn record_of(agent: &AgentFacts) -> Subject {
    Subject {
        id: agent.subject,
        agent: Arc::clone(&agent.name),
        owner: agent.owner.clone(),
        sponsor: agent.sponsor.clone(),
        started_by: agent.started_by_words().map(Into::into),
        risk: agent.risk.map(Risk::word),
        approver: agent.approval.by.as_ref().map(|person| person.to_string().into()),
    }
}
