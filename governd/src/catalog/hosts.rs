//! Host names: one hash lookup for the name, a few for patterns, one per label for suffixes.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    entry::{Endpoint, HostMatch},
    glob,
};

/// Longest host name (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Endpoints, indexed.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    entries: Vec<Endpoint>,
    exact: HashMap<Arc<str>, usize>,
    suffix: HashMap<Arc<str>, usize>,
    /// Patterns by what follows their last star's label, the longest pattern first.
    patterns: HashMap<Box<str>, Vec<usize>>,
}

impl Hosts {
    pub(super) fn new(entries: Vec<Endpoint>) -> Self {
        let mut hosts = Self { entries, ..Self::default() };
        for (index, entry) in hosts.entries.iter().enumerate() {
            let domain = Arc::clone(&entry.domain);
            match entry.matching {
                HostMatch::Exact => {
                    hosts.exact.insert(domain, index);
                }
                HostMatch::Suffix => {
                    hosts.suffix.insert(domain, index);
                }
                HostMatch::Pattern => {
                    hosts.patterns.entry(tail(&domain).into()).or_default().push(index);
                }
            }
        }
        for indices in hosts.patterns.values_mut() {
            // A later entry for the same pattern comes first.
            indices.reverse();
            indices.sort_by_key(|index| {
                std::cmp::Reverse(hosts.entries.get(*index).map_or(0, |entry| entry.domain.len()))
            });
        }
        hosts
    }

    pub(super) fn entries(&self) -> &[Endpoint] {
        &self.entries
    }

    /// The entry of a normal host name.
    pub(super) fn lookup(&self, host: &str) -> Option<&Endpoint> {
        let exact = self.exact.get(host).copied();
        let index = exact.or_else(|| self.by_domain(host));
        self.entries.get(index?)
    }

    fn by_domain(&self, host: &str) -> Option<usize> {
        if is_address(host) {
            return self.suffix.get(host).copied();
        }
        let by_suffix = || parents(host).find_map(|name| self.suffix.get(name).copied());
        self.by_pattern(host).or_else(by_suffix)
    }

    fn by_pattern(&self, host: &str) -> Option<usize> {
        let fits = |index: &&usize| {
            let entry = self.entries.get(**index);
            entry.is_some_and(|entry| glob::matches_host(&entry.domain, host))
        };
        parents(host)
            .skip(1)
            .filter_map(|name| self.patterns.get(name))
            .find_map(|indices| indices.iter().find(fits))
            .copied()
    }
}

/// Whether it is an IPv4 address, which belongs to no domain (RFC 3696 section 2: no top level has
/// digits alone).
fn is_address(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The name, and every domain above it.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(host);
    std::iter::from_fn(move || {
        let name = next?;
        next = name.split_once('.').map(|(_, above)| above);
        Some(name)
    })
}

/// What follows the last label with a star.
fn tail(pattern: &str) -> &str {
    let after_star = pattern.rfind('*').and_then(|at| pattern.get(at..)).unwrap_or(pattern);
    after_star.split_once('.').map_or("", |(_, tail)| tail)
}

/// A host name in lower case without its final dot; `None` if it has an empty label, is too long or
/// has characters that no host name has.
pub fn normal_host(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(is_plain)
    };
    if name.len() > HOST_BYTES_MAX || !name.split('.').all(is_label) {
        return None;
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(name.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(name))
}
