//! Who gains or loses what between two policies.
//!
//! Two policies cut the destinations of an agent into regions, in each of which both decide alike:
//! an exact name, the names below a wildcard that no narrower pattern matches, the addresses of a
//! network that no narrower one holds, and what is left; each by ranges of ports and transport. One
//! member of a region stands for all of it, and is asked of both policies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use governd_common::{
    address::Address,
    decide::{Decision, Tables as _},
    table::set_id,
    verdict::{Mode, Verdict},
};
use serde::Serialize;

use super::{
    image::Compiled,
    observed::Observed,
    tables::ImageTables,
    value::{Target, mode_word, name::HostPattern, network::Network, verdict_word},
    whole::Asker,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Stands for every transport but TCP and UDP.
const OTHER: u8 = 132;
/// A label that no pattern can have: a name with it is below a wildcard, and nothing narrower.
const ANY_LABEL: &str = "?";
/// Ports on which decisions may differ from those on others: DNS, HTTP and HTTPS.
const SPECIAL_PORTS: [u16; 3] = [53, 80, 443];

/// What changes for one agent.
#[derive(Clone, Debug, Serialize)]
pub struct AgentChange {
    /// The agent, or `unregistered`.
    pub agent: String,
    /// Its owner, in the new policy or else in the old one.
    pub owner: Option<String>,
    /// `new`, `gone` or `kept`. Without a document its processes are unregistered ones.
    pub presence: &'static str,
    /// Mode before and after.
    pub mode: (&'static str, &'static str),
    /// What it may reach from now on.
    pub gains: Vec<Reach>,
    /// What it may reach no more.
    pub loses: Vec<Reach>,
}

/// Destinations that are reached by one rule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reach {
    /// A name, a wildcard, a network, `other names` or `other addresses`: without those that have
    /// an entry of their own.
    pub destination: String,
    /// First and last port.
    pub ports: (u16, u16),
    /// `tcp`, `udp` and `other`, as far as they are meant.
    pub protocols: Vec<&'static str>,
    /// The rule that decides in the new policy.
    pub rule: String,
}

/// A kind of observed flow whose verdict changes.
#[derive(Clone, Debug, Serialize)]
pub struct FlowChange {
    /// The agent as it was then.
    pub agent: String,
    /// Where it went, in words.
    pub destination: String,
    /// Verdict of the new policy.
    pub verdict: &'static str,
    /// The rule that decides in the new policy.
    pub rule: String,
    /// How many there were.
    pub count: u64,
    /// When the last of them was, in milliseconds since the epoch.
    pub last_ms: u64,
}

/// Compares two policies, which were compiled with the same numbers for the same host.
pub fn changes(old: &Compiled, new: &Compiled) -> Vec<AgentChange> {
    let subjects = old.agents.iter().chain(&new.agents).map(|agent| agent.subject);
    let subjects: BTreeSet<u32> = subjects.collect();
    let (mut before, mut after) = (Side::new(old), Side::new(new));
    let change = |subject| agent_change(&mut before, &mut after, subject);
    subjects.into_iter().filter_map(change).collect()
}

/// Which of the observed flows the new policy decides otherwise than the old one.
pub fn flow_changes(old: &Compiled, new: &Compiled, flows: &[Observed]) -> Vec<FlowChange> {
    let (mut before, mut after) = (Side::new(old), Side::new(new));
    let mut found = Vec::new();
    for flow in flows {
        let (was, is) = (before.observed(flow), after.observed(flow));
        if was.verdict != is.verdict {
            found.push(FlowChange {
                agent: flow.key.agent.to_string(),
                destination: in_words(flow),
                verdict: verdict_word(is.verdict),
                rule: after.rule(is),
                count: flow.count,
                last_ms: flow.last_ms,
            });
        }
    }
    found
}

fn in_words(flow: &Observed) -> String {
    let key = &flow.key;
    let host = match &key.name {
        Some(name) => name.to_string(),
        None => key.address.to_string(),
    };
    let protocol = match key.protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        other => other.to_string(),
    };
    format!("{host} port {}/{protocol}", key.port)
}

fn agent_change(before: &mut Side<'_>, after: &mut Side<'_>, subject: u32) -> Option<AgentChange> {
    let (old, new) = (before.compiled.agent(subject), after.compiled.agent(subject));
    let presence = match (old, new) {
        (None, _) => "new",
        (_, None) => "gone",
        _ => "kept",
    };
    before.subject = if old.is_some() { subject } else { 0 };
    after.subject = if new.is_some() { subject } else { 0 };
    let facts = new.or(old)?;
    let mode = |facts: Option<&super::image::AgentFacts>, side: &Side<'_>| {
        let unregistered = side.compiled.agent(0);
        facts.or(unregistered).map_or(Mode::Monitor, |facts| facts.mode)
    };
    let mode = (mode(old, before), mode(new, after));
    let mut change = AgentChange {
        agent: facts.name.to_string(),
        owner: facts.owner.as_ref().map(ToString::to_string),
        presence,
        mode: (mode_word(mode.0), mode_word(mode.1)),
        gains: Vec::new(),
        loses: Vec::new(),
    };
    for region in regions(&[&*before, &*after]) {
        for (is_gain, reach) in compare(before, after, &region) {
            if is_gain { change.gains.push(reach) } else { change.loses.push(reach) }
        }
    }
    let is_change = presence != "kept"
        || mode.0 != mode.1
        || !change.gains.is_empty()
        || !change.loses.is_empty();
    is_change.then_some(change)
}

/// Destinations about which both policies decide alike, each in itself, and one of them.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) words: String,
    pub(super) member: Member,
}

#[derive(Debug)]
pub(super) enum Member {
    Name(String),
    Address(IpAddr),
}

/// Names first, in the order of their domains; then networks.
pub(super) fn regions(sides: &[&Side<'_>]) -> Vec<Region> {
    let mut names: BTreeSet<HostPattern> = BTreeSet::new();
    let mut networks: BTreeSet<Network> = BTreeSet::new();
    for side in sides {
        for target in side.targets() {
            match target {
                Target::Name(pattern) => drop(names.insert(pattern)),
                Target::Network(network) => drop(networks.insert(network)),
            }
        }
        networks.extend(
            side.compiled
                .image
                .resolvers
                .iter()
                .map(|address| Network::host(IpAddr::V6(Ipv6Addr::from(address.bytes)))),
        );
    }
    let every = [
        Network::new_unchecked(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        Network::new_unchecked(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    ];
    networks.extend(every);
    // The unspecified addresses are this host, as those of the loopback interface are.
    networks.extend(every.map(|network| Network::host(network.address())));
    networks.insert(Network::new_unchecked(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8));
    networks.insert(Network::host(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let mut found: Vec<Region> = names.iter().map(name_region).collect();
    found.push(Region {
        words: "other names".to_owned(),
        member: Member::Name(ANY_LABEL.to_owned()),
    });
    let networks: Vec<Network> = networks.into_iter().collect();
    for (index, network) in networks.iter().enumerate() {
        let inside = networks.iter().skip(index + 1).take_while(|one| network.holds(one));
        let words = match every.iter().position(|one| one == network) {
            Some(0) => "other IPv4 addresses".to_owned(),
            Some(_) => "other IPv6 addresses".to_owned(),
            None => network.to_string(),
        };
        if let Some(address) = network.first_outside(inside) {
            found.push(Region { words, member: Member::Address(address) });
        }
    }
    found
}

fn name_region(pattern: &HostPattern) -> Region {
    let base = pattern.base();
    let name = if pattern.is_wildcard() { format!("{ANY_LABEL}.{base}") } else { base.to_owned() };
    Region { words: pattern.to_string(), member: Member::Name(name) }
}

/// First and last port.
pub(super) type Range = (u16, u16);

/// What changes in a region: whether it is gained, and what.
fn compare(before: &mut Side<'_>, after: &mut Side<'_>, region: &Region) -> Vec<(bool, Reach)> {
    let starts = starts(&[&*before, &*after], region);
    let found = spread(&starts, |port, protocol| {
        let was = before.decide(&region.member, port, protocol);
        let is = after.decide(&region.member, port, protocol);
        (was.verdict != is.verdict).then(|| (is.verdict == Verdict::Allow, after.rule(is)))
    });
    let destination = &region.words;
    let reach = |Spread { key: (is_gain, rule), ports, protocols }| {
        (is_gain, Reach { destination: destination.clone(), ports, protocols, rule })
    };
    found.into_iter().map(reach).collect()
}

/// Where ranges of ports begin on which policies may decide otherwise than on those before.
pub(super) fn starts(sides: &[&Side<'_>], region: &Region) -> BTreeSet<u16> {
    let mut starts: BTreeSet<u16> = [0].into();
    starts.extend(SPECIAL_PORTS.iter().flat_map(|port| [*port, port + 1]));
    for side in sides {
        side.port_starts(&region.member, &mut starts);
    }
    starts
}

/// Ports and transports of which the same holds.
#[derive(Debug)]
pub(super) struct Spread<K> {
    pub(super) key: K,
    pub(super) ports: Range,
    pub(super) protocols: Vec<&'static str>,
}

/// Asks about every range of ports by every transport, and joins what is alike. What has no key is
/// left out.
pub(super) fn spread<K: Clone + Ord>(
    starts: &BTreeSet<u16>,
    mut key: impl FnMut(u16, u8) -> Option<K>,
) -> Vec<Spread<K>> {
    let mut found: BTreeMap<(K, u8), Vec<Range>> = BTreeMap::new();
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([u16::MAX]);
    for (first, last) in starts.iter().copied().zip(ends) {
        for protocol in [TCP, UDP, OTHER] {
            let Some(key) = key(first, protocol) else { continue };
            let ranges = found.entry((key, protocol)).or_default();
            match ranges.last_mut() {
                Some(range) if u32::from(range.1) + 1 == u32::from(first) => range.1 = last,
                _ => ranges.push((first, last)),
            }
        }
    }
    let mut joined: BTreeMap<(K, Range), Vec<&'static str>> = BTreeMap::new();
    for ((key, protocol), ranges) in found {
        let word = match protocol {
            TCP => "tcp",
            UDP => "udp",
            _ => "other",
        };
        for ports in ranges {
            joined.entry((key.clone(), ports)).or_default().push(word);
        }
    }
    let joined = joined.into_iter();
    joined.map(|((key, ports), protocols)| Spread { key, ports, protocols }).collect()
}

/// One of the policies, asked for one subject.
pub(super) struct Side<'a> {
    compiled: &'a Compiled,
    tables: ImageTables<'a>,
    pub(super) subject: u32,
}

impl<'a> Side<'a> {
    pub(super) fn new(compiled: &'a Compiled) -> Self {
        Self { compiled, tables: ImageTables::new(&compiled.image), subject: 0 }
    }

    /// Destinations that rules of the subject are about.
    fn targets(&self) -> impl Iterator<Item = Target> {
        let own = self.compiled.image.blocks.iter().filter(|block| block.0 == self.subject);
        let texts = own.filter_map(|(_, set, _)| self.compiled.sets.get(set));
        texts.filter_map(|text| Target::parse(text).ok())
    }

    /// Where ranges of ports begin, or what is after them begins.
    fn port_starts(&self, member: &Member, starts: &mut BTreeSet<u16>) {
        let set = match member {
            Member::Name(name) => self.tables.name_set(name),
            Member::Address(address) => self.tables.network(self.subject, &Address::from(*address)),
        };
        for set in set.into_iter().chain([set_id::ANY_ADDRESS]) {
            let Some(block) = self.tables.block(self.subject, set) else { continue };
            for entry in block.entries.iter().take(block.len as usize) {
                starts.insert(entry.port_first);
                starts.extend(entry.port_last.checked_add(1));
            }
        }
    }

    pub(super) fn decide(&mut self, member: &Member, port: u16, protocol: u8) -> Decision {
        let asker = Asker { subject: self.subject, port, protocol };
        match member {
            Member::Name(name) => asker.to_name(&mut self.tables, name, None),
            Member::Address(address) => asker.to_address(&mut self.tables, *address),
        }
    }

    fn observed(&mut self, flow: &Observed) -> Decision {
        let key = &flow.key;
        let agent = self.compiled.agents.iter().find(|agent| agent.name == key.agent);
        let subject = agent.map_or(0, |agent| agent.subject);
        let asker = Asker { subject, port: key.port, protocol: key.protocol };
        match &key.name {
            Some(name) => asker.to_name(&mut self.tables, name, Some(key.address)),
            None => asker.to_address(&mut self.tables, key.address),
        }
    }

    pub(super) fn rule(&self, decision: Decision) -> String {
        let rule = self.compiled.rule(decision.rule);
        rule.map_or_else(|| "none".to_owned(), |rule| rule.id.to_string())
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { destination, ports: (first, last), protocols, rule } = self;
        write!(f, "{destination}")?;
        match (first, last) {
            (0, &u16::MAX) => write!(f, " every port")?,
            (first, last) if first == last => write!(f, " port {first}")?,
            _ => write!(f, " ports {first}-{last}")?,
        }
        if protocols.len() < 3 {
            write!(f, "/{}", protocols.join("+"))?;
        }
        write!(f, ", by {rule}")
    }
}
