//! Nodes of the network trie, which has a tree of its own for each subject.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::{Claim, Key};
use crate::policy::{
    image::AgentFacts,
    value::{Target, network::Network},
};

/// One node for each subject and network, and each address that is granted, with
/// the claims on it and on every network around it.
///
/// In the 128-bit form, a short IPv6 network such as `::/0` holds all of IPv4. A node for
/// `0.0.0.0/0` without rules keeps the lookup of an IPv4 address from reaching it.
pub(super) fn nodes<'a>(
    claims: &[(Network, Claim<'a>)],
    granted: &[(u32, Network)],
    found: &mut impl FnMut(Key<'_>, &mut [Claim<'a>]),
) {
    let mut trees: BTreeMap<u32, BTreeMap<Network, Vec<Claim<'a>>>> = BTreeMap::new();
    for (network, claim) in claims.iter().filter(|(_, claim)| !claim.ports.is_empty()) {
        let tree = trees.entry(claim.subject).or_default();
        tree.entry(*network).or_default().push(*claim);
        if network.covers_mapped() {
            tree.entry(Network::EVERY_V4).or_default();
        }
    }
    for (subject, network) in granted {
        if let Some(tree) = trees.get_mut(subject) {
            tree.entry(*network).or_default();
        }
    }
    for (subject, tree) in trees {
        nested(subject, tree, found);
    }
}

/// Addresses that are granted, by subject.
pub(super) fn granted(
    granted: &[(Arc<str>, Target)],
    agents: &[AgentFacts],
) -> Vec<(u32, Network)> {
    let of = |(agent, target): &(Arc<str>, Target)| {
        let found = agents.iter().find(|known| known.name == *agent)?;
        match target {
            Target::Network(network) => Some((found.subject, *network)),
            Target::Name(_) => None,
        }
    };
    granted.iter().filter_map(of).collect()
}

/// The order of networks (family, address, then prefix length) puts each right after those that
/// hold it: a stack of the open ones is all that is needed.
fn nested<'a>(
    subject: u32,
    tree: BTreeMap<Network, Vec<Claim<'a>>>,
    found: &mut impl FnMut(Key<'_>, &mut [Claim<'a>]),
) {
    let mut open: Vec<(Network, Vec<Claim<'a>>)> = Vec::new();
    for (network, own) in tree {
        while open.last().is_some_and(|(around, _)| !around.holds(&network)) {
            open.pop();
        }
        let mut all = own;
        all.extend(open.last().iter().flat_map(|(_, claims)| claims.iter().copied()));
        found(Key::Network(subject, &network), &mut all);
        open.push((network, all));
    }
}

impl Network {
    /// `0.0.0.0/0`.
    const EVERY_V4: Self = Self::new_unchecked(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
}
