//! The rule that comes nearest to a destination which no rule allows.

use std::{fmt, net::IpAddr, sync::Arc};

use governd_common::{
    decide::Tables as _,
    table::{RuleBlock, RuleEntry},
    verdict::Verdict,
};

use super::{
    explain::{Destination, Question},
    image::{Compiled, RuleFacts},
    tables::ImageTables,
    value::{
        Target,
        name::{self, HostPattern},
        network::Network,
    },
};

/// Networks that share fewer leading bits with an address are not near.
const COMMON_BITS_MIN_V4: u8 = 8;
const COMMON_BITS_MIN_V6: u8 = 16;
/// Names that are less alike, from 0 to 1, are not near.
const LIKENESS_MIN: f64 = 0.8;

/// How an allow rule misses the destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Miss {
    /// The rule is on the destination, with other ports or protocols: these.
    Port(String),
    /// The destination is the name above which the rule's wildcard stands.
    Apex(Arc<str>),
    /// The rule is on another name of the same registrable domain.
    Sibling(Arc<str>),
    /// The rule is on a name that is spelled much the same.
    Spelling(Arc<str>),
    /// The rule is on a network close to the address.
    Network(Arc<str>),
}

/// The nearest rule, and how it misses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nearest {
    /// The rule.
    pub rule: RuleFacts,
    /// How it misses.
    pub miss: Miss,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, miss } = self;
        write!(f, "the nearest rule is {}: ", rule.id)?;
        match miss {
            Miss::Port(ports) => write!(f, "it allows the destination on {ports} only"),
            Miss::Apex(pattern) => {
                write!(f, "it allows {pattern}, which does not match the name itself")
            }
            Miss::Sibling(pattern) => write!(f, "it allows {pattern}, of the same domain"),
            Miss::Spelling(pattern) => write!(f, "it allows {pattern}, spelled much the same"),
            Miss::Network(network) => write!(f, "it allows the network {network} close by"),
        }
    }
}

/// `port 443/tcp`, `ports 1-1023`, `every port`.
pub(super) fn port_text(first: u16, last: u16, protocol: u8) -> String {
    let slash = match protocol {
        0 => String::new(),
        6 => "/tcp".to_owned(),
        17 => "/udp".to_owned(),
        other => format!("/protocol {other}"),
    };
    match (first, last) {
        (0, u16::MAX) => format!("every port{slash}"),
        _ if first == last => format!("port {first}{slash}"),
        _ => format!("ports {first}-{last}{slash}"),
    }
}

/// Finds the nearest allow rule of the subject.
pub(super) fn find(
    compiled: &Compiled,
    question: &Question<'_>,
    names: &[Arc<str>],
) -> Option<Nearest> {
    let nearest =
        |rule: u32, miss: Miss| Some(Nearest { rule: compiled.rule(rule)?.clone(), miss });
    if let Some((rule, ports)) = on_other_ports(compiled, question, names) {
        return nearest(rule, Miss::Port(ports));
    }
    let mut best: Option<(u32, u32, Miss)> = None;
    for (subject, set, block) in &compiled.image.blocks {
        if *subject != question.subject {
            continue;
        }
        let Some(entry) = allows(block).next() else { continue };
        let Some(text) = compiled.sets.get(set) else { continue };
        let score = score(text, question, names);
        if let Some((score, miss)) = score
            && best.as_ref().is_none_or(|(before, ..)| score > *before)
        {
            best = Some((score, entry.rule, miss));
        }
    }
    best.and_then(|(_, rule, miss)| nearest(rule, miss))
}

fn allows(block: &RuleBlock) -> impl Iterator<Item = &RuleEntry> {
    let used = block.entries.iter().take(block.len as usize);
    used.filter(|entry| Verdict::from_byte(entry.verdict) == Verdict::Allow)
}

/// An allow rule on the very destination, and the ports that it is for.
fn on_other_ports(
    compiled: &Compiled,
    question: &Question<'_>,
    names: &[Arc<str>],
) -> Option<(u32, String)> {
    let tables = ImageTables::new(&compiled.image);
    let network = match question.destination {
        Destination::Address(address) => tables.network(question.subject, &address.into()),
        Destination::Name(_) => None,
    };
    let sets = names.iter().filter_map(|name| tables.name_set(name)).chain(network);
    let mut blocks = sets.filter_map(|set| tables.block(question.subject, set));
    blocks.find_map(|block| {
        let first = allows(block).next()?;
        let same = allows(block).filter(|entry| entry.rule == first.rule);
        let ports: Vec<String> =
            same.map(|one| port_text(one.port_first, one.port_last, one.protocol)).collect();
        Some((first.rule, ports.join(", ")))
    })
}

/// How near a pattern is, larger being nearer, and how it misses.
fn score(text: &Arc<str>, question: &Question<'_>, names: &[Arc<str>]) -> Option<(u32, Miss)> {
    match Target::parse(text).ok()? {
        Target::Name(pattern) => {
            names.iter().filter_map(|name| name_score(text, &pattern, name)).max_by_key(|one| one.0)
        }
        Target::Network(network) => match question.destination {
            Destination::Address(address) => network_score(text, &network, address),
            Destination::Name(_) => None,
        },
    }
}

const SCORE_APEX: u32 = 4_000;
const SCORE_SIBLING: u32 = 3_000;
const SCORE_SPELLING: u32 = 1_000;

fn name_score(text: &Arc<str>, pattern: &HostPattern, name: &str) -> Option<(u32, Miss)> {
    if pattern.is_wildcard() && pattern.base() == name {
        return Some((SCORE_APEX, Miss::Apex(Arc::clone(text))));
    }
    let domain = name::registrable(name);
    if domain.is_some() && domain == name::registrable(pattern.base()) {
        let labels = |text: &str| text.rsplit('.').map(str::to_owned).collect::<Vec<_>>();
        let (ours, theirs) = (labels(name), labels(pattern.base()));
        let common = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count() as u32;
        return Some((SCORE_SIBLING + common, Miss::Sibling(Arc::clone(text))));
    }
    let likeness = strsim::normalized_damerau_levenshtein(name, pattern.base());
    let score = SCORE_SPELLING + (likeness * 100.0) as u32;
    (likeness >= LIKENESS_MIN).then(|| (score, Miss::Spelling(Arc::clone(text))))
}

fn network_score(text: &Arc<str>, network: &Network, address: IpAddr) -> Option<(u32, Miss)> {
    let common = network.common_bits(address);
    let least = if address.is_ipv4() { COMMON_BITS_MIN_V4 } else { COMMON_BITS_MIN_V6 };
    (common >= least).then(|| (u32::from(common), Miss::Network(Arc::clone(text))))
}
