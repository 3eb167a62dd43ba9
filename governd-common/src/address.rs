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
