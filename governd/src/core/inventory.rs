//! Which AI agents run on this host: evidence in, findings out.
//!
//! The composition root calls one method per thing that happens and turns each [`Change`] into a
//! record with [`Change::finding`]:
//!
//! - [`Inventory::observe_process`]: for every process of the sweep at start, then for each exec;
//! - [`Inventory::observe_modules`]: for interpreters of the sweep, and for others a moment after
//!   they began, with the modules they loaded;
//! - [`Inventory::observe_listener`]: for each TCP listener of the sweep;
//! - [`Inventory::observe_contact`]: for each connection of the sweep, then for each flow decision
//!   and whatever names it (DNS, SNI);
//! - [`Inventory::observe_hello`] and [`Inventory::observe_encrypted_hello`]: for TLS hellos of who
//!   is not registered, and for those with ECH;
//! - [`Inventory::observe_exit`]: when a process ended;
//! - [`Inventory::set_registered`] and [`Inventory::observe_subjects`]: after each policy that came
//!   into force;
//! - [`Inventory::observe_digest`], [`Inventory::observe_program`] and
//!   [`Inventory::observe_container`]: when the digest of an agent's executable, its script and
//!   version, or the image of a container is known;
//! - [`Inventory::reassess_all`]: from time to time, since approvals end without an event.
//!
//! What changed is given out by [`Inventory::writes`] for whoever saves it, and taken back by
//! [`Inventory::restore`].
//!
//! An agent is what a process is (a product, or an executable with its script or module), where
//! it runs (unit or container) and as whom. It needs two independent signals, one of them network
//! or identity; a known runtime whose name nothing else uses gives two, its file and what it was
//! told to run. One weak signal makes a candidate. What an agent starts counts as the agent, unless
//! it is a runtime itself. Browsers that visit chat pages are reported as such; package managers,
//! version control and system daemons are never agents.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    audit::record::Actor,
    catalog::{Catalog, Runtime, RuntimeKind, Weight},
    core::tools::Server,
};

mod agent;
mod contact;
mod evidence;
mod finding;
mod identity;
mod keep;
mod ordinary;
mod place;
mod registry;

pub use agent::{
    Agent, AgentState, ENDPOINTS_MAX, EVIDENCE_MAX, EndpointSeen, INSTANCES_MAX, Instance, Key,
    Program, Standing,
};
pub use evidence::{Evidence, Signal};
pub use finding::{Change, ChangeKind};
pub use keep::Write;
pub use registry::{Coverage, OUTSIDE_MS, STALE_MS};

use evidence::Sign;
use identity::{Identity, Nature};
use keep::Unsaved;
use registry::Registry;

/// Agents and candidates that are kept.
pub const AGENTS_MAX: usize = 4_096;
/// Processes that are remembered as parts of agents.
pub const MEMBERS_MAX: usize = 32_768;
/// How exactly the start of a process is known: two ticks of /proc, in nanoseconds.
const START_NS: u64 = 20_000_000;
/// Visits of browsers that are remembered, so that each is reported once.
const VISITS_MAX: usize = 1_024;

/// A process at the moment something is observed of it.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The process and its lineage.
    pub actor: &'a Actor,
    /// Its unit or container, as far as the name stays the same when it is started again.
    pub place: Option<&'a str>,
    /// Names of variables in its environment; empty if they were not read.
    pub environment: &'a [String],
    /// Its subject; 0 is everything that is not a registered agent.
    pub subject: u32,
}

/// A connection, or an attempt at one.
#[derive(Clone, Copy, Debug)]
pub struct Contact<'a> {
    /// Host name, as DNS or the client told; `None` if only the address is known.
    pub name: Option<&'a str>,
    /// Destination address.
    pub address: std::net::IpAddr,
    /// Destination port.
    pub port: u16,
    /// True if it was refused.
    pub is_denied: bool,
}

/// What went through a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// Bytes that the agent sent.
    pub sent_bytes: u64,
    /// Bytes that it received.
    pub received_bytes: u64,
}

/// Agents and candidates, with what speaks for each.
#[derive(Debug)]
pub struct Inventory {
    catalog: Arc<Catalog>,
    agents: BTreeMap<Arc<str>, Agent>,
    /// Processes that belong to an agent or candidate, by pid.
    members: HashMap<u32, Member>,
    registry: Registry,
    visits: HashSet<(Arc<str>, Arc<str>)>,
    /// Agents and hosts of which a finding was made, so that each is reported once.
    reported: HashSet<(Arc<str>, &'static str, Arc<str>)>,
    /// Ports on which model servers of this host listen, with their names.
    model_ports: HashMap<u16, Arc<str>>,
    /// Observations that were discarded because `AGENTS_MAX` agents are known already.
    dropped: u64,
    unsaved: Unsaved,
}

#[derive(Clone, Debug)]
struct Member {
    started_ns: u64,
    agent: Arc<str>,
}

impl Inventory {
    /// An empty inventory.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self {
            catalog,
            agents: BTreeMap::new(),
            members: HashMap::new(),
            registry: Registry::default(),
            visits: HashSet::new(),
            reported: HashSet::new(),
            model_ports: HashMap::new(),
            dropped: 0,
            unsaved: Unsaved::default(),
        }
    }

    /// Takes another catalogue, for what is observed from now on.
    pub fn set_catalog(&mut self, catalog: Arc<Catalog>) {
        self.catalog = catalog;
    }

    /// Agents and candidates, by id.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// One agent or candidate.
    pub fn agent(&self, id: &str) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// The agent or candidate that a process belongs to.
    pub fn agent_of(&self, pid: u32) -> Option<&Agent> {
        self.agents.get(&self.members.get(&pid)?.agent)
    }

    /// Observations that were discarded because the inventory is full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A process runs, or executed another file.
    pub fn observe_process(&mut self, sighting: &Sighting<'_>, now_ms: u64) -> Vec<Change> {
        let identity = self.identify(sighting);
        if identity.nature != Nature::Runtime && sighting.subject == 0 {
            self.forget_other_member(sighting);
            return Vec::new();
        }
        if identity.nature != Nature::Runtime
            && let Some(id) = self.registered_ancestor(sighting, &identity)
        {
            self.join(sighting, id);
            return Vec::new();
        }
        let mut signs = identity.signs.clone();
        signs.extend(self.environment_signs(sighting));
        if let Some(id) = self.launcher(sighting, &identity)
            && let Some(agent) = self.agents.get_mut(&id)
        {
            for sign in signs {
                agent.saw(sign, now_ms);
            }
            agent.saw_instance(sighting.actor, now_ms);
            self.join(sighting, Arc::clone(&id));
            self.unsaved.add(&id);
            return Vec::new();
        }
        self.record(sighting, &identity, signs, now_ms)
    }

    /// The tool server of which this process is what its launcher started: `npx PACKAGE` runs a
    /// script that is called otherwise.
    fn launcher(&self, sighting: &Sighting<'_>, identity: &Identity) -> Option<Arc<str>> {
        let id = self.ancestor_agent(sighting).filter(|_| identity.is_one_of_many)?;
        let agent = self.agents.get(&id)?;
        (agent.kind == identity.kind && agent.key.program.starts_with("package ")).then_some(id)
    }

    /// A process has modules loaded, by the names of their packages. One that the catalogue knows
    /// well makes a script an agent before it connects anywhere.
    pub fn observe_modules(
        &mut self,
        sighting: &Sighting<'_>,
        modules: &[String],
        now_ms: u64,
    ) -> Vec<Change> {
        let identity = self.identify(sighting);
        let sign = |module: &String| {
            let known = self.catalog.lookup_module(module);
            let entry = known.into_iter().find(|entry| entry.kind.is_agentic())?;
            Some(Sign::of_runtime(Signal::Library, entry, module))
        };
        let found: Vec<Sign> = modules.iter().filter_map(sign).collect();
        let is_known = found.iter().any(|sign| sign.weight > Weight::Weak);
        if !is_known || (identity.is_ordinary() && sighting.subject == 0) {
            return Vec::new();
        }
        let mut signs = identity.signs.clone();
        signs.extend(found);
        signs.extend(self.environment_signs(sighting));
        self.record(sighting, &identity, signs, now_ms)
    }

    /// An agent is configured to have these tool servers, each with the file that says so.
    pub fn observe_tools(
        &mut self,
        id: &str,
        servers: &[(String, Server)],
        now_ms: u64,
    ) -> Vec<Change> {
        let Some(agent) = self.agents.get_mut(id).filter(|_| !servers.is_empty()) else {
            return Vec::new();
        };
        for (file, server) in servers {
            agent.saw(Sign::configured(file, server), now_ms);
        }
        self.unsaved.add(&agent.id);
        if !agent.rise() {
            return Vec::new();
        }
        let actor = agent.latest.as_ref().map(|latest| latest.actor.clone());
        vec![Change::new(ChangeKind::Found, agent, actor.as_ref(), now_ms)]
    }

    /// A process listens on a TCP port.
    pub fn observe_listener(
        &mut self,
        sighting: &Sighting<'_>,
        port: u16,
        now_ms: u64,
    ) -> Vec<Change> {
        let catalog = Arc::clone(&self.catalog);
        let known = catalog.lookup_port(port);
        let mut identity = self.identify(sighting);
        let is_part = identity.nature == Nature::Runtime || self.member(sighting).is_some();
        // Only ports that nothing else uses say something about a stranger.
        let counts = |entry: &&&Runtime| is_part || entry.weight > Weight::Weak;
        let is_same = |entry: &&&Runtime| entry.name == identity.name && counts(entry);
        let Some(entry) = known.iter().find(is_same).or_else(|| known.iter().find(counts)) else {
            return Vec::new();
        };
        if !is_part && identity.is_ordinary() {
            return Vec::new();
        }
        let is_model = entry.kind == RuntimeKind::LocalModelServer;
        identity.kind = identity.kind.or(is_model.then_some(entry.kind));
        let mut signs = identity.signs.clone();
        signs.push(Sign::of_runtime(Signal::Listener, entry, &port.to_string()));
        signs.extend(self.environment_signs(sighting));
        let changes = self.record(sighting, &identity, signs, now_ms);
        if let Some(id) = self.member(sighting)
            && let Some(agent) = self.agents.get_mut(&id)
            && is_model
        {
            agent.kind = agent.kind.or(Some(entry.kind));
            self.unsaved.add(&id);
            self.model_ports.insert(port, Arc::clone(&agent.name));
        }
        changes
    }

    /// A process ended.
    pub fn observe_exit(&mut self, pid: u32) {
        if let Some(member) = self.members.remove(&pid)
            && let Some(agent) = self.agents.get_mut(&member.agent)
        {
            agent.instances.retain(|instance| instance.actor.process.pid != pid);
            self.unsaved.add(&member.agent);
        }
    }

    fn identify(&self, sighting: &Sighting<'_>) -> Identity {
        identity::identify(&self.catalog, sighting)
    }

    fn environment_signs(&self, sighting: &Sighting<'_>) -> Vec<Sign> {
        let sign = |name: &String| {
            let entry = self.catalog.lookup_env(name).into_iter().next()?;
            let signal = match entry.kind {
                RuntimeKind::ApiKeyEnv => Signal::KeyName,
                _ => Signal::Environment,
            };
            Some(Sign::of_runtime(signal, entry, name))
        };
        sighting.environment.iter().filter_map(sign).collect()
    }

    /// The agent or candidate that the process itself belongs to.
    fn member(&self, sighting: &Sighting<'_>) -> Option<Arc<str>> {
        let process = &sighting.actor.process;
        let member = self.members.get(&process.pid)?;
        (member.started_ns.abs_diff(process.started_ns) <= START_NS)
            .then(|| Arc::clone(&member.agent))
    }

    /// The agent that the process belongs to, or else descends from.
    fn member_or_descendant(&self, sighting: &Sighting<'_>) -> Option<Arc<str>> {
        self.member(sighting).or_else(|| self.ancestor_agent(sighting))
    }

    /// The nearest ancestor that belongs to an agent. An ancestor's pid may have been used again,
    /// so its executable must be the member's.
    fn ancestor_agent(&self, sighting: &Sighting<'_>) -> Option<Arc<str>> {
        sighting.actor.lineage.iter().find_map(|ancestor| {
            let member = self.members.get(&ancestor.pid)?;
            let agent = self.agents.get(&member.agent)?;
            let is_same = agent.instances.iter().any(|instance| {
                let process = &instance.actor.process;
                process.pid == ancestor.pid
                    && process.exe.as_ref().map(|exe| &exe.path) == ancestor.exe.as_ref()
            });
            (agent.standing == Standing::Agent && is_same).then(|| Arc::clone(&member.agent))
        })
    }

    fn record(
        &mut self,
        sighting: &Sighting<'_>,
        identity: &Identity,
        signs: Vec<Sign>,
        now_ms: u64,
    ) -> Vec<Change> {
        let key = Key::new(identity, sighting);
        let id = key.id();
        let is_new = !self.agents.contains_key(&id);
        if is_new && !self.make_room() {
            self.dropped += 1;
            return Vec::new();
        }
        let parent = self.ancestor_agent(sighting).filter(|parent| *parent != id);
        let facts = self.registry.of(sighting.subject);
        let agent = self
            .agents
            .entry(Arc::clone(&id))
            .or_insert_with(|| Agent::new(Arc::clone(&id), key, identity, now_ms));
        agent.parent = agent.parent.take().or(parent);
        for sign in signs {
            agent.saw(sign, now_ms);
        }
        if sighting.subject != 0 {
            agent.saw(Sign::registered(sighting.subject), now_ms);
        }
        agent.saw_instance(sighting.actor, now_ms);
        self.unsaved.add(&id);
        agent.register(sighting.subject, facts);
        let has_risen = agent.rise();
        let is_candidate = agent.standing == Standing::Candidate;
        let state = self.reassess(&id, Some(sighting.actor), now_ms);
        let kind = match state {
            _ if has_risen => Some(ChangeKind::Found),
            _ if is_candidate && is_new => Some(ChangeKind::Candidate),
            Some(ref change) => Some(change.kind.clone()),
            None => None,
        };
        let change = kind
            .zip(self.agents.get(&id))
            .map(|(kind, agent)| Change::new(kind, agent, Some(sighting.actor), now_ms));
        self.join(sighting, id);
        change.into_iter().collect()
    }

    /// The agent that a registered process which is nothing by itself is a part of: its own from
    /// before it executed another file, else that of an ancestor; for an orphan that is no
    /// program of anybody's own, one that the same document registers.
    fn registered_ancestor(
        &self,
        sighting: &Sighting<'_>,
        identity: &Identity,
    ) -> Option<Arc<str>> {
        let subject = Some(sighting.subject);
        let is_same = |id: &Arc<str>| self.agents.get(id).is_some_and(|it| it.subject == subject);
        let own = self.member(sighting).filter(is_same);
        own.or_else(|| self.ancestor_agent(sighting).filter(is_same)).or_else(|| {
            let is_anyones = matches!(identity.nature, Nature::Ordinary | Nature::Fetcher);
            let mut agents = self.agents.values().filter(|_| is_anyones);
            agents.find(|agent| agent.subject == subject).map(|agent| Arc::clone(&agent.id))
        })
    }

    fn join(&mut self, sighting: &Sighting<'_>, agent: Arc<str>) {
        let process = &sighting.actor.process;
        if self.members.len() >= MEMBERS_MAX {
            self.members.clear();
        }
        let member = Member { started_ns: process.started_ns, agent: Arc::clone(&agent) };
        let before = self.members.insert(process.pid, member);
        if let Some(before) = before.filter(|before| before.agent != agent)
            && let Some(old) = self.agents.get_mut(&before.agent)
        {
            old.instances.retain(|instance| instance.actor.process.pid != process.pid);
            self.unsaved.add(&before.agent);
        }
    }

    /// A pid was used again, or its process executed something else.
    fn forget_other_member(&mut self, sighting: &Sighting<'_>) {
        let process = &sighting.actor.process;
        let exe = |actor: &Actor| actor.process.exe.as_ref().map(|exe| (exe.device, exe.inode));
        let is_same = self.member(sighting).is_some_and(|id| {
            self.agents.get(&id).is_some_and(|agent| {
                agent.instances.iter().any(|instance| {
                    instance.actor.process.pid == process.pid
                        && exe(&instance.actor) == exe(sighting.actor)
                })
            })
        });
        if !is_same {
            self.observe_exit(process.pid);
        }
    }

    /// Forgets the candidate that was seen longest ago if the inventory is full.
    fn make_room(&mut self) -> bool {
        if self.agents.len() < AGENTS_MAX {
            return true;
        }
        let oldest = self
            .agents
            .values()
            .filter(|agent| agent.standing == Standing::Candidate)
            .min_by_key(|agent| agent.last_ms)
            .map(|agent| Arc::clone(&agent.id));
        let Some(id) = oldest else { return false };
        self.agents.remove(&id);
        self.unsaved.add(&id);
        self.members.retain(|_, member| member.agent != id);
        true
    }
}

#[cfg(test)]
mod tests;
