//! Endpoints as the name patterns of a policy: exact, or `*.` and a name.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::entry::{Endpoint, EndpointKind, HostMatch};

/// A name pattern of AI endpoints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointPattern {
    /// Exact name, or `*.` and a name.
    pub pattern: String,
    /// Who runs it.
    pub provider: Arc<str>,
    /// What it serves.
    pub kind: EndpointKind,
}

/// Patterns, providers and kinds. A pattern with a star where a cloud's region stands is spelled
/// out for the regions that are known; other patterns that a policy cannot express are left out.
pub(super) fn of(endpoints: &[Endpoint], regions: &str) -> Vec<EndpointPattern> {
    let suffixes: HashSet<(&str, &str, EndpointKind)> = endpoints
        .iter()
        .filter(|entry| is_wanted(entry) && entry.matching == HostMatch::Suffix)
        .map(|entry| (&*entry.domain, &*entry.provider, entry.kind))
        .collect();
    let is_covered = |name: &str, entry: &Endpoint| {
        let mut rest = name;
        while let Some((_, above)) = rest.split_once('.') {
            if suffixes.contains(&(above, &*entry.provider, entry.kind)) {
                return true;
            }
            rest = above;
        }
        false
    };
    let mut found: BTreeMap<String, (Arc<str>, EndpointKind)> = BTreeMap::new();
    let mut add = |pattern: String, entry: &Endpoint| {
        let name = pattern.strip_prefix("*.").unwrap_or(&pattern);
        if !is_covered(name, entry) {
            found.entry(pattern).or_insert_with(|| (Arc::clone(&entry.provider), entry.kind));
        }
    };
    // In the order of precedence, so that an exact entry names the provider.
    for matching in [HostMatch::Exact, HostMatch::Pattern, HostMatch::Suffix] {
        for entry in endpoints.iter().filter(|entry| entry.matching == matching) {
            if !is_wanted(entry) {
                continue;
            }
            match matching {
                HostMatch::Exact => add(entry.domain.to_string(), entry),
                HostMatch::Suffix => {
                    add(entry.domain.to_string(), entry);
                    add(format!("*.{}", entry.domain), entry);
                }
                HostMatch::Pattern => {
                    for name in spelled_out(&entry.domain, regions) {
                        add(name, entry);
                    }
                }
            }
        }
    }
    let pattern = |(pattern, (provider, kind))| EndpointPattern { pattern, provider, kind };
    found.into_iter().map(pattern).collect()
}

fn is_wanted(entry: &Endpoint) -> bool {
    let is_ai = !matches!(entry.kind, EndpointKind::Telemetry | EndpointKind::DohResolver);
    is_ai && !entry.is_shared
}

fn spelled_out(pattern: &str, regions: &str) -> Vec<String> {
    let (wildcard, rest) = match pattern.strip_prefix("*.") {
        Some(rest) => ("*.", rest),
        None => ("", pattern),
    };
    if !rest.contains('*') {
        return vec![pattern.to_owned()];
    }
    let Some(cloud) = cloud(rest).filter(|_| rest.matches('*').count() == 1) else {
        return Vec::new();
    };
    regions
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(',');
            let region = fields.next().filter(|name| *name == cloud).and(fields.next())?;
            is_served(rest, region).then(|| format!("{wildcard}{}", rest.replace('*', region)))
        })
        .collect()
}

fn cloud(pattern: &str) -> Option<&'static str> {
    const CLOUDS: &[(&str, &str)] = &[
        (".amazonaws.com", "aws"),
        (".amazonaws.com.cn", "aws"),
        (".amazonaws.eu", "aws"),
        (".amazonwebservices.eu", "aws"),
        (".api.aws", "aws"),
        (".googleapis.com", "gcp"),
        (".oraclecloud.com", "oci"),
    ];
    CLOUDS.iter().find(|(tail, _)| pattern.ends_with(tail)).map(|(_, cloud)| *cloud)
}

/// Whether a partition of AWS has the region.
fn is_served(pattern: &str, region: &str) -> bool {
    let is_china = region.starts_with("cn-");
    let is_sovereign = region.starts_with("eusc-");
    if pattern.ends_with(".cn") {
        return is_china;
    }
    if pattern.ends_with(".eu") {
        return is_sovereign;
    }
    !pattern.ends_with(".amazonaws.com") || (!is_china && !is_sovereign)
}
