//! A host made of tables.

use std::{collections::HashMap, net::IpAddr, path::Path};

use crate::policy::{
    compile::Endpoint,
    diagnostic::Diagnostic,
    host::{Host, HostLabels},
    value::{
        container::{ContainerFacts, ContainerMatch},
        process::Cgroup,
    },
};

/// A catalogue: pattern, provider and kind.
pub(super) fn endpoints(list: &[(&str, &str, &'static str)]) -> Vec<Endpoint> {
    let endpoint = |(pattern, provider, kind): &(&str, &str, &'static str)| Endpoint {
        pattern: (*pattern).to_owned(),
        provider: (*provider).into(),
        kind,
    };
    list.iter().map(endpoint).collect()
}

/// What a test's host knows.
#[derive(Clone, Debug, Default)]
pub(super) struct TestHost {
    pub(super) name: String,
    pub(super) executables: HashMap<String, (u32, u64)>,
    pub(super) scripts: Vec<&'static str>,
    pub(super) users: HashMap<String, u32>,
    pub(super) cgroups: HashMap<String, Vec<u64>>,
    pub(super) containers: Vec<(ContainerFacts, u64)>,
    pub(super) unclassified: Vec<u64>,
    pub(super) resolvers: Vec<IpAddr>,
    pub(super) search_domains: Vec<String>,
    pub(super) labels: HostLabels,
}

impl TestHost {
    pub(super) fn new(executables: &[(&str, u64)]) -> Self {
        let executables = executables.iter().map(|(path, inode)| (path.to_string(), (8, *inode)));
        Self { name: "web-1".into(), executables: executables.collect(), ..Self::default() }
    }
}

impl Host for TestHost {
    fn executable(&self, path: &Path) -> Option<(u32, u64)> {
        self.executables.get(path.to_str()?).copied()
    }

    fn is_script(&self, path: &Path) -> bool {
        self.scripts.iter().any(|script| Path::new(script) == path)
    }

    fn system_executable(&self, path: &Path) -> Option<(u32, u64)> {
        self.executable(path)
    }

    fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    fn cgroups(&self, pattern: &str) -> Vec<u64> {
        self.cgroups.get(pattern).cloned().unwrap_or_default()
    }

    fn containers(&self, wanted: &ContainerMatch, _: Option<&Cgroup>) -> Vec<u64> {
        let fitting = self.containers.iter().filter(|(facts, _)| wanted.fits(facts));
        fitting.map(|(_, id)| *id).collect()
    }

    fn unclassified(&self) -> Vec<u64> {
        self.unclassified.clone()
    }

    fn resolvers(&self) -> Vec<IpAddr> {
        self.resolvers.clone()
    }

    fn search_domains(&self) -> Vec<String> {
        self.search_domains.clone()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> Result<HostLabels, Diagnostic> {
        Ok(self.labels.clone())
    }
}
