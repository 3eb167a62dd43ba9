//! From a captured frame to IP packets: link types, VLAN tags, PPP, MPLS, and IP headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// EtherTypes (IEEE 802 numbers).
pub(super) mod ethertype {
    pub(in super::super) const IPV4: u16 = 0x0800;
    pub(in super::super) const IPV6: u16 = 0x86dd;
    pub(in super::super) const ETHERNET: u16 = 0x6558;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const QINQ: u16 = 0x88a8;
    pub(super) const QINQ_OLD: u16 = 0x9100;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const PPPOE: u16 = 0x8864;
    pub(in super::super) const PPP: u16 = 0x880b;
    pub(super) const CISCO_METADATA: u16 = 0x8909;
}

mod link {
    pub(super) const NULL: u16 = 0;
    pub(super) const ETHERNET: u16 = 1;
    pub(super) const TOKEN_RING: u16 = 6;
    pub(super) const ARCNET: u16 = 7;
    pub(super) const PPP: u16 = 9;
    pub(super) const FDDI: u16 = 10;
    pub(super) const ATM: u16 = 11;
    pub(super) const RAW_BSD: u16 = 12;
    pub(super) const RAW_OPENBSD: u16 = 14;
    pub(super) const PPP_HDLC: u16 = 50;
    pub(super) const PPPOE: u16 = 51;
    pub(super) const RAW: u16 = 101;
    pub(super) const CISCO_HDLC: u16 = 104;
    pub(super) const WIRELESS: u16 = 105;
    pub(super) const FRAME_RELAY: u16 = 107;
    pub(super) const LOOP: u16 = 108;
    pub(super) const ENCAPSULATED: u16 = 109;
    pub(super) const COOKED: u16 = 113;
    pub(super) const PRISM: u16 = 119;
    pub(super) const RADIOTAP: u16 = 127;
    pub(super) const ARCNET_LINUX: u16 = 129;
    pub(super) const FIREWIRE: u16 = 138;
    pub(super) const AVS: u16 = 163;
    pub(super) const PPI: u16 = 192;
    pub(super) const MPLS: u16 = 219;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const NFLOG: u16 = 239;
    pub(super) const INFINIBAND: u16 = 242;
    pub(super) const PKTAP: u16 = 258;
    pub(super) const COOKED_V2: u16 = 276;
}

/// Attributes of an NFLOG frame that are looked at.
const NFLOG_ATTRIBUTES_MAX: usize = 64;
/// Longest frame whose type field is its length (IEEE 802.3 section 3.2.6).
const LENGTH_MAX: u16 = 1_500;
/// Tags and tunnels that are taken off one packet.
const LAYERS_MAX: usize = 8;

/// An IP packet in a frame, or `None` if there is none that is decoded.
pub fn frame(link_type: u16, bytes: &[u8]) -> Option<&[u8]> {
    match link_type {
        link::ETHERNET => ethernet(bytes),
        link::RAW | link::RAW_BSD | link::RAW_OPENBSD | link::IPV4 | link::IPV6 => ip_only(bytes),
        // The address family differs by system and byte order; the packet tells its version.
        link::NULL | link::LOOP => ip_only(bytes.get(4..)?),
        link::ENCAPSULATED => ip_only(bytes.get(12..)?),
        link::PPP | link::PPP_HDLC => ppp(bytes),
        link::PPPOE => ppp(bytes.get(6..)?),
        link::CISCO_HDLC => network(u16_at(bytes, 2)?, bytes.get(4..)?),
        link::FRAME_RELAY => frame_relay(bytes),
        link::FIREWIRE => network(u16_at(bytes, 16)?, bytes.get(18..)?),
        link::INFINIBAND => network(u16_at(bytes, 0)?, bytes.get(4..)?),
        link::MPLS => network(ethertype::MPLS, bytes),
        link::ATM => llc(bytes),
        link::FDDI => llc(bytes.get(13..)?),
        link::TOKEN_RING => token_ring(bytes),
        link::ARCNET => arcnet(bytes.get(2..)?),
        link::ARCNET_LINUX => arcnet(bytes.get(4..)?),
        link::WIRELESS => wireless(bytes),
        link::RADIOTAP => {
            let header_bytes = usize::from(u16_at(bytes, 2)?.swap_bytes());
            wireless(bytes.get(header_bytes..)?)
        }
        link::PRISM => wireless(bytes.get(144..)?),
        link::AVS => wireless(bytes.get(u32_at(bytes, 4)? as usize..)?),
        link::COOKED => network(u16_at(bytes, 14)?, bytes.get(16..)?),
        link::COOKED_V2 => network(u16_at(bytes, 0)?, bytes.get(20..)?),
        link::NFLOG => nflog(bytes),
        // Headers that name the link type of what follows them.
        link::PPI => {
            let header_bytes = usize::from(u16_at(bytes, 2)?.swap_bytes());
            inner_frame(u32_at(bytes, 4)?.swap_bytes(), bytes.get(header_bytes..)?)
        }
        link::PKTAP => {
            let header_bytes = u32_at(bytes, 0)?.swap_bytes() as usize;
            inner_frame(u32_at(bytes, 8)?.swap_bytes(), bytes.get(header_bytes..)?)
        }
        _ => None,
    }
}

/// A frame behind a header that names its link type; such headers do not stand behind each other.
fn inner_frame(link_type: u32, bytes: &[u8]) -> Option<&[u8]> {
    let link_type = u16::try_from(link_type).ok()?;
    let is_header = matches!(link_type, link::PPI | link::PKTAP);
    if is_header { None } else { frame(link_type, bytes) }
}

/// RFC 2427 section 3: the two-byte address, unnumbered information, and who comes next.
fn frame_relay(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.get(2..)? {
        [0x03, 0xcc | 0x8e, rest @ ..] => ip_only(rest),
        [0x03, 0x00, 0x80, 0, 0, 0, rest @ ..] => network(u16_at(rest, 0)?, rest.get(2..)?),
        _ => None,
    }
}

/// The IP packet after a SNAP header.
fn llc(bytes: &[u8]) -> Option<&[u8]> {
    let (kind, rest) = after_llc(bytes)?;
    network(kind, rest)
}

/// The type in a SNAP header, and what follows it (RFC 1042).
fn after_llc(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let rest = bytes.strip_prefix(&[0xaa, 0xaa, 3, 0, 0, 0])?;
    Some((u16_at(rest, 0)?, rest.get(2..)?))
}

/// IEEE 802.5, with the source route that the highest bit of the source address announces.
fn token_ring(bytes: &[u8]) -> Option<&[u8]> {
    let is_routed = bytes.get(8)? & 0x80 != 0;
    let route_bytes = if is_routed { usize::from(bytes.get(14)? & 0x1f) } else { 0 };
    llc(bytes.get(14 + route_bytes..)?)
}

/// ARCNET after its addresses: RFC 1051 has the protocol alone, RFC 1201 a fragment header too,
/// which is longer where the flag says that an exception frame was sent.
fn arcnet(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [240, rest @ ..] => ip_only(rest),
        [212 | 196, 0xff, _, _, _, 0, _, _, rest @ ..] => ip_only(rest),
        [212 | 196, 0, _, _, rest @ ..] => ip_only(rest),
        _ => None,
    }
}

/// Attributes in the byte order of the capturing host, of which one is the packet (`NFULA_PAYLOAD`,
/// include/uapi/linux/netfilter/nfnetlink_log.h).
fn nflog(bytes: &[u8]) -> Option<&[u8]> {
    const PAYLOAD: u16 = 9;
    let mut rest = bytes.get(4..)?;
    for _ in 0..NFLOG_ATTRIBUTES_MAX {
        let (len, kind) = (u16_at(rest, 0)?.swap_bytes(), u16_at(rest, 2)?.swap_bytes());
        let len = usize::from(len);
        if kind & 0x7fff == PAYLOAD {
            return ip_only(rest.get(4..len)?);
        }
        rest = rest.get(len.max(4).next_multiple_of(4)..)?;
    }
    None
}

/// The IP packet in an Ethernet frame.
pub fn ethernet(bytes: &[u8]) -> Option<&[u8]> {
    network(u16_at(bytes, 12)?, bytes.get(14..)?)
}

/// The IP packet after an EtherType.
pub(super) fn network(mut kind: u16, mut bytes: &[u8]) -> Option<&[u8]> {
    for _ in 0..LAYERS_MAX {
        match kind {
            ethertype::IPV4 | ethertype::IPV6 => return ip_only(bytes),
            ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD => {
                kind = u16_at(bytes, 2)?;
                bytes = bytes.get(4..)?;
            }
            ethertype::MPLS => (kind, bytes) = after_mpls(bytes)?,
            // A version, the number of options, and four bytes for each.
            ethertype::CISCO_METADATA => {
                let header_bytes = 2 + usize::from(*bytes.get(1)?) * 4;
                kind = u16_at(bytes, header_bytes)?;
                bytes = bytes.get(header_bytes + 2..)?;
            }
            ..=LENGTH_MAX => (kind, bytes) = after_llc(bytes)?,
            ethertype::PPPOE => return ppp(bytes.get(6..)?),
            ethertype::PPP => return ppp(bytes),
            ethertype::ETHERNET => {
                kind = u16_at(bytes, 12)?;
                bytes = bytes.get(14..)?;
            }
            _ => return None,
        }
    }
    None
}

/// What is after MPLS labels. They end with the one whose bottom-of-stack bit is set (RFC 3032
/// section 2.1), and a pseudo-wire has a control word that begins with zeroes (RFC 4385 section 3).
fn after_mpls(mut bytes: &[u8]) -> Option<(u16, &[u8])> {
    for _ in 0..LAYERS_MAX {
        let is_last = bytes.get(2)? & 1 == 1;
        bytes = bytes.get(4..)?;
        if is_last {
            return match bytes.first()? >> 4 {
                0 => Some((ethertype::ETHERNET, bytes.get(4..)?)),
                _ => Some((ethertype::IPV4, bytes)),
            };
        }
    }
    None
}

/// PPP, with or without its address and control fields (RFC 1661, RFC 1662).
fn ppp(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    match bytes {
        [0x00, 0x21 | 0x57, rest @ ..] | [0x21 | 0x57, rest @ ..] => ip_only(rest),
        _ => None,
    }
}

/// The IP packet in an 802.11 data frame (IEEE 802.11 section 9.3.2.1) that is not encrypted.
fn wireless(bytes: &[u8]) -> Option<&[u8]> {
    let [kind, flags, ..] = *bytes else { return None };
    wireless_body(kind, flags, bytes)
}

fn wireless_body(kind: u8, flags: u8, bytes: &[u8]) -> Option<&[u8]> {
    let (is_data, has_data) = (kind & 0x0c == 0x08, kind & 0x40 == 0);
    let is_encrypted = flags & 0x40 != 0;
    if !is_data || !has_data || is_encrypted {
        return None;
    }
    let is_relayed = flags & 3 == 3;
    let has_qos = kind & 0x80 != 0;
    let header_bytes = 24 + if is_relayed { 6 } else { 0 } + if has_qos { 2 } else { 0 };
    llc(bytes.get(header_bytes..)?)
}

/// The IP packet in a CAPWAP data message (RFC 5415 section 4.3, RFC 5416 section 4) that is whole:
/// an 802.11 frame, whose first two bytes senders swap, or an 802.3 frame.
pub(super) fn capwap(bytes: &[u8]) -> Option<&[u8]> {
    const VERSION_0: u8 = 0;
    const NATIVE: u8 = 0x01;
    const FRAGMENT: u8 = 0x80;
    let [VERSION_0, lengths, kinds, flags, ..] = *bytes else { return None };
    let inner = bytes.get(usize::from(lengths >> 3) * 4..)?;
    match (kinds & NATIVE != 0, flags & FRAGMENT != 0) {
        (_, true) => None,
        (true, false) => wireless(inner).or_else(|| wireless_swapped(inner)),
        (false, false) => ethernet(inner),
    }
}

/// As [`wireless`], where the two bytes of the frame control field are in the other order.
fn wireless_swapped(bytes: &[u8]) -> Option<&[u8]> {
    let [flags, kind, ..] = *bytes else { return None };
    wireless_body(kind, flags, bytes)
}

fn ip_only(bytes: &[u8]) -> Option<&[u8]> {
    matches!(bytes.first()? >> 4, 4 | 6).then_some(bytes)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// An IP packet without its headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// What follows the headers, without link padding.
    pub payload: &'a [u8],
    /// Set if the payload is a piece of one that was fragmented.
    pub fragment: Option<Fragment>,
}

/// Place of a fragment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// Offset of the payload in bytes.
    pub offset: usize,
    /// Whether more follows.
    pub more: bool,
}

/// Reads the headers of an IP packet.
pub fn ip(bytes: &[u8]) -> Option<Packet<'_>> {
    match bytes.first()? >> 4 {
        4 => ipv4(bytes),
        6 => ipv6(bytes),
        _ => None,
    }
}

fn ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let header_bytes = usize::from(bytes.first()? & 0x0f) * 4;
    let total = usize::from(u16_at(bytes, 2)?);
    // Captured before segmentation offload, the length may be 0.
    let total = if total == 0 { bytes.len() } else { total.min(bytes.len()) };
    let fragment = u16_at(bytes, 6)?;
    let (more, offset) = (fragment & 0x2000 != 0, usize::from(fragment & 0x1fff) * 8);
    let source: [u8; 4] = bytes.get(12..16)?.try_into().ok()?;
    let destination: [u8; 4] = bytes.get(16..20)?.try_into().ok()?;
    if header_bytes < 20 {
        return None;
    }
    Some(Packet {
        source: Ipv4Addr::from(source).into(),
        destination: Ipv4Addr::from(destination).into(),
        protocol: *bytes.get(9)?,
        payload: bytes.get(header_bytes..total)?,
        fragment: (more || offset > 0).then_some(Fragment {
            id: u16_at(bytes, 4)?.into(),
            offset,
            more,
        }),
    })
}

fn ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    let source: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
    let destination: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
    let length = usize::from(u16_at(bytes, 4)?);
    let end = if length == 0 { bytes.len() } else { bytes.len().min(40 + length) };
    let mut payload = bytes.get(40..end)?;
    let mut protocol = *bytes.get(6)?;
    let mut fragment = None;
    for _ in 0..LAYERS_MAX {
        match protocol {
            // Hop-by-hop, routing, destination options (RFC 8200 section 4).
            0 | 43 | 60 => {
                protocol = *payload.first()?;
                payload = payload.get(usize::from(*payload.get(1)?) * 8 + 8..)?;
            }
            44 => {
                let place = u16_at(payload, 2)?;
                fragment = Some(Fragment {
                    id: u32_at(payload, 4)?,
                    offset: usize::from(place & 0xfff8),
                    more: place & 1 == 1,
                })
                .filter(|fragment| fragment.more || fragment.offset > 0);
                protocol = *payload.first()?;
                payload = payload.get(8..)?;
                if fragment.is_some() {
                    break;
                }
            }
            // Authentication header (RFC 4302 section 2).
            51 => {
                protocol = *payload.first()?;
                payload = payload.get(usize::from(*payload.get(1)?) * 4 + 8..)?;
            }
            _ => break,
        }
    }
    Some(Packet {
        source: Ipv6Addr::from(source).into(),
        destination: Ipv6Addr::from(destination).into(),
        protocol,
        payload,
        fragment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: [u8; 4] = [0x45, 1, 2, 3];
    const SNAP: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];

    #[test]
    fn the_packet_is_found_behind_every_header() {
        let zeroes = |len: usize| vec![0; len];
        let rows: Vec<(u16, Vec<u8>)> = vec![
            (link::ETHERNET, [&zeroes(12)[..], &[0x81, 0, 0, 5, 8, 0]].concat()),
            (link::ETHERNET, [&zeroes(12)[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]].concat()),
            (link::ETHERNET, [&zeroes(12)[..], &[0, 12], &SNAP].concat()),
            (link::ETHERNET, [&zeroes(12)[..], &[0x88, 0x47, 0, 0, 1, 64]].concat()),
            (
                link::MPLS,
                [&[0, 0, 0, 64, 0, 0, 1, 64, 0, 0, 0, 0][..], &zeroes(12), &[8, 0]].concat(),
            ),
            (link::ETHERNET, [&zeroes(12)[..], &[0x89, 9, 1, 1, 0, 1, 0, 2, 8, 0]].concat()),
            (link::PPPOE, vec![0x11, 0, 0, 1, 0, 6, 0, 0x21]),
            (link::CISCO_HDLC, vec![0x0f, 0, 8, 0]),
            (link::FRAME_RELAY, vec![0x18, 0x41, 3, 0xcc]),
            (link::FRAME_RELAY, vec![0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0]),
            (link::ENCAPSULATED, zeroes(12)),
            (link::FIREWIRE, [&zeroes(16)[..], &[8, 0]].concat()),
            (link::INFINIBAND, vec![8, 0, 0, 0]),
            (link::ATM, SNAP.to_vec()),
            (link::FDDI, [&zeroes(13)[..], &SNAP].concat()),
            (link::TOKEN_RING, [&zeroes(14)[..], &SNAP].concat()),
            (
                link::TOKEN_RING,
                [&zeroes(8)[..], &[0x80], &zeroes(5), &[4, 0, 0, 0], &SNAP].concat(),
            ),
            (link::ARCNET, vec![1, 2, 240]),
            (link::ARCNET, vec![1, 2, 212, 0, 0, 1]),
            (link::ARCNET_LINUX, vec![1, 2, 6, 0, 212, 0xff, 0, 0, 212, 0, 0, 1]),
            (link::NFLOG, vec![2, 0, 0, 0, 8, 0, 1, 0, 9, 9, 9, 9, 8, 0, 9, 0]),
            (link::PPI, vec![0, 0, 8, 0, 101, 0, 0, 0]),
            (link::PKTAP, vec![12, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0]),
            (link::COOKED, [&zeroes(14)[..], &[8, 0]].concat()),
            (link::COOKED_V2, [&[8, 0][..], &zeroes(18)].concat()),
        ];
        for (link_type, header) in rows {
            let bytes = [&header[..], &IP].concat();
            assert_eq!(frame(link_type, &bytes), Some(&IP[..]), "{link_type} {header:x?}");
        }
    }

    #[test]
    fn whole_frames_in_capwap_are_taken_out() {
        let wireless = |first: [u8; 2]| [&first[..], &[0; 22], &SNAP, &IP].concat();
        let ethernet = [&[0; 12][..], &[8, 0], &IP].concat();
        let rows = [
            ([0, 0x10, 0x03, 0x20], wireless([0x08, 0x01]), true),
            ([0, 0x10, 0x03, 0x20], wireless([0x01, 0x08]), true),
            ([0, 0x10, 0x02, 0x00], ethernet, true),
            ([0, 0x10, 0x03, 0x80], wireless([0x08, 0x01]), false),
            ([1, 0x10, 0x03, 0x20], wireless([0x08, 0x01]), false),
        ];
        for (header, inner, is_found) in rows {
            let message = [&header[..], &[0; 4], &inner].concat();
            assert_eq!(capwap(&message), is_found.then_some(&IP[..]), "{message:x?}");
        }
    }

    #[test]
    fn a_header_that_names_itself_is_not_followed() {
        let header = [0, 0, 8, 0, 192, 0, 0, 0];
        assert_eq!(frame(link::PPI, &header.repeat(9)), None);
    }
}
