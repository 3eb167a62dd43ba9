//! Names in the beginnings of QUIC connections, which only user space can read: recorded, and where
//! the policy does not allow them the socket is refused.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use governd_common::{
    address::Address,
    decide::{Decision, Flow, Named, decide_named},
    event::{FlowEvent, InitialEvent},
    key::BindingKey,
    quic::Packet,
    tls::TlsRefusal,
    verdict::{Reason, Verdict},
};

use super::{clock, engine::Engine};
use crate::{
    audit::record::{Actor, Confidence, Finding, Record, Said},
    capture::{Flow as Path, QuicConnections, Told},
    core::state::Input,
    policy::tables::ImageTables,
};

const PROTOCOL_UDP: u8 = 17;
const SEVERITY_HIGH: u8 = 4;

impl Engine {
    /// Reads what a socket sent to begin a connection.
    pub(super) fn initial(&mut self, event: &InitialEvent, actor: &Actor) {
        for said in read(&mut self.quic, event) {
            let mut decision = self.decide_quic(event, said.name.as_deref());
            let is_denied = decision.verdict == Verdict::Deny;
            if is_denied {
                decision.reason = Reason::Quic;
            }
            if let Err(error) = self.kernel.judge_quic(event.cookie, decision.refuses()) {
                tracing::error!(%error, cookie = event.cookie, "a QUIC socket stays unjudged");
            }
            let flow = flow(event, &decision);
            if is_denied {
                let finding = self.quic_finding(event, &said, actor);
                self.journal.record(Record::Finding(finding), None);
            }
            self.step(Input::Quic(&flow, said, actor.clone()));
        }
    }

    fn decide_quic(&self, event: &InitialEvent, name: Option<&str>) -> Decision {
        let policy = self.state.policy();
        let subject = event.header.subject;
        let mut tables = ImageTables::new(&policy.image);
        for bound in self.state.names.bound(subject, event.header.time_ns) {
            let owner = if bound.is_hosts { BindingKey::HOST } else { subject };
            tables.bind(owner, &bound.name, Address::from(bound.address), u64::MAX);
        }
        let set = name.and_then(|name| tables.name_set(name)).unwrap_or(0);
        let flow = Flow {
            subject,
            address: event.address,
            port: event.port,
            protocol: PROTOCOL_UDP,
            now_ns: event.header.time_ns,
        };
        decide_named(&tables, &flow, Named::by_bytes(set, false))
    }

    fn quic_finding(&self, event: &InitialEvent, said: &Said, actor: &Actor) -> Finding {
        let name = said.name.as_deref().unwrap_or("no server");
        let to = SocketAddr::new(event.address.into(), event.port);
        Finding {
            kind: "quic-name".into(),
            uid: format!("quic-name:{}:{name}", event.header.subject).into(),
            title: format!("a QUIC connection to {to} names {name}, which is not allowed there")
                .into(),
            severity: SEVERITY_HIGH,
            confidence: Confidence::High,
            first_seen_ms: clock::now_ms(),
            subject: Some(self.state.subject(event.header.subject)),
            actor: Some(actor.clone()),
            destination: None,
            evidence: vec![format!("server name {name} in the Initial packets to {to}")],
        }
    }
}

/// What the datagrams say. Each connection has a path of its own here, by the id that its client
/// chose, since one socket may have several.
fn read(connections: &mut QuicConnections, event: &InitialEvent) -> Vec<Said> {
    let bytes = event.bytes.get(..event.len as usize).unwrap_or_default();
    let piece = if event.piece == 0 { bytes.len().max(1) } else { event.piece as usize };
    let to = SocketAddr::new(event.address.into(), event.port);
    let mut all = Vec::new();
    for datagram in bytes.chunks(piece) {
        let Ok(first) = Packet::parse(datagram) else { continue };
        let mut hasher = DefaultHasher::new();
        first.destination.hash(&mut hasher);
        let own = u128::from(event.cookie) << 64 | u128::from(hasher.finish());
        let from = SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(own)), 0);
        all.extend(connections.datagram(Path { from, to }, datagram).iter().map(said));
    }
    all
}

fn said(told: &Told) -> Said {
    let unnamed = |refusal: TlsRefusal| Said {
        source: "quic",
        name: None,
        alpn: Vec::new(),
        has_ech: false,
        refusal: Some(refusal.word()),
    };
    match told {
        Told::Tls(hello) => Said {
            source: "quic",
            name: Some(hello.name.as_str().into()),
            alpn: hello.alpn.clone(),
            has_ech: hello.has_ech,
            refusal: None,
        },
        Told::NoTls(refusal) => unnamed(*refusal),
        _ => unnamed(TlsRefusal::Address),
    }
}

fn flow(event: &InitialEvent, decision: &Decision) -> FlowEvent {
    FlowEvent {
        header: event.header,
        address: event.address,
        port: event.port,
        protocol: PROTOCOL_UDP,
        verdict: decision.verdict as u8,
        reason: decision.reason as u8,
        mode: decision.mode as u8,
        family: 0,
        socket_type: 0,
        rule: decision.rule,
        set: decision.set,
        reserved: 0,
        cookie: event.cookie,
    }
}
