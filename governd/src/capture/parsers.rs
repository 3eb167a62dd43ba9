//! What bytes say: the parsers of `governd-common`, in this process.

use std::{collections::HashMap, convert::Infallible, net::IpAddr};

use governd_common::{
    address::Address,
    dns::{Dns, DnsRefusal, dns_type},
    http::{HttpRefusal, Request},
    limits::{CHUNK_BYTES_MAX, DNS_MESSAGE_BYTES_MAX},
    repeat::Plain,
    stream::{Chunk, Progress},
    tls::{Hello, TlsRefusal},
};
use zerocopy::FromZeros;

use super::{
    PORT_DNS,
    direction::{Flow, Kind, Reader},
};

/// A name, or the reason why there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// A ClientHello's server name.
    Tls(HelloName),
    /// An address in place of a server name.
    TlsAddress(HelloName),
    /// A request's host.
    Http(String),
    /// A DNS answer's question and addresses.
    Dns(String, Vec<IpAddr>),
    /// A ClientHello without a name that counts.
    NoTls(TlsRefusal),
    /// A request without a host that counts.
    NoHttp(HttpRefusal),
    /// A message that teaches nothing.
    NoDns(DnsRefusal),
}

impl Told {
    /// What a DNS answer tells. An AAAA record may hold a mapped IPv4 address; it is shown as it
    /// stands.
    pub fn dns(name: String, question_type: u16, addresses: impl Iterator<Item = Address>) -> Self {
        let is_v6 = question_type == dns_type::AAAA;
        let shown = |found: Address| if is_v6 { found.bytes.into() } else { found.into() };
        Self::Dns(name, addresses.map(shown).collect())
    }
}

/// What is kept of a ClientHello.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HelloName {
    /// The name.
    pub name: String,
    /// Protocols that are offered, as far as they are kept.
    pub alpn: Vec<String>,
    /// Whether the hello carries ECH.
    pub has_ech: bool,
}

impl HelloName {
    /// A name, the part of the protocol list that is kept, as sent, and whether there is ECH.
    pub fn new(name: String, protocols: &[u8], has_ech: bool) -> Self {
        let mut alpn = Vec::new();
        let mut rest = protocols;
        while let Some((len, after)) = rest.split_first() {
            let Some((protocol, after)) = after.split_at_checked(usize::from(*len)) else {
                break;
            };
            alpn.push(protocol.escape_ascii().to_string());
            rest = after;
        }
        Self { name, alpn, has_ech }
    }
}

impl From<&Hello> for HelloName {
    fn from(hello: &Hello) -> Self {
        let kept = hello.alpn.get(..hello.alpn_len as usize).unwrap_or_default();
        Self::new(hello.name.to_string(), kept, hello.has_ech != 0)
    }
}

/// How far a parser is with one direction of a connection.
#[derive(Debug)]
enum Parser {
    Tls(Box<Hello>),
    Http(Box<Request>),
    Dns(Vec<u8>),
}

/// The parsers, in this process.
#[derive(Debug, Default)]
pub struct Parsers {
    by_flow: HashMap<Flow, Parser>,
}

impl Reader for Parsers {
    type Error = Infallible;

    fn begin(&mut self, flow: Flow, kind: Kind) -> Result<(), Infallible> {
        let parser = match kind {
            Kind::Tls => Parser::Tls(Box::new(Hello::new_zeroed())),
            Kind::Http => Parser::Http(Box::new(Request::new_zeroed())),
            Kind::Dns => Parser::Dns(Vec::new()),
        };
        self.by_flow.insert(flow, parser);
        Ok(())
    }

    fn feed(&mut self, flow: Flow, bytes: &[u8]) -> Result<Vec<Told>, Infallible> {
        let told = match self.by_flow.get_mut(&flow) {
            None => Vec::new(),
            Some(Parser::Tls(hello)) => feed_hello(hello, bytes).into_iter().collect(),
            Some(Parser::Http(request)) => feed_request(request, bytes).into_iter().collect(),
            Some(Parser::Dns(buffer)) => {
                buffer.extend_from_slice(bytes);
                let (told, taken) = dns_messages(buffer);
                buffer.drain(..taken);
                if is_of_server(flow) { told } else { Vec::new() }
            }
        };
        Ok(told)
    }

    fn end(&mut self, flow: Flow) -> Result<(), Infallible> {
        self.by_flow.remove(&flow);
        Ok(())
    }

    fn datagram(&mut self, flow: Flow, message: &[u8]) -> Result<Vec<Told>, Infallible> {
        let told = if is_of_server(flow) { dns_message(message) } else { None };
        Ok(told.into_iter().collect())
    }
}

/// True for the direction in which DNS answers come; what says of itself that it is one is not
/// believed in the other.
fn is_of_server(flow: Flow) -> bool {
    flow.from.port() == PORT_DNS
}

/// Feeds bytes that follow each other; `None` as long as the hello is not complete.
pub(super) fn feed_hello(hello: &mut Hello, bytes: &[u8]) -> Option<Told> {
    for mut chunk in bytes.chunks(CHUNK_BYTES_MAX).map(chunk) {
        match hello.feed::<Plain>(&mut chunk) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete) => return Some(Told::Tls(HelloName::from(&*hello))),
            Err(TlsRefusal::Address) => return Some(Told::TlsAddress(HelloName::from(&*hello))),
            Err(refusal) => return Some(Told::NoTls(refusal)),
        }
    }
    None
}

fn feed_request(request: &mut Request, bytes: &[u8]) -> Option<Told> {
    for mut chunk in bytes.chunks(CHUNK_BYTES_MAX).map(chunk) {
        match request.feed(&mut chunk) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete) => return Some(Told::Http(request.name.to_string())),
            Err(refusal) => return Some(Told::NoHttp(refusal)),
        }
    }
    None
}

fn chunk(bytes: &[u8]) -> Chunk {
    let mut chunk = Chunk::new_zeroed();
    for (place, byte) in chunk.bytes.iter_mut().zip(bytes) {
        *place = *byte;
    }
    chunk.len = bytes.len().min(CHUNK_BYTES_MAX) as u32;
    chunk
}

/// Reads the whole messages at the beginning of the buffer, and says how many bytes they were.
fn dns_messages(buffer: &[u8]) -> (Vec<Told>, usize) {
    let (mut told, mut taken) = (Vec::new(), 0);
    while let Some(message) = first_message(buffer.get(taken..).unwrap_or_default()) {
        told.extend(dns_message(message));
        taken += 2 + message.len();
    }
    (told, taken)
}

/// The first message of a stream of DNS over TCP (RFC 1035 section 4.2.2), once it is whole.
pub fn first_message(stream: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = stream.split_at_checked(2)?;
    let len = prefix.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    rest.get(..len)
}

/// Reads one message; a query tells nothing.
fn dns_message(message: &[u8]) -> Option<Told> {
    if message.len() > DNS_MESSAGE_BYTES_MAX {
        return Some(Told::NoDns(DnsRefusal::Length));
    }
    let mut dns = Dns::new_zeroed();
    for (place, byte) in dns.bytes.iter_mut().zip(message) {
        *place = *byte;
    }
    dns.len = message.len() as u32;
    match dns.answer::<Plain>() {
        Ok(()) if dns.addresses().is_empty() => None,
        Ok(()) => {
            let addresses = dns.addresses().iter().map(|found| found.address);
            Some(Told::dns(dns.name.to_string(), dns.question_type, addresses))
        }
        Err(DnsRefusal::Direction) => None,
        Err(refusal) => Some(Told::NoDns(refusal)),
    }
}
