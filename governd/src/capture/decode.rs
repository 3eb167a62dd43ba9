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
}

mod link {
    pub(super) const NULL: u16 = 0;
    pub(super) const ETHERNET: u16 = 1;
    pub(super) const PPP: u16 = 9;
    pub(super) const RAW_BSD: u16 = 12;
    pub(super) const RAW_OPENBSD: u16 = 14;
    pub(super) const PPP_HDLC: u16 = 50;
    pub(super) const RAW: u16 = 101;
    pub(super) const WIRELESS: u16 = 105;
    pub(super) const LOOP: u16 = 108;
    pub(super) const COOKED: u16 = 113;
    pub(super) const RADIOTAP: u16 = 127;
    pub(super) const IPV4: u16 = 228;
    pub(super) const IPV6: u16 = 229;
    pub(super) const COOKED_V2: u16 = 276;
}

/// Tags and tunnels that are taken off one packet.
const LAYERS_MAX: usize = 8;

/// An IP packet in a frame, or `None` if there is none that is decoded.
pub fn frame(link_type: u16, bytes: &[u8]) -> Option<&[u8]> {
    match link_type {
        link::ETHERNET => ethernet(bytes),
        link::RAW | link::RAW_BSD | link::RAW_OPENBSD | link::IPV4 | link::IPV6 => ip_only(bytes),
        // The address family differs by system and byte order; the packet tells its version.
        link::NULL | link::LOOP => ip_only(bytes.get(4..)?),
        link::PPP | link::PPP_HDLC => ppp(bytes),
        link::WIRELESS => wireless(bytes),
        link::RADIOTAP => {
            let header_bytes = usize::from(u16_at(bytes, 2)?.swap_bytes());
            wireless(bytes.get(header_bytes..)?)
        }
        link::COOKED => network(u16_at(bytes, 14)?, bytes.get(16..)?),
        link::COOKED_V2 => network(u16_at(bytes, 0)?, bytes.get(20..)?),
        _ => None,
    }
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
            ethertype::MPLS => return ip_only(after_mpls(bytes)?),
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

/// The labels end with the one whose bottom-of-stack bit is set (RFC 3032 section 2.1).
fn after_mpls(mut bytes: &[u8]) -> Option<&[u8]> {
    for _ in 0..LAYERS_MAX {
        let is_last = bytes.get(2)? & 1 == 1;
        bytes = bytes.get(4..)?;
        if is_last {
            return Some(bytes);
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
    let (kind, flags) = (*bytes.first()?, *bytes.get(1)?);
    let (is_data, has_data) = (kind & 0x0c == 0x08, kind & 0x40 == 0);
    let is_encrypted = flags & 0x40 != 0;
    if !is_data || !has_data || is_encrypted {
        return None;
    }
    let is_relayed = flags & 3 == 3;
    let has_qos = kind & 0x80 != 0;
    let header_bytes = 24 + if is_relayed { 6 } else { 0 } + if has_qos { 2 } else { 0 };
    let body = bytes.get(header_bytes..)?.strip_prefix(&[0xaa, 0xaa, 3, 0, 0, 0])?;
    network(u16_at(body, 0)?, body.get(2..)?)
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
