//! Agents and candidates.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use ring::digest;

use super::{
    Contact, START_NS, Sighting, Traffic,
    evidence::{self, Evidence, Sign},
    identity::{Identity, Nature},
    registry::OUTSIDE_MS,
};
use crate::{
    audit::record::Actor,
    catalog::{RuntimeKind, words},
    core::workload::Image,
    policy::image::AgentFacts,
};

/// Pieces of evidence that an agent keeps.
pub const EVIDENCE_MAX: usize = 64;
/// Instances that an agent keeps.
pub const INSTANCES_MAX: usize = 64;
/// Endpoints that an agent keeps.
pub const ENDPOINTS_MAX: usize = 256;

/// What makes an agent the same when it is started again.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Key {
    /// The product, or the executable with its script or module.
    pub program: String,
    /// Unit or container.
    pub place: Option<String>,
    /// User.
    pub uid: Option<u32>,
}

impl Key {
    pub(super) fn new(identity: &Identity, sighting: &Sighting<'_>) -> Self {
        Self {
            program: identity.program.clone(),
            place: sighting.place.map(str::to_owned),
            uid: sighting.actor.process.uid,
        }
    }

    /// A short id that is the same on each start: the beginning of a SHA-256.
    pub fn id(&self) -> Arc<str> {
        let Self { program, place, uid } = self;
        let place = place.as_deref().unwrap_or_default();
        let uid = uid.map_or_else(String::new, |uid| uid.to_string());
        let hash = digest::digest(&digest::SHA256, format!("{program}\0{place}\0{uid}").as_bytes());
        let hex: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("agent-{hex}").into()
    }
}

/// The beginning of a digest, enough to tell it from others.
pub(super) fn hex_short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

/// What an interpreter runs, and the version of what an agent is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Program {
    /// The script, or the file that a module begins with.
    pub script: Option<Arc<str>>,
    /// SHA-256 of that file in hexadecimal.
    pub sha256: Option<Arc<str>>,
    /// Version of the package that it is of.
    pub version: Option<Arc<str>>,
}

words! {
    /// How far the evidence goes.
    Standing {
        /// Something speaks for it, not enough.
        Candidate => "candidate",
        /// It is one.
        Agent => "agent",
    }
}

words! {
    /// Whether it is what somebody approved.
    AgentState {
        /// It is.
        Approved => "approved",
        /// Nobody registered it.
        Shadow => "shadow",
        /// Somebody did, and its document is gone.
        Ownerless => "ownerless",
        /// Its executable is another than the one that was approved.
        Drifted => "drifted",
        /// It reaches for what its document does not allow.
        OutOfScope => "out-of-scope",
        /// The last day of its approval is over.
        Expired => "expired",
        /// It was approved, and has not been seen for long.
        Stale => "stale",
    }
}

/// A running process of an agent.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The process and its lineage.
    pub actor: Actor,
    /// When it was first seen, in milliseconds since the epoch.
    pub first_ms: u64,
}

/// Where an agent connected to, itself or by a process that it started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointSeen {
    /// Host name, or the address where no name is known.
    pub host: String,
    /// The last address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Provider, if the catalogue knows it.
    pub provider: Option<Arc<str>>,
    /// Connections, refused ones included.
    pub count: u64,
    /// Refused connections.
    pub denied: u64,
    /// Bytes sent over connections that ended.
    pub sent_bytes: u64,
    /// Bytes received over connections that ended.
    pub received_bytes: u64,
    /// What went through those that are open, as of the last look; it is not stored.
    pub open: Traffic,
    /// First time, in milliseconds since the epoch.
    pub first_ms: u64,
    /// Last time, in milliseconds since the epoch.
    pub last_ms: u64,
    /// When the agent last tried it although its document does not allow it, in milliseconds since
    /// the epoch; `None` if it never did, or if the document allows it now.
    pub outside_ms: Option<u64>,
}

impl EndpointSeen {
    /// Whether it is outside of the agent's document, and was tried lately.
    pub(super) fn is_outside(&self, now_ms: u64) -> bool {
        self.outside_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < OUTSIDE_MS)
    }
}

/// An agent or candidate.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Short id, the same on each start.
    pub id: Arc<str>,
    /// Its identity.
    pub key: Key,
    /// The product, or the name of the script, module or program.
    pub name: Arc<str>,
    /// What the product is, if the catalogue knows it.
    pub kind: Option<RuntimeKind>,
    /// How far the evidence goes.
    pub standing: Standing,
    /// Whether it is what somebody approved.
    pub state: AgentState,
    /// Why it is not approved, in words.
    pub reason: Option<Arc<str>>,
    /// SHA-256 of the executable that it ran last, in hexadecimal, once it is known.
    pub digest: Option<Arc<str>>,
    /// Image of the container that it ran in last, once it is known.
    pub image: Option<Image>,
    /// What its interpreter ran last, once it is known.
    pub program: Program,
    /// Its subject, if it is registered.
    pub subject: Option<u32>,
    /// The document's name for it; of one that is gone, too.
    pub registered_as: Option<Arc<str>>,
    /// The owner to ask.
    pub owner: Option<Arc<str>>,
    /// The agent that started it, such as that of an MCP server.
    pub parent: Option<Arc<str>>,
    /// What speaks for it.
    pub evidence: Vec<Evidence>,
    /// How sure, in percent.
    pub confidence: u8,
    /// Running processes, the newest last; at most [`INSTANCES_MAX`].
    pub instances: Vec<Instance>,
    /// The process that was seen last, whether it still runs or not.
    pub latest: Option<Instance>,
    /// Processes that were ever seen.
    pub instances_total: u64,
    /// Destinations, by host and port; at most [`ENDPOINTS_MAX`].
    pub endpoints: BTreeMap<(String, u16), EndpointSeen>,
    /// Connections to destinations beyond those.
    pub endpoints_dropped: u64,
    /// First seen, in milliseconds since the epoch.
    pub first_ms: u64,
    /// Last seen, in milliseconds since the epoch.
    pub last_ms: u64,
    /// Whether the catalogue knows its executable or what it was told to run.
    pub is_runtime: bool,
}

impl Agent {
    pub(super) fn new(id: Arc<str>, key: Key, identity: &Identity, now_ms: u64) -> Self {
        Self {
            id,
            key,
            name: Arc::clone(&identity.name),
            kind: identity.kind,
            standing: Standing::Candidate,
            state: AgentState::Shadow,
            reason: None,
            digest: None,
            image: None,
            program: Program::default(),
            subject: None,
            registered_as: None,
            owner: None,
            parent: None,
            evidence: Vec::new(),
            confidence: 0,
            instances: Vec::new(),
            latest: None,
            instances_total: 0,
            endpoints: BTreeMap::new(),
            endpoints_dropped: 0,
            first_ms: now_ms,
            last_ms: now_ms,
            is_runtime: identity.nature == Nature::Runtime,
        }
    }

    /// A browser that visits a service: reported, not kept.
    pub(super) fn visitor(
        identity: &Identity,
        sighting: &Sighting<'_>,
        sign: &Sign,
        now_ms: u64,
    ) -> Self {
        let key = Key::new(identity, sighting);
        let mut agent = Self::new(key.id(), key, identity, now_ms);
        agent.saw(sign.clone(), now_ms);
        agent.saw_instance(sighting.actor, now_ms);
        agent
    }

    pub(super) fn saw(&mut self, sign: Sign, now_ms: u64) {
        self.last_ms = self.last_ms.max(now_ms);
        let same = |one: &&mut Evidence| {
            one.signal == sign.signal && one.name == sign.name && one.value == sign.value
        };
        if let Some(known) = self.evidence.iter_mut().find(same) {
            known.count += 1;
            known.last_ms = known.last_ms.max(now_ms);
            known.weight = known.weight.max(sign.weight);
            self.confidence = evidence::confidence(&self.evidence);
            return;
        }
        if self.evidence.len() >= EVIDENCE_MAX {
            return;
        }
        let Sign { signal, name, value, weight, source } = sign;
        let (first_ms, last_ms) = (now_ms, now_ms);
        self.evidence.push(Evidence {
            signal,
            name,
            value,
            weight,
            source,
            count: 1,
            first_ms,
            last_ms,
        });
        self.confidence = evidence::confidence(&self.evidence);
    }

    pub(super) fn saw_instance(&mut self, actor: &Actor, now_ms: u64) {
        let process = &actor.process;
        // One that was read from /proc starts at a tick, one of an event exactly.
        let same = |instance: &&mut Instance| {
            let known = &instance.actor.process;
            known.pid == process.pid && known.started_ns.abs_diff(process.started_ns) <= START_NS
        };
        if let Some(known) = self.instances.iter_mut().find(same) {
            known.actor = actor.clone();
            self.latest = Some(known.clone());
            return;
        }
        self.instances.retain(|instance| instance.actor.process.pid != process.pid);
        if self.instances.len() >= INSTANCES_MAX {
            self.instances.remove(0);
        }
        let instance = Instance { actor: actor.clone(), first_ms: now_ms };
        self.instances.push(instance.clone());
        self.latest = Some(instance);
        self.instances_total += 1;
    }

    /// It connected somewhere; true if that counts as outside of its document now and did not
    /// before, or the other way round.
    pub(super) fn saw_endpoint(
        &mut self,
        contact: &Contact<'_>,
        host: &str,
        provider: Option<Arc<str>>,
        now_ms: u64,
    ) -> bool {
        self.last_ms = self.last_ms.max(now_ms);
        let address = contact.address.to_canonical();
        let key = (host.to_owned(), contact.port);
        if self.endpoints.len() >= ENDPOINTS_MAX && !self.endpoints.contains_key(&key) {
            self.endpoints_dropped += 1;
            return false;
        }
        let seen = match self.endpoints.entry(key) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(place) => {
                let host = place.key().0.clone();
                place.insert(EndpointSeen {
                    host,
                    address,
                    port: contact.port,
                    provider,
                    count: 0,
                    denied: 0,
                    sent_bytes: 0,
                    received_bytes: 0,
                    open: Traffic::default(),
                    first_ms: now_ms,
                    last_ms: now_ms,
                    outside_ms: None,
                })
            }
        };
        let was_outside = seen.is_outside(now_ms);
        seen.address = address;
        seen.count += 1;
        seen.denied += u64::from(contact.is_denied);
        seen.outside_ms = (contact.is_denied && self.subject.is_some()).then_some(now_ms);
        seen.last_ms = seen.last_ms.max(now_ms);
        seen.is_outside(now_ms) != was_outside
    }

    /// Adds what went through a connection; false if its destination is not kept.
    pub(super) fn saw_traffic(
        &mut self,
        contact: &Contact<'_>,
        traffic: Traffic,
        now_ms: u64,
    ) -> bool {
        let Some(seen) = self.endpoint_of(contact) else { return false };
        let Traffic { sent_bytes, received_bytes } = traffic;
        seen.sent_bytes = seen.sent_bytes.saturating_add(sent_bytes);
        seen.received_bytes = seen.received_bytes.saturating_add(received_bytes);
        // It is open no more; the next look counts anew.
        seen.open.sent_bytes = seen.open.sent_bytes.saturating_sub(sent_bytes);
        seen.open.received_bytes = seen.open.received_bytes.saturating_sub(received_bytes);
        seen.last_ms = seen.last_ms.max(now_ms);
        self.last_ms = self.last_ms.max(now_ms);
        true
    }

    /// Forgets what went through open connections, before they are counted anew.
    pub(super) fn forget_open(&mut self) {
        for seen in self.endpoints.values_mut() {
            seen.open = Traffic::default();
        }
    }

    /// Counts what went through an open connection.
    pub(super) fn saw_open(&mut self, contact: &Contact<'_>, traffic: Traffic) {
        if let Some(EndpointSeen { open, .. }) = self.endpoint_of(contact) {
            open.sent_bytes = open.sent_bytes.saturating_add(traffic.sent_bytes);
            open.received_bytes = open.received_bytes.saturating_add(traffic.received_bytes);
        }
    }

    fn endpoint_of(&mut self, contact: &Contact<'_>) -> Option<&mut EndpointSeen> {
        let address = contact.address.to_canonical();
        let host = contact.name.map_or_else(|| address.to_string(), str::to_ascii_lowercase);
        let key = (host, contact.port);
        // An answer that came meanwhile may have given the address another name.
        let is_there = |seen: &&mut EndpointSeen| (seen.address, seen.port) == (address, key.1);
        if self.endpoints.contains_key(&key) {
            self.endpoints.get_mut(&key)
        } else {
            self.endpoints.values_mut().find(is_there)
        }
    }

    /// Destinations that it tried although its document does not allow them.
    pub fn outside(&self) -> impl Iterator<Item = &EndpointSeen> {
        self.endpoints.values().filter(|seen| seen.outside_ms.is_some())
    }

    pub(super) fn knows_provider(&self, provider: &str) -> bool {
        self.endpoints.values().any(|seen| seen.provider.as_deref() == Some(provider))
    }

    /// A document claims it, or none does any more. That a document is gone is for
    /// `Inventory::set_registered` to find out.
    pub(super) fn register(&mut self, subject: u32, facts: Option<&AgentFacts>) {
        let was_claimed = self.subject.take().is_some();
        self.subject = (subject != 0).then_some(subject);
        self.owner = facts.and_then(|facts| facts.owner.clone());
        if subject != 0 || was_claimed {
            self.registered_as = facts.map(|facts| Arc::clone(&facts.name));
        }
    }

    /// Whether the evidence just became enough.
    pub(super) fn rise(&mut self) -> bool {
        let is_agent = evidence::is_agent(&self.evidence, self.is_runtime);
        let has_risen = is_agent && self.standing == Standing::Candidate;
        if has_risen {
            self.standing = Standing::Agent;
        }
        has_risen
    }
}
