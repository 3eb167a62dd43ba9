//! Names in the beginnings of QUIC connections, which only user space can read: recorded, and where
//! the policy does not allow them the socket is refused.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use governd_common::{
    address::Address,
    decide::{Decision, Flow, Named, decide_named},
    event::{FlowEvent, InitialEvent},
    key::{BindingKey, QuicKey},
    limits,
    quic::Packet,
    table::{QUIC_ID_WORDS, quic_id},
    tls::TlsRefusal,
    verdict::{Reason, Verdict},
};

use super::{clock, engine::Engine};
use crate::{
    audit::record::{Actor, Confidence, Finding, Record, Said},
    capture::{Flow as Path, QuicConnections, Told},
    core::state::Input,
    kernel::QuicVerdict,
    policy::tables::ImageTables,
};

const PROTOCOL_UDP: u8 = 17;
const SEVERITY_HIGH: u8 = 4;

/// Names that are kept for policies to come; when there are more, all are forgotten, and the
/// connections that had them have to begin again under the next policy.
const NAMES_MAX: usize = limits::QUIC_FLOWS_MAX as usize;

/// What sockets send by QUIC, as far as it was read.
#[derive(Default)]
pub(super) struct Quic {
    connections: QuicConnections,
    /// What the policy allowed, for policies to come.
    allowed: HashMap<QuicKey, Allowed>,
}

/// The name by which a connection was allowed.
struct Allowed {
    subject: u32,
    name: Option<Arc<str>>,
    id: [u64; QUIC_ID_WORDS],
}

impl Engine {
    /// Reads what a socket sent to begin a connection.
    pub(super) fn initial(&mut self, event: &InitialEvent, actor: &Actor) {
        let InitialEvent { cookie, address, port, .. } = *event;
        let key = QuicKey { cookie, address, port, reserved: [0; 3] };
        let mut verdict = QuicVerdict::Wait;
        for (id, said) in read(&mut self.quic.connections, event) {
            let subject = event.header.subject;
            let named = |set| Named::by_bytes(set, false);
            let mut decision = self.decide_quic(&key, subject, said.name.as_deref(), named);
            let is_denied = decision.verdict == Verdict::Deny;
            if is_denied {
                decision.reason = Reason::Quic;
            }
            if decision.refuses() {
                verdict = QuicVerdict::Refuse;
                self.quic.allowed.remove(&key);
            } else if verdict != QuicVerdict::Refuse {
                verdict = QuicVerdict::Allow { generation: self.state.generation(), id };
                self.quic.keep(key, Allowed { subject, name: said.name.clone(), id });
            }
            let flow = flow(event, &decision);
            if is_denied {
                let finding = self.quic_finding(event, &said, actor);
                self.journal.record(Record::Finding(finding), None);
            }
            if said.has_ech {
                self.discover_encrypted_hello(&flow, &said, actor);
            }
            self.step(Input::Quic(&flow, said, actor.clone()));
        }
        self.tell_kernel(key, verdict);
    }

    /// Judges what sockets send under the policy that has just come into force.
    pub(super) fn judge_quic_again(&mut self) {
        let known = std::mem::take(&mut self.quic.allowed);
        for (key, Allowed { subject, name, id }) in known {
            let named = |set| Named::by_bytes(set, false).proven();
            if self.decide_quic(&key, subject, name.as_deref(), named).refuses() {
                self.tell_kernel(key, QuicVerdict::Refuse);
                continue;
            }
            let generation = self.state.generation();
            self.tell_kernel(key, QuicVerdict::Allow { generation, id });
            self.quic.allowed.insert(key, Allowed { subject, name, id });
        }
    }

    fn tell_kernel(&mut self, key: QuicKey, verdict: QuicVerdict) {
        if let Err(error) = self.kernel.judge_quic(key, verdict) {
            tracing::error!(%error, cookie = key.cookie, "a QUIC socket stays unjudged");
        }
    }

    fn decide_quic(
        &self,
        key: &QuicKey,
        subject: u32,
        name: Option<&str>,
        named: impl Fn(u32) -> Named,
    ) -> Decision {
        let policy = self.state.policy();
        let now_ns = clock::boot_ns();
        let mut tables = ImageTables::new(&policy.image);
        for bound in self.state.names.bound(subject, now_ns) {
            let owner = if bound.is_hosts { BindingKey::HOST } else { subject };
            tables.bind(owner, &bound.name, Address::from(bound.address), u64::MAX);
        }
        let set = name.and_then(|name| tables.name_set(name)).unwrap_or(0);
        let QuicKey { address, port, .. } = *key;
        let flow = Flow { subject, address, port, protocol: PROTOCOL_UDP, now_ns };
        decide_named(&tables, &flow, named(set))
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
fn read(
    connections: &mut QuicConnections,
    event: &InitialEvent,
) -> Vec<([u64; QUIC_ID_WORDS], Said)> {
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
        let id = quic_id(first.destination);
        let told = connections.datagram(Path { from, to }, datagram);
        all.extend(told.iter().map(|told| (id, said(told))));
    }
    all
}

impl Quic {
    fn keep(&mut self, key: QuicKey, allowed: Allowed) {
        if self.allowed.len() >= NAMES_MAX {
            self.allowed.clear();
        }
        self.allowed.insert(key, allowed);
    }
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
