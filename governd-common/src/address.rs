//! Addresses in the one form that every table uses: 16 bytes, IPv4 as `::ffff:a.b.c.d`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
