//! Which tool servers (MCP) agents are configured to have: asked for beside, and told the
//! inventory.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{clock, engine::Engine};
use crate::{
    core::tools,
    workload::{
        proc::ProcFs,
        tools::{Tools, Wanted},
    },
};

/// After how long the files of an agent that runs are read again.
const AGAIN: Duration = Duration::from_secs(300);

/// Agents whose files were asked for.
#[derive(Debug)]
pub(super) struct ToolFiles {
    /// `None` if the system gave no thread.
    tools: Option<Tools>,
    /// The process that was asked about last, and when, by the agent's id.
    asked: HashMap<Arc<str>, (u32, Instant)>,
}

impl ToolFiles {
    pub(super) fn new(proc: ProcFs) -> Self {
        let tools = Tools::start(proc);
        let tools = tools.inspect_err(|error| tracing::warn!(%error, "no tools of agents")).ok();
        Self { tools, asked: HashMap::new() }
    }
}

impl Engine {
    /// Asks about agents that run, and takes the answers.
    pub(super) fn discover_tools(&mut self) {
        let Some(tools) = &self.discovery.tools.tools else { return };
        let asked = &mut self.discovery.tools.asked;
        let inventory = &mut self.discovery.inventory;
        asked.retain(|agent, _| inventory.agent(agent).is_some());
        for agent in inventory.agents().filter(|agent| tools::is_known(&agent.name)) {
            let Some(instance) = agent.instances.last() else { continue };
            let process = &instance.actor.process;
            let is_done = asked
                .get(&agent.id)
                .is_some_and(|(pid, at)| *pid == process.pid && at.elapsed() < AGAIN);
            let wanted = || Wanted {
                agent: Arc::clone(&agent.id),
                product: Arc::clone(&agent.name),
                process: Arc::clone(process),
            };
            if !is_done && tools.ask(wanted()) {
                asked.insert(Arc::clone(&agent.id), (process.pid, Instant::now()));
            }
        }
        let mut changes = Vec::new();
        while let Some(found) = tools.next() {
            changes.extend(inventory.observe_tools(&found.agent, &found.servers, clock::now_ms()));
        }
        self.found(changes);
    }
}
