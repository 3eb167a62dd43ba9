//! Removes what a run that was killed left behind.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::{cgroup, command::must, namespace};

/// Every cgroup, namespace and directory of a lab begins with this, followed by the pid of its
/// process and a dash.
pub const PREFIX: &str = "governd-lab-";

/// Where BPF file systems are mounted.
const PINS: &str = "/sys/fs/bpf";

/// Removes cgroups, pins, network namespaces and directories of labs whose process is gone, with
/// the processes in them.
///
/// # Errors
///
/// Fails if something of ours cannot be removed.
pub fn remove() -> Result<()> {
    for entry in fs::read_dir(cgroup::mount()?)? {
        let entry = entry?;
        if is_leftover(&entry.file_name().to_string_lossy()) {
            cgroup::remove(&entry.path())?;
        }
    }
    for name in namespace::names()?.iter().filter(|name| is_leftover(name)) {
        let pids = must("ip", &["netns", "pids", name])?;
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // It may have ended in between.
            Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        must("ip", &["netns", "delete", name])?;
    }
    for entry in fs::read_dir(PINS).into_iter().flatten() {
        let entry = entry?;
        if is_leftover(&entry.file_name().to_string_lossy()) {
            unpin(&entry.path())?;
        }
    }
    for entry in fs::read_dir(env::temp_dir())? {
        let entry = entry?;
        if is_leftover(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Where a governd of this process pins what outlives it.
pub fn pins(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(PINS).join(format!("{PREFIX}{}-{number}-{name}", std::process::id()))
}

/// Removes what is pinned there; links first, or what they hold misses its tables.
///
/// # Errors
///
/// Fails if something cannot be removed.
pub fn unpin(pins: &Path) -> Result<()> {
    if !pins.exists() {
        return Ok(());
    }
    for cgroup in fs::read_dir(pins)? {
        for layout in fs::read_dir(cgroup?.path())? {
            let links = layout?.path().join("links");
            if links.exists() {
                fs::remove_dir_all(&links)
                    .with_context(|| format!("removing {}", links.display()))?;
            }
        }
    }
    fs::remove_dir_all(pins).with_context(|| format!("removing {}", pins.display()))
}

fn is_leftover(name: &str) -> bool {
    maker(name).is_some_and(|pid| !is_alive(pid))
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which ends at the last parenthesis; Z is a process that nobody
    // has waited for.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_our_prefix_and_a_dead_pid_are_leftovers() {
        let own = std::process::id();
        // Pids end at 2^22.
        assert!(is_leftover("governd-lab-4194305-0"));
        assert!(is_leftover("governd-lab-4194305-0-client"));
        assert!(!is_leftover(&format!("governd-lab-{own}-0-client")));
        assert!(!is_leftover("governd-lab-"));
        assert!(!is_leftover("governd-lab-x-0"));
        assert!(!is_leftover("system.slice"));
    }
}
