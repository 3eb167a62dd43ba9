//! From frames to names: takes tunnels off, sorts packets into connections and runs the parsers.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use governd_common::tls::TlsRefusal;

use super::{
    Found, Proto, Summary,
    decode::{self, Packet, ethertype, u16_at, u32_at},
    file::Frame,
    fragment::Fragments,
    quic::Connections,
    stream::{HelloName, Stream, Told, dns_message},
    tcp::{Order, Piece},
};

/// Tunnels inside each other.
const TUNNELS_MAX: usize = 4;
/// Directions of TCP connections at a time; when there are more, all are forgotten.
const DIRECTIONS_MAX: usize = 131_072;

const PORT_DNS: u16 = 53;
const PORT_GTP_U: u16 = 2152;
const PORT_VXLAN: u16 = 4789;
const PORT_GENEVE: u16 = 6081;
const PORT_GRE: u16 = 4754;

/// Reads the frames of one capture.
pub struct Engine<'a> {
    sink: &'a mut dyn FnMut(Found),
    summary: Summary,
    frame: u64,
    fragments: Fragments,
    directions: HashMap<(SocketAddr, SocketAddr), Direction>,
    connections: Connections,
}

struct Direction {
    order: Order,
    stream: Stream,
}

impl<'a> Engine<'a> {
    /// An engine that hands what it finds to `sink`.
    pub fn new(sink: &'a mut dyn FnMut(Found)) -> Self {
        Self {
            sink,
            summary: Summary::default(),
            frame: 0,
            fragments: Fragments::default(),
            directions: HashMap::new(),
            connections: Connections::default(),
        }
    }

    /// Reads one frame.
    pub fn frame(&mut self, frame: &Frame) {
        self.frame = frame.number;
        self.summary.frames += 1;
        match decode::frame(frame.link, &frame.bytes) {
            Some(bytes) => self.ip(bytes, 0),
            None => self.summary.undecoded += 1,
        }
    }

    /// Reads what still waits for missing segments, and sums up.
    pub fn finish(mut self, truncated: bool) -> Summary {
        let mut waiting: Vec<_> = std::mem::take(&mut self.directions).into_iter().collect();
        waiting.sort_by_key(|(path, _)| *path);
        for ((_, to), mut direction) in waiting {
            let pieces = direction.order.finish();
            for told in direction.take(pieces) {
                self.tell(Proto::Tls, to.ip(), told);
            }
        }
        self.summary.truncated = truncated;
        self.summary
    }

    fn ip(&mut self, bytes: &[u8], depth: usize) {
        let Some(packet) = decode::ip(bytes).filter(|_| depth <= TUNNELS_MAX) else {
            self.summary.undecoded += 1;
            return;
        };
        let Some(fragment) = packet.fragment else {
            return self.transport(&packet, depth);
        };
        if let Some(whole) = self.fragments.add(&packet, fragment) {
            self.transport(&Packet { payload: &whole, fragment: None, ..packet }, depth);
        }
    }

    fn transport(&mut self, packet: &Packet<'_>, depth: usize) {
        match packet.protocol {
            4 | 41 => self.ip(packet.payload, depth + 1),
            6 => {
                self.tcp(packet);
            }
            17 => {
                self.udp(packet, depth);
            }
            47 => {
                if let Some(inner) = gre(packet.payload) {
                    self.ip(inner, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn tcp(&mut self, packet: &Packet<'_>) -> Option<()> {
        let segment = packet.payload;
        let (from_port, to_port) = (u16_at(segment, 0)?, u16_at(segment, 2)?);
        let sequence = u32_at(segment, 4)?;
        let data = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
        let is_syn = segment.get(13)? & 2 != 0;
        let path = (
            SocketAddr::new(packet.source, from_port),
            SocketAddr::new(packet.destination, to_port),
        );
        if self.directions.len() >= DIRECTIONS_MAX {
            self.directions.clear();
        }
        let is_dns = from_port == PORT_DNS || to_port == PORT_DNS;
        let fresh = || Direction { order: Order::default(), stream: Stream::new(is_dns) };
        let direction = self.directions.entry(path).or_insert_with(fresh);
        if is_syn && direction.order.begin(sequence) {
            direction.stream = Stream::new(is_dns);
        }
        let pieces = direction.order.add(sequence.wrapping_add(u32::from(is_syn)), data);
        for told in direction.take(pieces) {
            self.tell(Proto::Tls, packet.destination, told);
        }
        Some(())
    }

    fn udp(&mut self, packet: &Packet<'_>, depth: usize) -> Option<()> {
        let (from_port, to_port) = (u16_at(packet.payload, 0)?, u16_at(packet.payload, 2)?);
        let length = usize::from(u16_at(packet.payload, 4)?);
        let end = if length < 8 { packet.payload.len() } else { length.min(packet.payload.len()) };
        let data = packet.payload.get(8..end)?;
        if from_port == PORT_DNS || to_port == PORT_DNS {
            if let Some(told) = dns_message(data) {
                self.tell(Proto::Tls, packet.destination, told);
            }
            return Some(());
        }
        if let Some(inner) = tunnelled(to_port, data) {
            self.ip(inner, depth + 1);
            return Some(());
        }
        let from = SocketAddr::new(packet.source, from_port);
        let to = SocketAddr::new(packet.destination, to_port);
        for told in self.connections.datagram(from, to, data) {
            self.tell(Proto::Quic, to.ip(), told);
        }
        Some(())
    }

    /// Reports what a message told; `carrier` is what a ClientHello came in.
    fn tell(&mut self, carrier: Proto, destination: IpAddr, told: Told) {
        let refused = match told {
            Told::Tls(hello) => {
                return self.found_hello(carrier, destination, hello, None);
            }
            Told::TlsAddress(hello) => {
                let refused = TlsRefusal::Address.word();
                return self.found_hello(carrier, destination, hello, Some(refused));
            }
            Told::Http(name) => return self.found(Proto::Http, name, vec![destination]),
            Told::Dns(name, addresses) => return self.found(Proto::Dns, name, addresses),
            Told::NoTls(refusal) => (carrier, refusal.word()),
            Told::NoHttp(refusal) => (Proto::Http, refusal.word()),
            Told::NoDns(refusal) => (Proto::Dns, refusal.word()),
        };
        *self.summary.refused.entry(refused).or_default() += 1;
    }

    fn found_hello(
        &mut self,
        proto: Proto,
        to: IpAddr,
        hello: HelloName,
        refused: Option<&'static str>,
    ) {
        let HelloName { name, alpn, has_ech } = hello;
        let frame = self.frame;
        self.hand_on(Found { frame, proto, name, addresses: vec![to], alpn, has_ech, refused });
    }

    fn found(&mut self, proto: Proto, name: String, addresses: Vec<IpAddr>) {
        let (frame, alpn) = (self.frame, Vec::new());
        self.hand_on(Found { frame, proto, name, addresses, alpn, has_ech: false, refused: None });
    }

    fn hand_on(&mut self, found: Found) {
        *self.summary.found.entry(found.proto).or_default() += 1;
        (self.sink)(found);
    }
}

impl Direction {
    fn take(&mut self, pieces: Vec<Piece>) -> Vec<Told> {
        let mut told = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => told.extend(self.stream.take(&bytes)),
                Piece::Gap => self.stream.gap(),
            }
        }
        told
    }
}

/// The IP packet in a GRE packet (RFC 2784, RFC 2890; version 1 is RFC 2637).
fn gre(bytes: &[u8]) -> Option<&[u8]> {
    let flags = u16_at(bytes, 0)?;
    let kind = u16_at(bytes, 2)?;
    let present = |bit: u16| usize::from(flags & bit != 0) * 4;
    let mut header_bytes = 4 + present(0x8000) + present(0x2000) + present(0x1000);
    if flags & 7 == 1 {
        header_bytes = 8 + present(0x1000) + present(0x0080);
    }
    decode::network(kind, bytes.get(header_bytes..)?)
}

/// The IP packet in a datagram to a tunnel's port.
fn tunnelled(port: u16, data: &[u8]) -> Option<&[u8]> {
    match port {
        PORT_GRE => gre(data),
        PORT_VXLAN => decode::ethernet(data.get(8..)?),
        PORT_GENEVE => {
            let options_bytes = usize::from(data.first()? & 0x3f) * 4;
            decode::network(u16_at(data, 2)?, data.get(8 + options_bytes..)?)
        }
        PORT_GTP_U => {
            // Version 1, message type G-PDU (3GPP TS 29.281 section 5).
            let (flags, kind) = (*data.first()?, *data.get(1)?);
            let mut rest = data.get(if flags & 7 != 0 { 12 } else { 8 }..)?;
            let mut extension = if flags & 4 != 0 { *data.get(11)? } else { 0 };
            while extension != 0 {
                let bytes = usize::from(*rest.first()?) * 4;
                extension = *rest.get(bytes.checked_sub(1)?)?;
                rest = rest.get(bytes..)?;
            }
            (flags >> 5 == 1 && kind == 0xff)
                .then(|| decode::network(version_type(rest)?, rest))
                .flatten()
        }
        _ => None,
    }
}

fn version_type(packet: &[u8]) -> Option<u16> {
    match packet.first()? >> 4 {
        4 => Some(ethertype::IPV4),
        6 => Some(ethertype::IPV6),
        _ => None,
    }
}
