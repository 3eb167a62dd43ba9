//! The Merkle tree that the log's records are the leaves of (RFC 6962 section 2.1): hashes, roots
//! and proofs. Pure; which leaves there are, and who signs a root, is known elsewhere.

use ring::digest;

pub use leaf::Leaves;

mod leaf;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// Subtrees that a tree of any size consists of at most.
pub const PEAKS_MAX: usize = 64;

/// A SHA-256 hash.
pub type Hash = [u8; HASH_BYTES];

const LEAF_PREFIX: u8 = 0;
const NODE_PREFIX: u8 = 1;

/// The hash of a leaf: of a record's line, without its newline.
pub fn leaf_hash(line: &[u8]) -> Hash {
    sha256(&[&[LEAF_PREFIX], line])
}

/// The hash of two neighbouring subtrees.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[NODE_PREFIX], left, right])
}

/// SHA-256 over the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

fn finish(context: digest::Context) -> Hash {
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

/// A tree that only grows, without its leaves: the roots of the largest complete subtrees, from the
/// left. There are as many as the size has ones in binary.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A tree of a size from its subtrees; `None` if their number does not fit the size.
    pub fn new(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Leaves in it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of its complete subtrees, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(1, leaf);
    }

    /// Adds a complete subtree by its size, a power of two that divides the tree's, and its root.
    pub fn push_subtree(&mut self, size: u64, root: Hash) {
        let mut hash = root;
        for _ in 0..(self.size / size.max(1)).trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += size;
    }

    /// The root; that of the empty tree is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return sha256(&[]);
        };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// The root of a tree of these leaf hashes.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// Proof that the leaf at an index is in the tree of these leaf hashes (section 2.1.1); `None` if
/// there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut proof, mut part, mut index) = (Vec::new(), leaves, index);
    while part.len() > 1 {
        let (left, right) = part.split_at_checked(split(part.len()))?;
        if index < left.len() {
            proof.push(root(right));
            part = left;
        } else {
            proof.push(root(left));
            index -= left.len();
            part = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Proof that the tree of the first `old` of these leaf hashes is a beginning of the whole
/// (section 2.1.2); `None` if there are fewer.
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old > leaves.len() {
        return None;
    }
    let (mut proof, mut part, mut old, mut is_whole) = (Vec::new(), leaves, old, true);
    if old == 0 {
        return Some(proof);
    }
    while old < part.len() {
        let (left, right) = part.split_at_checked(split(part.len()))?;
        if old <= left.len() {
            proof.push(root(right));
            part = left;
        } else {
            proof.push(root(left));
            old -= left.len();
            part = right;
            is_whole = false;
        }
    }
    if !is_whole {
        proof.push(root(part));
    }
    proof.reverse();
    Some(proof)
}

/// The largest power of two below a size of at least two.
fn split(size: usize) -> usize {
    size.div_ceil(2).next_power_of_two()
}

/// Why a proof is not one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// The index or the sizes are out of range.
    #[error("the proof is about a place that the tree does not have")]
    Range,
    /// It has too many or too few hashes.
    #[error("the proof has {found} hashes where the sizes need {wanted}")]
    Length {
        /// What it has.
        found: usize,
        /// What it needs.
        wanted: usize,
    },
    /// It leads to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Checks that a leaf hash is at an index of the tree of a size and root (RFC 9162 section
/// 2.1.3.2).
///
/// # Errors
///
/// If it is not proven.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (inner, border) = path_lengths(index, size);
    let wanted = inner + border;
    let split = proof.split_at_checked(inner).filter(|_| proof.len() == wanted);
    let (near, far) = split.ok_or(ProofError::Length { found: proof.len(), wanted })?;
    let hash = chain_inner(*leaf, near, index);
    let hash = far.iter().fold(hash, |right, left| node_hash(left, &right));
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that the tree of the old size and root is a beginning of that of the new ones (RFC 9162
/// section 2.1.4.2). From the empty tree there is no proof, since nothing would be proven.
///
/// # Errors
///
/// If it is not proven.
pub fn verify_consistency(
    old: (u64, &Hash),
    new: (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if new_size < old_size || old_size == 0 {
        return Err(ProofError::Range);
    }
    if old_size == new_size {
        if !proof.is_empty() {
            return Err(ProofError::Length { found: proof.len(), wanted: 0 });
        }
        return if old_root == new_root { Ok(()) } else { Err(ProofError::Root) };
    }
    let (inner, border) = path_lengths(old_size - 1, new_size);
    // The largest complete subtree at the end of the old tree is where both roots begin.
    let shift = old_size.trailing_zeros() as usize;
    let inner = inner - shift;
    let is_whole = old_size.is_power_of_two();
    let wanted = inner + border + usize::from(!is_whole);
    let length = ProofError::Length { found: proof.len(), wanted };
    if proof.len() != wanted {
        return Err(length);
    }
    let (seed, rest) = match proof.split_first() {
        Some((first, rest)) if !is_whole => (first, rest),
        _ => (old_root, proof),
    };
    let (near, far) = rest.split_at_checked(inner).ok_or(length)?;
    let index = (old_size - 1) >> shift;
    let outward = |hash| far.iter().fold(hash, |right, left| node_hash(left, &right));
    if outward(chain_inner_right(*seed, near, index)) != *old_root {
        return Err(ProofError::Root);
    }
    if outward(chain_inner(*seed, near, index)) != *new_root {
        return Err(ProofError::Root);
    }
    Ok(())
}

/// Hashes of a path up to where the tree's right border begins, and from there on.
fn path_lengths(index: u64, size: u64) -> (usize, usize) {
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or_default().count_ones();
    (inner as usize, border as usize)
}

fn chain_inner(seed: Hash, proof: &[Hash], index: u64) -> Hash {
    proof.iter().enumerate().fold(seed, |hash, (level, sibling)| {
        if index >> level & 1 == 0 { node_hash(&hash, sibling) } else { node_hash(sibling, &hash) }
    })
}

/// As `chain_inner`, with left siblings only: what the old tree ended in.
fn chain_inner_right(seed: Hash, proof: &[Hash], index: u64) -> Hash {
    let left = proof.iter().enumerate().filter(|(level, _)| index >> level & 1 == 1);
    left.fold(seed, |hash, (_, sibling)| node_hash(sibling, &hash))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(hash: &[u8]) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(number.to_string().as_bytes())).collect()
    }

    /// Section 2.1, word by word.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [leaf] => *leaf,
            _ => {
                let half = (1..).map(|n| 1 << n).take_while(|k| *k < leaves.len()).last();
                let (left, right) = leaves.split_at(half.unwrap_or(1));
                node_hash(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    /// The leaves and roots that implementations of Certificate Transparency share.
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves: Vec<Hash> = inputs.iter().map(|input| leaf_hash(input)).collect();
        for (size, want) in roots.iter().enumerate() {
            assert_eq!(hex(&root(&leaves[..size])), *want, "size {size}");
        }
    }

    #[test]
    fn a_frontier_has_the_root_of_the_definition_at_every_size() {
        let leaves = leaves(130);
        let mut frontier = Frontier::default();
        for size in 0..=leaves.len() {
            assert_eq!(frontier.root(), root_by_definition(&leaves[..size]), "size {size}");
            let again = Frontier::new(frontier.size(), frontier.peaks().to_vec());
            assert_eq!(again.as_ref(), Some(&frontier));
            assert_eq!(Frontier::new(frontier.size() ^ 1, frontier.peaks().to_vec()), None);
            if let Some(leaf) = leaves.get(size) {
                frontier.push(*leaf);
            }
        }
    }

    #[test]
    fn every_proof_of_small_trees_holds_and_no_other_does() {
        let leaves = leaves(34);
        for size in 1..=leaves.len() {
            let tree = &leaves[..size];
            let root = root(tree);
            for (index, leaf) in tree.iter().enumerate() {
                let proof = inclusion_proof(tree, index).unwrap();
                let check = |leaf: &Hash, index: usize, size: usize, proof: &[Hash]| {
                    verify_inclusion(leaf, index as u64, size as u64, proof, &root)
                };
                assert_eq!(check(leaf, index, size, &proof), Ok(()));
                assert!(check(leaf, index ^ 1, size, &proof).is_err() || size == 1);
                assert!(check(&sha256(&[]), index, size, &proof).is_err());
                assert!(check(leaf, size, size, &proof).is_err());
                let longer = [proof.as_slice(), &[root]].concat();
                assert!(check(leaf, index, size, &longer).is_err());
            }
            for old in 0..=size {
                let proof = consistency_proof(tree, old).unwrap();
                let old_root = super::root(&leaves[..old]);
                let check = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
                    verify_consistency((old as u64, old_root), (size as u64, new_root), proof)
                };
                let want = if old == 0 { Err(ProofError::Range) } else { Ok(()) };
                assert_eq!(check(&old_root, &root, &proof), want, "{old} to {size}");
                assert!(check(&old_root, &root, &[proof.as_slice(), &[root]].concat()).is_err());
                if old > 0 {
                    assert!(check(&root_by_definition(&[]), &root, &proof).is_err());
                    assert!(check(&old_root, &root_by_definition(&[]), &proof).is_err());
                }
            }
        }
        assert_eq!(inclusion_proof(&leaves, 34), None);
        assert_eq!(consistency_proof(&leaves, 35), None);
    }

    proptest! {
        #[test]
        fn a_proof_with_one_bit_changed_proves_nothing(
            size in 2_usize..200,
            place in any::<prop::sample::Index>(),
            bit in 0_usize..256,
        ) {
            let leaves = leaves(size);
            let index = place.index(size);
            let flip = |proof: &mut Vec<Hash>| {
                let at = place.index(proof.len());
                proof[at][bit / 8] ^= 1 << (bit % 8);
            };
            let root = root(&leaves);
            let mut proof = inclusion_proof(&leaves, index).unwrap();
            flip(&mut proof);
            let checked =
                verify_inclusion(&leaves[index], index as u64, size as u64, &proof, &root);
            prop_assert_eq!(checked, Err(ProofError::Root));
            let old = index.max(1);
            let mut proof = consistency_proof(&leaves, old).unwrap();
            flip(&mut proof);
            let old_root = super::root(&leaves[..old]);
            let checked =
                verify_consistency((old as u64, &old_root), (size as u64, &root), &proof);
            prop_assert_eq!(checked, Err(ProofError::Root));
        }
    }
}
