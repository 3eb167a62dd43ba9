//! What governd's processes give up before they begin, and what they have then.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::StartError;
use crate::{
    confine::{self, ConfineError, Confined, Kept, Privileges},
    control::{protocol::PrivilegeStatus, server::Server},
    kernel,
};

/// For the daemon, while it has one thread.
///
/// # Errors
/// It may have too few descriptors.
pub fn daemon() -> Result<(), StartError> {
    see_whole_tree();
    // Takes a capability that is given up.
    kernel::raise_memlock();
    kernel::raise_descriptors();
    give_up(confine::DAEMON, control_group());
    kernel::too_few_descriptors().map_or(Ok(()), |most| Err(StartError::Descriptors(most)))
}

/// Inode of the first cgroup namespace (`PROC_CGROUP_INIT_INO`, include/linux/proc_ns.h).
const FIRST_CGROUP_NAMESPACE: u64 = 0xeffffffb;

/// Enters the first cgroup namespace, if this is another one and a process of it is to be seen: in
/// a pod the tree's root is outside of what its namespace shows, and governd attaches to the root.
/// Where that cannot be, [`kernel::cgroup::root`] says what is missing.
pub fn see_whole_tree() {
    let is_first = |path: &Path| {
        fs::metadata(path).is_ok_and(|namespace| namespace.ino() == FIRST_CGROUP_NAMESPACE)
    };
    if is_first(Path::new("/proc/self/ns/cgroup")) {
        return;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let first = processes.map(|process| process.path().join("ns/cgroup")).find(|it| is_first(it));
    let entered = first.map(|path| -> io::Result<()> {
        let kind = Some(LinkNameSpaceType::ControlGroup);
        Ok(move_into_link_name_space(File::open(path)?.as_fd(), kind)?)
    });
    if let Some(Err(error)) = entered {
        tracing::debug!(%error, "cannot enter the first cgroup namespace");
    }
}

/// For all threads of the daemon, when everything is built: what it makes at its start may take a
/// child, and nothing later does.
pub fn refuse_calls() {
    say(confine::refuse_calls_everywhere());
}

fn say(refused: Result<(), ConfineError>) {
    if let Err(error) = refused {
        tracing::warn!(error = &error as &dyn std::error::Error, "no system calls are refused");
    }
}

/// For the sink, while it has one thread: it also writes nowhere else than in its directory and
/// where SQLite puts what it sorts.
pub fn sink(directory: &Path) {
    kernel::raise_descriptors();
    give_up(confine::SINK, None);
    say(confine::refuse_calls());
    let sorting = ["/var/tmp", "/tmp"].map(Path::new).into_iter().filter(|place| place.is_dir());
    write_only_below(&std::iter::once(directory).chain(sorting).collect::<Vec<_>>());
}

fn give_up(kept: &[Kept], group: Option<u32>) {
    for error in confine::confine(kept, group).err().into_iter().flatten() {
        tracing::warn!(error = &error as &dyn std::error::Error, "more privileges than needed");
    }
}

/// For a thread that talks to other hosts: it writes there and nowhere else, and sees nothing of
/// other processes. Where a directory is not there yet, it is not confined.
pub(super) fn write_only_below(directories: &[&Path]) {
    if !directories.iter().all(|directory| directory.is_dir()) {
        tracing::debug!(?directories, "not all there: files are not confined");
        return;
    }
    match confine::write_only_below(directories) {
        Ok(Confined::Wholly | Confined::Partly) => {}
        Ok(Confined::Not) => tracing::debug!("no Landlock: files are not confined"),
        Err(error) => tracing::warn!(%error, "files are not confined"),
    }
}

/// What the calling thread has.
pub(super) fn status() -> PrivilegeStatus {
    let present = Privileges::present().unwrap_or_else(|error| {
        tracing::debug!(%error, "privileges cannot be read");
        Privileges::default()
    });
    PrivilegeStatus {
        capabilities: present.capabilities.into_iter().map(str::to_owned).collect(),
        may_gain: present.may_gain,
        is_filtered: present.is_filtered,
    }
}

/// The group whose members may use the control socket, if the host has it.
pub(super) fn control_group() -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_ours = fields.next() == Some(Server::group());
        is_ours.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
