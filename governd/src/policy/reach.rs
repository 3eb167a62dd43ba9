//! Who gains or loses what between two policies.
//!
//! Two policies cut the destinations of an agent into regions, in each of which both decide alike:
//! an exact name, the names below a wildcard that no narrower pattern matches, the addresses of a
//! network that no narrower one holds, and what is left; each by ranges of ports and transport. One
//! member of a region stands for all of it, and is asked of both policies.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use governd_common::{
    address::Address,
    decide::{Decision, Tables as _},
    table::{RuleEntry, Subject, set_id},
    verdict::{Mode, Verdict},
};
use serde::Serialize;

use super::{
    image::Compiled,
    lineage::{self, Lineage},
    said::{Setting, Settings},
    standing::Standing,
    tables::ImageTables,
    value::{Target, Tier, mode_word, name::HostPattern, network::Network},
    whole::Asker,
};

mod flows;

pub use flows::{FlowChange, flow_changes};

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
    /// Agents that started it, the first one first, if this is about what they start: it reaches
    /// what all of them may. Absent, it runs by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub started_by: Vec<String>,
    /// The subjects that are compared, in the old policy and in the new one.
    #[serde(skip)]
    pub subjects: (u32, u32),
    /// Its owner, in the new policy or else in the old one.
    pub owner: Option<String>,
    /// `new`, `gone` or `kept`. Without a document its processes are unregistered ones; what other
    /// agents start is theirs.
    pub presence: &'static str,
    /// Mode before and after.
    pub mode: (&'static str, &'static str),
    /// What it may reach from now on.
    pub gains: Vec<Reach>,
    /// What it may reach no more.
    pub loses: Vec<Reach>,
    /// What is decided alike, by another tier or with other proofs.
    pub changes: Vec<Shift>,
    /// What its document says otherwise beside that. Of what agents start, each one's own change
    /// says it.
    pub settings: Vec<Setting>,
}

/// Destinations that get another tier, or whose names are proved otherwise.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Shift {
    /// The destinations, and the rule that decides in the new policy.
    #[serde(flatten)]
    pub reach: Reach,
    /// Tier and proof before, in words.
    pub old: String,
    /// Tier and proof from now on.
    pub new: String,
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

/// Compares two policies, which were compiled with the same numbers for the same host, and of which
/// this is what their documents say otherwise.
pub fn changes(old: &Compiled, new: &Compiled, said: &Settings) -> Vec<AgentChange> {
    let subjects = old.agents.iter().chain(&new.agents).map(|agent| agent.subject);
    let subjects: BTreeSet<u32> = subjects.collect();
    let (mut before, mut after) = (Side::new(old), Side::new(new));
    let mut found = Vec::new();
    for subject in subjects {
        before.subject = if old.agent(subject).is_some() { subject } else { 0 };
        after.subject = if new.agent(subject).is_some() { subject } else { 0 };
        found.extend(change(&mut before, &mut after, &[subject], said));
    }
    let lineages: BTreeSet<Lineage> =
        lineage::all(old).into_iter().chain(lineage::all(new)).collect();
    let mut known = HashMap::new();
    for lineage in lineages {
        before.subject = lineage::end(&old.image, &lineage);
        after.subject = lineage::end(&new.image, &lineage);
        if !decide_alike(&before, &after, &mut known) {
            found.extend(change(&mut before, &mut after, &lineage, &Settings::new()));
        }
    }
    found
}

/// Whether two policies have the same agents decide about a subject, each by the same rules; that
/// is said of one agent by its own change.
fn decide_alike(before: &Side<'_>, after: &Side<'_>, known: &mut HashMap<u32, bool>) -> bool {
    let (old, new) = (before.members(), after.members());
    let is_alone = |side: &Side<'_>| side.subject == 0 || side.is_alone();
    old == new
        && (is_alone(before) && is_alone(after)
            || new.iter().all(|member| {
                *known
                    .entry(*member)
                    .or_insert_with(|| before.rules(*member) == after.rules(*member))
            }))
}

/// What changes for the last agent of a lineage, which ends as the subjects that both are asked
/// for.
fn change(
    before: &mut Side<'_>,
    after: &mut Side<'_>,
    lineage: &[u32],
    said: &Settings,
) -> Option<AgentChange> {
    let (agent, above) = lineage.split_last()?;
    let facts = |side: &Side<'_>, subject: u32| side.compiled.agent(subject).cloned();
    let is_it = |side: &Side<'_>| match above {
        [] => side.compiled.agent(*agent).is_some(),
        _ => side.subject != 0,
    };
    let presence = match (is_it(before), is_it(after)) {
        (false, _) => "new",
        (_, false) => "gone",
        _ => "kept",
    };
    let own = facts(after, *agent).or_else(|| facts(before, *agent))?;
    let mode = |side: &Side<'_>| {
        side.compiled.agent(side.subject).map_or(Mode::Monitor, |facts| facts.mode)
    };
    let mode = (mode(before), mode(after));
    let named = above.iter().filter_map(|one| facts(after, *one).or_else(|| facts(before, *one)));
    let mut change = AgentChange {
        agent: own.name.to_string(),
        started_by: named.map(|facts| facts.name.to_string()).collect(),
        subjects: (before.subject, after.subject),
        owner: own.owner.as_ref().map(ToString::to_string),
        presence,
        mode: (mode_word(mode.0), mode_word(mode.1)),
        gains: Vec::new(),
        loses: Vec::new(),
        changes: Vec::new(),
        settings: said.get(&own.name).cloned().unwrap_or_default(),
    };
    // What they decide by is the same, whatever it is about.
    let is_alike = presence == "kept" && before.members() == after.members();
    let is_alike =
        is_alike && after.members().iter().all(|it| before.rules(*it) == after.rules(*it));
    let regions = if is_alike { Vec::new() } else { regions(&[&*before, &*after]) };
    for region in regions {
        for (turn, reach) in compare(before, after, &region) {
            match turn {
                Turn::Gain => change.gains.push(reach),
                Turn::Loss => change.loses.push(reach),
                Turn::Shift(old, new) => {
                    let (old, new) = (old.to_string(), new.to_string());
                    change.changes.push(Shift { reach, old, new });
                }
            }
        }
    }
    let is_change = presence != "kept"
        || mode.0 != mode.1
        || !change.gains.is_empty()
        || !change.loses.is_empty()
        || !change.changes.is_empty()
        || !change.settings.is_empty();
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

/// What becomes of destinations.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Turn {
    Gain,
    Loss,
    /// The verdict stays.
    Shift(Standing, Standing),
}

/// What changes in a region.
fn compare(before: &mut Side<'_>, after: &mut Side<'_>, region: &Region) -> Vec<(Turn, Reach)> {
    let starts = starts(&[&*before, &*after], region);
    let found = spread(&starts, |port, protocol| {
        let was = before.decide(&region.member, port, protocol);
        let is = after.decide(&region.member, port, protocol);
        let turn = match (was.verdict, is.verdict) {
            (Verdict::Deny, Verdict::Allow) => Turn::Gain,
            (Verdict::Allow, Verdict::Deny) => Turn::Loss,
            _ => {
                let old = before.standing(&region.member, port, protocol, was);
                let new = after.standing(&region.member, port, protocol, is);
                Some(Turn::Shift(old, new)).filter(|_| old != new)?
            }
        };
        Some((turn, after.rule(is)))
    });
    let destination = &region.words;
    let reach = |Spread { key: (turn, rule), ports, protocols }| {
        (turn, Reach { destination: destination.clone(), ports, protocols, rule })
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

/// An entry and the tier of its rule.
type Tiered = (RuleEntry, Option<Tier>);

/// What decides for an agent, as far as two policies can be compared in it.
#[derive(PartialEq)]
struct AgentRules {
    /// Mode, default and flags.
    settings: Option<(u8, u8, u16)>,
    /// Entries of each set, with the tiers of their rules.
    blocks: Vec<(u32, Vec<Tiered>)>,
    resolvers: Vec<[u8; 16]>,
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

    fn settings(&self) -> Option<&Subject> {
        self.tables.subject(self.subject)
    }

    fn is_alone(&self) -> bool {
        self.settings().is_none_or(Subject::is_alone)
    }

    /// Agents whose rules count for the subject.
    fn members(&self) -> Vec<u32> {
        let members = self.settings().map_or(Subject::ALONE, |it| it.members_or(self.subject));
        let more = members.into_iter().skip(1).filter(|member| *member != 0);
        members.first().copied().into_iter().chain(more).collect()
    }

    /// All that an agent's decisions come from, whatever its rules are called.
    fn rules(&self, agent: u32) -> AgentRules {
        let image = &self.compiled.image;
        let settings = self.tables.subject(agent).map(|it| Subject { default_rule: 0, ..*it });
        let settings = settings.map(|it| (it.mode, it.default_verdict, it.flags));
        let own = image.blocks.iter().filter(|(subject, ..)| *subject == agent);
        let tier = |entry: &RuleEntry| self.compiled.rule(entry.rule).map(|rule| rule.tier);
        let mut blocks: Vec<(u32, Vec<_>)> = own
            .map(|(_, set, block)| {
                let entries = block.entries.iter().take(block.len as usize);
                let entry = |it: &RuleEntry| (RuleEntry { rule: 0, ..*it }, tier(it));
                (*set, entries.map(entry).collect())
            })
            .collect();
        blocks.sort_unstable_by_key(|(set, _)| *set);
        let resolvers = image.resolvers.iter().map(|address| address.bytes).collect();
        AgentRules { settings, blocks, resolvers }
    }

    /// Destinations that rules of the subject are about.
    fn targets(&self) -> impl Iterator<Item = Target> {
        let members = self.members();
        let own = self.compiled.image.blocks.iter();
        let own = own.filter(move |block| members.contains(&block.0));
        let texts = own.filter_map(|(_, set, _)| self.compiled.sets.get(set));
        texts.filter_map(|text| Target::parse(text).ok())
    }

    /// Where ranges of ports begin, or what is after them begins.
    fn port_starts(&self, member: &Member, starts: &mut BTreeSet<u16>) {
        for agent in self.members() {
            let set = match member {
                Member::Name(name) => self.tables.name_set(name),
                Member::Address(address) => self.tables.network(agent, &Address::from(*address)),
            };
            for set in set.into_iter().chain([set_id::ANY_ADDRESS]) {
                let Some(block) = self.tables.block(agent, set) else { continue };
                for entry in block.entries.iter().take(block.len as usize) {
                    starts.insert(entry.port_first);
                    starts.extend(entry.port_last.checked_add(1));
                }
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

    /// Tier and proofs of what this is the decision about.
    fn standing(
        &mut self,
        member: &Member,
        port: u16,
        protocol: u8,
        decision: Decision,
    ) -> Standing {
        let asker = Asker { subject: self.subject, port, protocol };
        match member {
            Member::Name(name) => {
                Standing::of_name(self.compiled, decision, (asker, name, &mut self.tables))
            }
            Member::Address(_) => Standing::of(self.compiled, decision),
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
