//! A process executes a file.
//!
//! The event tells most of it. /proc is asked for the rest, and may by then be about another
//! process that was given the pid: what it says counts only if it is about one that began before
//! the event, before and after it is asked.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use governd_common::event::ExecEvent;

use super::{Entry, Known, ProcessTable, text};
use crate::{
    core::{
        digest::Digest,
        process::{Exe, Process},
    },
    workload::{
        clock,
        mounts::FileIdentity,
        proc::{Stat, TICK_NS},
        redact,
    },
};

impl ProcessTable {
    /// An exec: the process keeps its pid, start and ancestors, and everything else is new.
    pub fn exec(&mut self, event: &ExecEvent) -> Known {
        let (pid, time_ns) = (event.header.tgid, event.header.time_ns);
        let stat = self.proc.stat(pid).filter(|stat| stat.started_ns <= time_ns);
        let (lineage, started_ns) = match self.same_process(event, stat.as_ref()) {
            Some(entry) => (Arc::clone(&entry.known.lineage), Some(entry.known.process.started_ns)),
            None => {
                let started_ns = stat.as_ref().map(|stat| stat.started_ns);
                (self.lineage_of(event.parent, time_ns), started_ns)
            }
        };
        let mut process = self.executed(event, stat.as_ref());
        if let Some(before) = stat
            && self.proc.stat(pid).is_some_and(|after| after.started_ns != before.started_ns)
        {
            process = self.executed(event, None);
        }
        process.started_ns = started_ns.unwrap_or(time_ns);
        let known = self.insert(process, lineage, time_ns, started_ns.is_some());
        // Others are looked at when there is something to record of them.
        if event.header.subject == 0 { known } else { self.recorded(known) }
    }

    /// The process after an exec, but for its start; with what /proc knows, if it still runs.
    fn executed(&mut self, event: &ExecEvent, stat: Option<&Stat>) -> Process {
        let header = &event.header;
        let asked = stat.map(|_| header.tgid);
        let cgroup = self.cgroup_path(asked, header.cgroup, header.time_ns);
        let (exe, digest) = self.exe_of(event, asked);
        Process {
            pid: header.tgid,
            started_ns: header.time_ns,
            workload: self.workload(asked, cgroup.as_deref()),
            login: self.login_of(header.tgid, asked),
            session: stat.map(|stat| stat.session).filter(|session| *session != 0),
            trace: None,
            parent: (event.parent != 0).then_some(event.parent),
            name: text(&header.comm),
            exe: Some(exe),
            digest,
            args: Some(self.args_of(event, asked)),
            uid: Some(header.uid),
            user: self.users.name(header.uid),
            gid: Some(header.gid),
            cgroup_id: Some(header.cgroup),
            cgroup,
        }
    }

    /// The entry of the process that executed a file, unless the pid was used again meanwhile.
    fn same_process(&self, event: &ExecEvent, stat: Option<&Stat>) -> Option<&Entry> {
        let entry = self.entries.get(&event.header.tgid).filter(|entry| entry.is_start_known)?;
        let known = &entry.known.process;
        let is_same = match stat {
            Some(stat) => stat.started_ns.abs_diff(known.started_ns) <= 2 * TICK_NS,
            None => known.parent == Some(event.parent),
        };
        is_same.then_some(entry)
    }

    fn exe_of(&mut self, event: &ExecEvent, asked: Option<u32>) -> (Exe, Option<Arc<Digest>>) {
        let ExecEvent { device, inode, .. } = *event;
        if let Some((path, version)) = asked.and_then(|pid| self.proc.exe_of_inode(pid, inode)) {
            self.learn_path(device, inode, &path);
            let digest = Some(self.digests.of(version));
            return (Exe { path, device, inode }, digest);
        }
        let known = self.paths.get(&(device, inode)).cloned();
        let path = known
            .unwrap_or_else(|| PathBuf::from(OsStr::from_bytes(used(&event.path, event.path_len))));
        let digest = self.digest_at(&path, event);
        (Exe { path, device, inode }, digest)
    }

    /// The digest of what a process executed that is gone: of what is at the path, if that is the
    /// file and it has not changed since.
    fn digest_at(&mut self, path: &Path, event: &ExecEvent) -> Option<Arc<Digest>> {
        let found = Some(path).filter(|path| path.is_absolute()).and_then(FileIdentity::of)?;
        let is_same = (found.device(&self.mounts), found.inode) == (event.device, event.inode);
        let version = found.version();
        // The time of a change may be a tick early.
        let is_older =
            version.changed_ns().saturating_add(TICK_NS) < clock::wall_ns(event.header.time_ns);
        (is_same && is_older).then(|| self.digests.of(version))
    }

    fn args_of(&self, event: &ExecEvent, asked: Option<u32>) -> Arc<[String]> {
        let bytes = used(&event.args, event.args_len);
        if bytes.len() < event.args.len() {
            return redact::args(bytes);
        }
        // One that has executed another file since has other arguments.
        let whole = asked.and_then(|pid| self.proc.args_that_begin(pid, bytes));
        whole.unwrap_or_else(|| redact::args_begin(bytes))
    }
}

fn used(bytes: &[u8], len: u32) -> &[u8] {
    bytes.get(..len as usize).unwrap_or(bytes)
}
