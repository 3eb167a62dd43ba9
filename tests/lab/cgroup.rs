//! A cgroup of the lab's own, below the cgroup v2 mount.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A cgroup; its processes are killed and it is removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup directly below the cgroup v2 mount.
    ///
    /// # Errors
    ///
    /// Fails if there is no such mount or the directory cannot be made.
    pub fn create(name: &str) -> Result<Self> {
        let path = mount()?.join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a cgroup below this one; it is removed with this one.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be made.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// The cgroup v2 mount of this process, `/sys/fs/cgroup` or on a hybrid host `…/unified`.
///
/// # Errors
///
/// Fails if there is none.
pub fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    mount_in(&mounts).context("no cgroup v2 mount in /proc/self/mountinfo")
}

fn mount_in(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let is_cgroup2 = source.starts_with("cgroup2 ");
        is_cgroup2.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

/// Kills what is in a cgroup and removes it with everything below.
///
/// # Errors
///
/// Fails if it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    // Linux before 5.14 has no cgroup.kill; there the removal below says what is left.
    fs::write(path.join("cgroup.kill"), "1").ok();
    wait::until(&format!("removal of {}", path.display()), Duration::from_secs(5), || {
        Ok(remove_tree(path).is_ok().then_some(()))
    })
}

/// Ends every process in a cgroup and below, one by one. Not by `cgroup.kill`: after it, Linux 6.18
/// also kills what a process of this cgroup starts in another by `CLONE_INTO_CGROUP`.
///
/// # Errors
///
/// Fails if a process does not end.
pub fn end_processes(path: &Path) -> Result<()> {
    wait::until(&format!("end of {}", path.display()), Duration::from_secs(5), || {
        let pids = processes(path)?;
        for pid in &pids {
            // It may have ended in between.
            Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        Ok(pids.is_empty().then_some(()))
    })
}

fn processes(path: &Path) -> Result<Vec<i32>> {
    let text = fs::read_to_string(path.join("cgroup.procs"))?;
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            pids.extend(processes(&entry.path())?);
        }
    }
    Ok(pids)
}

fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_on_unified_and_hybrid_hosts() {
        let unified = "29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(mount_in(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_in("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"), None);
    }
}
