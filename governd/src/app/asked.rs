//! What a compiled policy asked of the host, so that a different answer is noticed: an executable
//! that was replaced, a cgroup that appeared, a resolver that changed.

use std::{
    cell::RefCell,
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::policy::{
    diagnostic::Diagnostic,
    host::{Host, HostLabels},
    value::{container::ContainerMatch, process::Cgroup},
};

/// A host that remembers questions and answers.
#[derive(Debug)]
pub struct Asking<'a, H> {
    host: &'a H,
    asked: RefCell<Asked>,
}

/// Questions, with the answers that a policy was compiled with.
#[derive(Debug, Default)]
pub struct Asked {
    executables: Vec<(PathBuf, Option<(u32, u64)>)>,
    system_executables: Vec<(PathBuf, Option<(u32, u64)>)>,
    users: Vec<(String, Option<u32>)>,
    cgroups: Vec<(String, Vec<u64>)>,
    containers: Vec<(ContainerMatch, Option<Cgroup>, Vec<u64>)>,
    unclassified: Option<Vec<u64>>,
    resolvers: Option<Vec<IpAddr>>,
    search_domains: Option<Vec<String>>,
    labels: Option<Option<HostLabels>>,
}

impl<'a, H: Host> Asking<'a, H> {
    /// A host that answers as `host` does.
    pub fn new(host: &'a H) -> Self {
        Self { host, asked: RefCell::default() }
    }

    /// What was asked.
    pub fn into_asked(self) -> Asked {
        self.asked.into_inner()
    }
}

impl Asked {
    /// Whether the host would now answer anything else.
    pub fn is_stale(&self, host: &impl Host) -> bool {
        self.executables.iter().any(|(path, known)| host.executable(path) != *known)
            || self
                .system_executables
                .iter()
                .any(|(path, known)| host.system_executable(path) != *known)
            || self.users.iter().any(|(name, known)| host.user(name) != *known)
            || self.cgroups.iter().any(|(pattern, known)| host.cgroups(pattern) != *known)
            || self
                .containers
                .iter()
                .any(|(wanted, within, known)| host.containers(wanted, within.as_ref()) != *known)
            || self.unclassified.as_ref().is_some_and(|known| host.unclassified() != *known)
            || self.resolvers.as_ref().is_some_and(|known| host.resolvers() != *known)
            || self.search_domains.as_ref().is_some_and(|known| host.search_domains() != *known)
            || self.labels.as_ref().is_some_and(|known| host.labels().ok() != *known)
    }

    /// Whether some selector asked for containers.
    pub fn names_containers(&self) -> bool {
        !self.containers.is_empty()
    }

    /// Whether it was asked which containers are unclassified.
    pub fn asks_unclassified(&self) -> bool {
        self.unclassified.is_some()
    }

    /// Whether some selector asked for an executable at this path.
    pub fn names_executable(&self, path: &Path) -> bool {
        self.executables.iter().any(|(known, _)| known == path)
    }
}

impl<H: Host> Host for Asking<'_, H> {
    fn executable(&self, path: &Path) -> Option<(u32, u64)> {
        let answer = self.host.executable(path);
        self.asked.borrow_mut().executables.push((path.to_path_buf(), answer));
        answer
    }

    fn is_script(&self, path: &Path) -> bool {
        // It is only said to people: a policy is no other for it.
        self.host.is_script(path)
    }

    fn system_executable(&self, path: &Path) -> Option<(u32, u64)> {
        let answer = self.host.system_executable(path);
        self.asked.borrow_mut().system_executables.push((path.to_path_buf(), answer));
        answer
    }

    fn user(&self, name: &str) -> Option<u32> {
        let answer = self.host.user(name);
        self.asked.borrow_mut().users.push((name.to_string(), answer));
        answer
    }

    fn cgroups(&self, pattern: &str) -> Vec<u64> {
        let answer = self.host.cgroups(pattern);
        self.asked.borrow_mut().cgroups.push((pattern.to_string(), answer.clone()));
        answer
    }

    fn containers(&self, wanted: &ContainerMatch, within: Option<&Cgroup>) -> Vec<u64> {
        let answer = self.host.containers(wanted, within);
        let asked = (wanted.clone(), within.cloned(), answer.clone());
        self.asked.borrow_mut().containers.push(asked);
        answer
    }

    fn unclassified(&self) -> Vec<u64> {
        let answer = self.host.unclassified();
        self.asked.borrow_mut().unclassified = Some(answer.clone());
        answer
    }

    fn resolvers(&self) -> Vec<IpAddr> {
        let answer = self.host.resolvers();
        self.asked.borrow_mut().resolvers = Some(answer.clone());
        answer
    }

    fn search_domains(&self) -> Vec<String> {
        let answer = self.host.search_domains();
        self.asked.borrow_mut().search_domains = Some(answer.clone());
        answer
    }

    fn name(&self) -> &str {
        self.host.name()
    }

    fn labels(&self) -> Result<HostLabels, Diagnostic> {
        let answer = self.host.labels();
        self.asked.borrow_mut().labels = Some(answer.as_ref().ok().cloned());
        answer
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A host whose executables have this inode, and whose cgroups this id.
    pub(in crate::app) struct Fixed(pub(in crate::app) u64);

    impl Host for Fixed {
        fn executable(&self, _: &Path) -> Option<(u32, u64)> {
            Some((1, self.0))
        }
        fn system_executable(&self, path: &Path) -> Option<(u32, u64)> {
            self.executable(path)
        }

        fn user(&self, _: &str) -> Option<u32> {
            None
        }
        fn cgroups(&self, _: &str) -> Vec<u64> {
            vec![self.0]
        }
        fn containers(&self, _: &ContainerMatch, _: Option<&Cgroup>) -> Vec<u64> {
            vec![self.0]
        }
        fn resolvers(&self) -> Vec<IpAddr> {
            Vec::new()
        }
        fn search_domains(&self) -> Vec<String> {
            Vec::new()
        }
        fn name(&self) -> &str {
            "host"
        }
    }

    #[test]
    fn another_answer_to_a_question_that_was_asked_is_stale() {
        let now = Fixed(1);
        let asking = Asking::new(&now);
        asking.executable(Path::new("/agent"));
        let asked = asking.into_asked();
        assert!(!asked.is_stale(&Fixed(1)));
        assert!(asked.is_stale(&Fixed(2)));
        assert!(asked.names_executable(Path::new("/agent")));
    }

    #[test]
    fn a_container_that_comes_or_goes_makes_a_policy_stale_that_asked_for_it() {
        let now = Fixed(1);
        let asking = Asking::new(&now);
        asking.containers(&ContainerMatch::default(), None);
        let asked = asking.into_asked();
        assert!(asked.names_containers() && !asked.is_stale(&Fixed(1)));
        assert!(asked.is_stale(&Fixed(2)));
    }

    #[test]
    fn what_was_not_asked_cannot_be_stale() {
        assert!(!Asked::default().is_stale(&Fixed(2)));
    }
}
