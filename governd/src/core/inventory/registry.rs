//! Agents and the documents that register them: what state each agent is in, and since when.
//!
//! An agent has one state, the first of these that holds:
//!
//! - `shadow`: nobody registered it; `ownerless`: somebody did, and the document is gone;
//! - `drifted`: it runs an executable, script or image whose digest its document does not list, or
//!   another version;
//! - `out-of-scope`: it reached, or tried to reach, what its document does not allow now;
//! - `expired`: the last day of its approval is over;
//! - `stale`: nothing was seen of it for [`STALE_MS`] and nothing of it runs;
//! - `approved`; the reason then says so if the document names nobody who did.
//!
//! None of them decides a connection; that is for the rules alone.

use std::{collections::HashMap, sync::Arc};

use super::{
    Agent, AgentState, Change, ChangeKind, EndpointSeen, Instance, Inventory, Program, Standing,
    agent::hex_short,
};
use crate::{
    audit::record::Actor,
    core::workload::Image,
    policy::{image::AgentFacts, model::Approval},
};

/// How long an approved agent may be out of sight.
pub const STALE_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// How long a destination outside of the document counts after it was last tried.
pub const OUTSIDE_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Destinations outside of the document that a reason names.
const NAMED_MAX: usize = 3;

/// How many agents there are, and how many of them somebody answers for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Coverage {
    /// Agents, without candidates.
    pub agents: u64,
    /// Agents that a document registers.
    pub registered: u64,
    /// Agents whose state is `approved`, and whose document says who approved them and when.
    pub approved: u64,
    /// Registered agents whose denials are carried out.
    pub enforced: u64,
}

/// The registered agents.
#[derive(Debug, Default)]
pub(super) struct Registry {
    by_subject: HashMap<u32, AgentFacts>,
    subjects: HashMap<Arc<str>, u32>,
}

impl Registry {
    fn new(agents: &[AgentFacts]) -> Self {
        let registered = agents.iter().filter(|agent| agent.subject != 0);
        let by_subject: HashMap<u32, AgentFacts> =
            registered.map(|agent| (agent.subject, agent.clone())).collect();
        let named = by_subject.values().map(|agent| (Arc::clone(&agent.name), agent.subject));
        Self { subjects: named.collect(), by_subject }
    }

    pub(super) fn of(&self, subject: u32) -> Option<&AgentFacts> {
        self.by_subject.get(&subject)
    }

    fn named(&self, name: &str) -> Option<&AgentFacts> {
        self.of(*self.subjects.get(name)?)
    }
}

impl Inventory {
    /// The registered agents changed. `is_allowed` says whether a subject may reach, under the new
    /// policy, what it was denied before.
    pub fn set_registered(
        &mut self,
        agents: &[AgentFacts],
        is_allowed: &dyn Fn(u32, &EndpointSeen) -> bool,
        now_ms: u64,
    ) -> Vec<Change> {
        self.registry = Registry::new(agents);
        for agent in self.agents.values_mut() {
            // Numbers of subjects mean something only while the daemon runs.
            let name = agent.registered_as.as_deref();
            let facts = name.and_then(|name| self.registry.named(name));
            agent.subject = facts.map(|facts| facts.subject);
            agent.owner = facts.and_then(|facts| facts.owner.clone());
            let Some(subject) = agent.subject else { continue };
            for seen in agent.endpoints.values_mut().filter(|seen| seen.outside_ms.is_some()) {
                if is_allowed(subject, seen) {
                    seen.outside_ms = None;
                }
            }
        }
        self.reassess_all(now_ms)
    }

    /// What the kernel counts running processes as, by pid: an agent that already ran when its
    /// document came is registered by it, and not any more when no document claims it.
    pub fn observe_subjects(&mut self, subjects: &HashMap<u32, u32>, now_ms: u64) -> Vec<Change> {
        for agent in self.agents.values_mut().filter(|agent| !agent.instances.is_empty()) {
            let of = |pid| subjects.get(&pid).copied().filter(|subject| *subject != 0);
            let newest = agent.instances.iter().rev().map(|one| of(one.actor.process.pid));
            let subject = newest.flatten().next().unwrap_or(0);
            if agent.subject.unwrap_or(0) != subject {
                agent.register(subject, self.registry.of(subject));
            }
        }
        self.reassess_all(now_ms)
    }

    /// The SHA-256 of an executable is known, in hexadecimal.
    pub fn observe_digest(&mut self, id: &str, digest: &Arc<str>, now_ms: u64) -> Vec<Change> {
        let Some(agent) = self.agents.get_mut(id) else { return Vec::new() };
        if agent.digest.as_ref() == Some(digest) {
            return Vec::new();
        }
        agent.digest = Some(Arc::clone(digest));
        self.unsaved.add(&agent.id);
        let latest = agent.latest.as_ref().map(|latest| latest.actor.clone());
        self.reassess(id, latest.as_ref(), now_ms).into_iter().collect()
    }

    /// What an agent's interpreter runs, and the version of it, are known.
    pub fn observe_program(&mut self, id: &str, program: &Program, now_ms: u64) -> Vec<Change> {
        let Some(agent) = self.agents.get_mut(id) else { return Vec::new() };
        if agent.program == *program {
            return Vec::new();
        }
        agent.program = program.clone();
        self.unsaved.add(&agent.id);
        let latest = agent.latest.as_ref().map(|latest| latest.actor.clone());
        self.reassess(id, latest.as_ref(), now_ms).into_iter().collect()
    }

    /// The image of the container that an agent runs in is known.
    pub fn observe_container(&mut self, id: &str, image: &Image, now_ms: u64) -> Vec<Change> {
        let Some(agent) = self.agents.get_mut(id) else { return Vec::new() };
        if agent.image.as_ref() == Some(image) {
            return Vec::new();
        }
        agent.image = Some(image.clone());
        let latest = agent.latest.as_ref().map(|latest| latest.actor.clone());
        self.reassess(id, latest.as_ref(), now_ms).into_iter().collect()
    }

    /// Time passes: approvals end, and agents go out of sight.
    pub fn reassess_all(&mut self, now_ms: u64) -> Vec<Change> {
        let ids: Vec<Arc<str>> = self.agents.keys().map(Arc::clone).collect();
        ids.iter().filter_map(|id| self.reassess(id, None, now_ms)).collect()
    }

    /// Brings an agent's state up to date; a change of one that is no candidate is news.
    pub(super) fn reassess(
        &mut self,
        id: &str,
        actor: Option<&Actor>,
        now_ms: u64,
    ) -> Option<Change> {
        let agent = self.agents.get_mut(id)?;
        let facts = agent.subject.and_then(|subject| self.registry.of(subject));
        let (state, reason) = assess(agent, facts, now_ms);
        let from = std::mem::replace(&mut agent.state, state);
        agent.reason = reason;
        if from == state {
            return None;
        }
        self.unsaved.add(&agent.id);
        let kind = ChangeKind::State { from };
        let is_news = agent.standing == Standing::Agent;
        is_news.then(|| Change::new(kind, agent, actor, now_ms))
    }

    /// How many agents there are, and how many of them somebody answers for.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        for agent in self.agents.values().filter(|agent| agent.standing == Standing::Agent) {
            let facts = agent.subject.and_then(|subject| self.registry.of(subject));
            let is_enforced =
                |facts: &AgentFacts| facts.mode == governd_common::verdict::Mode::Enforce;
            coverage.agents += 1;
            coverage.registered += u64::from(facts.is_some());
            let is_approved = facts.is_some_and(|facts| facts.approval.is_said());
            coverage.approved += u64::from(is_approved && agent.state == AgentState::Approved);
            coverage.enforced += u64::from(facts.is_some_and(is_enforced));
        }
        coverage
    }
}

/// What of an agent is known to differ from what was approved, in words.
fn drift(agent: &Agent, facts: &AgentFacts) -> Option<String> {
    let Approval { digests, scripts, images, versions, .. } = &facts.approval;
    let name = &facts.name;
    if let Some(digest) = &agent.digest
        && !digests.is_empty()
        && !digests.iter().any(|known| known.as_str() == &**digest)
    {
        let digest = hex_short(digest);
        return Some(format!(
            "its executable has the SHA-256 {digest}, which {name} does not list"
        ));
    }
    if let Some(digest) = &agent.program.sha256
        && !scripts.is_empty()
        && !scripts.iter().any(|known| known.as_str() == &**digest)
    {
        let digest = hex_short(digest);
        let script = agent.program.script.as_deref().unwrap_or("its script");
        return Some(format!("{script} has the SHA-256 {digest}, which {name} does not list"));
    }
    let version = match &agent.image {
        Some(image) => image.tag(),
        None if agent.latest.as_ref().is_some_and(is_in_container) => None,
        None => agent.program.version.as_deref(),
    };
    if let Some(version) = version
        && !versions.is_empty()
        && !versions.iter().any(|known| known.as_str() == version)
    {
        return Some(format!("its version is {version}, which {name} does not list"));
    }
    let image = agent.image.as_ref()?;
    if let Some(digest) = &image.digest
        && !images.is_empty()
        && !images.iter().any(|known| known.as_str() == &**digest)
    {
        return Some(format!("its image is {digest}, which {name} does not list"));
    }
    None
}

/// Its version is that of the image: packages inside have versions of their own.
fn is_in_container(instance: &Instance) -> bool {
    let workload = instance.actor.process.workload.as_ref();
    workload.is_some_and(|workload| workload.container.is_some())
}

/// The state of an agent, and why it is not what somebody approved.
fn assess(
    agent: &Agent,
    facts: Option<&AgentFacts>,
    now_ms: u64,
) -> (AgentState, Option<Arc<str>>) {
    let because = |state, reason: String| (state, Some(reason.into()));
    let Some(facts) = facts else {
        return match &agent.registered_as {
            Some(name) => because(AgentState::Ownerless, format!("the document {name} is gone")),
            None => (AgentState::Shadow, None),
        };
    };
    let approval = &facts.approval;
    if let Some(reason) = drift(agent, facts) {
        return because(AgentState::Drifted, reason);
    }
    let outside: Vec<&EndpointSeen> =
        agent.outside().filter(|seen| seen.is_outside(now_ms)).collect();
    if !outside.is_empty() {
        let names =
            outside.iter().take(NAMED_MAX).map(|seen| format!("{}:{}", seen.host, seen.port));
        let names: Vec<String> = names.collect();
        let more = match outside.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let reason =
            format!("it tried {}{more}, which {} does not allow", names.join(", "), facts.name);
        return because(AgentState::OutOfScope, reason);
    }
    if let Some(day) = approval.review_by.filter(|day| day.is_over(now_ms)) {
        let reason = format!("its approval was to be reviewed by {day}");
        return because(AgentState::Expired, reason);
    }
    let unseen_ms = now_ms.saturating_sub(agent.last_ms);
    if agent.instances.is_empty() && unseen_ms >= STALE_MS {
        let days = unseen_ms / (24 * 60 * 60 * 1_000);
        return because(AgentState::Stale, format!("nothing was seen of it for {days} days"));
    }
    if !approval.is_said() {
        let reason = format!("{} does not say who approved it, and when", facts.name);
        return because(AgentState::Approved, reason);
    }
    (AgentState::Approved, None)
}
