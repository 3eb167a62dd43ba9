//! Agents and the documents that register them.

use super::{AgentState, Change, ChangeKind, Inventory};
use crate::policy::image::AgentFacts;

impl Inventory {
    /// The registered agents changed: what was approved by a document that is gone is not any more.
    pub fn set_registered(&mut self, agents: &[AgentFacts], now_ms: u64) -> Vec<Change> {
        self.registered = agents
            .iter()
            .filter(|agent| agent.subject != 0)
            .map(|agent| (agent.subject, agent.clone()))
            .collect();
        let mut changes = Vec::new();
        for agent in self.agents.values_mut() {
            let registered = agent.subject.and_then(|subject| self.registered.get(&subject));
            let before = agent.state;
            if registered.is_none() {
                agent.subject = None;
                agent.registered_as = None;
                agent.owner = None;
                agent.state = AgentState::Shadow;
            }
            if before != agent.state {
                self.unsaved.add(&agent.id);
                changes.push(Change::new(ChangeKind::State { from: before }, agent, None, now_ms));
            }
        }
        changes
    }
}
