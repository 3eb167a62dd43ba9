//! Addresses in the one form that every table uses: 16 bytes, IPv4 as `::ffff:a.b.c.d`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::BOUND_MARKS;

/// Spreads what differs in few bits over all of them (Knuth, The Art of Computer Programming,
/// section 6.4): 2^64 by the golden ratio.
const MARK_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// An IPv4 or IPv6 address, in network byte order, IPv4 mapped (RFC 4291 section 2.5.5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Address {
    /// The sixteen bytes.
    pub bytes: [u8; 16],
}

impl Address {
    /// The mapped form of an IPv4 address.
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self { bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] }
    }

    /// An IPv6 address as it stands; a mapped one is the IPv4 address it carries.
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self { bytes: octets }
    }

    /// True for IPv4, plain or mapped.
    pub fn is_v4(&self) -> bool {
        let [p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, ..] = self.bytes;
        p0 | p1 | p2 | p3 | p4 | p5 | p6 | p7 | p8 | p9 == 0 && p10 & p11 == 0xff
    }

    /// True for 127.0.0.0/8 and ::1 (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3).
    pub fn is_loopback(&self) -> bool {
        if self.is_v4() {
            return self.bytes[12] == 127;
        }
        self.bytes == Self::LOOPBACK_V6.bytes
    }

    /// The address that connects to this host when it is used as a destination (0.0.0.0 and `::`),
    /// as the loopback address that the kernel puts in its place.
    #[inline(always)]
    pub fn unspecified_to_loopback(self) -> Self {
        if self.bytes == Self::UNSPECIFIED.bytes {
            return Self::LOOPBACK_V6;
        }
        if self.bytes == Self::v4([0; 4]).bytes { Self::v4([127, 0, 0, 1]) } else { self }
    }

    /// The IPv4 address that a translator or tunnel would take out of an IPv6 address: NAT64
    /// (RFC 6052 section 2.1, the well-known prefix), 6to4 (RFC 3056), IPv4-compatible (RFC 4291
    /// section 2.5.5.1) and Teredo (RFC 4380 section 4, the client behind it).
    #[inline(always)]
    pub fn embedded_v4(&self) -> Option<Self> {
        let [p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, a, b, c, d] = self.bytes;
        let tail_is_zero = p4 | p5 | p6 | p7 | p8 | p9 | p10 | p11 == 0;
        match [p0, p1, p2, p3] {
            [0x00, 0x64, 0xff, 0x9b] if tail_is_zero => Some(Self::v4([a, b, c, d])),
            [0x20, 0x02, v0, v1] => Some(Self::v4([v0, v1, p4, p5])),
            [0, 0, 0, 0] if tail_is_zero && a != 0 => Some(Self::v4([a, b, c, d])),
            [0x20, 0x01, 0, 0] => Some(Self::v4([!a, !b, !c, !d])),
            _ => None,
        }
    }

    /// The address's place among [`BOUND_MARKS`]. Whoever chooses addresses can make them share one
    /// and wins nothing: a mark only says where to look.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        let both = u128::from_ne_bytes(self.bytes);
        let mixed = (both as u64) ^ ((both >> 64) as u64).wrapping_mul(MARK_MULTIPLIER);
        (mixed.wrapping_mul(MARK_MULTIPLIER) >> (u64::BITS - BOUND_MARKS.ilog2())) as u32
    }

    /// `::`.
    pub const UNSPECIFIED: Self = Self { bytes: [0; 16] };

    const LOOPBACK_V6: Self = Self { bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] };
}

impl From<core::net::IpAddr> for Address {
    fn from(ip: core::net::IpAddr) -> Self {
        match ip {
            core::net::IpAddr::V4(v4) => Self::v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        core::net::Ipv6Addr::from(address.bytes).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn marks_of_neighbours_differ_and_lie_within_bounds() {
        for network in [Address::v4([10, 99, 0, 0]), address("2001:db8::")] {
            let marks: std::collections::BTreeSet<u32> = (0..=255)
                .map(|last| {
                    let mut neighbour = network;
                    neighbour.bytes[15] = last;
                    neighbour.mark()
                })
                .collect();
            assert_eq!(marks.len(), 256);
            assert!(marks.iter().all(|mark| *mark < BOUND_MARKS as u32));
        }
    }

    #[test]
    fn the_address_inside_an_ipv6_one_is_found_where_translators_look_for_it() {
        let rows = [
            ("64:ff9b::192.0.2.33", Some("192.0.2.33")),
            ("2002:c000:221::1", Some("192.0.2.33")),
            ("::192.0.2.33", Some("192.0.2.33")),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Some("192.0.2.45")),
            ("64:ff9b:1::192.0.2.33", None),
            ("2001:db8::c000:221", None),
            ("::1", None),
            ("::", None),
            ("192.0.2.33", None),
        ];
        for (text, inner) in rows {
            assert_eq!(address(text).embedded_v4(), inner.map(address), "{text}");
        }
    }

    #[test]
    fn unspecified_addresses_connect_to_this_host() {
        let rows = [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("::ffff:0.0.0.0", "127.0.0.1"),
            ("0.0.0.1", "0.0.0.1"),
            ("2001:db8::", "2001:db8::"),
        ];
        for (text, expected) in rows {
            assert_eq!(address(text).unspecified_to_loopback(), address(expected), "{text}");
        }
    }

    #[test]
    fn loopback_is_known_in_every_form() {
        for text in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
            assert!(address(text).is_loopback(), "{text}");
        }
        for text in ["126.0.0.1", "::2", "::127.0.0.1", "::"] {
            assert!(!address(text).is_loopback(), "{text}");
        }
    }
}
