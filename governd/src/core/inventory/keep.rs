//! What of the inventory outlives the daemon: which agents changed since they were last saved, and
//! how they come back. Saving is for whoever keeps the file; here is only what to save.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use super::{AGENTS_MAX, Inventory, Member, agent::Agent};

/// A change to what is saved.
#[derive(Clone, Debug)]
pub enum Write {
    /// The agent is as given, whatever was saved of it.
    Save(Box<Agent>),
    /// The agent with this id is forgotten.
    Forget(Arc<str>),
}

impl Write {
    /// The agent that it is about.
    pub fn id(&self) -> &Arc<str> {
        match self {
            Self::Save(agent) => &agent.id,
            Self::Forget(id) => id,
        }
    }
}

/// Ids of agents that changed, each once, the one that changed first at the front. One that is not
/// in the inventory any more was forgotten.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    ids: HashSet<Arc<str>>,
    queue: VecDeque<Arc<str>>,
}

impl Unsaved {
    pub(super) fn add(&mut self, id: &Arc<str>) {
        if self.ids.insert(Arc::clone(id)) {
            self.queue.push_back(Arc::clone(id));
        }
    }

    fn pop(&mut self) -> Option<Arc<str>> {
        let id = self.queue.pop_front()?;
        self.ids.remove(&id);
        Some(id)
    }
}

impl Inventory {
    /// What has to be saved, at most `max` agents; those that changed first come first.
    pub fn writes(&mut self, max: usize) -> Vec<Write> {
        let mut writes = Vec::new();
        while writes.len() < max
            && let Some(id) = self.unsaved.pop()
        {
            writes.push(match self.agents.get(&id) {
                Some(agent) => Write::Save(Box::new(agent.clone())),
                None => Write::Forget(id),
            });
        }
        writes
    }

    /// Takes back what was saved, before anything is observed. What does not fit its own id was
    /// not written by governd and is left out.
    pub fn restore(&mut self, agents: Vec<Agent>) {
        for agent in agents.into_iter().take(AGENTS_MAX) {
            if agent.key.id() != agent.id {
                continue;
            }
            for instance in &agent.instances {
                let process = &instance.actor.process;
                let member =
                    Member { started_ns: process.started_ns, agent: Arc::clone(&agent.id) };
                self.members.insert(process.pid, member);
            }
            self.agents.insert(Arc::clone(&agent.id), agent);
        }
    }
}
