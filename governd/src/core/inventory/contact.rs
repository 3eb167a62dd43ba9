//! Where agents connect to, and what follows from it.

use std::{borrow::Cow, sync::Arc};

use super::{
    Agent, Change, ChangeKind, Contact, Inventory, Key, Sighting, Standing, Traffic, VISITS_MAX,
    evidence::{Sign, Signal},
    identity::{Identity, Nature},
};
use crate::catalog::{Catalog, EndpointKind, RuntimeKind, Weight};

/// Port of plain DNS.
const PORT_DNS: u16 = 53;
/// Port of DNS over TLS and over QUIC (RFC 7858 section 3.1, RFC 9250 section 8).
const PORT_DNS_OVER_TLS: u16 = 853;
const MS_PER_S: u64 = 1_000;
/// Findings about hosts that are remembered.
const REPORTED_MAX: usize = 4_096;

impl Inventory {
    /// A process connects somewhere.
    pub fn observe_contact(
        &mut self,
        sighting: &Sighting<'_>,
        contact: &Contact<'_>,
        now_ms: u64,
    ) -> Vec<Change> {
        let sign = self.contact_sign(contact);
        if let Some(id) = self.member(sighting) {
            return self.extend(&id, sighting, sign, contact, now_ms);
        }
        let identity = self.identify(sighting);
        let is_own = identity.nature == Nature::Runtime;
        if let Some(id) = self.ancestor_agent(sighting).filter(|_| !is_own) {
            return self.extend(&id, sighting, sign, contact, now_ms);
        }
        let Some(sign) = sign else { return Vec::new() };
        let mut signs = identity.signs.clone();
        match identity.nature {
            Nature::Ordinary if sighting.subject == 0 => return Vec::new(),
            Nature::Browser if sighting.subject == 0 => {
                return self.visit(sighting, &identity, &sign, now_ms);
            }
            // Whoever calls it exports the variables.
            Nature::Fetcher => {}
            _ => signs.extend(self.environment_signs(sighting)),
        }
        signs.push(sign);
        let mut changes = self.record(sighting, &identity, signs, now_ms);
        if let Some(id) = self.member(sighting)
            && let Some(agent) = self.agents.get_mut(&id)
        {
            let host = host(contact);
            agent.saw_endpoint(contact, &host, provider(&self.catalog, contact), now_ms);
            self.unsaved.add(&id);
            changes.extend(self.reassess(&id, Some(sighting.actor), now_ms));
            changes.extend(self.contact_findings(&id, sighting, contact, &host, now_ms));
        }
        changes
    }

    /// A connection ended. What went through one that is no agent's is not kept.
    pub fn observe_traffic(
        &mut self,
        sighting: &Sighting<'_>,
        contact: &Contact<'_>,
        traffic: Traffic,
        now_ms: u64,
    ) {
        // The end of a process closes its connections when it is no member any more.
        let own = || Key::new(&self.identify(sighting), sighting).id();
        let known = self.member(sighting).or_else(|| Some(own()));
        let known = known.filter(|id| self.agents.contains_key(id));
        let Some(id) = known.or_else(|| self.ancestor_agent(sighting)) else { return };
        if let Some(agent) = self.agents.get_mut(&id)
            && agent.saw_traffic(contact, traffic, now_ms)
        {
            self.unsaved.add(&id);
        }
    }

    /// A connection of an agent is open no more, and only what was last seen of it is known.
    pub fn observe_ended(
        &mut self,
        id: &str,
        contact: &Contact<'_>,
        traffic: Traffic,
        now_ms: u64,
    ) {
        if let Some(agent) = self.agents.get_mut(id)
            && agent.saw_traffic(contact, traffic, now_ms)
        {
            self.unsaved.add(&agent.id);
        }
    }

    /// Begins to count anew what went through the connections that are open.
    pub fn forget_open(&mut self) {
        for agent in self.agents.values_mut() {
            agent.forget_open();
        }
    }

    /// What went through a connection that a process of an agent has open.
    pub fn observe_open(&mut self, pid: u32, contact: &Contact<'_>, traffic: Traffic) {
        if let Some(member) = self.members.get(&pid)
            && let Some(agent) = self.agents.get_mut(&member.agent)
        {
            agent.saw_open(contact, traffic);
        }
    }

    fn contact_sign(&self, contact: &Contact<'_>) -> Option<Sign> {
        if let Some(entry) = contact.name.and_then(|name| self.catalog.lookup_host(name)) {
            return Sign::of_endpoint(entry, contact.name.unwrap_or(&entry.domain));
        }
        if !contact.address.to_canonical().is_loopback() {
            return None;
        }
        let known = self.catalog.lookup_port(contact.port);
        let entry = known.iter().find(|entry| {
            entry.kind == RuntimeKind::LocalModelServer
                && (entry.weight > Weight::Weak || self.model_ports.contains_key(&contact.port))
        })?;
        let target = format!("{}:{}", contact.address.to_canonical(), contact.port);
        let mut sign = Sign::of_runtime(Signal::Network, entry, &target);
        sign.weight = Weight::Medium;
        if let Some(server) = self.model_ports.get(&contact.port) {
            sign.name = server.to_string();
        }
        Some(sign)
    }

    /// A known agent connects somewhere, itself or by a process that it started.
    fn extend(
        &mut self,
        id: &str,
        sighting: &Sighting<'_>,
        sign: Option<Sign>,
        contact: &Contact<'_>,
        now_ms: u64,
    ) -> Vec<Change> {
        let environment =
            if sign.is_some() { self.environment_signs(sighting) } else { Vec::new() };
        let (provider, host) = (provider(&self.catalog, contact), host(contact));
        let Some(agent) = self.agents.get_mut(id) else { return Vec::new() };
        // In a flood of connections the state is what it was: it is looked at again where one of
        // them changes something, and in every second, since approvals end without an event.
        let mut is_due = agent.last_ms / MS_PER_S != now_ms / MS_PER_S;
        if sighting.subject != 0 && agent.subject != Some(sighting.subject) {
            agent.register(sighting.subject, self.registry.of(sighting.subject));
            is_due = true;
        }
        let mut changes = Vec::new();
        self.unsaved.add(&agent.id);
        let is_new = provider.as_ref().is_some_and(|name| !agent.knows_provider(name));
        is_due |= agent.saw_endpoint(contact, &host, provider.clone(), now_ms);
        let mut change = |kind, agent: &Agent| {
            changes.push(Change::new(kind, agent, Some(sighting.actor), now_ms));
        };
        for sign in sign.into_iter().chain(environment) {
            agent.saw(sign, now_ms);
        }
        if agent.rise() {
            is_due = true;
            change(ChangeKind::Found, agent);
        } else if let Some(provider) = provider.filter(|_| is_new) {
            change(ChangeKind::NewProvider { provider }, agent);
        }
        if is_due {
            changes.extend(self.reassess(id, Some(sighting.actor), now_ms));
        }
        changes.extend(self.contact_findings(id, sighting, contact, &host, now_ms));
        changes
    }

    fn visit(
        &mut self,
        sighting: &Sighting<'_>,
        identity: &Identity,
        sign: &Sign,
        now_ms: u64,
    ) -> Vec<Change> {
        let provider: Arc<str> = sign.name.as_str().into();
        if self.visits.len() >= VISITS_MAX {
            self.visits.clear();
        }
        if sign.weight == Weight::Weak
            || !self.visits.insert((Arc::clone(&identity.name), Arc::clone(&provider)))
        {
            return Vec::new();
        }
        let agent = Agent::visitor(identity, sighting, sign, now_ms);
        let kind = ChangeKind::BrowserVisit { provider };
        vec![Change::new(kind, &agent, Some(sighting.actor), now_ms)]
    }

    /// What an agent's contact gives away beside the contact: that it does without its gateway, or
    /// asks for names where nobody sees it.
    fn contact_findings(
        &mut self,
        id: &str,
        sighting: &Sighting<'_>,
        contact: &Contact<'_>,
        host: &str,
        now_ms: u64,
    ) -> Vec<Change> {
        let Some(agent) = self.agents.get(id).filter(|it| it.standing == Standing::Agent) else {
            return Vec::new();
        };
        // Resolvers are catalogued by address, too: that is how clients find them without a name.
        let kind = self.catalog.lookup_host(host).map(|entry| entry.kind);
        let facts = agent.subject.and_then(|subject| self.registry.of(subject));
        let via = facts.map(|facts| &*facts.approval.via).unwrap_or_default();
        let is_model = matches!(kind, Some(EndpointKind::ModelApi | EndpointKind::LlmGateway));
        let mut found = Vec::new();
        if is_model && !via.is_empty() && !via.iter().any(|gateway| gateway.matches(host)) {
            found.push(ChangeKind::GatewayBypass { host: host.into() });
        }
        let protocol = match kind {
            _ if contact.port == PORT_DNS_OVER_TLS => Some("TLS"),
            Some(EndpointKind::DohResolver) if contact.port != PORT_DNS => Some("HTTPS"),
            _ => None,
        };
        let hidden = |protocol| ChangeKind::HiddenDns { protocol, host: host.into() };
        found.extend(protocol.map(hidden));
        let changes =
            found.into_iter().map(|kind| Change::new(kind, agent, Some(sighting.actor), now_ms));
        let changes: Vec<Change> = changes.collect();
        changes.into_iter().filter(|change| self.is_first(change)).collect()
    }

    /// A connection that counted already named its host.
    pub fn observe_hello(
        &mut self,
        sighting: &Sighting<'_>,
        contact: &Contact<'_>,
        now_ms: u64,
    ) -> Vec<Change> {
        let id = self.member_or_descendant(sighting);
        let host = host(contact);
        id.map(|id| self.contact_findings(&id, sighting, contact, &host, now_ms))
            .unwrap_or_default()
    }

    /// A process sent a TLS hello that carries an encrypted one. Browsers put one into each hello,
    /// whether it means something or not, and are no agents.
    pub fn observe_encrypted_hello(
        &mut self,
        sighting: &Sighting<'_>,
        contact: &Contact<'_>,
        now_ms: u64,
    ) -> Vec<Change> {
        let id = self.member_or_descendant(sighting);
        let identity = self.identify(sighting);
        let agent = id.and_then(|id| self.agents.get(&id));
        let agent = agent.filter(|agent| agent.standing == Standing::Agent);
        let Some(agent) = agent.filter(|_| identity.nature != Nature::Browser) else {
            return Vec::new();
        };
        let kind = ChangeKind::EncryptedHello { host: host(contact).into() };
        let change = Change::new(kind, agent, Some(sighting.actor), now_ms);
        if self.is_first(&change) { vec![change] } else { Vec::new() }
    }

    /// Whether a finding about a host is the first of its kind.
    fn is_first(&mut self, change: &Change) -> bool {
        let (word, host) = match &change.kind {
            ChangeKind::GatewayBypass { host } => ("gateway-bypass", host),
            ChangeKind::HiddenDns { protocol, host } => (*protocol, host),
            ChangeKind::EncryptedHello { host } => ("encrypted-hello", host),
            _ => return true,
        };
        if self.reported.len() >= REPORTED_MAX {
            self.reported.clear();
        }
        self.reported.insert((Arc::clone(&change.agent.id), word, Arc::clone(host)))
    }
}

/// The host that was contacted, or its address.
fn host<'a>(contact: &Contact<'a>) -> Cow<'a, str> {
    match contact.name {
        Some(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            name.to_ascii_lowercase().into()
        }
        Some(name) => name.into(),
        None => contact.address.to_canonical().to_string().into(),
    }
}

fn provider(catalog: &Catalog, contact: &Contact<'_>) -> Option<Arc<str>> {
    contact.name.and_then(|name| catalog.lookup_host(name)).map(|entry| Arc::clone(&entry.provider))
}
