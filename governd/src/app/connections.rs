//! The open connections of agents, as sock_diag(7) lists them every two seconds.
//!
//! Of governed processes the programs report every connection, and what went through it when it is
//! closed: here it is only measured while it is open. Of agents that nobody registered they report
//! what reaches AI endpoints. So what else those have open is a contact of theirs, too, and what
//! was last seen of it counts when it is gone; what is opened and closed between two looks is
//! missed. It is told at the look after the first, when whatever a program reports of it has been
//! read. Processes that are no agent's are not looked at.
//!
//! The programs are told who these agents' processes are, and then tell of their TLS hellos: where
//! one leads by its own words, and whether another one is encrypted in it. That decides nothing.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use governd_common::{event::NameEvent, table::SocketOwner, verdict::Verdict};

use super::{
    clock,
    discovery::Discovery,
    engine::{Engine, actor},
};
use crate::{
    audit::record::Actor,
    core::{
        inventory::{Agent, Contact, Standing, Traffic},
        said,
    },
    workload::sockets::open::Open,
};

/// Connections that ended unreported, and may still be reported.
const ENDED_MAX: usize = 4_096;

/// The connections of agents that nobody registered.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: HashMap<u64, Connection>,
    /// What was counted of those that are gone, by cookie.
    ended: HashMap<u64, Traffic>,
    /// Processes (pid, start) whose hellos the programs tell of.
    noted: HashSet<(u32, u64)>,
}

#[derive(Clone, Debug)]
struct Connection {
    pid: u32,
    agent: Arc<str>,
    name: Option<Arc<str>>,
    address: IpAddr,
    port: u16,
    traffic: Traffic,
}

impl Connection {
    fn contact(&self) -> Contact<'_> {
        let Self { name, address, port, .. } = self;
        Contact { name: name.as_deref(), address: *address, port: *port, is_denied: false }
    }
}

impl Connections {
    /// A program reports a connection that ended: what of it was not counted before.
    pub(super) fn ended(&mut self, cookie: u64, traffic: Traffic) -> Traffic {
        self.open.remove(&cookie);
        let counted = self.ended.remove(&cookie).unwrap_or_default();
        Traffic {
            sent_bytes: traffic.sent_bytes.saturating_sub(counted.sent_bytes),
            received_bytes: traffic.received_bytes.saturating_sub(counted.received_bytes),
        }
    }

    /// Those that are open now; gives those that are no more and were not reported.
    fn replace(&mut self, open: HashMap<u64, Connection>) -> Vec<Connection> {
        let before = std::mem::replace(&mut self.open, open);
        let gone = before.into_iter().filter(|(cookie, _)| !self.open.contains_key(cookie));
        let gone: Vec<(u64, Connection)> = gone.collect();
        if self.ended.len() + gone.len() > ENDED_MAX {
            self.ended.clear();
        }
        self.ended.extend(gone.iter().map(|(cookie, one)| (*cookie, one.traffic)));
        gone.into_iter().map(|(_, one)| one).collect()
    }
}

impl Engine {
    /// What went through the open connections of agents, and where those lead that no program
    /// reports.
    pub(super) fn discover_open(&mut self) {
        let latest = self.discovery.meter.as_ref().and_then(|meter| meter.latest());
        if let Some(open) = latest {
            self.take_open(open);
        }
        let subjects = self.watch.subjects();
        let Discovery { meter: Some(meter), inventory, .. } = &self.discovery else { return };
        let shadows = inventory.agents().filter(|agent| is_shadow(agent));
        let instances = shadows.flat_map(|agent| &agent.instances);
        let processes = instances.map(|instance| &instance.actor.process);
        let shadows: HashSet<(u32, u64)> =
            processes.map(|process| (process.pid, process.started_ns)).collect();
        let pids = shadows.iter().map(|(pid, _)| *pid);
        let pids: HashSet<u32> = pids.chain(subjects.keys().copied()).collect();
        meter.watch(pids.into_iter().collect());
        self.note(shadows);
    }

    /// Has the programs tell of the hellos of processes, and of those that they start.
    fn note(&mut self, processes: HashSet<(u32, u64)>) {
        let noted = &mut self.discovery.connections.noted;
        noted.retain(|process| processes.contains(process));
        for process in processes {
            if noted.contains(&process) {
                continue;
            }
            match self.kernel.note(process.0) {
                Ok(()) => {
                    noted.insert(process);
                }
                Err(error) => {
                    tracing::warn!(%error, "hellos of agents that nobody registered go unread");
                    return;
                }
            }
        }
    }

    /// What a connection said of itself; true if something was decided by it.
    pub(super) fn discover_name(&mut self, event: &NameEvent, actor: &Actor) -> bool {
        if is_noted(event) {
            self.discover_hello(event, actor);
            return false;
        }
        if event.has_ech != 0 {
            self.discover_encrypted_hello(&said::flow(event), &said::said(event), actor);
        }
        true
    }

    /// What a connection of who is no registered agent said of itself.
    fn discover_hello(&mut self, event: &NameEvent, actor: &Actor) {
        let said = said::said(event);
        let contact = Contact {
            name: said.name.as_deref(),
            address: IpAddr::from(event.address),
            port: event.port,
            is_denied: false,
        };
        let agent = self.discovery.inventory.agent_of(actor.process.pid);
        let is_known = agent.is_some_and(|agent| knows(agent, &contact));
        let changes = if agent.is_none() || is_known {
            self.discovery.hello(actor, &contact)
        } else {
            self.discovery.contact(actor, 0, &contact)
        };
        self.found(changes);
        if said.has_ech {
            self.discover_encrypted_hello(&said::flow(event), &said, actor);
        }
    }

    fn take_open(&mut self, open: Vec<Open>) {
        let now_ms = clock::now_ms();
        let (mut measured, mut unreported) = (Vec::new(), HashMap::new());
        for one in open {
            let Open { pid, cookie, peer, is_accepted, sent_bytes, received_bytes } = one;
            let subject = self.watch.subjects().get(&pid).copied();
            let name = self.state.names.name(subject.unwrap_or(0), peer.ip().into(), 0);
            let traffic = Traffic { sent_bytes, received_bytes };
            let agent = self.discovery.inventory.agent_of(pid);
            let agent = agent.filter(|agent| subject.is_some() || is_shadow(agent));
            let Some(agent) = agent.map(|agent| Arc::clone(&agent.id)) else { continue };
            let (address, port) = (peer.ip(), peer.port());
            let connection = Connection { pid, agent, name, address, port, traffic };
            if subject.is_none() && !is_accepted {
                unreported.insert(cookie, connection.clone());
            } else {
                // It became a governed process's, and will be reported as that.
                self.discovery.connections.open.remove(&cookie);
            }
            measured.push(connection);
        }
        let before: Vec<Connection> = self.discovery.connections.open.values().cloned().collect();
        for one in &before {
            self.discover_unreported(one);
        }
        let Discovery { connections, inventory, .. } = &mut self.discovery;
        for gone in connections.replace(unreported) {
            inventory.observe_ended(&gone.agent, &gone.contact(), gone.traffic, now_ms);
        }
        inventory.forget_open();
        for one in measured {
            inventory.observe_open(one.pid, &one.contact(), one.traffic);
        }
    }

    /// An agent that nobody registered had a connection at the last look. What a program reported
    /// of it has made its destination known.
    fn discover_unreported(&mut self, connection: &Connection) {
        let contact = connection.contact();
        let agent = self.discovery.inventory.agent(&connection.agent);
        if agent.is_none_or(|agent| knows(agent, &contact)) {
            return;
        }
        let Some(known) = self.processes.process(connection.pid) else { return };
        let changes = self.discovery.contact(&actor(known), 0, &contact);
        self.found(changes);
    }
}

/// Whether a destination is among those of an agent.
fn knows(agent: &Agent, contact: &Contact<'_>) -> bool {
    let place = (contact.address.to_canonical(), contact.port);
    agent.endpoints.values().any(|seen| (seen.address, seen.port) == place)
}

/// Whether a name is told for the inventory alone: nothing was decided by it.
fn is_noted(event: &NameEvent) -> bool {
    !SocketOwner::is_agent(event.header.subject) && event.verdict == Verdict::Allow as u8
}

fn is_shadow(agent: &Agent) -> bool {
    agent.standing == Standing::Agent && agent.subject.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(sent_bytes: u64) -> Connection {
        Connection {
            pid: 7,
            agent: "a".into(),
            name: None,
            address: IpAddr::from([192, 0, 2, 1]),
            port: 443,
            traffic: Traffic { sent_bytes, received_bytes: 1 },
        }
    }

    #[test]
    fn each_byte_counts_once_whoever_tells_first() {
        let mut connections = Connections::default();
        let all = || (1..=3).map(|cookie| (cookie, connection(10 * cookie))).collect();
        assert!(connections.replace(all()).is_empty());
        // A program tells of the first before it is missed, of the second after.
        let traffic = |sent_bytes| Traffic { sent_bytes, received_bytes: 5 };
        assert_eq!(connections.ended(1, traffic(12)), traffic(12));
        let gone = connections.replace([(3, connection(40))].into());
        let bytes: Vec<u64> = gone.iter().map(|one| one.traffic.sent_bytes).collect();
        assert_eq!(bytes, [20]);
        let rest = Traffic { sent_bytes: 2, received_bytes: 4 };
        assert_eq!(connections.ended(2, traffic(22)), rest);
        assert_eq!(connections.ended(2, traffic(22)), traffic(22));
    }
}
