//! The cgroup v2 tree: paths and ids, both ways.
//!
//! A cgroup's id is the inode number of its directory (`bpf_get_current_cgroup_id`,
//! cgroup_id() in include/linux/cgroup.h). Ids are not used again while the host is up.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::limits::{CGROUP_DEPTH_MAX, CGROUPS_MAX};

/// A mounted cgroup v2 tree with the paths that are known of it.
#[derive(Clone, Debug)]
pub struct CgroupTree {
    mount: Arc<Path>,
    paths: HashMap<u64, Arc<str>>,
}

impl CgroupTree {
    /// The tree mounted at `mount`.
    pub fn new(mount: &Path) -> Self {
        Self { mount: mount.into(), paths: HashMap::new() }
    }

    /// Id of the cgroup at a path below the mount (leading slash); `None` if there is none.
    pub fn id(&self, path: &str) -> Option<u64> {
        let below = path.strip_prefix('/')?;
        if below.split('/').any(|part| part == "..") {
            return None;
        }
        let metadata = fs::metadata(self.mount.join(below)).ok()?;
        metadata.is_dir().then(|| metadata.ino())
    }

    /// Whether nobody but root can have made a cgroup of this path: all directories above it are
    /// root's, and nobody else may write there. The cgroup itself may be handed over, as to the
    /// root of a container's user namespace.
    pub fn is_made_by_root(&self, path: &str) -> bool {
        let is_roots = |directory: &Path| {
            let found = fs::metadata(directory);
            found.is_ok_and(|found| found.uid() == 0 && found.mode() & 0o022 == 0)
        };
        let Some(below) = path.strip_prefix('/').filter(|_| self.id(path).is_some()) else {
            return false;
        };
        let own = self.mount.join(below);
        own.ancestors().skip(1).take_while(|one| one.starts_with(&self.mount)).all(is_roots)
    }

    /// Paths of all cgroups that there are now, at most `CGROUPS_MAX`.
    pub fn all(&self) -> Vec<String> {
        self.walk().into_iter().map(|(_, path)| path).collect()
    }

    /// The largest id of a cgroup that there is now; ids only grow.
    pub fn newest(&self) -> u64 {
        self.walk().into_iter().map(|(id, _)| id).max().unwrap_or(0)
    }

    /// Path of a cgroup that was seen before.
    pub fn path(&self, id: u64) -> Option<Arc<str>> {
        self.paths.get(&id).cloned()
    }

    /// Remembers a path; gives the shared text.
    pub fn learn(&mut self, id: u64, path: &str) -> Arc<str> {
        if let Some(known) = self.paths.get(&id).filter(|known| &***known == path) {
            return Arc::clone(known);
        }
        if self.paths.len() >= CGROUPS_MAX {
            self.paths.clear();
        }
        let path: Arc<str> = path.into();
        self.paths.insert(id, Arc::clone(&path));
        path
    }

    /// Walks the tree and remembers every path. Visits at most `CGROUPS_MAX` directories.
    pub fn index(&mut self) {
        for (id, path) in self.walk() {
            self.learn(id, &path);
        }
    }

    /// Ids of the cgroups that a pattern names: a path below the mount with a leading slash, where
    /// `*` stands for any characters within one component.
    pub fn matching(&self, pattern: &str) -> Vec<u64> {
        let Some(below) = pattern.strip_prefix('/') else { return Vec::new() };
        if !below.contains('*') {
            return self.id(pattern).into_iter().collect();
        }
        let mut found = vec![PathBuf::from(&*self.mount)];
        for part in below.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for directory in &found {
                if part == ".." {
                    return Vec::new();
                }
                if part.contains('*') {
                    let fits = |name: &str| component_matches(part, name);
                    next.extend(
                        directories(directory)
                            .filter(|(_, name)| fits(name))
                            .map(|(_, name)| directory.join(name)),
                    );
                } else {
                    next.push(directory.join(part));
                }
            }
            next.truncate(CGROUPS_MAX);
            found = next;
        }
        found
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .filter(fs::Metadata::is_dir)
            .map(|metadata| metadata.ino())
            .collect()
    }

    fn walk(&self) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        let mut pending = vec![(PathBuf::from(&*self.mount), String::new(), 0)];
        if let Some(id) = self.id("/") {
            found.push((id, "/".to_owned()));
        }
        while let Some((directory, path, depth)) = pending.pop() {
            for (id, name) in directories(&directory) {
                if found.len() >= CGROUPS_MAX {
                    return found;
                }
                let below = format!("{path}/{name}");
                if depth < CGROUP_DEPTH_MAX {
                    pending.push((directory.join(&name), below.clone(), depth + 1));
                }
                found.push((id, below));
            }
        }
        found
    }
}

fn directories(path: &Path) -> impl Iterator<Item = (u64, String)> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| (entry.ino(), entry.file_name().to_string_lossy().into_owned()))
}

/// Whether one path component matches a pattern in which `*` stands for any characters.
fn component_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Where cgroup v2 is mounted, from the text of a mountinfo file; the shortest path of several.
pub fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let point = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == "cgroup2").then_some(())?;
        let fields: Vec<&str> = before.split(' ').collect();
        let root = *fields.get(3)?;
        (root == "/").then(|| unescape(fields.get(4).copied().unwrap_or_default()))
    };
    mountinfo.lines().filter_map(point).min_by_key(String::len).map(PathBuf::from)
}

/// Undoes the octal escapes of mountinfo (space, tab, newline, backslash).
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_one_component() {
        let rows = [
            ("*.service", "a.service", true),
            ("a*", "a", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "ace", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a**b", "ab", true),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(component_matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn ids_are_inodes_and_patterns_find_them() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["system.slice/a.service/sub", "system.slice/b.service", "user.slice"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("system.slice/cgroup.procs"), "").unwrap();
        let mut tree = CgroupTree::new(dir.path());
        let inode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().ino();
        let a = inode("system.slice/a.service");
        assert_eq!(tree.id("/system.slice/a.service"), Some(a));
        assert_eq!(tree.id("/"), Some(inode("")));
        assert_eq!(tree.id("/../x"), None);
        assert_eq!(tree.id("system.slice"), None);
        assert_eq!(tree.id("/system.slice/cgroup.procs"), None);
        let mut found = tree.matching("/system.slice/*.service");
        found.sort_unstable();
        let mut expected = vec![a, inode("system.slice/b.service")];
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(tree.matching("/*/a.service/sub"), [inode("system.slice/a.service/sub")]);
        assert_eq!(tree.matching("/none/*"), Vec::<u64>::new());
        assert_eq!(tree.matching("*"), Vec::<u64>::new());
        assert_eq!(tree.path(a), None);
        tree.index();
        assert_eq!(tree.path(a).as_deref(), Some("/system.slice/a.service"));
        assert_eq!(tree.path(inode("")).as_deref(), Some("/"));
    }

    #[test]
    fn what_others_than_root_may_have_made_is_told_apart() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        let tree = CgroupTree::new(dir.path());
        let own = |path: &str, uid| {
            std::os::unix::fs::chown(dir.path().join(path), Some(uid), None).unwrap();
        };
        assert!(tree.is_made_by_root("/a/b/c") && !tree.is_made_by_root("/a/b/none"));
        own("a/b/c", 1000);
        assert!(tree.is_made_by_root("/a/b/c"));
        own("a/b", 1000);
        assert!(!tree.is_made_by_root("/a/b/c") && tree.is_made_by_root("/a/b"));
        own("a/b", 0);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(dir.path().join("a"), mode).unwrap();
        assert!(!tree.is_made_by_root("/a/b/c"));
    }

    #[test]
    fn the_mount_is_found_on_unified_and_hybrid_hosts() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let unified = "35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
                       99 24 0:30 /docker/x /var/y rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(mount_point("31 23 0:28 / /s\\040p rw - tmpfs tmpfs rw\n"), None);
        assert_eq!(unescape("/a\\040b"), "/a b");
    }
}
