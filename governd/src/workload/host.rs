//! Facts of the host: what compiling a policy asks ([`Host`]), and what records say about it.

use std::{
    fs::{self, File},
    io,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    time::Timespec,
};

use crate::policy::{
    diagnostic::Diagnostic,
    host::{Host, HostLabels},
    limits::HOST_FILE_BYTES_MAX,
    value::{
        container::{ContainerFacts, ContainerMatch},
        process::Cgroup,
    },
};

use super::{
    cgroup::CgroupTree,
    limits::RESOLV_CONF_BYTES_MAX,
    mounts::{FileIdentity, Mounts},
    read,
    users::Users,
};

/// Where a host says what it is, if no other file is named.
pub const HOST_FILE: &str = "/etc/governd/host.toml";
/// What a script begins with (execve(2)).
const SCRIPT_MARK: &[u8] = b"#!";

/// Where the host's own configuration is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPaths {
    /// Directory that holds `etc`, `proc` and `run`; `/` but in tests.
    pub root: PathBuf,
    /// Mount point of the cgroup v2 tree.
    pub cgroup: PathBuf,
    /// File with the environment and labels of the host. One of the usual name may be absent.
    pub labels: PathBuf,
}

impl HostPaths {
    /// Those of this machine.
    pub fn of_machine(cgroup: PathBuf, labels: &Path) -> Self {
        Self { root: PathBuf::from("/"), cgroup, labels: labels.to_path_buf() }
    }
}

/// A snapshot of the host's configuration. Executables and cgroups are looked up when asked.
#[derive(Clone, Debug)]
pub struct HostFacts {
    name: String,
    machine_id: Option<String>,
    boot_id: Option<String>,
    kernel_release: Option<String>,
    resolvers: Vec<IpAddr>,
    search_domains: Vec<String>,
    users: Users,
    mounts: Mounts,
    cgroups: CgroupTree,
    labels: Result<HostLabels, Diagnostic>,
    containers: Arc<[Contained]>,
    unclassified: Arc<[u64]>,
    /// What the files were like that were read.
    stamps: Vec<Option<Stamp>>,
    /// Says when the mounts are not those any more (proc_pid_mountinfo(5)).
    mounts_file: Option<Arc<File>>,
}

/// A container, once its runtime or Kubernetes told something of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contained {
    /// Its cgroup, by the path below the mount.
    pub cgroup: Arc<str>,
    /// What is known of it.
    pub facts: ContainerFacts,
}

/// Inode, length and the times of the last changes of contents and of anything.
type Stamp = (u64, u64, (i64, i64), (i64, i64));

/// Files that the host is read from, but for those that the kernel makes up.
const FILES: [&str; 5] = [
    "etc/hostname",
    "etc/machine-id",
    "etc/passwd",
    "etc/resolv.conf",
    "run/systemd/resolve/resolv.conf",
];

fn stamps(paths: &HostPaths) -> Vec<Option<Stamp>> {
    let files = FILES.iter().map(|name| paths.root.join(name)).chain([paths.labels.clone()]);
    let stamp = |file: PathBuf| {
        let found = fs::metadata(file).ok()?;
        let contents = (found.mtime(), found.mtime_nsec());
        Some((found.ino(), found.len(), contents, (found.ctime(), found.ctime_nsec())))
    };
    files.map(stamp).collect()
}

fn host_name(paths: &HostPaths) -> String {
    read::first_line(&paths.root.join("proc/sys/kernel/hostname"))
        .or_else(|| read::first_line(&paths.root.join("etc/hostname")))
        .unwrap_or_else(|| "localhost".to_owned())
}

impl HostFacts {
    /// Reads the host. What cannot be read is missing: no resolver, no user, no id.
    pub fn read(paths: &HostPaths) -> Self {
        let file = |name: &str| paths.root.join(name);
        let name = host_name(paths);
        // Before they are read: what changes meanwhile is read again.
        let stamps = stamps(paths);
        let mounts_file = File::open(file("proc/self/mountinfo")).ok().map(Arc::new);
        Self {
            stamps,
            mounts_file,
            search_domains: search_domains(&paths.root, &name),
            name,
            machine_id: read::first_line(&file("etc/machine-id")),
            boot_id: read::first_line(&file("proc/sys/kernel/random/boot_id")),
            kernel_release: read::first_line(&file("proc/sys/kernel/osrelease")),
            resolvers: resolvers(&paths.root),
            users: Users::read(&file("etc/passwd")),
            mounts: Mounts::read(&file("proc/self/mountinfo")),
            cgroups: CgroupTree::new(&paths.cgroup),
            labels: labels(&paths.labels),
            containers: Arc::default(),
            unclassified: Arc::default(),
        }
    }

    /// Whether reading the host again would give the same: nothing that was read has changed.
    pub fn is_current(&self, paths: &HostPaths) -> bool {
        let has_same_mounts = self.mounts_file.as_ref().is_some_and(|file| {
            let mut mounts = PollFd::new(&**file, PollFlags::PRI);
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let polled = poll(std::slice::from_mut(&mut mounts), Some(&now));
            polled.is_ok() && !mounts.revents().contains(PollFlags::PRI)
        });
        has_same_mounts && stamps(paths) == self.stamps && host_name(paths) == self.name
    }

    /// The same as another host of this name would be.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same, knowing of these containers.
    pub fn with_containers(self, containers: Arc<[Contained]>) -> Self {
        Self { containers, ..self }
    }

    /// The same, with these cgroups of containers of which nobody told what they are.
    pub fn with_unclassified(self, unclassified: Arc<[u64]>) -> Self {
        Self { unclassified, ..self }
    }

    /// Containers that are known of.
    pub fn known_containers(&self) -> &Arc<[Contained]> {
        &self.containers
    }

    /// The cgroup v2 tree.
    pub fn cgroup_tree(&self) -> &CgroupTree {
        &self.cgroups
    }

    /// Ids of what lies both in the cgroup of a path and in those that a pattern names.
    fn within(&self, path: &str, within: Option<&Cgroup>) -> Vec<u64> {
        let Some(within) = within else { return self.cgroups.id(path).into_iter().collect() };
        let Ok(own) = Cgroup::parse(path) else { return Vec::new() };
        if within.holds(&own) {
            return self.cgroups.id(path).into_iter().collect();
        }
        // The pattern may name what is further down.
        let depth = own.components().count();
        let above =
            within.components().take(depth).fold(String::new(), |path, one| path + "/" + one);
        let rest =
            within.components().skip(depth).fold(String::new(), |path, one| path + "/" + one);
        match Cgroup::parse(&above) {
            Ok(above) if !rest.is_empty() && above.holds(&own) => {
                self.cgroups.matching(&format!("{path}{rest}"))
            }
            _ => Vec::new(),
        }
    }

    /// The machine's id (machine-id(5)): stays the same until the system is installed anew.
    pub fn machine_id(&self) -> Option<&str> {
        self.machine_id.as_deref()
    }

    /// The id of this boot (random(4)).
    pub fn boot_id(&self) -> Option<&str> {
        self.boot_id.as_deref()
    }

    /// The kernel's release, as `uname -r` gives it.
    pub fn kernel_release(&self) -> Option<&str> {
        self.kernel_release.as_deref()
    }
}

impl Host for HostFacts {
    fn executable(&self, path: &Path) -> Option<(u32, u64)> {
        if !path.is_absolute() {
            return None;
        }
        let identity = FileIdentity::of(path).filter(|identity| identity.is_file)?;
        Some((identity.device(&self.mounts), identity.inode))
    }

    fn is_script(&self, path: &Path) -> bool {
        // What is no regular file may hang whoever opens it.
        let is_file = FileIdentity::of(path).is_some_and(|identity| identity.is_file);
        is_file && read::bytes(path, SCRIPT_MARK.len()).is_ok_and(|start| start == SCRIPT_MARK)
    }

    fn system_executable(&self, path: &Path) -> Option<(u32, u64)> {
        let is_roots = FileIdentity::of(path).is_some_and(|identity| identity.is_roots);
        if is_roots { self.executable(path) } else { None }
    }

    fn user(&self, name: &str) -> Option<u32> {
        self.users.id(name)
    }

    fn cgroups(&self, pattern: &str) -> Vec<u64> {
        self.cgroups.matching(pattern)
    }

    fn containers(&self, wanted: &ContainerMatch, within: Option<&Cgroup>) -> Vec<u64> {
        let fitting = self.containers.iter().filter(|one| wanted.fits(&one.facts));
        fitting.flat_map(|one| self.within(&one.cgroup, within)).collect()
    }

    fn unclassified(&self) -> Vec<u64> {
        self.unclassified.to_vec()
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
        self.labels.clone()
    }
}

fn labels(path: &Path) -> Result<HostLabels, Diagnostic> {
    let file: Arc<str> = path.to_string_lossy().into();
    match read::text(path, HOST_FILE_BYTES_MAX) {
        Ok(text) => HostLabels::parse(&file, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path == Path::new(HOST_FILE) => {
            Ok(HostLabels::default())
        }
        Err(error) => Err(HostLabels::unreadable(&file, &error)),
    }
}

/// The host's configuration of resolvers, and what systemd-resolved asks where that names its stub.
fn resolv_confs(root: &Path) -> impl Iterator<Item = String> + use<> {
    ["etc/resolv.conf", "run/systemd/resolve/resolv.conf"]
        .map(|name| read::text(&root.join(name), RESOLV_CONF_BYTES_MAX).unwrap_or_default())
        .into_iter()
}

fn resolvers(root: &Path) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for text in resolv_confs(root) {
        for address in nameservers(&text) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

/// `search` and `domain` lines, of which the last one of a file counts; without any, what follows
/// the first dot of the host's name (resolv.conf(5)).
fn search_domains(root: &Path, name: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in resolv_confs(root) {
        let mut lists = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            matches!(words.next()?, "search" | "domain").then(|| words.collect::<Vec<_>>())
        });
        for domain in lists.next_back().unwrap_or_default() {
            let domain = domain.trim_matches('.').to_ascii_lowercase();
            if !domain.is_empty() && !found.contains(&domain) {
                found.push(domain);
            }
        }
    }
    if found.is_empty() {
        found.extend(name.split_once('.').map(|(_, domain)| domain.to_ascii_lowercase()));
    }
    found
}

/// `nameserver` lines (resolv.conf(5)); an IPv6 zone is left out.
fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        let address = words.next()?.split('%').next()?;
        IpAddr::from_str(address).ok().map(|address| address.to_canonical())
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };

    use super::*;
    use crate::policy::value::container::ImagePattern;

    fn labels_of(dir: &tempfile::TempDir) -> Result<HostLabels, Diagnostic> {
        super::labels(&dir.path().join("etc/governd/host.toml"))
    }

    fn host() -> (tempfile::TempDir, HostFacts) {
        let dir = tempfile::tempdir().unwrap();
        for (name, contents) in [
            ("etc/passwd", "root:x:0:0::/:/bin/sh\nsvc-invoice:x:1001:1001::/:/bin/false\n"),
            (
                "etc/resolv.conf",
                "# nameserver 9.9.9.9\nnameserver 127.0.0.53\nsearch a.example\n\
                 domain b.example.\n\
                 nameserver fe80::1%eth0\nnameserver ::ffff:10.0.0.2\nnameserver nonsense\n",
            ),
            (
                "run/systemd/resolve/resolv.conf",
                "nameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch B.example c.example\n",
            ),
            ("proc/sys/kernel/hostname", "web-1\n"),
            ("proc/sys/kernel/osrelease", "6.18.0-test\n"),
            ("proc/sys/kernel/random/boot_id", "b\n"),
            ("etc/machine-id", "m\n"),
            ("etc/governd/host.toml", "environment = \"test\"\n[labels]\ntier = \"web\"\n"),
            ("cgroup/system.slice/a.service/cgroup.procs", ""),
            ("bin/tool-1.2", "x"),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        std::os::unix::fs::symlink("tool-1.2", dir.path().join("bin/tool")).unwrap();
        let paths = HostPaths {
            root: dir.path().to_owned(),
            cgroup: dir.path().join("cgroup"),
            labels: dir.path().join("etc/governd/host.toml"),
        };
        let facts = HostFacts::read(&paths);
        (dir, facts)
    }

    #[test]
    fn a_host_is_read_again_when_a_file_or_a_mount_changes() {
        let (dir, _) = host();
        let root = dir.path();
        let paths = HostPaths {
            root: root.to_owned(),
            cgroup: root.join("cgroup"),
            labels: root.join("etc/governd/host.toml"),
        };
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::write(root.join("proc/self/mountinfo"), "").unwrap();
        for name in ["etc/passwd", "etc/resolv.conf", "etc/governd/host.toml"] {
            let facts = HostFacts::read(&paths);
            assert!(facts.is_current(&paths), "{name}");
            fs::write(root.join(name), "changed = 1").unwrap();
            assert!(!facts.is_current(&paths), "{name}");
        }
        let facts = HostFacts::read(&paths);
        fs::write(root.join("proc/sys/kernel/hostname"), "web-2").unwrap();
        assert!(!facts.is_current(&paths));
        // The kernel tells of mounts of the real host.
        let real = HostPaths { root: PathBuf::from("/"), ..paths };
        let facts = HostFacts::read(&real);
        assert!(facts.is_current(&real));
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mount = |arguments: &[&str]| {
            let done = std::process::Command::new(arguments[0]).args(&arguments[1..]).status();
            assert!(done.unwrap().success(), "{arguments:?}");
        };
        let target = root.to_str().unwrap();
        mount(&["mount", "-t", "tmpfs", "none", target]);
        let is_current = facts.is_current(&real);
        mount(&["umount", target]);
        assert!(!is_current);
    }

    #[test]
    fn a_host_answers_from_its_files() {
        let (dir, facts) = host();
        assert_eq!(facts.name(), "web-1");
        assert_eq!((facts.machine_id(), facts.boot_id()), (Some("m"), Some("b")));
        assert_eq!(facts.kernel_release(), Some("6.18.0-test"));
        assert_eq!((facts.user("svc-invoice"), facts.user("nobody")), (Some(1001), None));
        let expected = ["127.0.0.53", "fe80::1", "10.0.0.2", "10.0.0.3"];
        assert_eq!(facts.resolvers(), expected.map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(facts.search_domains(), ["b.example", "c.example"]);
        let inode = fs::metadata(dir.path().join("cgroup/system.slice/a.service")).unwrap().ino();
        assert_eq!(facts.cgroups("/system.slice/*.service"), [inode]);
        let said = facts.labels().unwrap();
        assert_eq!(said.environment.unwrap().as_str(), "test");
        let labels: Vec<_> =
            said.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("tier", "web")]);
        // Which policy is meant nobody knows without a file that was named.
        fs::remove_file(dir.path().join("etc/governd/host.toml")).unwrap();
        assert!(labels_of(&dir).is_err());
    }

    #[test]
    fn containers_are_the_cgroups_that_run_and_fit() {
        let (dir, facts) = host();
        let make = |path: &str| {
            let path = dir.path().join("cgroup").join(path);
            fs::create_dir_all(&path).unwrap();
            fs::metadata(path).unwrap().ino()
        };
        let (one, inner, two) = (make("pods/one"), make("pods/one/inner"), make("pods/two"));
        let contained = |cgroup: &str, image: &str| Contained {
            cgroup: cgroup.into(),
            facts: ContainerFacts { image: Some(image.into()), ..ContainerFacts::default() },
        };
        let known = [
            contained("/pods/one", "a.io/bot:1"),
            contained("/pods/two", "a.io/bot:2"),
            contained("/pods/three", "a.io/bot:3"),
        ];
        let facts = facts.with_containers(known.into());
        let rows: &[(&str, Option<&str>, &[u64])] = &[
            ("a.io/bot", None, &[one, two]),
            ("a.io/bot:2", None, &[two]),
            ("a.io/other", None, &[]),
            ("a.io/bot", Some("/pods"), &[one, two]),
            ("a.io/bot", Some("/p*/t*"), &[two]),
            ("a.io/bot", Some("/pods/*/inner"), &[inner]),
            ("a.io/bot:2", Some("/pods/one/inner"), &[]),
            ("a.io/bot", Some("/else"), &[]),
        ];
        for (image, within, expected) in rows {
            let images = vec![ImagePattern::parse(image).unwrap()];
            let wanted = ContainerMatch { images, ..ContainerMatch::default() };
            let within = within.map(|within| Cgroup::parse(within).unwrap());
            assert_eq!(facts.containers(&wanted, within.as_ref()), *expected, "{image} {within:?}");
        }
    }

    #[test]
    fn executables_follow_links_and_must_be_files() {
        let (dir, facts) = host();
        let file = facts.executable(&dir.path().join("bin/tool-1.2")).unwrap();
        assert_eq!(facts.executable(&dir.path().join("bin/tool")), Some(file));
        assert_eq!(file.1, fs::metadata(dir.path().join("bin/tool")).unwrap().ino());
        assert_eq!(facts.executable(&dir.path().join("bin")), None);
        assert_eq!(facts.executable(&dir.path().join("bin/none")), None);
        assert_eq!(facts.executable(Path::new("bin/tool")), None);
    }

    #[test]
    fn a_script_is_told_by_its_first_bytes() {
        let (dir, facts) = host();
        let path = dir.path().join("bin/tool-1.2");
        let rows: [(&[u8], bool); 4] =
            [(b"#!/bin/sh\n", true), (b"#!", true), (b"#", false), (b"\x7fELF", false)];
        for (contents, is_script) in rows {
            fs::write(&path, contents).unwrap();
            assert_eq!(facts.is_script(&dir.path().join("bin/tool")), is_script, "{contents:?}");
        }
        assert!(!facts.is_script(&dir.path().join("bin")));
        assert!(!facts.is_script(&dir.path().join("bin/none")));
    }

    #[test]
    fn an_executable_of_the_system_is_roots_and_only_roots_to_write() {
        let (dir, facts) = host();
        let path = dir.path().join("bin/tool-1.2");
        let is_mine_roots = fs::metadata(&path).unwrap().uid() == 0;
        for (mode, is_closed) in [(0o755, true), (0o775, false), (0o757, false), (0o700, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = facts.system_executable(&path);
            assert_eq!(found.is_some(), is_mine_roots && is_closed, "{mode:o}");
        }
        assert_eq!(facts.system_executable(&dir.path().join("bin")), None);
    }

    #[test]
    fn an_empty_host_has_no_facts() {
        let dir = tempfile::tempdir().unwrap();
        let paths = HostPaths {
            root: dir.path().to_owned(),
            cgroup: dir.path().join("none"),
            labels: HOST_FILE.into(),
        };
        let facts = HostFacts::read(&paths);
        assert_eq!(facts.name(), "localhost");
        assert!(facts.resolvers().is_empty() && facts.cgroups("/").is_empty());
        assert_eq!(facts.machine_id(), None);
    }
}
