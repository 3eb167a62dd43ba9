//! Runs every fuzz target over its committed corpus, and over damaged copies of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::{fs, path::Path};

use governd_fuzz::TARGETS;

/// Damaged copies of each input.
const COPIES: u64 = 16;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// The next number of a fixed sequence (xorshift), so that every run sees the same copies.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

fn damaged(input: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut copy = input.to_vec();
    for _ in 0..=next(&mut state) % 4 {
        let at = next(&mut state) % copy.len().max(1);
        match next(&mut state) % 4 {
            0 => copy.truncate(at),
            1 => copy.extend_from_within(at.min(copy.len())..),
            _ if at < copy.len() => copy[at] = next(&mut state) as u8,
            _ => {}
        }
    }
    copy
}

#[test]
fn no_input_breaks_a_target() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        assert!(inputs.len() >= 3, "{name} has a corpus");
        for input in &inputs {
            target(input);
            for copy in 0..COPIES {
                target(&damaged(input, copy + input.len() as u64));
            }
        }
    }
}
