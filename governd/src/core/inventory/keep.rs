//! What of the inventory outlives the daemon: which agents changed since they were last saved, and
//! how they come back. Saving is for whoever keeps the file; here is only what to save.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use super::{
    AGENTS_MAX, Inventory, Member,
    agent::{Agent, Instance},
    evidence::Signal,
};
use crate::{
    audit::record::personal::{ERASED, Erasure},
    core::process::Process,
};

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

    /// Takes the user's name and the command line away from processes that are meant; says how many
    /// values went. Those that run lose them only `of_running`: who watches them has them anew at
    /// once. All is saved anew after it, so that nothing of earlier boots stays in the file.
    pub fn erase(&mut self, which: &Erasure, of_running: bool) -> u64 {
        let mut gone = 0;
        for agent in self.agents.values_mut() {
            gone += strip_evidence(agent, which);
            let pid = |one: &Instance| (one.actor.process.pid, one.actor.process.started_ns);
            let running: Vec<_> = agent.instances.iter().map(pid).collect();
            let latest = agent.latest.as_mut();
            let latest = latest.filter(|one| of_running || !running.contains(&pid(one)));
            // It stands among them once more.
            let is_counted = latest.as_ref().is_none_or(|one| !running.contains(&pid(one)));
            let (erased, others) =
                (latest.map_or(0, |one| strip(one, which)), &mut agent.instances);
            gone += if is_counted { erased } else { 0 };
            if of_running {
                gone += others.iter_mut().map(|one| strip(one, which)).sum::<u64>();
            }
            self.unsaved.add(&agent.id);
        }
        gone
    }
}

/// Takes command lines away that speak for an agent whose processes are a user's; how many.
fn strip_evidence(agent: &mut Agent, which: &Erasure) -> u64 {
    let is_of =
        |one: &Instance, name: &str| one.actor.process.user.as_deref().is_some_and(|u| u == name);
    let mut processes = agent.instances.iter().chain(&agent.latest);
    if which.user.as_deref().is_some_and(|name| !processes.any(|one| is_of(one, name))) {
        return 0;
    }
    let (mut gone, mut kept) = (0, HashSet::new());
    agent.evidence.retain_mut(|one| {
        let is_old = which.before_ms.is_none_or(|before_ms| one.last_ms < before_ms);
        if one.signal != Signal::CommandLine || !is_old {
            return true;
        }
        gone += u64::from(one.value != ERASED);
        one.value = ERASED.to_owned();
        // That there was one stays.
        kept.insert(one.name.clone())
    });
    gone
}

/// Takes what is meant from one process; how many values that was.
fn strip(instance: &mut Instance, which: &Erasure) -> u64 {
    let Process { user, args, .. } = &*instance.actor.process;
    let is_users = which.user.as_deref().is_none_or(|name| user.as_deref() == Some(name));
    let is_old = which.before_ms.is_none_or(|before_ms| instance.first_ms < before_ms);
    if !is_users || !is_old {
        return 0;
    }
    let count = u64::from(user.is_some()) + u64::from(args.is_some());
    if count > 0 {
        let process = Arc::make_mut(&mut instance.actor.process);
        (process.user, process.args) = (None, None);
    }
    count
}
