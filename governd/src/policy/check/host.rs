//! Host policies.

use super::{
    super::{
        document::{HostPolicyDocument, HostSpec},
        model::HostPolicy,
    },
    Checker, HostGlob, Mode, Network, Place, Posture, Verdict, value,
};

impl Checker<'_> {
    /// A host policy document; `at` is where the document begins.
    pub(crate) fn host(&mut self, document: HostPolicyDocument, at: &Place) -> Option<HostPolicy> {
        let HostPolicyDocument { api_version: _, kind: _, metadata, spec } = document;
        let name = self.name(metadata, at);
        let spec = self.required(spec, "spec", at)?;
        let HostSpec { hosts, mode, unregistered, on_log_failure, loopback, resolvers, selftest } =
            spec.value;
        let hosts = match hosts {
            Some(hosts) => self.each("hosts", &hosts, HostGlob::parse),
            None => vec![HostGlob::every()],
        };
        let mode = mode.and_then(|mode| self.parse(&mode, value::parse_mode));
        let unregistered = unregistered.and_then(|word| self.parse(&word, Posture::parse));
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
            mode: mode.unwrap_or(Mode::Monitor),
            unregistered: unregistered.unwrap_or_default(),
            on_log_failure: on_log_failure.unwrap_or_default(),
            loopback: loopback.unwrap_or(Verdict::Deny),
            host_resolvers: resolvers.host.is_none_or(|flag| flag.value),
            resolvers: addresses.unwrap_or_default(),
            resolver_processes: processes.unwrap_or_default(),
            selftest_s,
        })
    }
}
