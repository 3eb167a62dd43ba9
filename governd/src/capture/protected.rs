//! Packet protection of QUIC Initials: keys from the client's destination connection id, header
//! protection, AEAD (RFC 9001 section 5, RFC 9369 section 3.3).
//!
//! The keys are no secret; what opens under them was made by somebody who saw the connection id.

use governd_common::quic::{Packet, Version};
use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic},
    hkdf,
};

const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
    0xf9, 0xbd, 0x2e, 0xd9,
];
const SALT_DRAFT_29: [u8; 20] = [
    0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0,
    0x43, 0x90, 0xa8, 0x99,
];
const SALT_DRAFT_23: [u8; 20] = [
    0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65,
    0xbe, 0xf9, 0xf5, 0x02,
];
const SALT_DRAFT_22: [u8; 20] = [
    0x7f, 0xbc, 0xdb, 0x0e, 0x7c, 0x66, 0xbb, 0xe9, 0x19, 0x3a, 0x96, 0xcd, 0x21, 0x51, 0x9e, 0xbd,
    0x7a, 0x02, 0x64, 0x4a,
];
const SALT_T050: [u8; 20] = [
    0x7f, 0xf5, 0x79, 0xe5, 0xac, 0xd0, 0x72, 0x91, 0x55, 0x80, 0x30, 0x4c, 0x43, 0xa2, 0x36, 0x7c,
    0x60, 0x48, 0x83, 0x10,
];
const SALT_T051: [u8; 20] = [
    0x7a, 0x4e, 0xde, 0xf4, 0xe7, 0xcc, 0xee, 0x5f, 0xa4, 0x50, 0x6c, 0x19, 0x12, 0x4f, 0xc8, 0xcc,
    0xda, 0x6e, 0x03, 0x3d,
];
const KEY_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
/// Where the sample for header protection begins, after the packet number's place.
const SAMPLE_OFFSET: usize = 4;

/// The client's Initial keys of a connection.
pub(super) struct Keys {
    aead: LessSafeKey,
    header: quic::HeaderProtectionKey,
    iv: [u8; NONCE_BYTES],
    /// Largest packet number so far.
    largest: u64,
}

impl Keys {
    /// The keys that a client derives from the destination connection id it chose.
    pub(super) fn of_client(version: Version, destination: &[u8]) -> Option<Self> {
        let (salt, prefix) = match version {
            Version::V1 => (SALT_V1, "quic"),
            Version::V2 => (SALT_V2, "quicv2"),
            Version::Draft29 => (SALT_DRAFT_29, "quic"),
            Version::Draft23 => (SALT_DRAFT_23, "quic"),
            Version::Draft22 => (SALT_DRAFT_22, "quic"),
            Version::T050 => (SALT_T050, "quic"),
            Version::T051 => (SALT_T051, "quic"),
        };
        let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(destination);
        let mut secret = [0; 32];
        expand(&initial, "client in", &mut secret)?;
        let client = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
        let (mut key, mut header, mut iv) = ([0; KEY_BYTES], [0; KEY_BYTES], [0; NONCE_BYTES]);
        expand(&client, &format!("{prefix} key"), &mut key)?;
        expand(&client, &format!("{prefix} iv"), &mut iv)?;
        expand(&client, &format!("{prefix} hp"), &mut header)?;
        Some(Self {
            aead: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?),
            header: quic::HeaderProtectionKey::new(&quic::AES_128, &header).ok()?,
            iv,
            largest: 0,
        })
    }

    /// The frames of a packet that begins `datagram`; `None` if it was not made with these keys.
    pub(super) fn open(&mut self, datagram: &[u8], packet: &Packet<'_>) -> Option<Vec<u8>> {
        let mut bytes = datagram.get(..packet.end)?.to_vec();
        let sample_at = packet.number_at + SAMPLE_OFFSET;
        let sample = bytes.get(sample_at..sample_at + self.header.algorithm().sample_len())?;
        let (first_mask, number_mask) = {
            let [first, number @ ..] = self.header.new_mask(sample).ok()?;
            (first, number)
        };
        let first = bytes.first_mut()?;
        *first ^= first_mask & 0x0f;
        let number_bytes = usize::from(*first & 3) + 1;
        let mut truncated = 0;
        let number_end = packet.number_at + number_bytes;
        for (byte, mask) in bytes.get_mut(packet.number_at..number_end)?.iter_mut().zip(number_mask)
        {
            *byte ^= mask;
            truncated = truncated << 8 | u64::from(*byte);
        }
        let number = full_number(self.largest, truncated, number_bytes);
        let (header, body) = bytes.split_at_mut_checked(number_end)?;
        let nonce = Nonce::assume_unique_for_key(self.nonce(number));
        let frames = self.aead.open_in_place(nonce, Aad::from(&*header), body).ok()?.to_vec();
        self.largest = self.largest.max(number);
        Some(frames)
    }

    fn nonce(&self, number: u64) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (place, byte) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *place ^= byte;
        }
        nonce
    }
}

/// A packet number from its lower bytes (RFC 9000 appendix A.3).
fn full_number(largest: u64, truncated: u64, bytes: usize) -> u64 {
    let expected = largest + 1;
    let window = 1_u64 << (8 * bytes);
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate + window / 2 <= expected {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand(secret: &hkdf::Prk, label: &str, out: &mut [u8]) -> Option<()> {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_bytes = [u8::try_from(label.len() + 6).ok()?];
    let context = [&length[..], &label_bytes, b"tls13 ", label.as_bytes(), &[0]];
    secret.expand(&context, Len(out.len())).ok()?.fill(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_rfc_9001_appendix_a() {
        let id = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let keys = Keys::of_client(Version::V1, &id).unwrap();
        let iv = [0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c];
        assert_eq!(keys.iv, iv);
        let sample = [
            0xd1, 0xb1, 0xc9, 0x8d, 0xd7, 0x68, 0x9f, 0xb8, 0xec, 0x11, 0xd2, 0x42, 0xb1, 0x23,
            0xdc, 0x9b,
        ];
        assert_eq!(keys.header.new_mask(&sample).unwrap(), [0x43, 0x7b, 0x9a, 0xec, 0x36]);
    }

    #[test]
    fn packet_numbers_are_those_of_rfc_9000_appendix_a() {
        assert_eq!(full_number(0xa82f_30ea, 0x9b32, 2), 0xa82f_9b32);
        assert_eq!(full_number(0, 0, 1), 0);
        assert_eq!(full_number(254, 1, 1), 257);
    }
}
