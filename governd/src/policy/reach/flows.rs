//! What becomes of flows that were observed.

use std::{collections::HashMap, sync::Arc};

use governd_common::decide::Decision;
use serde::Serialize;

use super::Side;
use crate::policy::{
    host::Host,
    image::Compiled,
    lineage,
    observed::Observed,
    recognised::Past,
    value::{port::Protocol, verdict_word},
    whole::Asker,
};

/// A kind of observed flow whose verdict changes.
#[derive(Clone, Debug, Serialize)]
pub struct FlowChange {
    /// The agent as it was then.
    pub agent: String,
    /// The agent that the new policy recognises by executable, user and container, where it was
    /// none, or
    /// one that the new policy does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognised: Option<String>,
    /// Agents that had started it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub started_by: Vec<String>,
    /// Where it went, in words.
    pub destination: String,
    /// Verdict of the new policy.
    pub verdict: &'static str,
    /// The rule that decides in the new policy.
    pub rule: String,
    /// How many there were.
    pub count: u64,
    /// When the last of them was, in milliseconds since the epoch.
    pub last_ms: u64,
}

/// Which of the observed flows the new policy decides otherwise than the old one. Who was no agent
/// is who it would be, by executable, user and container, on the host that both were compiled for.
pub fn flow_changes(
    old: &Compiled,
    new: &Compiled,
    flows: &[Observed],
    host: &dyn Host,
) -> Vec<FlowChange> {
    let (mut before, mut after) = (Recalled::new(old, host), Recalled::new(new, host));
    let mut found = Vec::new();
    for flow in flows {
        let (was, is) = (before.decide(flow), after.decide(flow));
        if was.verdict != is.verdict {
            let now = new.agent(after.agent(flow)).filter(|it| it.subject != 0);
            let now = now.filter(|facts| facts.name != flow.key.agent);
            found.push(FlowChange {
                agent: flow.key.agent.to_string(),
                recognised: now.map(|facts| facts.name.to_string()),
                started_by: flow.key.started_by.iter().map(ToString::to_string).collect(),
                destination: in_words(flow),
                verdict: verdict_word(is.verdict),
                rule: after.side.rule(is),
                count: flow.count,
                last_ms: flow.last_ms,
            });
        }
    }
    found
}

fn in_words(flow: &Observed) -> String {
    let key = &flow.key;
    let host = match &key.name {
        Some(name) => name.to_string(),
        None => key.address.to_string(),
    };
    format!("{host} port {}/{}", key.port, Protocol::in_words(key.protocol))
}

/// A policy, and who the processes of flows are under it.
struct Recalled<'a> {
    side: Side<'a>,
    past: Past<'a>,
    /// Agents by name.
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Recalled<'a> {
    fn new(compiled: &'a Compiled, host: &'a dyn Host) -> Self {
        let numbers = compiled.agents.iter().map(|agent| (&*agent.name, agent.subject)).collect();
        Self { side: Side::new(compiled), past: Past::new(&compiled.image, host), numbers }
    }

    /// The agent that a flow's process was, or would be; 0 is none.
    fn agent(&self, flow: &Observed) -> u32 {
        let key = &flow.key;
        let named = self.numbers.get(&*key.agent).copied().filter(|agent| *agent != 0);
        named.or_else(|| self.past.agent(key)).unwrap_or(0)
    }

    fn decide(&mut self, flow: &Observed) -> Decision {
        let key = &flow.key;
        let number = |name: &Arc<str>| self.numbers.get(&**name).copied();
        let above: Vec<u32> = key.started_by.iter().filter_map(number).collect();
        let agent = self.agent(flow);
        let Side { compiled, tables, .. } = &mut self.side;
        let subject = match (agent, above.as_slice()) {
            (agent, []) => agent,
            (agent, above) => lineage::end_of_any(&compiled.image, above, agent),
        };
        let asker = Asker { subject, port: key.port, protocol: key.protocol };
        match &key.name {
            Some(name) => asker.to_name(tables, name, Some(key.address)),
            None => asker.to_address(tables, key.address),
        }
    }
}
