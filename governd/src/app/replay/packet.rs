//! Packets with headers made for the programs: no options, no checksums, which nobody checks.

use std::net::IpAddr;

use crate::{capture::Flow, kernel::Replay};

/// IP protocol number of TCP.
pub(super) const TCP: u8 = 6;
/// IP protocol number of UDP.
pub(super) const UDP: u8 = 17;
/// Longest TCP payload behind the longer headers, in bytes.
pub(super) const TCP_DATA_BYTES_MAX: usize =
    Replay::PACKET_BYTES_MAX - IPV6_HEADER_BYTES - TCP_HEADER_BYTES;
/// Longest UDP payload behind the longer headers, in bytes.
pub(super) const UDP_DATA_BYTES_MAX: usize =
    Replay::PACKET_BYTES_MAX - IPV6_HEADER_BYTES - UDP_HEADER_BYTES;

const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const HOPS: u8 = 64;
const FLAG_SYN: u8 = 0x02;
const FLAGS_DATA: u8 = 0x18;

/// A TCP segment in an IP packet.
pub(super) fn tcp(flow: Flow, sequence: u32, is_syn: bool, data: &[u8]) -> Vec<u8> {
    let mut packet = ip(flow, TCP, TCP_HEADER_BYTES + data.len());
    packet.extend(flow.from.port().to_be_bytes());
    packet.extend(flow.to.port().to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([
        (TCP_HEADER_BYTES as u8 / 4) << 4,
        if is_syn { FLAG_SYN } else { FLAGS_DATA },
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ]);
    packet.extend_from_slice(data);
    packet
}

/// A UDP datagram in an IP packet.
pub(super) fn udp(flow: Flow, data: &[u8]) -> Vec<u8> {
    let len = UDP_HEADER_BYTES + data.len();
    let mut packet = ip(flow, UDP, len);
    packet.extend(flow.from.port().to_be_bytes());
    packet.extend(flow.to.port().to_be_bytes());
    packet.extend((len as u16).to_be_bytes());
    packet.extend([0; 2]);
    packet.extend_from_slice(data);
    packet
}

/// The header of an IP packet with so many bytes after it.
fn ip(flow: Flow, protocol: u8, payload_bytes: usize) -> Vec<u8> {
    match (flow.from.ip(), flow.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = ((IPV4_HEADER_BYTES + payload_bytes) as u16).to_be_bytes();
            let mut header = vec![0x45, 0];
            header.extend(len);
            header.extend([0, 0, 0, 0, HOPS, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        (from, to) => {
            let octets = |address| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend((payload_bytes as u16).to_be_bytes());
            header.extend([protocol, HOPS]);
            header.extend(octets(from));
            header.extend(octets(to));
            header
        }
    }
}
