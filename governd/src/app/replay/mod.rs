//! Captures before the loaded programs: `governd replay --engine kernel`.
//!
//! The programs see what a host's own sockets would show them. So packets come to them as the
//! capture's front end has put them together, one connection after the other in order, and behind
//! headers made for this; what `connect` would have stored for the socket is written first.

use std::{collections::HashMap, net::SocketAddr};

use governd_common::{
    decide::Proof,
    dns::DnsRefusal,
    event::{NameEvent, NameSource},
    http::HttpRefusal,
    key::FlowKey,
    table::{SocketOwner, Subject},
    tls::TlsRefusal,
    verdict::{Mode, Verdict},
};

use crate::{
    capture::{self, Flow, HelloName, Kind, Reader, Told},
    kernel::{Direction, KernelError, RawEvent, Replay},
    policy::image::TableImage,
};

mod judge;
mod packet;

pub use judge::{Judge, Judged};

/// Whose flows are replayed where no policy says it.
const SUBJECT: u32 = 1;
const PORT_DNS: u16 = 53;
/// Sequence number of the SYN of a connection that is put together anew.
const SEQUENCE_FIRST: u32 = 1;

/// The loaded programs as a reader of captures.
#[derive(Debug)]
pub struct KernelReader {
    replay: Replay,
    generation: u64,
    /// Sequence number of the next byte of the flows of TCP.
    next: HashMap<Flow, u32>,
    /// DNS over TCP that is not a whole message yet.
    messages: HashMap<Flow, Vec<u8>>,
}

impl KernelReader {
    /// Loads the programs, and a policy under which everything is of interest and nothing is
    /// refused.
    ///
    /// # Errors
    /// If the kernel refuses them, or this process may not load them.
    pub fn load() -> Result<Self, KernelError> {
        let mut replay = Replay::load()?;
        let generation = replay.install(&image())?;
        Ok(Self { replay, generation, next: HashMap::new(), messages: HashMap::new() })
    }

    /// Forgets every connection, before another capture.
    ///
    /// # Errors
    /// If the map of flows cannot be written.
    pub fn forget(&mut self) -> Result<(), KernelError> {
        self.next.clear();
        self.messages.clear();
        self.replay.forget()
    }

    /// Runs a program on a packet and collects what its events tell.
    fn run(&mut self, direction: Direction, packet: &[u8]) -> Result<Vec<Told>, KernelError> {
        let mut told = Vec::new();
        self.replay.run(direction, packet, |event| told.extend(tells(&event)))?;
        Ok(told)
    }

    /// Puts messages of DNS over TCP together, and shows each to the programs as a datagram: they
    /// do not read this stream themselves.
    fn feed_messages(&mut self, flow: Flow, bytes: &[u8]) -> Result<Vec<Told>, KernelError> {
        let mut buffer = self.messages.remove(&flow).unwrap_or_default();
        buffer.extend_from_slice(bytes);
        let (mut told, mut taken) = (Vec::new(), 0);
        while let Some(message) = capture::first_message(buffer.get(taken..).unwrap_or_default()) {
            told.extend(self.datagram(flow, message)?);
            taken += 2 + message.len();
        }
        buffer.drain(..taken);
        self.messages.insert(flow, buffer);
        Ok(told)
    }

    /// What `connect` stores for a socket whose destination is allowed.
    fn owner(&self, to: SocketAddr, protocol: u8) -> SocketOwner {
        SocketOwner {
            protocol,
            verdict: Verdict::Allow as u8,
            port: to.port(),
            address: to.ip().into(),
            generation: self.generation,
            ..SocketOwner::unconnected(SUBJECT, 0, 0)
        }
    }
}

impl Reader for KernelReader {
    type Error = KernelError;

    fn begin(&mut self, flow: Flow, kind: Kind) -> Result<(), KernelError> {
        if kind == Kind::Dns {
            self.messages.insert(flow, Vec::new());
            return Ok(());
        }
        let owner = self.owner(flow.to, packet::TCP);
        let owner = SocketOwner { stage: Proof::Name as u8, ..owner };
        self.replay.begin(key(flow, packet::TCP), owner)?;
        self.next.insert(flow, SEQUENCE_FIRST.wrapping_add(1));
        let syn = packet::tcp(flow, SEQUENCE_FIRST, true, &[]);
        self.run(Direction::Egress, &syn).map(drop)
    }

    fn feed(&mut self, flow: Flow, bytes: &[u8]) -> Result<Vec<Told>, KernelError> {
        if self.messages.contains_key(&flow) {
            return self.feed_messages(flow, bytes);
        }
        let Some(mut at) = self.next.get(&flow).copied() else {
            return Ok(Vec::new());
        };
        let mut told = Vec::new();
        for piece in bytes.chunks(packet::TCP_DATA_BYTES_MAX) {
            told.extend(self.run(Direction::Egress, &packet::tcp(flow, at, false, piece))?);
            at = at.wrapping_add(piece.len() as u32);
        }
        self.next.insert(flow, at);
        Ok(told)
    }

    fn end(&mut self, flow: Flow) -> Result<(), KernelError> {
        self.messages.remove(&flow);
        match self.next.remove(&flow) {
            Some(_) => self.replay.end(key(flow, packet::TCP)),
            None => Ok(()),
        }
    }

    fn datagram(&mut self, flow: Flow, message: &[u8]) -> Result<Vec<Told>, KernelError> {
        if message.len() > packet::UDP_DATA_BYTES_MAX {
            return Ok(vec![Told::NoDns(DnsRefusal::Length)]);
        }
        let is_answer = flow.from.port() == PORT_DNS;
        let asker = if is_answer { Flow { from: flow.to, to: flow.from } } else { flow };
        let key = key(asker, packet::UDP);
        if !self.replay.knows(&key) {
            self.replay.begin(key, self.owner(asker.to, packet::UDP))?;
        }
        let direction = if is_answer { Direction::Ingress } else { Direction::Egress };
        self.run(direction, &packet::udp(flow, message))
    }
}

/// The flow as its asking or connecting side names it.
fn key(flow: Flow, protocol: u8) -> FlowKey {
    FlowKey {
        local: flow.from.ip().into(),
        remote: flow.to.ip().into(),
        local_port: flow.from.port(),
        remote_port: flow.to.port(),
        protocol: protocol.into(),
    }
}

fn tells(event: &RawEvent) -> Option<Told> {
    match event {
        RawEvent::Dns(dns) => {
            let name = text(&dns.name, dns.name_len);
            let addresses = dns.addresses.iter().take(dns.addresses_len as usize);
            let addresses: Vec<_> = addresses.map(|found| found.address).collect();
            // Without addresses it is a refusal, which tells no name.
            let is_answer = !addresses.is_empty();
            is_answer.then(|| Told::dns(name, dns.question_type, addresses.into_iter()))
        }
        RawEvent::Name(event) => Some(tells_name(event)),
        _ => None,
    }
}

fn tells_name(event: &NameEvent) -> Told {
    let name = text(&event.name, event.name_len);
    if event.source == NameSource::Http as u8 {
        return match HttpRefusal::from_byte(event.refusal) {
            Some(refusal) => Told::NoHttp(refusal),
            None => Told::Http(name),
        };
    }
    let kept = event.alpn.get(..event.alpn_len.into()).unwrap_or_default();
    let hello = HelloName::new(name, kept, event.has_ech != 0);
    match TlsRefusal::from_byte(event.refusal) {
        Some(TlsRefusal::Address) => Told::TlsAddress(hello),
        Some(refusal) => Told::NoTls(refusal),
        None => Told::Tls(hello),
    }
}

fn text(bytes: &[u8], len: u16) -> String {
    String::from_utf8_lossy(bytes.get(..len.into()).unwrap_or_default()).into_owned()
}

/// One subject that may reach everything, and whose every answer is reported.
fn image() -> TableImage {
    let subject = Subject {
        mode: Mode::Monitor as u8,
        default_verdict: Verdict::Allow as u8,
        flags: 0,
        default_rule: 0,
        members: Subject::ALONE,
    };
    TableImage { subjects: vec![(0, subject), (SUBJECT, subject)], ..TableImage::default() }
}
