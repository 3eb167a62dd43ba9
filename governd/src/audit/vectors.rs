//! Published vectors: trees, proofs, checkpoints and canonical JSON that others made.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::Value;

use super::{
    canonical,
    checkpoint::{Verifier, note_len},
    tree::{self, Frontier, HASH_BYTES, Hash, leaf_hash, sha256},
};

const INCLUSION: &str = include_str!("testdata/merkle-inclusion.jsonl");
const CONSISTENCY: &str = include_str!("testdata/merkle-consistency.jsonl");
const CHECKPOINTS: &str = include_str!("testdata/tessera-checkpoints.txt");
const ENTRIES: &[u8] = include_bytes!("testdata/tessera-entries-15");
const TILE: &[u8] = include_bytes!("testdata/tessera-tile-15");
const KEY: &str = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
const DOUBLES: &str = include_str!("testdata/jcs/static-doubles.txt");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    name: String,
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    name: String,
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

fn rows<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    let rows: Vec<T> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 98);
    rows
}

fn is_hash(text: &str) -> bool {
    BASE64.decode(text).unwrap().len() == HASH_BYTES
}

/// What is no hash of the right length stands for some hash: the same for the same bytes.
fn hash(text: &str) -> Hash {
    let bytes = BASE64.decode(text).unwrap();
    Hash::try_from(bytes.as_slice()).unwrap_or_else(|_| sha256(&[&bytes]))
}

fn hashes(proof: Option<&Vec<String>>) -> Vec<Hash> {
    proof.into_iter().flatten().map(|text| hash(text)).collect()
}

#[test]
fn proofs_of_inclusion_are_judged_as_others_judge_them() {
    for row in rows::<Inclusion>(INCLUSION) {
        let (leaf, root) = (hash(&row.leaf_hash), hash(&row.root));
        let proof = hashes(row.proof.as_ref());
        let judged = tree::verify_inclusion(&leaf, row.leaf_idx, row.tree_size, &proof, &root);
        // What has another length never becomes a hash here.
        let is_refused = judged.is_err() || !is_hash(&row.leaf_hash) || !is_hash(&row.root);
        assert_eq!(is_refused, row.want_err, "{}: {judged:?}", row.name);
    }
}

#[test]
fn proofs_of_consistency_are_judged_as_others_judge_them() {
    for row in rows::<Consistency>(CONSISTENCY) {
        let (old, new) = (hash(&row.root1), hash(&row.root2));
        let proof = hashes(row.proof.as_ref());
        let judged = tree::verify_consistency((row.size1, &old), (row.size2, &new), &proof);
        assert_eq!(judged.is_err(), row.want_err, "{}: {judged:?}", row.name);
    }
}

/// A log that tessera wrote: 16 checkpoints, from the empty tree to that of 15 entries.
#[test]
fn the_log_of_another_implementation_opens_at_every_size() {
    let mut bundle = ENTRIES;
    let mut leaves = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk() {
        let (entry, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        leaves.push(leaf_hash(entry));
        bundle = rest;
    }
    assert_eq!(leaves.concat(), TILE);
    let key = Verifier::parse(KEY).unwrap();
    let (mut rest, mut frontier) = (CHECKPOINTS, Frontier::default());
    for size in 0..=leaves.len() {
        let (note, behind) = rest.split_at(note_len(rest).unwrap());
        rest = behind;
        let checkpoint = key.open(note).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (size as u64, frontier.root()));
        assert!(key.open(&note.replacen("data\n", "date\n", 1)).is_err());
        leaves.get(size).into_iter().for_each(|leaf| frontier.push(*leaf));
    }
    assert_eq!((leaves.len(), rest), (15, ""));
}

#[test]
fn canonical_json_is_that_of_the_author_of_rfc_8785() {
    macro_rules! row {
        ($name:literal) => {
            (
                $name,
                include_str!(concat!("testdata/jcs/", $name, ".input.json")),
                include_str!(concat!("testdata/jcs/", $name, ".output.json")),
            )
        };
    }
    let rows = [
        row!("arrays"),
        row!("french"),
        row!("structures"),
        row!("unicode"),
        row!("values"),
        row!("weird"),
    ];
    for (name, input, output) in rows {
        let value: Value = serde_json::from_str(input).unwrap();
        assert_eq!(canonical::to_string(&value), output, "{name}");
    }
}

/// The first ten thousand lines of the hundred million, by the hash that is published for them.
#[test]
fn numbers_are_written_as_in_the_published_sequence() {
    let fixed = DOUBLES.lines().map(|line| u64::from_str_radix(line, 16).unwrap());
    let serial = (0..2_000).map(|step| 0x0010_0000_0000_0000 + step);
    let mut block = [0; 32];
    let random = std::iter::from_fn(move || {
        block = sha256(&[&block]);
        let (words, _) = block.as_chunks();
        Some(words.iter().map(|word| u64::from_le_bytes(*word)).collect::<Vec<_>>())
    });
    let usable = |bits: &u64| f64::from_bits(*bits).is_finite() && f64::from_bits(*bits) != 0.0;
    let all = fixed.chain(serial).chain(random.flatten().filter(usable));
    let mut text = String::new();
    for (line, bits) in (1..=10_000).zip(all) {
        let value = Value::from(f64::from_bits(bits));
        text.push_str(&format!("{bits:x},{}\n", canonical::to_string(&value)));
        let published = match line {
            1_000 => "be18b62b6f69cdab33a7e0dae0d9cfa869fda80ddc712221570f9f40a5878687",
            10_000 => "b9f7a8e75ef22a835685a52ccba7f7d6bdc99e34b010992cbc5864cd12be6892",
            _ => continue,
        };
        let hash: String =
            sha256(&[text.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, published, "the first {line} lines");
    }
}
