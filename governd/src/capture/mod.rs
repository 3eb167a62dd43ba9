//! What governd sees in a capture: names, with the packets that told them.
//!
//! A capture is read frame by frame; connections are put together as their receiver would, and the
//! parsers that the kernel programs run get the bytes. What only a live socket can show (whose
//! socket it is, whether a DNS answer was asked for) is left out: every answer and every
//! connection of the capture counts. Not for: deciding, which needs an agent and a policy.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io,
    io::BufReader,
    net::{IpAddr, SocketAddr},
    path::Path,
};

pub mod decode;
mod direction;
pub mod engine;
pub mod file;
mod fragment;
mod parsers;
mod protected;
mod quic;
mod tcp;

pub use direction::{Flow, Kind, Reader};
pub use parsers::{HelloName, Parsers, Told, first_message};
pub use quic::Connections as QuicConnections;

/// Where DNS servers answer.
const PORT_DNS: u16 = 53;

/// Which protocol told a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Proto {
    /// Server name of a ClientHello over TCP.
    Tls,
    /// Server name of a ClientHello in QUIC Initial packets.
    Quic,
    /// Question of a DNS answer that gave addresses.
    Dns,
    /// Host of an HTTP request.
    Http,
}

impl Proto {
    /// The word in results.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Dns => "dns",
            Self::Http => "http",
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A name in a capture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// Number of the frame that completed the message, from 1.
    pub frame: u64,
    /// What told the name.
    pub proto: Proto,
    /// The name, in lower case.
    pub name: String,
    /// For DNS, the addresses that the answer gives the name; else the connection's destination.
    pub addresses: Vec<IpAddr>,
    /// The connection, or the direction that the answer came in.
    pub flow: Flow,
    /// Protocols that a ClientHello offers, as far as they are kept.
    pub alpn: Vec<String>,
    /// Whether a ClientHello carries ECH, so that the name is the outer one.
    pub has_ech: bool,
    /// Why the name would not count for an enforced agent, if it would not.
    pub refused: Option<&'static str>,
}

/// Something in a capture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// A connection begins, or the first datagram goes to somewhere.
    Connection {
        /// Number of the frame.
        frame: u64,
        /// From the side that begins.
        flow: Flow,
        /// IP protocol number, TCP's or UDP's.
        protocol: u8,
    },
    /// The side that began a TCP connection said something.
    Speech(Flow),
    /// A name.
    Name(Found),
}

/// What was in a capture besides names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Frames read.
    pub frames: u64,
    /// Names found, by protocol.
    pub found: BTreeMap<Proto, u64>,
    /// Messages that told no name, by protocol and reason.
    pub refused: BTreeMap<(Proto, &'static str), u64>,
    /// Frames of a link type or network protocol that is not decoded.
    pub undecoded: u64,
    /// True if the capture ends in the middle of a frame.
    pub truncated: bool,
}

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("the capture cannot be read")]
    Read(#[from] io::Error),
    /// The first bytes are of no known format.
    #[error("the file is neither pcap nor pcapng: it begins with {magic:#010x}")]
    Format {
        /// The first four bytes, big-endian.
        magic: u32,
    },
    /// It ends before its first frame could begin.
    #[error("the file ends within its header")]
    Header,
    /// What reads the packets has a fault.
    #[error("the packets cannot be read")]
    Reader(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A block or frame contradicts the format.
    #[error("frame {frame}: {what}")]
    Damaged {
        /// Frames read before.
        frame: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Reads a capture with the parsers in this process and hands each name to `sink`, in the order in
/// which the frames complete them.
///
/// # Errors
/// If the file cannot be read, or is no capture or a damaged one.
pub fn replay(path: &Path, sink: &mut dyn FnMut(Found)) -> Result<Summary, CaptureError> {
    let mut names = |seen| {
        if let Seen::Name(found) = seen {
            sink(found);
        }
    };
    replay_with(path, Parsers::default(), &mut names)
}

/// Reads a capture and hands everything that is seen to `sink`. What connections carry is for the
/// reader, but QUIC, which stays with this process.
///
/// # Errors
/// As [`replay`], and if the reader has a fault.
pub fn replay_with<R: Reader>(
    path: &Path,
    reader: R,
    sink: &mut dyn FnMut(Seen),
) -> Result<Summary, CaptureError> {
    let fault = |error: R::Error| CaptureError::Reader(Box::new(error));
    let mut frames = file::Frames::open(BufReader::new(File::open(path)?))?;
    let mut engine = engine::Engine::new(reader, sink);
    let damage = loop {
        match frames.next_frame() {
            Ok(Some(frame)) => engine.frame(&frame).map_err(fault)?,
            Ok(None) => break None,
            // What was read before may still wait for what does not come.
            Err(error) => break Some(error),
        }
    };
    let summary = engine.finish(frames.is_truncated()).map_err(fault)?;
    damage.map_or(Ok(summary), Err)
}

/// The names in one datagram to a QUIC server, taken by itself.
pub fn quic_names(from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> Vec<String> {
    let told = quic::Connections::default().datagram(Flow { from, to }, datagram);
    let names = told.into_iter().filter_map(|told| match told {
        Told::Tls(hello) => Some(hello.name),
        _ => None,
    });
    names.collect()
}
