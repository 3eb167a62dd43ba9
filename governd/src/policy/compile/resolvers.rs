//! Processes that resolve names for the whole host.
//!
//! Programs ask them over a local socket or the loopback interface, where nothing is learned: what
//! they ask their own resolvers stands for what every program of the host then connects to.

use std::path::Path;

use crate::policy::{
    diagnostic::{Code, Diagnostic, Diagnostics},
    host::Host,
    model::HostPolicy,
};

/// Where distributions install them.
const WELL_KNOWN: [&str; 17] = [
    "/lib/systemd/systemd-resolved",
    "/usr/bin/coredns",
    "/usr/bin/dnsmasq",
    "/usr/bin/kresd",
    "/usr/bin/named",
    "/usr/bin/nscd",
    "/usr/bin/pdns_recursor",
    "/usr/bin/unbound",
    "/usr/lib/systemd/systemd-resolved",
    "/usr/local/bin/coredns",
    "/usr/local/sbin/unbound",
    "/usr/sbin/dnsmasq",
    "/usr/sbin/kresd",
    "/usr/sbin/named",
    "/usr/sbin/nscd",
    "/usr/sbin/pdns_recursor",
    "/usr/sbin/unbound",
];

/// Their executables, by device and inode.
pub(super) fn executables(
    policy: &HostPolicy,
    host: &dyn Host,
    out: &mut Diagnostics,
) -> Vec<(u32, u64)> {
    let known = if policy.host_resolvers { WELL_KNOWN.as_slice() } else { &[] };
    let find = |path: &&str| host.system_executable(Path::new(path));
    let mut all: Vec<_> = known.iter().filter_map(find).collect();
    for exe in &policy.resolver_processes {
        match host.system_executable(exe.value.path()) {
            Some(id) => all.push(id),
            None => {
                let path = exe.value.as_str();
                let message = format!("`{path}` is no executable of root's on this host");
                let hint = "it must exist, belong to root, and be writable by nobody else";
                let warning = Diagnostic::warning(Code::NoExecutable, &exe.place, message);
                out.push(warning.hint(hint));
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}
