//! How a process becomes a subject: match entries as numbered selectors and their bitmaps.
//!
//! A process may fit several entries. The one that says more wins: more fields first, then `parent`
//! over `script` over `exe` over `image` over `service_account` over `namespace` over `labels` over
//! `cgroup` over `user`, then the deeper cgroup, then the one with fewer `*`, then the one that
//! names the image more closely, then the one with more labels. Two agents' entries that are equal
//! in all this and can fit one process are an error, but for those that differ only in the parent.
//!
//! A container is a cgroup: what an entry says of containers becomes the cgroups of those that fit
//! now, and the policy is compiled again when these are others.
//!
//! Of a script the kernel knows nothing: selectors that ask for one are for user space, which tells
//! the kernel whom it recognised.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use governd_common::{
    limits::{MEMBERS_MAX, SELECTOR_WORDS, SELECTORS_MAX},
    table::{SelectorSet, Subject, settings_flag},
};

use super::{
    Compiler,
    delegation::{self, CHAINS_MAX, Cut, Recognised},
};
use crate::policy::{
    diagnostic::{Code, Diagnostic, Diagnostics, Place},
    host::Host,
    lifecycle::Lapse,
    limits::{CGROUPS_MAX, EXES_MAX, UIDS_MAX},
    model::{Agent, Match, Placed, Policy},
    value::{
        container::ContainerMatch,
        process::{Executable, User},
    },
    words,
};

/// A match entry, with what the host says about it. `None` is: it says nothing about that.
struct Selector<'a> {
    agent: &'a Agent,
    entry: &'a Match,
    subject: u32,
    exes: Option<Vec<(u32, u64)>>,
    scripts: Option<Vec<(u32, u64)>>,
    uids: Option<Vec<u32>>,
    cgroups: Option<Vec<u64>>,
}

/// How much an entry says, compared field by field.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    fields: usize,
    says: [bool; 9],
    depth: usize,
    literals: usize,
    image: (u8, usize),
    labels: usize,
}

impl<'a> Selector<'a> {
    fn new(
        agent: &'a Agent,
        entry: &'a Match,
        subject: u32,
        host: &dyn Host,
        out: &mut Diagnostics,
    ) -> Self {
        let Match { place: _, exes, scripts, user, cgroup, container, parent: _ } = entry;
        let mut executables = Vec::new();
        for exe in exes {
            match host.executable(exe.value.path()) {
                Some(id) => {
                    executables.push(id);
                    if host.is_script(exe.value.path()) {
                        out.push(script(exe));
                    }
                }
                None => {
                    let message = format!("`{}` does not exist on this host", exe.value.as_str());
                    let hint = "nothing is recognised by it until it exists";
                    out.push(
                        Diagnostic::warning(Code::NoExecutable, &exe.place, message).hint(hint),
                    );
                }
            }
        }
        let mut files = Vec::new();
        for script in scripts {
            match host.executable(script.value.path()) {
                Some(id) => files.push(id),
                None => {
                    let message =
                        format!("`{}` does not exist on this host", script.value.as_str());
                    let hint = "nothing is recognised by it until it exists";
                    let warning = Diagnostic::warning(Code::NoScript, &script.place, message);
                    out.push(warning.hint(hint));
                }
            }
        }
        let uids = user.as_ref().map(|user| match &user.value {
            User::Id(id) => vec![*id],
            User::Name(name) => {
                let id = host.user(name);
                if id.is_none() {
                    let message = format!("there is no user `{name}` on this host");
                    let hint = "nothing is recognised by it until it exists";
                    out.push(
                        Diagnostic::warning(Code::UnknownUser, &user.place, message).hint(hint),
                    );
                }
                id.into_iter().collect()
            }
        });
        let cgroup = cgroup.as_ref().map(|cgroup| &cgroup.value);
        let cgroups = match (container.is_empty(), cgroup) {
            (false, within) => Some(host.containers(container, within)),
            (true, Some(cgroup)) => Some(host.cgroups(cgroup.as_str())),
            (true, None) => None,
        };
        let exes = (!exes.is_empty()).then_some(executables);
        let scripts = (!scripts.is_empty()).then_some(files);
        Self { agent, entry, subject, exes, scripts, uids, cgroups }
    }

    /// Larger is more specific. Those that are equal say something about the same things.
    fn rank(&self) -> Rank {
        let Match { place: _, exes, scripts, user, cgroup, container, parent } = self.entry;
        let ContainerMatch { images, namespace, service_account, labels } = container;
        let says = [
            parent.is_some(),
            !scripts.is_empty(),
            !exes.is_empty(),
            !images.is_empty(),
            service_account.is_some(),
            namespace.is_some(),
            !labels.is_empty(),
            cgroup.is_some(),
            user.is_some(),
        ];
        let cgroup = cgroup.as_ref();
        Rank {
            fields: says.into_iter().filter(|says| *says).count(),
            says,
            depth: cgroup.map_or(0, |cgroup| cgroup.value.components().count()),
            literals: cgroup.map_or(0, |cgroup| cgroup.value.literals()),
            image: container.closeness(),
            labels: labels.len(),
        }
    }

    /// Whether some process of this host can fit it, as far as the host knows.
    fn is_live(&self) -> bool {
        self.exes.as_ref().is_none_or(|list| !list.is_empty())
            && self.scripts.as_ref().is_none_or(|list| !list.is_empty())
            && self.uids.as_ref().is_none_or(|list| !list.is_empty())
            && self.cgroups.as_ref().is_none_or(|list| !list.is_empty())
    }

    /// Whether some process can fit both; both say something about the same things.
    fn meets(&self, other: &Self) -> bool {
        let (a, b) = (self.entry, other.entry);
        let same_exe = a.exes.is_empty()
            || a.exes.iter().any(|one| b.exes.iter().any(|other| one.value == other.value))
            || shares(&self.exes, &other.exes);
        let same_script = a.scripts.is_empty()
            || a.scripts.iter().any(|one| b.scripts.iter().any(|other| one.value == other.value))
            || shares(&self.scripts, &other.scripts);
        let same_user = match (&a.user, &b.user) {
            (Some(a), Some(b)) => a.value == b.value || shares(&self.uids, &other.uids),
            _ => true,
        };
        let same_cgroup = match (&a.cgroup, &b.cgroup) {
            (Some(a), Some(b)) => a.value.may_meet(&b.value),
            _ => true,
        };
        // Where what both start starts it, the first document counts.
        let same_parent = match (&a.parent, &b.parent) {
            (Some(a), Some(b)) => a.value == b.value,
            _ => true,
        };
        let same_container = a.container.may_meet(&b.container);
        same_exe && same_script && same_user && same_cgroup && same_container && same_parent
    }
}

/// Nothing is ever recognised by a script: the kernel runs its interpreter.
fn script(exe: &Placed<Executable>) -> Diagnostic {
    let message =
        format!("`{}` is a script: its processes run its interpreter", exe.value.as_str());
    let hint = "name it as `script`, with its interpreter as `exe`, or recognise the agent by \
                `cgroup` or `user`";
    Diagnostic::warning(Code::ScriptExecutable, &exe.place, message).hint(hint)
}

fn shares<T: PartialEq>(a: &Option<Vec<T>>, b: &Option<Vec<T>>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    a.iter().any(|one| b.contains(one))
}

impl Compiler<'_, '_> {
    pub(super) fn selectors(&mut self, policy: &Policy, host: &dyn Host, lapses: &[Lapse]) {
        let mut selectors = Vec::new();
        for agent in &policy.agents {
            let subject = self.ids.subject(&agent.name);
            for entry in &agent.matches {
                selectors.push(Selector::new(agent, entry, subject, host, self.out));
            }
        }
        if selectors.len() > SELECTORS_MAX {
            self.limit_count(selectors.len(), SELECTORS_MAX, "match entries");
            return;
        }
        selectors.sort_by_key(|selector| Reverse(selector.rank()));
        refuse_ambiguous(&selectors, self.out);
        self.bitmaps(&selectors);
        self.delegations(policy, &selectors, lapses);
    }

    /// What agents become that others start, and which selectors are for that.
    fn delegations(&mut self, policy: &Policy, selectors: &[Selector<'_>], lapses: &[Lapse]) {
        let is_approved = |agent: &Agent| {
            agent.approval.is_said() && !lapses.iter().any(|lapse| lapse.agent == agent.name)
        };
        let own = policy.agents.iter().filter(|agent| agent.says_own() && is_approved(agent));
        let own = own.map(|agent| self.ids.subject(&agent.name)).collect();
        let mut entries: BTreeMap<u32, Vec<Option<u32>>> = BTreeMap::new();
        let mut parents = Vec::with_capacity(selectors.len());
        for selector in selectors {
            let parent = selector.entry.parent.as_ref();
            let parent = parent.map(|parent| self.ids.subject(&parent.value));
            if selector.is_live() {
                entries.entry(selector.subject).or_default().push(parent);
            }
            parents.push(parent);
        }
        let cut = delegation::chain(&mut self.compiled, self.ids, &Recognised { own, entries });
        self.too_deep(&cut, selectors, &parents);
        if cut.is_many {
            let place = Place { file: "the policy".into(), line: 0, column: 0 };
            let message = format!(
                "more agents could start one another here than {CHAINS_MAX} ways of it that can be \
                 kept"
            );
            let hint = "beyond those, what an agent starts is that agent, whatever other documents \
                        recognise it; those that name it as `parent` are kept first";
            self.out.push(Diagnostic::warning(Code::Limit, &place, message).hint(hint));
        }
        self.compiled.image.parents = if parents.iter().any(Option::is_some) {
            started_by(&self.compiled.image.subjects, &parents)
        } else {
            Vec::new()
        };
    }

    /// Warns of parents below which there is no place for another agent.
    fn too_deep(&mut self, cut: &Cut, selectors: &[Selector<'_>], parents: &[Option<u32>]) {
        for (agent, members) in &cut.deep {
            let mut entries = selectors.iter().zip(parents).filter(|(it, _)| it.subject == *agent);
            let named = entries.find_map(|(selector, parent)| {
                parent.filter(|parent| members.contains(parent))?;
                Some((&selector.agent.name, selector.entry.parent.as_ref()?))
            });
            let Some((name, parent)) = named else { continue };
            let names: Vec<&str> = members
                .iter()
                .filter_map(|member| self.compiled.agent(*member))
                .map(|facts| &*facts.name)
                .collect();
            let message = format!(
                "`{name}` is not recognised where {} started it: a process has at most \
                 {MEMBERS_MAX} agents",
                words::list(&names)
            );
            let hint = "it stays what it is there, and reaches no more than that; have fewer \
                        documents between it and the first one";
            let warning = Diagnostic::warning(Code::Limit, &parent.place, message);
            self.out.push(warning.hint(hint));
        }
    }

    fn bitmaps(&mut self, selectors: &[Selector<'_>]) {
        let image = &mut self.compiled.image;
        image.selectors = selectors.iter().map(|selector| selector.subject).collect();
        image.selector_words = selectors.len().div_ceil(64) as u32;
        let by_kernel = |selector: &&Selector<'_>| selector.scripts.is_none();
        if selectors.iter().filter(by_kernel).any(|selector| selector.exes.is_none()) {
            image.flags |= settings_flag::CLASSIFY_AT_CONNECT;
        }
        let exes = bitmap(selectors, |selector| selector.exes.as_deref());
        let uids = bitmap(selectors, |selector| selector.uids.as_deref());
        let cgroups = bitmap(selectors, |selector| selector.cgroups.as_deref());
        let scripts = bitmap(selectors, |selector| selector.scripts.as_deref());
        let asking = selectors.iter().enumerate().filter(|(_, it)| it.scripts.is_some());
        asking.for_each(|(index, _)| set_bit(&mut image.asking_script, index));
        image.scripts = scripts.1;
        image.any = [exes.0, uids.0, cgroups.0];
        (image.exes, image.uids, image.cgroups) = (exes.1, uids.1, cgroups.1);
        let counts = [
            (image.exes.len(), EXES_MAX, "executables"),
            (image.uids.len(), UIDS_MAX, "users"),
            (image.cgroups.len(), CGROUPS_MAX, "cgroups"),
        ];
        for (count, max, what) in counts {
            self.limit_count(count, max, what);
        }
    }
}

/// For each subject the selectors that are for what it starts, or for anybody.
fn started_by(subjects: &[(u32, Subject)], parents: &[Option<u32>]) -> Vec<(u32, SelectorSet)> {
    let named: BTreeSet<u32> = parents.iter().copied().flatten().collect();
    let fitting = |members: &[u32]| {
        let mut set = SelectorSet::default();
        for (index, parent) in parents.iter().enumerate() {
            if parent.is_none_or(|parent| members.contains(&parent)) {
                set_bit(&mut set, index);
            }
        }
        set
    };
    let mut all = vec![(0, fitting(&[]))];
    for (subject, settings) in subjects {
        let members = settings.members_or(*subject);
        if *subject != 0 && members.iter().any(|member| named.contains(member)) {
            all.push((*subject, fitting(&members)));
        }
    }
    all
}

/// The selectors that say nothing about a key, and for each key the selectors that fit it.
fn bitmap<K: Copy + Ord>(
    selectors: &[Selector<'_>],
    keys: impl for<'s> Fn(&'s Selector<'_>) -> Option<&'s [K]>,
) -> (SelectorSet, Vec<(K, SelectorSet)>) {
    let mut any = SelectorSet::default();
    let mut named: BTreeMap<K, SelectorSet> = BTreeMap::new();
    for (index, selector) in selectors.iter().enumerate() {
        match keys(selector) {
            None => set_bit(&mut any, index),
            Some(keys) => {
                keys.iter().for_each(|key| set_bit(named.entry(*key).or_default(), index));
            }
        }
    }
    for set in named.values_mut() {
        set.join(&any);
    }
    (any, named.into_iter().collect())
}

pub(super) fn set_bit(set: &mut SelectorSet, index: usize) {
    if let Some(word) = set.words.get_mut((index / 64).min(SELECTOR_WORDS - 1)) {
        *word |= 1 << (index % 64);
    }
}

fn refuse_ambiguous(selectors: &[Selector<'_>], out: &mut Diagnostics) {
    for (index, first) in selectors.iter().enumerate() {
        let rest = selectors.iter().skip(index + 1);
        for second in rest.take_while(|second| second.rank() == first.rank()) {
            if first.subject != second.subject && first.meets(second) {
                let message = format!(
                    "the agents `{}` (at {}) and `{}` can claim the same process",
                    first.agent.name, first.entry.place, second.agent.name
                );
                let hint = "make one of the entries say more: add `exe`, `script`, `user`, \
                            `cgroup` or `image`";
                let diagnostic =
                    Diagnostic::error(Code::AmbiguousMatch, &second.entry.place, message);
                out.push(diagnostic.hint(hint));
            }
        }
    }
}
