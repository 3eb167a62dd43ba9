//! What compiling a policy needs to know of the host.

use std::path::Path;

/// Facts of the host, answered by the workload room and by tables in tests.
pub trait Host {
    /// Device (`s_dev`) and inode of an executable, symbolic links followed; `None` if there is no
    /// such file.
    fn executable(&self, path: &Path) -> Option<(u32, u64)>;
    /// Whether the file begins with `#!`: the kernel then runs the interpreter that it names, and
    /// the process has the interpreter's executable. A host that does not know says no.
    fn is_script(&self, _path: &Path) -> bool {
        false
    }
    /// What [`Host::executable`] says, of one that belongs to root and that nobody else may write.
    fn system_executable(&self, path: &Path) -> Option<(u32, u64)>;
    /// User id of a user name.
    fn user(&self, name: &str) -> Option<u32>;
    /// cgroup v2 ids of the cgroups that a path (below the mount, leading slash, `*` matches within
    /// one component) names now.
    fn cgroups(&self, pattern: &str) -> Vec<u64>;
    /// Addresses of the resolvers that this host trusts by its own configuration.
    fn resolvers(&self) -> Vec<std::net::IpAddr>;
    /// Domains that resolvers of this host append to names (resolv.conf(5), `search`).
    fn search_domains(&self) -> Vec<String>;
    /// Host name, for selectors of host policies.
    fn name(&self) -> &str;
}
