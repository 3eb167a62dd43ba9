//! Nodes of the name trie.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Claim, Node};
use crate::policy::value::{Target, name::HostPattern};

/// One node for each pattern and each name that is granted, with
/// the claims on it and on every wildcard above it.
pub(super) fn nodes<'a>(
    claims: &[(HostPattern, Claim<'a>)],
    granted: &[(Arc<str>, Target)],
) -> Vec<Node<'a>> {
    let mut own: BTreeMap<&HostPattern, Vec<Claim<'a>>> = BTreeMap::new();
    for (pattern, claim) in claims {
        if !claim.ports.is_empty() || claim.is_question {
            own.entry(pattern).or_default().push(*claim);
        }
    }
    for (_, target) in granted {
        if let Target::Name(pattern) = target {
            own.entry(pattern).or_default();
        }
    }
    let wildcards: HashMap<&str, &Vec<Claim<'a>>> = own
        .iter()
        .filter(|(pattern, _)| pattern.is_wildcard())
        .map(|(pattern, claims)| (pattern.base(), claims))
        .collect();
    let node = |(pattern, claims): (&&HostPattern, &Vec<Claim<'a>>)| {
        let above = above(pattern.base()).filter_map(|base| wildcards.get(base));
        let all = claims.iter().chain(above.flat_map(|claims| claims.iter()));
        let mut by_subject: BTreeMap<u32, Vec<Claim<'a>>> = BTreeMap::new();
        for claim in all {
            by_subject.entry(claim.subject).or_default().push(*claim);
        }
        Node {
            key: Target::Name((*pattern).clone()),
            subjects: Vec::new(),
            claims: by_subject.into_iter().collect(),
        }
    };
    own.iter().map(node).collect()
}

/// The names above one: `example.com`, then `com`, for `api.example.com`.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, rest)| rest)).skip(1)
}
