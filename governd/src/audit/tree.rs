//! Hashes of the Merkle tree that the log's records are the leaves of (RFC 6962 section 2.1).

use ring::digest;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// A SHA-256 hash.
pub type Hash = [u8; HASH_BYTES];

const LEAF_PREFIX: u8 = 0;

/// The hash of a leaf: of a record's line, without its newline.
pub fn leaf_hash(line: &[u8]) -> Hash {
    sha256(&[&[LEAF_PREFIX], line])
}

/// SHA-256 over the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; HASH_BYTES];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}
