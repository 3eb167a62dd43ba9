//! Asks for the digests of agents' executables, and takes the answers.

use std::sync::Arc;

use super::{clock, engine::Engine};

impl Engine {
    /// Asks for the digest of an agent's executable when a process of it runs. Nobody waits for
    /// the answer, which the daemon looks for each second.
    pub(super) fn want_digest(&self, pid: u32) {
        let agent = self.discovery.inventory.agent_of(pid);
        let latest = agent.and_then(|agent| agent.latest.as_ref());
        if let Some(latest) = latest.filter(|latest| latest.actor.process.pid == pid) {
            self.processes.want_digest(&latest.actor.process);
        }
    }

    /// Asks again what could not be asked, and takes the answers.
    pub(super) fn take_digests(&mut self) {
        let mut known = Vec::new();
        for agent in self.discovery.inventory.agents() {
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
        self.found(changes);
    }
}
