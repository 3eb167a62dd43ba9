//! What the groups of endpoints have in them, for the rules that name them.
//!
//! Bounded whatever the documents say: circles and deep nesting are refused, what several paths
//! lead to is there once, and a group has at most [`GROUP_MEMBERS_MAX`] destinations.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    compile::Endpoint,
    diagnostic::{Code, Diagnostic, Diagnostics, Place},
    limits::{GROUP_MEMBERS_MAX, GROUP_NESTING_MAX},
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
    let mut expander = Expander { groups, endpoints, known: HashMap::new(), open: Vec::new(), out };
    for group in &policy.groups {
        expander.group(group);
    }
    let is_plain = |agent: &Agent| agent.rules.iter().all(|rule| rule.groups.is_empty());
    let agents = policy.agents.iter().map(|agent| {
        if is_plain(agent) {
            return Cow::Borrowed(agent);
        }
        let mut agent = agent.clone();
        for rule in &mut agent.rules {
            rule.members = expander.rule(rule);
        }
        Cow::Owned(agent)
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
    out: &'o mut Diagnostics,
}

impl<'a> Expander<'a, '_> {
    fn rule(&mut self, rule: &Rule) -> Vec<Member> {
        let mut members = Members::default();
        for group in &rule.groups {
            let known = self.reference(group);
            members.extend(&known.members, rule.ports.as_deref());
        }
        if members.list.iter().any(|one| one.ports.as_ref().is_some_and(Vec::is_empty)) {
            let message = "the rule and its groups have no port in common for some destinations";
            let hint = "leave `ports` out of the rule, to have those of the groups";
            let warning = Diagnostic::warning(Code::EmptyList, &rule.place, message);
            self.out.push(warning.hint(hint));
        }
        members.list
    }

    fn group(&mut self, group: &'a EndpointGroup) -> Known {
        if let Some(known) = self.known.get(&*group.name) {
            return known.clone();
        }
        self.open.push(&group.name);
        let ports = group.ports.as_deref();
        let own = |target: &Target| Member { target: target.clone(), ports: group.ports.clone() };
        let mut members = Members::default();
        members.extend(&group.targets.iter().map(own).collect::<Vec<_>>(), None);
        let mut nesting = 0;
        for included in &group.groups {
            let inner = self.reference(included);
            members.extend(&inner.members, ports);
            nesting = nesting.max(inner.nesting);
            if inner.nesting >= GROUP_NESTING_MAX {
                self.too_deep(&included.place);
                break;
            }
            if members.list.len() > GROUP_MEMBERS_MAX {
                let message = format!(
                    "the group `{}` has more than {GROUP_MEMBERS_MAX} destinations",
                    group.name
                );
                let hint = "use wildcards and networks, or split the group";
                self.out.push(Diagnostic::error(Code::Limit, &group.place, message).hint(hint));
                members = Members::default();
                break;
            }
        }
        self.open.pop();
        let known = Known { members: members.list.into(), nesting: nesting + 1 };
        self.known.insert(&group.name, known.clone());
        known
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

/// Destinations, each once.
#[derive(Default)]
struct Members {
    list: Vec<Member>,
    seen: HashSet<Member>,
}

impl Members {
    /// Adds members, on ports that `outer` has too.
    fn extend(&mut self, members: &[Member], outer: Option<&[Ports]>) {
        for Member { target, ports } in members {
            let ports = Ports::common(ports.as_deref(), outer);
            let member = Member { target: target.clone(), ports };
            if self.seen.insert(member.clone()) {
                self.list.push(member);
            }
        }
    }
}
