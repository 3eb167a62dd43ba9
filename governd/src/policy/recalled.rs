//! A host on which every container runs that some document is about, for what is said of containers
//! of the past: which of them the documents mean is known by what they were.

use std::{cell::RefCell, collections::HashMap, net::IpAddr, path::Path};

use super::{
    diagnostic::Diagnostic,
    host::{Host, HostLabels},
    value::{
        container::{ContainerFacts, ContainerMatch},
        process::Cgroup,
    },
};

/// The host, and a number for each kind of container that was asked for. Cgroups count from below.
pub struct RecalledHost<'a> {
    host: &'a dyn Host,
    numbers: RefCell<HashMap<(ContainerMatch, Option<Cgroup>), u64>>,
}

impl<'a> RecalledHost<'a> {
    /// Beside its containers it is as `host`.
    pub fn new(host: &'a dyn Host) -> Self {
        Self { host, numbers: RefCell::default() }
    }
}

impl Host for RecalledHost<'_> {
    fn executable(&self, path: &Path) -> Option<(u32, u64)> {
        self.host.executable(path)
    }

    fn is_script(&self, path: &Path) -> bool {
        self.host.is_script(path)
    }

    fn system_executable(&self, path: &Path) -> Option<(u32, u64)> {
        self.host.system_executable(path)
    }

    fn user(&self, name: &str) -> Option<u32> {
        self.host.user(name)
    }

    fn cgroups(&self, pattern: &str) -> Vec<u64> {
        self.host.cgroups(pattern)
    }

    fn containers(&self, wanted: &ContainerMatch, within: Option<&Cgroup>) -> Vec<u64> {
        let mut numbers = self.numbers.borrow_mut();
        let next = u64::MAX - numbers.len() as u64;
        vec![*numbers.entry((wanted.clone(), within.cloned())).or_insert(next)]
    }

    /// Where a container was is not known: entries that ask for a cgroup as well fit none.
    fn containing(&self, facts: &ContainerFacts) -> Vec<u64> {
        let numbers = self.numbers.borrow();
        let fits = |(wanted, within): &(ContainerMatch, Option<Cgroup>)| {
            within.is_none() && wanted.fits(facts)
        };
        numbers.iter().filter(|(key, _)| fits(key)).map(|(_, number)| *number).collect()
    }

    fn resolvers(&self) -> Vec<IpAddr> {
        self.host.resolvers()
    }

    fn search_domains(&self) -> Vec<String> {
        self.host.search_domains()
    }

    fn name(&self) -> &str {
        self.host.name()
    }

    fn labels(&self) -> Result<HostLabels, Diagnostic> {
        self.host.labels()
    }
}
