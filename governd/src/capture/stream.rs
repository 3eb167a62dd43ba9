//! What the bytes of one direction of a TCP connection say: a ClientHello, an HTTP request, or DNS
//! messages with their length prefixes.
//!
//! A hello is also looked for in the middle of a connection, where a segment begins (STARTTLS, a
//! proxy's CONNECT, a capture that began late). Only the first hello of a direction counts.

use std::net::IpAddr;

use governd_common::{
    dns::{Dns, DnsRefusal, dns_type},
    http::{HttpRefusal, Request},
    limits::{CHUNK_BYTES_MAX, DNS_MESSAGE_BYTES_MAX},
    repeat::Plain,
    stream::{Chunk, Progress},
    tls::{Hello, TlsRefusal},
};
use zerocopy::FromZeros;

/// A name, or the reason why there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Told {
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

/// What is kept of a ClientHello.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct HelloName {
    pub(super) name: String,
    pub(super) alpn: Vec<String>,
    pub(super) has_ech: bool,
}

impl From<&Hello> for HelloName {
    fn from(hello: &Hello) -> Self {
        let mut alpn = Vec::new();
        let kept = hello.alpn.get(..hello.alpn_len as usize).unwrap_or_default();
        let mut rest = kept;
        while let Some((len, after)) = rest.split_first() {
            let Some((protocol, after)) = after.split_at_checked(usize::from(*len)) else {
                break;
            };
            alpn.push(protocol.escape_ascii().to_string());
            rest = after;
        }
        Self { name: hello.name.to_string(), alpn, has_ech: hello.has_ech != 0 }
    }
}

#[derive(Debug)]
enum Stage {
    /// Nothing was seen yet.
    Start,
    /// A hello may begin with the next segment.
    Between,
    Tls(Box<Hello>),
    Http(Box<Request>),
    Dns(Vec<u8>),
    /// The hello was read.
    Over,
}

/// The reader of one direction.
#[derive(Debug)]
pub(super) struct Stream {
    stage: Stage,
}

impl Stream {
    /// The reader of a new connection.
    pub(super) fn new(is_dns: bool) -> Self {
        Self { stage: if is_dns { Stage::Dns(Vec::new()) } else { Stage::Start } }
    }

    /// Bytes were lost: what was begun cannot be finished.
    pub(super) fn gap(&mut self) {
        self.stage = match self.stage {
            Stage::Dns(_) => Stage::Dns(Vec::new()),
            Stage::Over => Stage::Over,
            _ => Stage::Between,
        };
    }

    /// Takes the bytes of a segment, or what is new of them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Told> {
        let is_start = matches!(self.stage, Stage::Start);
        if is_start || matches!(self.stage, Stage::Between) {
            self.stage = match bytes.first() {
                Some(0x16) => Stage::Tls(Box::new(Hello::new_zeroed())),
                Some(b'A'..=b'Z') if is_start => Stage::Http(Box::new(Request::new_zeroed())),
                _ => Stage::Between,
            };
        }
        match &mut self.stage {
            Stage::Tls(hello) => {
                let Some(told) = feed_hello(hello, bytes) else {
                    return Vec::new();
                };
                self.stage = match told {
                    Told::NoTls(TlsRefusal::NotTls) => Stage::Between,
                    _ => Stage::Over,
                };
                vec![told]
            }
            Stage::Http(request) => {
                let Some(told) = feed_request(request, bytes) else {
                    return Vec::new();
                };
                self.stage = Stage::Between;
                vec![told]
            }
            Stage::Dns(buffer) => {
                buffer.extend_from_slice(bytes);
                let (told, taken) = dns_messages(buffer);
                buffer.drain(..taken);
                told
            }
            Stage::Start | Stage::Between | Stage::Over => Vec::new(),
        }
    }
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
        match request.feed::<Plain>(&mut chunk) {
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
    while let Some((prefix, rest)) = buffer.get(taken..).and_then(|rest| rest.split_at_checked(2)) {
        let len = prefix.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        let Some(message) = rest.get(..len) else {
            break;
        };
        told.extend(dns_message(message));
        taken += 2 + len;
    }
    (told, taken)
}

/// Reads one message; a query tells nothing.
pub(super) fn dns_message(message: &[u8]) -> Option<Told> {
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
            // An AAAA record may hold a mapped IPv4 address; it is shown as it stands.
            let is_v6 = dns.question_type == dns_type::AAAA;
            let addresses = dns.addresses().iter().map(|found| match is_v6 {
                true => IpAddr::from(found.address.bytes),
                false => found.address.into(),
            });
            Some(Told::Dns(dns.name.to_string(), addresses.collect()))
        }
        Err(DnsRefusal::Direction) => None,
        Err(refusal) => Some(Told::NoDns(refusal)),
    }
}
