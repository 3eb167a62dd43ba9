//! SHA-256 as `sha256sum --check` reads it.

use std::fmt::Write;

use sha2::{Digest, Sha256};

pub(super) const NAME: &str = "SHA256SUMS";

/// The digest in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

/// A line for each file, sorted by name.
pub(super) fn write(files: &[(String, Vec<u8>)]) -> String {
    let mut lines: Vec<_> =
        files.iter().map(|(name, bytes)| (name, format!("{}  {name}\n", sha256(bytes)))).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_sha256sum() {
        let files = [("b".to_owned(), b"abc".to_vec()), ("a".to_owned(), Vec::new())];
        assert_eq!(
            write(&files),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
        );
    }
}
