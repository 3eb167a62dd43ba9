//! Which agent a process is, as the kernel finds it in the tables.

use std::{cell::RefCell, collections::HashMap, path::Path, sync::Arc};

use governd_common::{limits::SELECTOR_WORDS, table::SelectorSet};

use super::{
    host::Host,
    image::TableImage,
    observed::FlowKey,
    value::{container::ContainerFacts, process::User},
};

/// The agent of a process that a subject started: that of the first selector that all of
/// executable, user, cgroup, script and who started it allow.
pub(super) fn first(
    image: &TableImage,
    [exes, users, cgroups, scripts]: [SelectorSet; 4],
    above: u32,
) -> Option<u32> {
    let started = |by: u32| image.parents.iter().find(|(subject, _)| *subject == by);
    let started = started(above).or_else(|| started(0)).map(|(_, set)| set);
    let words = (0..SELECTOR_WORDS).filter_map(|index| {
        let word = |set: &SelectorSet| set.words.get(index).copied().unwrap_or(0);
        let all = word(&exes) & word(&users) & word(&cgroups) & word(&scripts);
        let all = all & started.map_or(u64::MAX, word);
        (all != 0).then(|| index * 64 + all.trailing_zeros() as usize)
    });
    let first = words.min().and_then(|selector| image.selectors.get(selector));
    first.copied()
}

/// Selectors that fit an executable, or any.
pub(super) fn by_exe(image: &TableImage, exe: Option<(u32, u64)>) -> SelectorSet {
    let [any, ..] = image.any;
    let found = exe.and_then(|exe| image.exes.iter().find(|(id, _)| *id == exe));
    found.map_or(any, |(_, set)| *set)
}

/// Selectors that fit a user, or any.
pub(super) fn by_user(image: &TableImage, user: Option<u32>) -> SelectorSet {
    let [_, any, _] = image.any;
    let found = user.and_then(|user| image.uids.iter().find(|(id, _)| *id == user));
    found.map_or(any, |(_, set)| *set)
}

/// Selectors that fit a script, or ask for none.
pub(super) fn by_script(image: &TableImage, script: Option<(u32, u64)>) -> SelectorSet {
    let found = script.and_then(|script| image.scripts.iter().find(|(id, _)| *id == script));
    found.map_or_else(|| image.asking_script.complement(), |(_, set)| *set)
}

/// Who processes of the past would be, of which executable, user and container are known. Entries
/// that ask for a cgroup or a script recognise none of them.
pub(super) struct Past<'a> {
    image: &'a TableImage,
    host: &'a dyn Host,
    known: RefCell<HashMap<Seen, Option<u32>>>,
}

/// Path of the executable, name or number of the user, and the container.
type Seen = (Option<Arc<str>>, Option<Arc<str>>, Option<ContainerFacts>);

impl<'a> Past<'a> {
    pub(super) fn new(image: &'a TableImage, host: &'a dyn Host) -> Self {
        Self { image, host, known: RefCell::default() }
    }

    /// The agent, which nobody else started. In a container an executable is none of the host's.
    pub(super) fn agent(&self, flow: &FlowKey) -> Option<u32> {
        let FlowKey { exe, user, container, .. } = flow;
        let seen = (exe.clone(), user.clone(), container.clone());
        *self.known.borrow_mut().entry(seen).or_insert_with(|| {
            let exe = exe.as_ref().filter(|_| container.is_none());
            let exe = exe.and_then(|exe| self.host.executable(Path::new(&**exe)));
            let user = user.as_ref().and_then(|user| match User::parse(user).ok()? {
                User::Id(id) => Some(id),
                User::Name(name) => self.host.user(&name),
            });
            let [_, _, mut cgroups] = self.image.any;
            let ids = container.as_ref().map(|facts| self.host.containing(facts));
            for id in ids.unwrap_or_default() {
                let found = self.image.cgroups.iter().filter(|(known, _)| *known == id);
                found.for_each(|(_, set)| cgroups.join(set));
            }
            let (exes, users) = (by_exe(self.image, exe), by_user(self.image, user));
            let sets = [exes, users, cgroups, by_script(self.image, None)];
            first(self.image, sets, 0)
        })
    }
}
