//! Quarantine, carried out: nothing of an agent passes any more, and what it has open ends.

use std::{collections::HashMap, sync::Arc};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    answers::{failed, ok},
    clock,
    controls::{in_words, refusal, unnamed},
    engine::Engine,
};
use crate::{
    audit::record::{By, Ruling},
    control::protocol::Reply,
    kernel::KernelError,
    policy::image::{AgentFacts, Compiled},
};

impl Engine {
    pub(super) fn quarantine(&mut self, target: Option<&str>, kill: bool, by: &By) -> Reply {
        let agents = match self.agents_of(target) {
            Ok(agents) => agents,
            Err(reply) => return reply,
        };
        let (who, mut new, mut fault) = (in_words(by), Vec::new(), None);
        for (agent, subject) in &agents {
            // Also if it was already: what was taken out of the kernel comes back.
            if let Err(error) = self.kernel.set_quarantined(*subject, true) {
                fault = Some(error);
            } else if self.controls.controls.quarantine(agent, &who, clock::now_ms()) {
                new.push(agent.to_string());
            }
        }
        // What holds is kept and on record, whatever fails beside it.
        self.controls.save();
        for agent in &new {
            let message = format!("{} quarantines {agent}", unnamed(by));
            let operation = ("quarantine.set", Ruling::Quarantined);
            self.rule_agent(operation, agent, Some(by.clone()), message);
        }
        let ended = self.end_connections(&agents);
        let killed = if kill { self.kill(&agents) } else { Ok(()) };
        match fault.map_or(ended.and(killed), Err) {
            Ok(()) => ok(&new),
            Err(error) => failed(error),
        }
    }

    /// Ends what the agents have open: the next packet would be refused, but who waits for one
    /// would wait for ever.
    fn end_connections(&self, agents: &[(Arc<str>, u32)]) -> Result<(), KernelError> {
        let is_meant = |subject: u32| agents.iter().any(|(_, known)| *known == subject);
        for (tgid, _) in self.kernel.tasks()?.iter().filter(|(_, task)| is_meant(task.subject)) {
            self.destroyer.destroy_every_of(*tgid);
        }
        Ok(())
    }

    pub(super) fn release(&mut self, target: Option<&str>, by: &By) -> Reply {
        let known: Vec<String> =
            self.controls.controls.quarantined().map(|one| one.agent.clone()).collect();
        let released: Vec<String> =
            known.into_iter().filter(|agent| target.is_none_or(|target| target == agent)).collect();
        if released.is_empty() {
            return refusal("it is not quarantined", "`governd quarantine` lists what is");
        }
        for agent in &released {
            let policy = Arc::clone(self.state.policy());
            let subject = policy.agents.iter().find(|known| *known.name == **agent);
            self.controls.controls.release(agent);
            if let Some(subject) = subject.map(|known| known.subject)
                && let Err(error) = self.set_free(&policy, subject)
            {
                let since_ms = clock::now_ms();
                self.controls.controls.quarantine(agent, &in_words(by), since_ms);
                self.controls.save();
                return failed(error);
            }
            let message = format!("{} releases {agent}", unnamed(by));
            let operation = ("quarantine.release", Ruling::Restored);
            self.rule_agent(operation, agent, Some(by.clone()), message);
        }
        self.controls.save();
        ok(&released)
    }

    /// What it did until now does not halt it again.
    fn set_free(&mut self, policy: &Compiled, subject: u32) -> Result<(), KernelError> {
        self.kernel.forget_usage(subject)?;
        let still = self.in_numbers(policy).quarantined;
        for one in policy.subjects_with(subject).filter(|one| !still.contains(one)) {
            self.kernel.set_quarantined(one, false)?;
        }
        self.kernel.set_quarantined(subject, false)
    }

    /// Agents by name, by a process of theirs, or all.
    fn agents_of(&mut self, target: Option<&str>) -> Result<Vec<(Arc<str>, u32)>, Reply> {
        let policy = Arc::clone(self.state.policy());
        let mut agents = policy.agents.iter().filter(|agent| agent.subject != 0);
        let Some(target) = target else {
            return Ok(agents.flat_map(|agent| with_started(&policy, agent)).collect());
        };
        let subject = match target.parse::<u32>() {
            Err(_) => None,
            Ok(pid) => {
                let task = self.kernel.task(pid).map_err(failed)?;
                task.map(|task| policy.registered(task.subject))
            }
        };
        let is_meant =
            |agent: &&AgentFacts| *agent.name == *target || Some(agent.subject) == subject;
        let found = agents.find(is_meant).map(|agent| with_started(&policy, agent));
        let found = found.unwrap_or_default();
        if found.is_empty() {
            let hint = "name an agent of the policy, or the id of one of its processes";
            return Err(refusal("no registered agent is meant", hint));
        }
        Ok(found)
    }

    /// Ends every process of the agents. A process is held before it is looked up once more, so
    /// that another one that got its id is not meant.
    fn kill(&self, agents: &[(Arc<str>, u32)]) -> Result<(), KernelError> {
        let is_meant = |subject: u32| agents.iter().any(|(_, known)| *known == subject);
        let tasks = self.kernel.tasks()?;
        let held: Vec<_> = tasks
            .iter()
            .filter(|(_, task)| is_meant(task.subject))
            .filter_map(|(tgid, _)| {
                let pid = Pid::from_raw(i32::try_from(*tgid).ok()?)?;
                Some((*tgid, pidfd_open(pid, PidfdFlags::empty()).ok()?))
            })
            .collect();
        let still: HashMap<u32, u32> =
            self.kernel.tasks()?.into_iter().map(|(tgid, task)| (tgid, task.subject)).collect();
        for (tgid, process) in held {
            let is_same = still.get(&tgid).is_some_and(|subject| is_meant(*subject));
            if is_same && let Err(error) = pidfd_send_signal(&process, Signal::KILL) {
                tracing::debug!(%error, pid = tgid, "the process had ended");
            }
        }
        Ok(())
    }

    /// Takes in whom the kernel quarantined by itself, because a rule or a limit says so.
    pub(super) fn take_halted(&mut self, policy: &Compiled, why: &str) -> Result<(), KernelError> {
        for subject in self.kernel.quarantined()? {
            // Of a process that others started, those whose rule says so are quarantined, too.
            let Ok(index) = policy.agents.binary_search_by_key(&subject, |agent| agent.subject)
            else {
                continue;
            };
            let Some(agent) = policy.agents.get(index) else { continue };
            let controls = &mut self.controls.controls;
            if controls.quarantine(&agent.name, why, clock::now_ms()) {
                self.controls.save();
                let message = format!("{} is quarantined by {why}", agent.name);
                let operation = ("quarantine.set", Ruling::Quarantined);
                self.rule_agent(operation, &agent.name, None, message);
                for started in policy.subjects_with(subject) {
                    self.kernel.set_quarantined(started, true)?;
                }
                self.end_connections(&with_started(policy, agent))?;
            }
        }
        Ok(())
    }
}

/// Every subject of an agent: what others started is theirs as well as its own.
fn with_started(policy: &Compiled, agent: &AgentFacts) -> Vec<(Arc<str>, u32)> {
    policy.subjects_of(agent.subject).map(|subject| (Arc::clone(&agent.name), subject)).collect()
}
