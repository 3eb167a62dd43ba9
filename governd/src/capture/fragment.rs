//! IP fragments, put together (RFC 791 section 3.2, RFC 8200 section 4.5).

use std::{collections::HashMap, net::IpAddr};

use super::decode::{Fragment, Packet};

/// Longest payload, in bytes.
const PAYLOAD_BYTES_MAX: usize = 65_535;
/// Payloads that are put together at a time; when there are more, all are given up.
const PAYLOADS_MAX: usize = 1_024;
/// Fragments of one payload.
const PIECES_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Debug, Default)]
struct Pieces {
    /// Offset and bytes; the first copy of a byte counts.
    pieces: Vec<(usize, Vec<u8>)>,
    total: Option<usize>,
}

/// Payloads that are not complete yet.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    payloads: HashMap<Key, Pieces>,
}

impl Fragments {
    /// Adds a fragment; returns the whole payload once it is complete.
    pub(super) fn add(&mut self, packet: &Packet<'_>, fragment: Fragment) -> Option<Vec<u8>> {
        let Packet { source, destination, protocol, payload, .. } = *packet;
        let key = Key { source, destination, protocol, id: fragment.id };
        if self.payloads.len() >= PAYLOADS_MAX && !self.payloads.contains_key(&key) {
            self.payloads.clear();
        }
        let end = fragment.offset + payload.len();
        let entry = self.payloads.entry(key).or_default();
        if end > PAYLOAD_BYTES_MAX || entry.pieces.len() >= PIECES_MAX {
            self.payloads.remove(&key);
            return None;
        }
        if !fragment.more {
            entry.total = Some(end);
        }
        entry.pieces.push((fragment.offset, payload.to_vec()));
        let whole = entry.assemble()?;
        self.payloads.remove(&key);
        Some(whole)
    }
}

impl Pieces {
    fn assemble(&self) -> Option<Vec<u8>> {
        let total = self.total?;
        let mut order: Vec<_> = self.pieces.iter().collect();
        order.sort_by_key(|(offset, _)| *offset);
        let mut whole = Vec::with_capacity(total);
        for (offset, bytes) in order {
            let known = whole.len().checked_sub(*offset)?;
            whole.extend_from_slice(bytes.get(known..).unwrap_or_default());
        }
        (whole.len() >= total).then(|| {
            whole.truncate(total);
            whole
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn add(
        fragments: &mut Fragments,
        offset: usize,
        payload: &[u8],
        more: bool,
    ) -> Option<Vec<u8>> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let fragment = Fragment { id: 7, offset, more };
        let packet = Packet {
            source: address,
            destination: address,
            protocol: 17,
            payload,
            fragment: Some(fragment),
        };
        fragments.add(&packet, fragment)
    }

    #[test]
    fn fragments_in_any_order_make_the_payload() {
        let mut fragments = Fragments::default();
        assert_eq!(add(&mut fragments, 16, b"ij", false), None);
        assert_eq!(add(&mut fragments, 0, b"abcdefgh", true), None);
        assert_eq!(add(&mut fragments, 0, b"ABCDEFGH", true), None);
        let whole = add(&mut fragments, 8, b"ABCDEFGH", true);
        assert_eq!(whole.as_deref(), Some(&b"abcdefghABCDEFGHij"[..]));
        assert_eq!(add(&mut fragments, 8, b"x", false), None);
    }

    #[test]
    fn a_payload_beyond_the_limit_is_given_up() {
        let mut fragments = Fragments::default();
        assert_eq!(add(&mut fragments, 65_528, b"12345678", false), None);
        assert!(fragments.payloads.is_empty());
    }
}
