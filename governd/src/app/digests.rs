//! Asks for the digests of agents' executables, their scripts and versions, and takes the answers.

use std::sync::Arc;

use super::{clock, engine::Engine};
use crate::{
    core::{
        inventory::{AGENTS_MAX, Program},
        process::Process,
    },
    workload::program::Wanted,
};

impl Engine {
    /// Asks what an agent's executable and script are when a process of it runs. Nobody waits for
    /// the answer, which the daemon looks for each second.
    pub(super) fn want_digest(&mut self, pid: u32) {
        let Some(agent) = self.discovery.inventory.agent_of(pid) else { return };
        let latest = agent.latest.as_ref().map(|latest| &latest.actor.process);
        if let Some(process) = latest.filter(|process| process.pid == pid) {
            let (id, process) = (Arc::clone(&agent.id), Arc::clone(process));
            self.processes.want_digest(&process);
            self.want_program(&id, &process);
        }
    }

    fn want_program(&mut self, id: &Arc<str>, process: &Arc<Process>) {
        let asked = (process.pid, process.started_ns);
        let Some(programs) = &self.discovery.programs else { return };
        if self.discovery.asked.get(id) == Some(&asked) {
            return;
        }
        let (tag, process) = (Arc::clone(id), Arc::clone(process));
        if programs.ask(Wanted { tag, process }) {
            if self.discovery.asked.len() >= 2 * AGENTS_MAX {
                self.discovery.asked.clear();
            }
            self.discovery.asked.insert(Arc::clone(id), asked);
        }
    }

    /// Asks again what could not be asked, and takes the answers.
    pub(super) fn take_digests(&mut self) {
        let (mut known, mut running) = (Vec::new(), Vec::new());
        for agent in self.discovery.inventory.agents() {
            if let Some(newest) = agent.instances.last() {
                running.push((Arc::clone(&agent.id), Arc::clone(&newest.actor.process)));
            }
            let Some(latest) = &agent.latest else { continue };
            let process = &latest.actor.process;
            match process.sha256() {
                Some(sha256) if agent.digest.as_ref() != Some(sha256) => {
                    known.push((Arc::clone(&agent.id), Arc::clone(sha256)));
                }
                Some(_) => {}
                None => self.processes.want_digest(process),
            }
        }
        let mut changes = Vec::new();
        for (id, sha256) in known {
            let inventory = &mut self.discovery.inventory;
            changes.extend(inventory.observe_digest(&id, &sha256, clock::now_ms()));
        }
        for (id, process) in running {
            self.want_program(&id, &process);
        }
        let programs = self.discovery.programs.as_ref();
        let found: Vec<(Wanted, Program)> = std::iter::from_fn(|| programs?.next()).collect();
        for (Wanted { tag, .. }, program) in found {
            let inventory = &mut self.discovery.inventory;
            changes.extend(inventory.observe_program(&tag, &program, clock::now_ms()));
        }
        self.found(changes);
    }
}
