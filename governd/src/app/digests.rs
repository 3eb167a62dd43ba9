//! Asks for the digests of agents' executables, and takes the answers.

use std::sync::Arc;

use super::{clock, engine::Engine};
use crate::{
    core::inventory::{AGENTS_MAX, Agent},
    workload::digest::Wanted,
};

impl Engine {
    /// Asks for the digest of an agent's executable when another process of it runs. Nobody waits
    /// for the answer, which the daemon looks for each second.
    pub(super) fn want_digest(&mut self, pid: u32) {
        let Some(agent) = self.discovery.inventory.agent_of(pid) else { return };
        let process = agent.latest.as_ref().map(|latest| &latest.actor.process);
        let Some(process) = process.filter(|process| process.pid == pid) else { return };
        let (Some(exe), Some(digests)) = (&process.exe, &self.discovery.digests) else { return };
        let asked = (pid, process.started_ns, exe.inode);
        if self.discovery.asked.get(&agent.id) == Some(&asked) {
            return;
        }
        let tag = Arc::clone(&agent.id);
        let wanted = Wanted { tag, pid, path: exe.path.clone(), inode: exe.inode };
        let id = Arc::clone(&wanted.tag);
        if digests.ask(wanted) {
            if self.discovery.asked.len() >= 2 * AGENTS_MAX {
                self.discovery.asked.clear();
            }
            self.discovery.asked.insert(id, asked);
        }
    }

    /// Asks again what could not be asked, and takes the answers.
    pub(super) fn take_digests(&mut self) {
        let latest =
            |agent: &Agent| agent.instances.last().map(|instance| instance.actor.process.pid);
        let pids: Vec<u32> = self.discovery.inventory.agents().filter_map(latest).collect();
        for pid in pids {
            self.want_digest(pid);
        }
        let Some(digests) = &self.discovery.digests else { return };
        let mut changes = Vec::new();
        while let Some(done) = digests.next() {
            let inventory = &mut self.discovery.inventory;
            changes.extend(inventory.observe_digest(&done.tag, &done.sha256, clock::now_ms()));
        }
        self.found(changes);
    }
}
