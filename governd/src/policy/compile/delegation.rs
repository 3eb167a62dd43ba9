//! Agents that others start: the subjects that such processes have.
//!
//! A chain is an agent and those that started it, at once or through others. It has a subject of
//! its own, and what passes has to pass by the policies of all members. Who came first among those
//! above makes no difference, so they are a set. A process goes from one chain to another only when
//! it executes what an agent is recognised by, and the chain then only grows; where both sides of a
//! start say `delegation: own`, the one above is left out.
//!
//! How many chains there are is bounded: those with few members are kept first, and among them
//! those that a document names by `parent`. What has none stays what it is, which reaches no more
//! than before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use governd_common::{
    limits::{DELEGATIONS_MAX, MEMBERS_MAX},
    table::{SocketOwner, Subject, subject_flag},
    verdict::{Mode, Verdict},
};

use crate::policy::{
    ids::Ids,
    image::{AgentFacts, Compiled},
    limits::SUBJECTS_MAX,
};

/// Chains of one policy.
pub const CHAINS_MAX: usize = 1_024;

/// What the host and the documents say of agents.
pub(super) struct Recognised {
    /// Agents that say `delegation: own` and are approved.
    pub(super) own: BTreeSet<u32>,
    /// Agents that can be recognised on this host, and the parents that their entries ask for.
    pub(super) entries: BTreeMap<u32, Vec<Option<u32>>>,
}

/// An agent, and those that started it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Chain {
    above: BTreeSet<u32>,
    agent: u32,
}

impl Chain {
    fn has(&self, agent: u32) -> bool {
        self.agent == agent || self.above.contains(&agent)
    }

    /// What becomes of it where it starts an agent.
    fn start(&self, agent: u32, own: &BTreeSet<u32>) -> Self {
        let leaves = |above: &u32| own.contains(above) && own.contains(&agent);
        let all = self.above.iter().copied().chain([self.agent]);
        Self { above: all.filter(|one| !leaves(one)).collect(), agent }
    }

    fn members(&self) -> impl Iterator<Item = u32> {
        self.above.iter().copied().chain([self.agent])
    }
}

/// What could not be kept.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// There are more chains than have a place.
    pub(super) is_many: bool,
    /// Agents whose documents name a member of a chain as their parent that has as many as there
    /// can be, and the members of one such chain.
    pub(super) deep: BTreeMap<u32, Vec<u32>>,
}

/// Finds the chains of a policy, and gives them subjects.
pub(super) fn chain(compiled: &mut Compiled, ids: &mut Ids, recognised: &Recognised) -> Cut {
    let names: HashMap<u32, Arc<str>> =
        compiled.agents.iter().map(|one| (one.subject, Arc::clone(&one.name))).collect();
    // One is the daemon's own.
    let free = SUBJECTS_MAX.saturating_sub(compiled.image.subjects.len() + 1);
    let room = CHAINS_MAX.min(free);
    let mut search = Search {
        recognised,
        names: &names,
        ids,
        room,
        known: HashMap::new(),
        alone: BTreeSet::new(),
        delegations: Vec::new(),
        cut: Cut::default(),
    };
    let mut level: Vec<(Chain, u32)> = recognised
        .entries
        .iter()
        .filter(|(_, entries)| entries.contains(&None))
        .map(|(agent, _)| (Chain { above: BTreeSet::new(), agent: *agent }, *agent))
        .collect();
    search.alone = level.iter().map(|(_, agent)| *agent).collect();
    while !level.is_empty() {
        let mut next = Vec::new();
        for is_named in [true, false] {
            for (chain, subject) in &level {
                search.extend(chain, *subject, is_named, &mut next);
            }
        }
        level = next;
    }
    let Search { known, delegations, cut, .. } = search;
    compiled.image.delegations = delegations;
    compiled.image.delegations.sort_unstable();
    let chains = known.into_iter().map(|(chain, subject)| (subject, chain.members().collect()));
    let mut chains: Vec<(u32, Vec<u32>)> = chains.collect();
    chains.extend(earlier(ids, &names, &chains, free));
    chains.sort_unstable();
    for (subject, members) in chains {
        add(compiled, subject, &members);
    }
    settle(compiled);
    cut
}

struct Search<'a> {
    recognised: &'a Recognised,
    names: &'a HashMap<u32, Arc<str>>,
    ids: &'a mut Ids,
    room: usize,
    known: HashMap<Chain, u32>,
    /// Agents that can be what they are without others.
    alone: BTreeSet<u32>,
    delegations: Vec<((u32, u32), u32)>,
    cut: Cut,
}

impl Search<'_> {
    /// What a chain becomes by every agent that it can start: those that name a member of it as
    /// their parent, or those that do not.
    fn extend(
        &mut self,
        chain: &Chain,
        subject: u32,
        is_named: bool,
        next: &mut Vec<(Chain, u32)>,
    ) {
        for (agent, entries) in &self.recognised.entries {
            if chain.has(*agent) {
                continue;
            }
            let names_member = entries.iter().flatten().any(|parent| chain.has(*parent));
            let fits = names_member || entries.contains(&None);
            if !fits || names_member != is_named {
                continue;
            }
            let started = chain.start(*agent, &self.recognised.own);
            if started.above.len() >= MEMBERS_MAX {
                if names_member {
                    self.cut.deep.entry(*agent).or_insert_with(|| chain.members().collect());
                }
                continue;
            }
            let found = match self.known.get(&started) {
                Some(found) => *found,
                None if started.above.is_empty() => {
                    if self.alone.insert(*agent) {
                        next.push((started, *agent));
                    }
                    *agent
                }
                None if self.known.len() >= self.room => {
                    self.cut.is_many = true;
                    continue;
                }
                None => {
                    let found = self.ids.subject(&self.text(&started));
                    self.known.insert(started.clone(), found);
                    next.push((started, found));
                    found
                }
            };
            if self.delegations.len() < DELEGATIONS_MAX as usize / 2 {
                self.delegations.push(((subject, *agent), found));
            } else {
                self.cut.is_many = true;
            }
        }
    }

    /// Names of the members, those above in their order, joined by what no name has.
    fn text(&self, chain: &Chain) -> String {
        let name = |one: &u32| self.names.get(one).map_or("", |name| &**name);
        let mut above: Vec<&str> = chain.above.iter().map(name).collect();
        above.sort_unstable();
        above.push(name(&chain.agent));
        above.join(Ids::AND)
    }
}

/// Chains of policies before, which processes may still have: what is left of each, so that none of
/// their processes is nobody's for want of one of its agents.
fn earlier(
    ids: &Ids,
    names: &HashMap<u32, Arc<str>>,
    known: &[(u32, Vec<u32>)],
    room: usize,
) -> Vec<(u32, Vec<u32>)> {
    let by_name: HashMap<&str, u32> = names.iter().map(|(one, name)| (&**name, *one)).collect();
    let known: BTreeSet<u32> = known.iter().map(|(subject, _)| *subject).collect();
    let old = ids.chains().filter(|(subject, _)| !known.contains(subject));
    let left = old.map(|(subject, text)| {
        let members = text.split(Ids::AND).filter_map(|name| by_name.get(name).copied());
        (subject, members.collect::<Vec<u32>>())
    });
    let mut left: Vec<_> = left.filter(|(_, members)| !members.is_empty()).collect();
    // The latest are the likeliest to be in use.
    left.sort_unstable_by_key(|(subject, _)| std::cmp::Reverse(*subject));
    left.truncate(room.saturating_sub(known.len()));
    left
}

/// Adds a subject that stands for several agents; what it may do is settled afterwards.
fn add(compiled: &mut Compiled, subject: u32, members: &[u32]) {
    let facts: Vec<&AgentFacts> = members.iter().filter_map(|one| compiled.agent(*one)).collect();
    let Some((agent, above)) = facts.split_last() else { return };
    let started_by = above.iter().map(|facts| Arc::clone(&facts.name)).collect();
    let facts = AgentFacts { subject, started_by, ..(*agent).clone() };
    let mut list = [0; MEMBERS_MAX];
    list.iter_mut().zip(members).for_each(|(place, member)| *place = *member);
    let settings = Subject {
        mode: Mode::Enforce as u8,
        default_verdict: Verdict::Deny as u8,
        flags: 0,
        default_rule: 0,
        members: list,
    };
    compiled.started.push(facts);
    compiled.image.subjects.push((subject, settings));
}

/// Has every chain be what its members are now: also to be called where their modes change.
pub fn settle(compiled: &mut Compiled) {
    let alone: HashMap<u32, Subject> =
        compiled.image.subjects.iter().filter(|(_, it)| it.is_alone()).copied().collect();
    for (_, settings) in compiled.image.subjects.iter_mut().filter(|(_, it)| !it.is_alone()) {
        let members = settings.members.iter().filter_map(|member| alone.get(member));
        *settings = Subject { members: settings.members, ..of_all(&members.collect::<Vec<_>>()) };
    }
    if let Some(Subject { mode, .. }) = alone.get(&0).copied() {
        let all = compiled.image.subjects.iter_mut();
        for (_, nobody) in all.filter(|(subject, _)| *subject == SocketOwner::UNCLASSIFIED) {
            nobody.mode = mode;
        }
    }
    let modes: HashMap<u32, u8> =
        compiled.image.subjects.iter().map(|(subject, it)| (*subject, it.mode)).collect();
    for facts in &mut compiled.started {
        facts.mode = modes.get(&facts.subject).map_or(Mode::Enforce, |it| Mode::from_byte(*it));
    }
}

/// What hooks without a destination go by: the strictest of all members or, if one is enforced, of
/// those that are. Rules are numbered as the last member's, which is the agent itself.
fn of_all(members: &[&Subject]) -> Subject {
    let mode = members.iter().map(|one| one.mode).max().unwrap_or(Mode::Enforce as u8);
    let counting = members.iter().filter(|one| one.mode == mode);
    let open = subject_flag::LOOPBACK
        | subject_flag::QUIET_DEFAULT
        | subject_flag::RAW_SOCKETS
        | subject_flag::LOCAL_SOCKETS;
    let mut settings = Subject {
        mode,
        default_verdict: Verdict::Allow as u8,
        flags: open,
        default_rule: members.last().map_or(0, |one| one.default_rule),
        members: Subject::ALONE,
    };
    for one in counting {
        settings.default_verdict = settings.default_verdict.min(one.default_verdict);
        settings.flags = settings.flags & one.flags & open | (settings.flags | one.flags) & !open;
    }
    settings
}
