//! The unprotected part of QUIC packets with a long header (RFC 8999 section 5.1, RFC 9000 section
//! 17.2, RFC 9369 section 3). What the protection hides is for user space.

/// Longest connection id of versions 1 and 2 (RFC 9000 section 17.2).
pub const CONNECTION_ID_BYTES_MAX: usize = 20;

const FORM_LONG: u8 = 0x80;
const FIXED_BIT: u8 = 0x40;

/// A version whose Initial packets can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
    /// Drafts 29 to 32 (draft-ietf-quic-tls-29 section 5.2), and the versions by which clients of
    /// that time make a server negotiate (draft-ietf-quic-transport-29 section 15).
    Draft29,
    /// Drafts 23 to 28 (draft-ietf-quic-tls-23 section 5.2), and mvfst's early versions.
    Draft23,
    /// Draft 22 (draft-ietf-quic-tls-22 section 5.2), and mvfst's version of that time.
    Draft22,
    /// Google's T050 and T051, with TLS over a draft's packets.
    T050,
    /// See `T050`.
    T051,
}

impl Version {
    /// The version that a number stands for.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            // The last drafts, 33 and 34, are version 1 by another number.
            0x0000_0001 | 0xff00_0021..=0xff00_0022 => Some(Self::V1),
            0x6b33_43cf => Some(Self::V2),
            0xff00_001d..=0xff00_0020 => Some(Self::Draft29),
            0xff00_0017..=0xff00_001c | 0xface_b002 | 0xface_b00e => Some(Self::Draft23),
            0xff00_0016 | 0xface_b001 => Some(Self::Draft22),
            0x5430_3530 => Some(Self::T050),
            0x5430_3531 => Some(Self::T051),
            _ if number & 0x0f0f_0f0f == 0x0a0a_0a0a => Some(Self::Draft29),
            _ => None,
        }
    }

    const fn kind(self, bits: u8) -> Kind {
        let rotated = match self {
            Self::V2 => bits.wrapping_sub(1),
            Self::V1 | Self::Draft29 | Self::Draft23 | Self::Draft22 | Self::T050 | Self::T051 => {
                bits
            }
        };
        match rotated & 3 {
            0 => Kind::Initial,
            1 => Kind::ZeroRtt,
            2 => Kind::Handshake,
            _ => Kind::Retry,
        }
    }
}

/// Types of packets with a long header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Kind {
    /// Carries the first CRYPTO frames.
    Initial,
    /// Early data.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// The server wants the Initial again, with a token.
    Retry,
}

/// Why bytes are not such a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
#[repr(u8)]
pub enum QuicRefusal {
    /// A short header, or something that is not QUIC.
    NotLong = 1,
    /// A version whose packets cannot be read, version negotiation (0) included.
    Version = 2,
    /// Lengths that contradict each other or the datagram.
    Malformed = 3,
}

/// A packet with a long header, and where its parts lie in the datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    /// Version.
    pub version: Version,
    /// Type.
    pub kind: Kind,
    /// Destination connection id.
    pub destination: &'a [u8],
    /// Source connection id.
    pub source: &'a [u8],
    /// Token of an Initial; empty for others.
    pub token: &'a [u8],
    /// Where the protected packet number begins, in bytes from the packet's start; for a Retry,
    /// which has none, the end.
    pub number_at: usize,
    /// Where the packet ends, and a coalesced one may begin.
    pub end: usize,
}

impl<'a> Packet<'a> {
    /// Reads the packet at the beginning of `datagram`.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, QuicRefusal> {
        let mut rest = Reader { bytes: datagram, at: 0 };
        let first = rest.byte().ok_or(QuicRefusal::NotLong)?;
        if first & FORM_LONG == 0 {
            return Err(QuicRefusal::NotLong);
        }
        let number = rest.number(4).ok_or(QuicRefusal::NotLong)?;
        let version = Version::from_number(number as u32).ok_or(QuicRefusal::Version)?;
        if first & FIXED_BIT == 0 {
            return Err(QuicRefusal::NotLong);
        }
        Self::after_version(rest, version, version.kind(first >> 4)).ok_or(QuicRefusal::Malformed)
    }

    fn after_version(mut rest: Reader<'a>, version: Version, kind: Kind) -> Option<Self> {
        let destination = rest.connection_id()?;
        let source = rest.connection_id()?;
        let mut packet =
            Self { version, kind, destination, source, token: &[], number_at: 0, end: 0 };
        if kind == Kind::Retry {
            packet.number_at = rest.bytes.len();
            packet.end = rest.bytes.len();
            return Some(packet);
        }
        if kind == Kind::Initial {
            let token_len = rest.varint()?;
            packet.token = rest.take(token_len)?;
        }
        let length = rest.varint()?;
        packet.number_at = rest.at;
        rest.take(length)?;
        packet.end = rest.at;
        Some(packet)
    }
}

/// Reads from a slice and never beyond it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// True if nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// The next bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// A number of up to eight bytes in network byte order.
    pub fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A variable-length integer (RFC 9000 section 16).
    pub fn varint(&mut self) -> Option<usize> {
        let first = *self.bytes.get(self.at)?;
        let len = 1_usize << (first >> 6);
        let value = self.number(len)?;
        usize::try_from(value & (u64::MAX >> (66 - 8 * len))).ok()
    }

    fn connection_id(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.byte()?);
        if len > CONNECTION_ID_BYTES_MAX { None } else { self.take(len) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varints_are_those_of_rfc_9000_appendix_a() {
        let rows: [(&[u8], usize); 5] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in rows {
            assert_eq!(Reader::new(bytes).varint(), Some(value));
        }
    }

    #[test]
    fn an_initial_and_what_follows_it_are_told_apart() {
        let bytes = [0xc0, 0, 0, 0, 1, 2, 7, 8, 1, 9, 1, 5, 3, 0xa, 0xb, 0xc, 0x40];
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.version, packet.kind), (Version::V1, Kind::Initial));
        assert_eq!(
            (packet.destination, packet.source, packet.token),
            (&[7, 8][..], &[9][..], &[5][..])
        );
        assert_eq!((packet.number_at, packet.end), (13, 16));
        assert_eq!(Packet::parse(&bytes[16..]), Err(QuicRefusal::NotLong));
        assert_eq!(Packet::parse(&bytes[..15]), Err(QuicRefusal::Malformed));
    }

    #[test]
    fn versions_are_known_by_their_numbers() {
        let rows = [
            (1, Some(Version::V1)),
            (0xff00_001d, Some(Version::Draft29)),
            (0xface_b00e, Some(Version::Draft23)),
            (0xface_b001, Some(Version::Draft22)),
            (0x0a0a_0a0a, Some(Version::Draft29)),
            (0x1a2a_ca4a, Some(Version::Draft29)),
            (0x1a2a_ca4b, None),
            (0, None),
        ];
        for (number, version) in rows {
            assert_eq!(Version::from_number(number), version, "{number:x}");
        }
    }

    #[test]
    fn version_2_counts_its_types_differently() {
        let kinds = [Kind::Retry, Kind::Initial, Kind::ZeroRtt, Kind::Handshake];
        for (bits, kind) in (0..).zip(kinds) {
            assert_eq!(Version::V2.kind(0b1100 | bits), kind);
        }
    }

    #[test]
    fn a_connection_id_above_20_bytes_is_malformed() {
        let mut bytes = [0_u8; 64];
        bytes[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 21]);
        assert_eq!(Packet::parse(&bytes), Err(QuicRefusal::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if bytes.len() > 5 {
                bytes[0] |= 0xc0;
                bytes[1..5].copy_from_slice(&[0, 0, 0, 1]);
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.number_at <= packet.end && packet.end <= bytes.len());
            }
        }
    }
}
