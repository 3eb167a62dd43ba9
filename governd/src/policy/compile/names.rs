//! Nodes of the name trie.

use std::{collections::HashMap, sync::Arc};

use super::{Claim, Key};
use crate::policy::value::{Target, name::HostPattern};

/// One node for each pattern and each name that is granted, with
/// the claims on it and on every wildcard above it.
pub(super) fn nodes<'a>(
    claims: &[(HostPattern, Claim<'a>)],
    granted: &[(Arc<str>, Target)],
    found: &mut impl FnMut(Key<'_>, &mut [Claim<'a>]),
) {
    let mut own: Vec<(&HostPattern, Option<Claim<'a>>)> = claims
        .iter()
        .filter(|(_, claim)| !claim.ports.is_empty() || claim.is_question)
        .map(|(pattern, claim)| (pattern, Some(*claim)))
        .collect();
    own.extend(granted.iter().filter_map(|(_, target)| match target {
        Target::Name(pattern) => Some((pattern, None)),
        Target::Network(_) => None,
    }));
    // Those of one pattern stay in their order.
    own.sort_by_key(|(one, _)| *one);
    let mut wildcards: HashMap<&str, &[(&HostPattern, Option<Claim<'a>>)]> = HashMap::new();
    for same in own.chunk_by(|(one, _), (other, _)| one == other) {
        if let Some((pattern, _)) = same.first().filter(|(pattern, _)| pattern.is_wildcard()) {
            wildcards.insert(pattern.base(), same);
        }
    }
    let mut all: Vec<Claim<'a>> = Vec::new();
    for same in own.chunk_by(|(one, _), (other, _)| one == other) {
        let Some((pattern, _)) = same.first() else { continue };
        all.clear();
        all.extend(same.iter().filter_map(|(_, claim)| *claim));
        for base in above(pattern.base()) {
            let around = wildcards.get(base).copied().unwrap_or_default();
            all.extend(around.iter().filter_map(|(_, claim)| *claim));
        }
        found(Key::Name(pattern), &mut all);
    }
}

/// The names above one: `example.com`, then `com`, for `api.example.com`.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, rest)| rest)).skip(1)
}
