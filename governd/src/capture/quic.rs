//! QUIC connections as far as their ClientHello: CRYPTO frames in any order, over several Initials.

use std::collections::{HashMap, HashSet};

use governd_common::{
    quic::{Kind, Packet, Reader, Version},
    tls::Hello,
};

use super::{
    direction::Flow,
    parsers::{Told, feed_hello},
    protected::Keys,
};

/// Longest ClientHello that is put together, in bytes.
const CRYPTO_BYTES_MAX: usize = 16_384;
/// Connections at a time; when there are more, all are forgotten.
const CONNECTIONS_MAX: usize = 65_536;

/// Shortest destination connection id of a client's first Initial (RFC 9000 section 7.2).
const CLIENT_ID_BYTES_MIN: usize = 8;

mod frame {
    pub(super) const PADDING: usize = 0x00;
    pub(super) const PING: usize = 0x01;
    pub(super) const ACK: usize = 0x02;
    pub(super) const ACK_ECN: usize = 0x03;
    pub(super) const CRYPTO: usize = 0x06;
    /// In T050 and T051, which have Google's frames.
    pub(super) const CRYPTO_GOOGLE: usize = 0x08;
    pub(super) const CLOSE: usize = 0x1c;
}

/// The clients' sides of the connections of a capture.
#[derive(Default)]
pub struct Connections {
    by_path: HashMap<Flow, Connection>,
    /// What was told, with the id that the client chose for the connection. A capture on both sides
    /// of a NAT has a first packet twice, and a client that tries IPv6 and IPv4 at a time sends one
    /// to both; it counts once.
    seen: HashSet<(Vec<u8>, String)>,
}

struct Connection {
    keys: Keys,
    /// Destination connection id of the packet that the keys are from.
    client_id: Vec<u8>,
    crypto: Crypto,
    hello: Hello,
    /// What the hello told, once it was read, or the other one that a server may ask for.
    told: Option<Told>,
    /// Nothing more can be told.
    is_over: bool,
    /// What a hello on the same path told before: after a Retry, or when the version changes, a
    /// client says the same again.
    earlier: Option<Told>,
}

/// The CRYPTO stream from its beginning (RFC 9000 section 19.6).
#[derive(Debug, Default)]
struct Crypto {
    /// Type of the frames that carry it.
    frame: usize,
    /// Bytes without a gap.
    whole: Vec<u8>,
    /// Pieces after a gap.
    waiting: Vec<(usize, Vec<u8>)>,
}

impl Connections {
    /// Reads the packets of a datagram.
    pub fn datagram(&mut self, flow: Flow, mut bytes: &[u8]) -> Vec<Told> {
        let mut told = Vec::new();
        while let Ok(packet) = Packet::parse(bytes) {
            if packet.kind == Kind::Initial {
                told.extend(self.initial(flow, bytes, &packet));
            }
            bytes = bytes.get(packet.end..).unwrap_or_default();
        }
        told
    }

    fn initial(&mut self, path: Flow, bytes: &[u8], packet: &Packet<'_>) -> Option<Told> {
        let told = self.read(path, bytes, packet)?;
        let (Told::Tls(hello) | Told::TlsAddress(hello)) = &told else {
            return Some(told);
        };
        let client_id = self.by_path.get(&path)?.client_id.clone();
        let is_copy = client_id.len() >= CLIENT_ID_BYTES_MIN
            && !self.seen.insert((client_id, hello.name.clone()));
        (!is_copy).then_some(told)
    }

    fn read(&mut self, path: Flow, bytes: &[u8], packet: &Packet<'_>) -> Option<Told> {
        if let Some(known) = self.by_path.get_mut(&path)
            && let Some(frames) = known.keys.open(bytes, packet)
        {
            return known.frames(&frames);
        }
        // A first flight, the flight after a Retry, or another version: keys from this packet.
        let mut keys = Keys::of_client(packet.version, packet.destination)?;
        let frames = keys.open(bytes, packet)?;
        if self.by_path.len() >= CONNECTIONS_MAX {
            self.by_path.clear();
            self.seen.clear();
        }
        let earlier = self.by_path.remove(&path).and_then(|known| known.told.or(known.earlier));
        let mut fresh = Connection {
            keys,
            client_id: packet.destination.to_vec(),
            crypto: Crypto::of(packet.version),
            hello: Hello::without_records(),
            told: None,
            is_over: false,
            earlier,
        };
        let told = fresh.frames(&frames);
        self.by_path.insert(path, fresh);
        told
    }
}

impl Connection {
    fn frames(&mut self, frames: &[u8]) -> Option<Told> {
        if self.is_over {
            return None;
        }
        let before = self.crypto.whole.len();
        // What stands before a damaged frame counts: the AEAD vouches for all of it.
        let _read_to_the_end = self.crypto.add_frames(frames);
        let new = self.crypto.whole.get(before..).unwrap_or_default();
        let told = feed_hello(&mut self.hello, new)?;
        let is_named = matches!(told, Told::Tls(_));
        self.is_over = !is_named;
        if !is_named && self.hello.is_another() {
            return None;
        }
        if is_named {
            self.hello.look_for_another();
        }
        let before = self.told.replace(told.clone());
        (before.as_ref() != Some(&told) && self.earlier.as_ref() != Some(&told)).then_some(told)
    }
}

impl Crypto {
    fn of(version: Version) -> Self {
        let is_googles = matches!(version, Version::T050 | Version::T051);
        let frame = if is_googles { frame::CRYPTO_GOOGLE } else { frame::CRYPTO };
        Self { frame, ..Self::default() }
    }

    fn add_frames(&mut self, bytes: &[u8]) -> Option<()> {
        let mut rest = Reader::new(bytes);
        while !rest.is_empty() {
            match rest.varint()? {
                frame::PADDING | frame::PING => {}
                kind @ (frame::ACK | frame::ACK_ECN) => {
                    let (_largest, _delay) = (rest.varint()?, rest.varint()?);
                    let ranges = rest.varint()?;
                    // The first range is a number, each further one two.
                    let numbers = ranges.checked_mul(2)?.checked_add(1)?;
                    let counters = if kind == frame::ACK_ECN { 3 } else { 0 };
                    for _ in 0..numbers.checked_add(counters)? {
                        rest.varint()?;
                    }
                }
                kind if kind == self.frame => {
                    let (offset, len) = (rest.varint()?, rest.varint()?);
                    self.add(offset, rest.take(len)?);
                }
                // Nothing that matters follows; other types may not stand in an Initial.
                frame::CLOSE => return Some(()),
                _ => return None,
            }
        }
        Some(())
    }

    fn add(&mut self, offset: usize, data: &[u8]) {
        if offset.saturating_add(data.len()) > CRYPTO_BYTES_MAX {
            return;
        }
        self.waiting.push((offset, data.to_vec()));
        while let Some(index) = self.waiting.iter().position(|(at, _)| *at <= self.whole.len()) {
            let (at, bytes) = self.waiting.swap_remove(index);
            let known = self.whole.len() - at;
            self.whole.extend_from_slice(bytes.get(known..).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_in_any_order_make_the_same_stream(
            cuts in proptest::collection::btree_set(1..400_usize, 0..20), seed in any::<u64>(),
        ) {
            let stream: Vec<u8> = (0..400_u16).map(|n| n as u8).collect();
            let starts: Vec<_> = std::iter::once(0).chain(cuts.iter().copied()).collect();
            let ends: Vec<_> = cuts.iter().copied().chain(std::iter::once(400)).collect();
            let mut pieces: Vec<_> = starts.into_iter().zip(ends).collect();
            pieces.sort_by_key(|(at, _)| (*at as u64).wrapping_mul(seed | 1));
            let mut crypto = Crypto::of(Version::V1);
            for (from, to) in pieces {
                crypto.add(from, &stream[from..to]);
            }
            prop_assert_eq!(crypto.whole, stream);
        }

        #[test]
        fn any_frames_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut crypto = Crypto::of(Version::V1);
            let outcome = crypto.add_frames(&bytes);
            prop_assert!(crypto.whole.len() <= bytes.len());
            prop_assert!(outcome.is_none() || outcome.is_some());
        }
    }
}
