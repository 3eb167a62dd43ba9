//! From frames to names: takes tunnels off, sorts packets into connections and runs the parsers.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use governd_common::tls::TlsRefusal;

use super::{
    Found, PORT_DNS, Proto, Seen, Summary,
    decode::{self, Packet, ethertype, u16_at, u32_at},
    direction::{Direction, Flow, Reader},
    file::Frame,
    fragment::Fragments,
    parsers::{HelloName, Told},
    quic::Connections,
};

/// Tunnels inside each other.
const TUNNELS_MAX: usize = 4;
/// Directions of TCP connections at a time; when there are more, all are forgotten.
const DIRECTIONS_MAX: usize = 131_072;
/// Paths of datagrams at a time; as above.
const PATHS_MAX: usize = 131_072;

/// Protocol numbers (IANA "Protocol Numbers").
const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_GRE: u8 = 47;
const PORT_GTP_U: u16 = 2152;
const PORT_VXLAN: u16 = 4789;
const PORT_GENEVE: u16 = 6081;
const PORT_GRE: u16 = 4754;
const PORT_CAPWAP_DATA: u16 = 5247;

/// Reads the frames of one capture.
pub struct Engine<'a, R> {
    reader: R,
    sink: &'a mut dyn FnMut(Seen),
    summary: Summary,
    frame: u64,
    fragments: Fragments,
    directions: HashMap<Flow, Direction>,
    /// Paths of datagrams, from the side that sent the first one.
    paths: HashSet<Flow>,
    connections: Connections,
}

impl<'a, R: Reader> Engine<'a, R> {
    /// An engine that hands what it sees to `sink`.
    pub fn new(reader: R, sink: &'a mut dyn FnMut(Seen)) -> Self {
        Self {
            reader,
            sink,
            summary: Summary::default(),
            frame: 0,
            fragments: Fragments::default(),
            directions: HashMap::new(),
            paths: HashSet::new(),
            connections: Connections::default(),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// If the reader has a fault.
    pub fn frame(&mut self, frame: &Frame) -> Result<(), R::Error> {
        self.frame = frame.number;
        self.summary.frames += 1;
        match decode::frame(frame.link, &frame.bytes) {
            Some(bytes) => self.ip(bytes, 0),
            None => {
                self.summary.undecoded += 1;
                Ok(())
            }
        }
    }

    /// Reads what still waits for missing segments, and sums up.
    ///
    /// # Errors
    /// As [`Engine::frame`].
    pub fn finish(mut self, truncated: bool) -> Result<Summary, R::Error> {
        let mut waiting: Vec<_> = std::mem::take(&mut self.directions).into_iter().collect();
        waiting.sort_by_key(|(flow, _)| *flow);
        for (flow, mut direction) in waiting {
            for (frame, told) in direction.finish(&mut self.reader)? {
                self.tell_at(frame, flow, told);
            }
        }
        self.summary.truncated = truncated;
        Ok(self.summary)
    }

    fn ip(&mut self, bytes: &[u8], depth: usize) -> Result<(), R::Error> {
        let Some(packet) = decode::ip(bytes).filter(|_| depth <= TUNNELS_MAX) else {
            self.summary.undecoded += 1;
            return Ok(());
        };
        let Some(fragment) = packet.fragment else {
            return self.transport(&packet, depth);
        };
        match self.fragments.add(&packet, fragment) {
            Some(whole) => {
                self.transport(&Packet { payload: &whole, fragment: None, ..packet }, depth)
            }
            None => Ok(()),
        }
    }

    fn transport(&mut self, packet: &Packet<'_>, depth: usize) -> Result<(), R::Error> {
        let inner = match packet.protocol {
            PROTOCOL_IPV4 | PROTOCOL_IPV6 => Some(packet.payload),
            PROTOCOL_GRE => gre(packet.payload),
            PROTOCOL_TCP => {
                return match Segment::read(packet) {
                    Some(segment) => self.tcp(&segment),
                    None => Ok(()),
                };
            }
            PROTOCOL_UDP => {
                return match datagram(packet) {
                    Some((flow, data)) => self.udp(flow, data, depth),
                    None => Ok(()),
                };
            }
            _ => None,
        };
        inner.map_or(Ok(()), |inner| self.ip(inner, depth + 1))
    }

    fn tcp(&mut self, segment: &Segment<'_>) -> Result<(), R::Error> {
        let Segment { flow, sequence, is_syn, is_ack, data } = *segment;
        if self.directions.len() >= DIRECTIONS_MAX {
            for (flow, _) in self.directions.drain() {
                self.reader.end(flow)?;
            }
        }
        let is_dns = flow.from.port() == PORT_DNS || flow.to.port() == PORT_DNS;
        let fresh = || Direction::new(flow, is_dns);
        let direction = self.directions.entry(flow).or_insert_with(fresh);
        if is_syn && direction.begin(sequence, &mut self.reader)? && !is_ack {
            let (frame, protocol) = (self.frame, PROTOCOL_TCP);
            (self.sink)(Seen::Connection { frame, flow, protocol });
        }
        if direction.is_fresh() && !data.is_empty() {
            (self.sink)(Seen::Speech(flow));
        }
        let first = sequence.wrapping_add(u32::from(is_syn));
        for (frame, told) in direction.add(first, data, self.frame, &mut self.reader)? {
            self.tell_at(frame, flow, told);
        }
        Ok(())
    }

    fn udp(&mut self, flow: Flow, data: &[u8], depth: usize) -> Result<(), R::Error> {
        let is_dns = flow.from.port() == PORT_DNS || flow.to.port() == PORT_DNS;
        // Answers of a GTP-U endpoint (3GPP TS 29.281 section 4.4.2) and what a CAPWAP controller
        // sends come from the tunnel's port.
        let port = match flow.from.port() {
            port @ (PORT_GTP_U | PORT_CAPWAP_DATA) => port,
            _ => flow.to.port(),
        };
        if let Some(inner) = tunnelled(port, data).filter(|_| !is_dns) {
            return self.ip(inner, depth + 1);
        }
        self.first_datagram(flow);
        if is_dns {
            for told in self.reader.datagram(flow, data)? {
                self.tell(Proto::Tls, flow, told);
            }
            return Ok(());
        }
        for told in self.connections.datagram(flow, data) {
            self.tell(Proto::Quic, flow, told);
        }
        Ok(())
    }

    /// Reports the first datagram to somewhere. An answer of a DNS server answers what was asked
    /// before the capture began.
    fn first_datagram(&mut self, flow: Flow) {
        let back = Flow { from: flow.to, to: flow.from };
        if flow.from.port() == PORT_DNS || self.paths.contains(&back) {
            return;
        }
        if self.paths.len() >= PATHS_MAX {
            self.paths.clear();
        }
        if self.paths.insert(flow) {
            let (frame, protocol) = (self.frame, PROTOCOL_UDP);
            (self.sink)(Seen::Connection { frame, flow, protocol });
        }
    }

    /// Reports what the bytes up to a frame told.
    fn tell_at(&mut self, frame: u64, flow: Flow, told: Told) {
        let now = std::mem::replace(&mut self.frame, frame);
        self.tell(Proto::Tls, flow, told);
        self.frame = now;
    }

    /// Reports what a message told; `carrier` is what a ClientHello came in.
    fn tell(&mut self, carrier: Proto, flow: Flow, told: Told) {
        let to = || vec![flow.to.ip()];
        let refused = match told {
            Told::Tls(hello) => return self.found_hello(carrier, flow, hello, None),
            Told::TlsAddress(hello) => {
                let refused = TlsRefusal::Address.word();
                return self.found_hello(carrier, flow, hello, Some(refused));
            }
            Told::Http(name) => return self.found(Proto::Http, flow, name, to()),
            Told::Dns(name, addresses) => return self.found(Proto::Dns, flow, name, addresses),
            Told::NoTls(refusal) => (carrier, refusal.word()),
            Told::NoHttp(refusal) => (Proto::Http, refusal.word()),
            Told::NoDns(refusal) => (Proto::Dns, refusal.word()),
        };
        *self.summary.refused.entry(refused).or_default() += 1;
    }

    fn found_hello(
        &mut self,
        proto: Proto,
        flow: Flow,
        hello: HelloName,
        refused: Option<&'static str>,
    ) {
        let HelloName { name, alpn, has_ech } = hello;
        let (frame, addresses) = (self.frame, vec![flow.to.ip()]);
        self.hand_on(Found { frame, proto, name, addresses, flow, alpn, has_ech, refused });
    }

    fn found(&mut self, proto: Proto, flow: Flow, name: String, addresses: Vec<IpAddr>) {
        let (frame, alpn) = (self.frame, Vec::new());
        let (has_ech, refused) = (false, None);
        self.hand_on(Found { frame, proto, name, addresses, flow, alpn, has_ech, refused });
    }

    fn hand_on(&mut self, found: Found) {
        *self.summary.found.entry(found.proto).or_default() += 1;
        (self.sink)(Seen::Name(found));
    }
}

/// A TCP segment.
struct Segment<'a> {
    flow: Flow,
    sequence: u32,
    is_syn: bool,
    is_ack: bool,
    data: &'a [u8],
}

impl<'a> Segment<'a> {
    fn read(packet: &Packet<'a>) -> Option<Self> {
        let bytes = packet.payload;
        let data = bytes.get(usize::from(bytes.get(12)? >> 4) * 4..)?;
        let flags = bytes.get(13)?;
        let (is_syn, is_ack) = (flags & 0x02 != 0, flags & 0x10 != 0);
        Some(Self { flow: flow(packet)?, sequence: u32_at(bytes, 4)?, is_syn, is_ack, data })
    }
}

/// The data of a UDP datagram.
fn datagram<'a>(packet: &Packet<'a>) -> Option<(Flow, &'a [u8])> {
    let length = usize::from(u16_at(packet.payload, 4)?);
    let end = if length < 8 { packet.payload.len() } else { length.min(packet.payload.len()) };
    Some((flow(packet)?, packet.payload.get(8..end)?))
}

fn flow(packet: &Packet<'_>) -> Option<Flow> {
    let from = SocketAddr::new(packet.source, u16_at(packet.payload, 0)?);
    let to = SocketAddr::new(packet.destination, u16_at(packet.payload, 2)?);
    Some(Flow { from, to })
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
        PORT_CAPWAP_DATA => decode::capwap(data),
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
