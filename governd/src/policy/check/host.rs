//! Host policies.

use std::collections::BTreeMap;

use super::{
    super::{
        document::{HostPolicyDocument, HostSpec, OneOrMany, Scalar},
        model::HostPolicy,
        value::label::{Environment, LabelKey, LabelValue},
    },
    Checker, HostGlob, Located, Mode, Network, Place, Posture, Verdict, value,
};

/// Labels as they are written.
pub(super) type Labels = Located<BTreeMap<String, Located<Scalar>>>;

impl Checker<'_> {
    /// A host policy document; `at` is where the document begins.
    pub(crate) fn host(&mut self, document: HostPolicyDocument, at: &Place) -> Option<HostPolicy> {
        let HostPolicyDocument { api_version: _, kind: _, metadata, spec } = document;
        let name = self.name(metadata, at);
        let spec = self.required(spec, "spec", at)?;
        let HostSpec {
            hosts,
            labels,
            environment,
            mode,
            unregistered,
            unclassified,
            on_log_failure,
            loopback,
            resolvers,
            selftest,
            exporters,
        } = spec.value;
        let hosts = match hosts {
            Some(hosts) => self.each("hosts", &hosts, HostGlob::parse),
            None => vec![HostGlob::every()],
        };
        let labels = self.labels(labels);
        let environments = environment.map(|one| self.environments(one));
        let exporters = exporters.map(|list| {
            let name = |one: &Located<String>| self.text(one);
            list.value.iter().filter_map(name).collect()
        });
        let mode = mode.and_then(|mode| self.parse(&mode, value::parse_mode));
        let unregistered = unregistered.and_then(|word| self.parse(&word, Posture::parse));
        let unclassified =
            unclassified.and_then(|word| self.parse(&word, value::Unclassified::parse));
        let on_log_failure =
            on_log_failure.and_then(|word| self.parse(&word, value::LogFailure::parse));
        let loopback = loopback.and_then(|word| self.parse(&word, value::parse_verdict));
        let resolvers = resolvers.map(|resolvers| resolvers.value).unwrap_or_default();
        let addresses = resolvers.addresses.map(|list| {
            let address = Network::parse_host;
            list.value.iter().filter_map(|one| self.parse(one, address)).collect()
        });
        let processes = resolvers.processes.map(|list| {
            let parsed = list.value.iter().map(|one| self.executable(one));
            parsed.flatten().collect()
        });
        let selftest_s = selftest.and_then(|selftest| {
            let at = self.place(&selftest);
            let every = self.required(selftest.value.every, "every", &at)?;
            self.parse(&every, value::time::parse_span)
        });
        let (name, place) = name?;
        Some(HostPolicy {
            name,
            place: Some(place),
            hosts,
            labels,
            environments,
            mode: mode.unwrap_or(Mode::Monitor),
            unregistered: unregistered.unwrap_or_default(),
            unclassified: unclassified.unwrap_or_default(),
            on_log_failure: on_log_failure.unwrap_or_default(),
            loopback: loopback.unwrap_or(Verdict::Deny),
            host_resolvers: resolvers.host.is_none_or(|flag| flag.value),
            resolvers: addresses.unwrap_or_default(),
            resolver_processes: processes.unwrap_or_default(),
            selftest_s,
            exporters,
        })
    }

    /// Labels; one that cannot be read is an error.
    pub(super) fn labels(&mut self, labels: Option<Labels>) -> BTreeMap<LabelKey, LabelValue> {
        let mut read = BTreeMap::new();
        for (key, value) in labels.map(|labels| labels.value).unwrap_or_default() {
            let value = value.map(|Scalar(text)| text);
            let key = Located { value: key, line: value.line, column: value.column };
            let pair = (self.parse(&key, LabelKey::parse), self.parse(&value, LabelValue::parse));
            if let (Some(key), Some(value)) = pair {
                read.insert(key, value);
            }
        }
        read
    }

    fn environments(&mut self, one: Located<OneOrMany>) -> Vec<Environment> {
        let Located { value, line, column } = one;
        let value = match value {
            OneOrMany::One(value) => vec![Located { value, line, column }],
            OneOrMany::Many(many) => many,
        };
        self.each("environment", &Located { value, line, column }, Environment::parse)
    }
}
