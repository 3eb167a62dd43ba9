//! Quarantine, carried out: nothing of an agent passes any more, and what it has open ends.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use governd_common::table::Task;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    answers::{failed, ok},
    clock,
    controls::{HALTED, in_words, refusal, unnamed},
    engine::{Engine, InstallError},
};
use crate::{
    audit::record::{By, Ruling},
    control::protocol::Reply,
    core::inventory::{Agent, Standing},
    kernel::KernelError,
    policy::image::{AgentFacts, Compiled},
    workload::table::Known,
};

/// An agent's name, and a subject that stands for it.
type Meant = (Arc<str>, u32);

impl Engine {
    pub(super) fn quarantine(&mut self, target: Option<&str>, kill: bool, by: &By) -> Reply {
        let agents = match self.agents_of(target) {
            Ok(agents) => agents,
            Err(reply) => return reply,
        };
        let policy = Arc::clone(self.state.policy());
        let (who, mut new, mut fault) = (in_words(by), Vec::new(), None);
        for meant in &agents {
            let (agent, subject) = meant;
            // Also if it was already: what was taken out of the kernel comes back.
            if let Err(error) = self.kernel.set_quarantined(*subject, true) {
                fault = Some(error);
                continue;
            }
            let (controls, now_ms) = (&mut self.controls.controls, clock::now_ms());
            let is_new = if policy.held.contains(meant) {
                controls.hold(agent, &who, now_ms)
            } else {
                controls.quarantine(agent, &who, now_ms)
            };
            if is_new {
                new.push(agent.to_string());
            }
        }
        // Before anything that waits for a disk.
        let ended = self.hold().and_then(|()| self.end_connections(&agents));
        self.begin_frames(&policy);
        // What holds is kept and on record, whatever fails beside it.
        self.controls.save();
        for agent in &new {
            let message = format!("{} quarantines {}", unnamed(by), self.in_full(agent));
            let operation = ("quarantine.set", Ruling::Quarantined);
            self.rule_agent(operation, agent, Some(by.clone()), message);
        }
        let killed = if kill { self.kill(&agents, by) } else { Ok(()) };
        match fault.map_or(ended.and(killed), Err) {
            Ok(()) => ok(&new),
            Err(error) => failed(error),
        }
    }

    /// An agent's name; of one that nobody registered also what the inventory calls it.
    fn in_full(&self, agent: &str) -> String {
        match self.discovery.inventory.agent(agent) {
            Some(known) => format!("{agent} ({})", known.name),
            None => agent.to_owned(),
        }
    }

    /// Ends what the agents have open: the next packet would be refused, but who waits for one
    /// would wait for ever.
    fn end_connections(&self, agents: &[Meant]) -> Result<(), KernelError> {
        let is_meant = |subject: u32| agents.iter().any(|(_, known)| *known == subject);
        for (tgid, _) in self.kernel.tasks()?.iter().filter(|(_, task)| is_meant(task.subject)) {
            self.destroyer.destroy_every_of(*tgid);
        }
        Ok(())
    }

    pub(super) fn release(&mut self, target: Option<&str>, by: &By) -> Reply {
        let known: Vec<String> =
            self.controls.controls.quarantined().map(|one| one.agent.clone()).collect();
        let called = target.map(|target| self.agents_called(target)).unwrap_or_default();
        let is_meant = |agent: &String| {
            target.is_none_or(|target| target == agent) || called.iter().any(|it| *it.id == **agent)
        };
        let released: Vec<String> = known.into_iter().filter(is_meant).collect();
        if released.is_empty() {
            return refusal("it is not quarantined", "`governd quarantine` lists what is");
        }
        for agent in &released {
            let policy = Arc::clone(self.state.policy());
            let Some(was) = self.controls.controls.release(agent) else { continue };
            if let Some(subject) = policy.subject_named(agent)
                && let Err(error) = self.set_free(&policy, subject)
            {
                self.controls.controls.restore(was);
                self.controls.save();
                return failed(error);
            }
            let message = format!("{} releases {agent}", unnamed(by));
            let operation = ("quarantine.release", Ruling::Restored);
            self.rule_agent(operation, agent, Some(by.clone()), message);
        }
        self.controls.save();
        match self.keep_held() {
            Ok(()) => ok(&released),
            Err(error) => failed(error),
        }
    }

    /// Has the policy know the agents that are quarantined and that nobody registered, and only
    /// those.
    fn keep_held(&mut self) -> Result<(), InstallError> {
        let held = self.controls.held();
        if self.state.policy().held.iter().map(|(name, _)| name).eq(&held) {
            return Ok(());
        }
        self.rulebook.set_held(held);
        self.recompiled()
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
    fn agents_of(&mut self, target: Option<&str>) -> Result<Vec<Meant>, Reply> {
        let policy = Arc::clone(self.state.policy());
        let agents = policy.agents.iter().filter(|agent| agent.subject != 0);
        let Some(target) = target else {
            let mut all: Vec<Meant> = agents.flat_map(|it| with_started(&policy, it)).collect();
            let found = self.discovery.inventory.agents();
            let running = found.filter(|it| is_shadow(it) && !it.instances.is_empty());
            let running = running.map(|it| Arc::clone(&it.id)).collect();
            all.extend(self.held_as(running)?);
            return Ok(all);
        };
        if let Some(agent) = agents.clone().find(|agent| *agent.name == *target) {
            return Ok(with_started(&policy, agent));
        }
        let one = |agent: &Agent| (Arc::clone(&agent.id), agent.subject);
        let found: Vec<(Arc<str>, Option<u32>)> = match target.parse::<u32>() {
            Err(_) => self.agents_called(target).into_iter().map(one).collect(),
            Ok(pid) => {
                let task = self.kernel.task(pid).map_err(failed)?;
                let subject = task.map(|task| policy.registered(task.subject));
                if let Some(agent) = agents.clone().find(|it| Some(it.subject) == subject) {
                    return Ok(with_started(&policy, agent));
                }
                self.agent_of_process(pid).map(one).into_iter().collect()
            }
        };
        match &found[..] {
            [(id, None)] => self.held_as(vec![Arc::clone(id)]),
            [(_, subject)] => {
                let agent = agents.clone().find(|agent| Some(agent.subject) == *subject);
                Ok(agent.map(|agent| with_started(&policy, agent)).unwrap_or_default())
            }
            [] => Err(refusal(
                "no agent is meant",
                "name one that `governd agents --candidates` lists, or a process of it",
            )),
            _ => {
                let ids: Vec<&str> = found.iter().map(|(id, _)| &**id).collect();
                let hint = format!("name one by its id: {}", ids.join(", "));
                Err(refusal(&format!("{} agents are called {target}", ids.len()), &hint))
            }
        }
    }

    /// The agent of the inventory that a process is, or one that started it.
    fn agent_of_process(&mut self, pid: u32) -> Option<&Agent> {
        let Known { process, lineage } = self.processes.process(pid)?;
        let inventory = &self.discovery.inventory;
        std::iter::once(process.pid)
            .chain(lineage.iter().map(|one| one.pid))
            .find_map(|pid| inventory.agents().find(|agent| is_instance(agent, pid)))
    }

    /// Subjects for agents that nobody registered, by the inventory's ids.
    fn held_as(&mut self, ids: Vec<Arc<str>>) -> Result<Vec<Meant>, Reply> {
        let mut held = self.controls.held();
        held.extend(ids.iter().filter(|id| !held.contains(id)).cloned().collect::<Vec<_>>());
        self.rulebook.set_held(held);
        self.recompiled().map_err(failed)?;
        let policy = Arc::clone(self.state.policy());
        let found: Vec<Meant> =
            policy.held.iter().filter(|(id, _)| ids.contains(id)).cloned().collect();
        if found.len() < ids.len() {
            let hint = "the policy has as many agents as its tables hold; end the process";
            return Err(refusal("there is no room to quarantine it", hint));
        }
        Ok(found)
    }

    /// Has the kernel count the processes of agents that are quarantined and that nobody registered
    /// as those agents', with what they started.
    ///
    /// # Errors
    /// A table cannot be read or written.
    pub(super) fn hold(&mut self) -> Result<(), KernelError> {
        let policy = Arc::clone(self.state.policy());
        let mut new = Vec::new();
        for (id, subject) in &policy.held {
            let Some(agent) = self.discovery.inventory.agent(id) else { continue };
            for instance in &agent.instances {
                let pid = instance.actor.process.pid;
                if self.kernel.task(pid)?.is_none() && self.discovery.stat(instance).is_some() {
                    let task = Task { subject: *subject, root: pid, since_ns: clock::boot_ns() };
                    self.kernel.set_task(pid, task)?;
                    new.push((Arc::clone(id), *subject));
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        self.track(&policy)?;
        self.end_connections(&new)
    }

    /// Ends every process of the agents. A process is held before it is looked up once more, so
    /// that another one that got its id is not meant.
    fn kill(&self, agents: &[Meant], by: &By) -> Result<(), KernelError> {
        let tasks = self.kernel.tasks()?;
        let held: Vec<_> = tasks
            .iter()
            .filter(|(_, task)| agents.iter().any(|(_, meant)| *meant == task.subject))
            .filter_map(|(tgid, _)| {
                let pid = Pid::from_raw(i32::try_from(*tgid).ok()?)?;
                Some((*tgid, pidfd_open(pid, PidfdFlags::empty()).ok()?))
            })
            .collect();
        let still: HashMap<u32, u32> =
            self.kernel.tasks()?.into_iter().map(|(tgid, task)| (tgid, task.subject)).collect();
        let mut ended: BTreeMap<&str, usize> = BTreeMap::new();
        for (tgid, process) in held {
            let is_its = |meant: &&Meant| still.get(&tgid) == Some(&meant.1);
            let Some((agent, _)) = agents.iter().find(is_its) else { continue };
            match pidfd_send_signal(&process, Signal::KILL) {
                Ok(()) => *ended.entry(agent).or_default() += 1,
                Err(error) => tracing::debug!(%error, pid = tgid, "the process had ended"),
            }
        }
        for (agent, count) in ended {
            let message = format!("{} ends {count} processes of {agent}", unnamed(by));
            let operation = ("quarantine.kill", Ruling::Quarantined);
            self.rule_agent(operation, agent, Some(by.clone()), message);
        }
        Ok(())
    }

    /// Takes in whom the kernel quarantined by itself, because a rule or a limit says so.
    pub(super) fn take_halted(&mut self, policy: &Compiled, why: &str) -> Result<(), KernelError> {
        let halted = self.kernel.quarantined()?;
        self.take(policy, &halted, why)
    }

    /// The same for those that were there at the last look already: by now an event has said why,
    /// unless it was lost.
    pub(super) fn take_halted_unsaid(&mut self, policy: &Compiled) -> Result<(), KernelError> {
        let halted = self.kernel.quarantined()?;
        let mut before = mem::replace(&mut self.controls.halted, halted);
        before.retain(|subject| self.controls.halted.contains(subject));
        self.take(policy, &before, HALTED)
    }

    fn take(&mut self, policy: &Compiled, halted: &[u32], why: &str) -> Result<(), KernelError> {
        for &subject in halted {
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
                self.begin_frames(policy);
            }
        }
        Ok(())
    }
}

/// Every subject of an agent: what others started is theirs as well as its own.
fn with_started(policy: &Compiled, agent: &AgentFacts) -> Vec<Meant> {
    policy.subjects_of(agent.subject).map(|subject| (Arc::clone(&agent.name), subject)).collect()
}

/// Whether it is an agent, and no document says so.
fn is_shadow(agent: &Agent) -> bool {
    agent.standing == Standing::Agent && agent.subject.is_none()
}

fn is_instance(agent: &Agent, pid: u32) -> bool {
    agent.instances.iter().any(|one| one.actor.process.pid == pid)
}
