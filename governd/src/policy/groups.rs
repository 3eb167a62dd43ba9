//! What the groups of endpoints have in them, for the rules that name them.
//!
//! Bounded whatever the documents say: circles and deep nesting are refused, what several paths
//! lead to is there once, a group has at most [`GROUP_MEMBERS_MAX`] destinations, and all groups,
//! as all rules, have at most [`DESTINATIONS_MAX`] together. Who has the destinations of one group
//! and no others shares its list.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    compile::Endpoint,
    diagnostic::{Code, Diagnostic, Diagnostics, Place},
    limits::{DESTINATIONS_MAX, GROUP_MEMBERS_MAX, GROUP_NESTING_MAX},
    model::{Agent, EndpointGroup, Member, Placed, Policy, Rule},
    value::{Target, group::GroupRef, port::Ports},
    words,
};

/// The agents of a policy, with the members of the groups that their rules name.
pub(super) fn expand<'p>(
    policy: &'p Policy,
    endpoints: &[Endpoint],
    out: &mut Diagnostics,
) -> Expanded<'p> {
    let groups = policy.groups.iter().map(|group| (&*group.name, group)).collect();
    let mut expander = Expander {
        groups,
        endpoints,
        known: HashMap::new(),
        open: Vec::new(),
        of_groups: Count::default(),
        of_rules: Count::default(),
        out,
    };
    for group in &policy.groups {
        expander.group(group);
    }
    let agents = policy.agents.iter().map(|agent| {
        let mut agent = Cow::Borrowed(agent);
        for index in 0..agent.rules.len() {
            let Some(rule) = agent.rules.get(index) else { break };
            let members = expander.rule(rule);
            if !members.is_empty()
                && let Some(rule) = agent.to_mut().rules.get_mut(index)
            {
                rule.members = members;
            }
        }
        agent
    });
    Expanded { agents: agents.collect() }
}

/// Agents whose rules know their members.
pub(super) struct Expanded<'p> {
    /// Those without groups are as they were written.
    pub(super) agents: Vec<Cow<'p, Agent>>,
}

/// A group as others see it.
#[derive(Clone, Default)]
struct Known {
    members: Arc<[Member]>,
    /// Groups from this one to the innermost.
    nesting: usize,
}

struct Expander<'a, 'o> {
    groups: HashMap<&'a str, &'a EndpointGroup>,
    endpoints: &'a [Endpoint],
    known: HashMap<&'a str, Known>,
    /// Groups that are being looked into, the outermost first.
    open: Vec<&'a str>,
    of_groups: Count,
    of_rules: Count,
    out: &'o mut Diagnostics,
}

/// Destinations so far.
#[derive(Default)]
struct Count(usize);

impl Count {
    /// Whether there is place for so many more. Nobody else has any once it was too much.
    fn takes(&mut self, more: usize) -> bool {
        self.0 = self.0.saturating_add(more);
        self.0 <= DESTINATIONS_MAX
    }

    fn is_full(&self) -> bool {
        self.0 > DESTINATIONS_MAX
    }
}

impl<'a> Expander<'a, '_> {
    fn rule(&mut self, rule: &Rule) -> Arc<[Member]> {
        let mut lists = Vec::with_capacity(rule.groups.len());
        for group in &rule.groups {
            lists.push(self.reference(group).members);
        }
        if self.of_rules.is_full() {
            return Arc::new([]);
        }
        let members = joined(Vec::new(), &lists, rule.ports.as_deref(), usize::MAX);
        if !self.of_rules.takes(rule.targets.len() + members.len()) {
            let message = format!(
                "from here on, the rules have more than {DESTINATIONS_MAX} destinations, those of \
                 groups counted for each rule"
            );
            let hint = "put agents that do not run here into the policy of other hosts, or use \
                        wildcards";
            self.out.push(Diagnostic::error(Code::Limit, &rule.place, message).hint(hint));
            return Arc::new([]);
        }
        if members.iter().any(|one| one.ports.as_ref().is_some_and(|ports| ports.is_empty())) {
            let message = "the rule and its groups have no port in common for some destinations";
            let hint = "leave `ports` out of the rule, to have those of the groups";
            let warning = Diagnostic::warning(Code::EmptyList, &rule.place, message);
            self.out.push(warning.hint(hint));
        }
        members
    }

    fn group(&mut self, group: &'a EndpointGroup) -> Known {
        if let Some(known) = self.known.get(&*group.name) {
            return known.clone();
        }
        self.open.push(&group.name);
        let (mut lists, mut nesting) = (Vec::new(), 0);
        for included in &group.groups {
            let inner = self.reference(included);
            lists.push(inner.members);
            nesting = nesting.max(inner.nesting);
            if inner.nesting >= GROUP_NESTING_MAX {
                self.too_deep(&included.place);
                break;
            }
        }
        self.open.pop();
        let members = self.members(group, &lists);
        let known = Known { members, nesting: nesting + 1 };
        self.known.insert(&group.name, known.clone());
        known
    }

    /// What a group has in it, with those that it includes; nothing, if that is too much.
    fn members(&mut self, group: &EndpointGroup, lists: &[Arc<[Member]>]) -> Arc<[Member]> {
        if self.of_groups.is_full() {
            return Arc::new([]);
        }
        let ports: Option<Arc<[Ports]>> = group.ports.as_deref().map(Arc::from);
        let own = |target: &Target| Member { target: target.clone(), ports: ports.clone() };
        let own = group.targets.iter().map(own).collect();
        let members = joined(own, lists, ports.as_deref(), GROUP_MEMBERS_MAX);
        let is_shared = lists.iter().any(|list| Arc::ptr_eq(list, &members));
        let hint = "use wildcards and networks, or split the group";
        let message = if members.len() > GROUP_MEMBERS_MAX {
            format!("the group `{}` has more than {GROUP_MEMBERS_MAX} destinations", group.name)
        } else if !is_shared && !self.of_groups.takes(members.len()) {
            format!(
                "with `{}`, the groups have more than {DESTINATIONS_MAX} destinations, those that \
                 they have from others counted for each",
                group.name
            )
        } else {
            return members;
        };
        self.out.push(Diagnostic::error(Code::Limit, &group.place, message).hint(hint));
        Arc::new([])
    }

    fn reference(&mut self, group: &Placed<GroupRef>) -> Known {
        let Placed { value, place } = group;
        match value {
            GroupRef::Catalogue { provider, kind } => {
                let members = self.catalogue(provider, kind.as_deref(), place);
                Known { members, nesting: 0 }
            }
            GroupRef::Named(name) => {
                if let Some(at) = self.open.iter().position(|open| **open == **name) {
                    self.cycle(at, name, place);
                    return Known::default();
                }
                if self.open.len() >= GROUP_NESTING_MAX {
                    self.too_deep(place);
                    return Known::default();
                }
                match self.groups.get(&**name).copied() {
                    Some(group) => self.group(group),
                    None => {
                        let mut known: Vec<&str> = self.groups.keys().copied().collect();
                        known.sort_unstable();
                        let message = format!("there is no EndpointGroup `{name}`");
                        self.unknown(&message, name, &known, place);
                        Known::default()
                    }
                }
            }
        }
    }

    fn catalogue(&mut self, provider: &str, kind: Option<&str>, place: &Place) -> Arc<[Member]> {
        let theirs = self.endpoints.iter().filter(|one| *one.provider == *provider);
        let wanted = theirs.clone().filter(|one| kind.is_none_or(|kind| kind == one.kind));
        let targets = wanted.filter_map(|one| Target::parse(&one.pattern).ok());
        let members: Vec<Member> = targets.map(|target| Member { target, ports: None }).collect();
        if members.is_empty() {
            let kinds: Vec<&str> = theirs.map(|one| one.kind).collect();
            match kind.filter(|_| !kinds.is_empty()) {
                Some(kind) => {
                    let message =
                        format!("the catalogue has no endpoint of `{provider}` of kind `{kind}`");
                    self.unknown(&message, kind, &kinds, place);
                }
                None => {
                    let all: Vec<&str> = self.endpoints.iter().map(|one| &*one.provider).collect();
                    let message = format!("the catalogue has no provider `{provider}`");
                    self.unknown(&message, provider, &all, place);
                }
            }
        }
        members.into()
    }

    fn cycle(&mut self, at: usize, name: &str, place: &Place) {
        let around = self.open.iter().skip(at).copied().chain([name]);
        let path = around.collect::<Vec<_>>().join(" includes ");
        let message = format!("the group includes itself: {path}");
        let hint = "remove one of these from the `endpoints` of the group before it";
        self.out.push(Diagnostic::error(Code::GroupCycle, place, message).hint(hint));
    }

    fn too_deep(&mut self, place: &Place) {
        let message = format!("groups include one another more than {GROUP_NESTING_MAX} deep");
        let hint = "include the innermost groups directly";
        self.out.push(Diagnostic::error(Code::Limit, place, message).hint(hint));
    }

    fn unknown(&mut self, message: &str, word: &str, known: &[&str], place: &Place) {
        let hint = match words::nearest(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`governd catalog list` shows what the catalogue knows; a group of one's own \
                     is a document of kind EndpointGroup"
                .to_owned(),
        };
        self.out.push(Diagnostic::error(Code::UnknownGroup, place, message).hint(hint));
    }
}

/// Destinations of one's own and of groups, each once, those of groups on ports that `outer` has,
/// too. The list of a group itself, if there is nothing else; not much more than `max`.
fn joined(
    own: Vec<Member>,
    lists: &[Arc<[Member]>],
    outer: Option<&[Ports]>,
    max: usize,
) -> Arc<[Member]> {
    let mut left = lists.iter().filter(|list| !list.is_empty());
    match (left.next(), left.next()) {
        (None, _) if own.is_empty() => return Arc::new([]),
        (Some(only), None) if own.is_empty() && outer.is_none() => return Arc::clone(only),
        _ => {}
    }
    let mut seen: HashSet<Member> = HashSet::new();
    let mut list: Vec<Member> = Vec::new();
    let mut add = |member: Member, list: &mut Vec<Member>| {
        if seen.insert(member.clone()) {
            list.push(member);
        }
    };
    own.into_iter().for_each(|member| add(member, &mut list));
    let mut taken: HashSet<*const Member> = HashSet::new();
    for members in lists.iter().filter(|members| taken.insert(members.as_ptr())) {
        if list.len() > max {
            break;
        }
        // Members of one group have the same list of ports, most often.
        let mut latest: Option<(Shared, Shared)> = None;
        for Member { target, ports } in members.iter() {
            let common = match &latest {
                Some((inner, common)) if is_same(inner, ports) => common.clone(),
                _ => common(ports, outer),
            };
            latest = Some((ports.clone(), common.clone()));
            add(Member { target: target.clone(), ports: common }, &mut list);
        }
    }
    list.into()
}

/// Ports of destinations; `None` is every port.
type Shared = Option<Arc<[Ports]>>;

fn is_same(one: &Shared, other: &Shared) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Ports that are in both lists; `None` is every port.
fn common(inner: &Shared, outer: Option<&[Ports]>) -> Shared {
    match (inner, outer) {
        (Some(inner), None) => Some(Arc::clone(inner)),
        (inner, outer) => Ports::common(inner.as_deref(), outer).map(Into::into),
    }
}
