//! The processes of the host, as events and /proc tell of them.
//!
//! An event alone attributes a process that is gone before anybody can look: the kernel wrote
//! executable, arguments, user, cgroup and parent into it. /proc adds what it still knows. A pid
//! is only ever taken together with the start time, since it is used again. Ancestors are fixed
//! when a process is first seen and stay known after they exit. Memory is bounded by
//! `TABLE_PROCESSES_MAX`; what was used longest ago is forgotten first.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use governd_common::event::{EventHeader, ExitEvent, ForkEvent};

use crate::core::{
    process::{Ancestor, Process},
    workload::Workload,
};

use super::{
    cgroup::CgroupTree,
    digest::Digests,
    limits::{LINEAGE_MAX, TABLE_PATHS_MAX, TABLE_PROCESSES_MAX},
    mounts::Mounts,
    proc::{ProcFs, TICK_NS},
    users::Users,
};

mod exec;
mod origin;

/// How long a known process is believed without a look at its start time, in nanoseconds.
const VERIFY_NS: u64 = 1_000_000_000;

/// A process and where it comes from. Clones share everything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Known {
    /// The process.
    pub process: Arc<Process>,
    /// Its ancestors when it was first seen, nearest first, at most `LINEAGE_MAX`.
    pub lineage: Arc<[Ancestor]>,
}

/// Processes by pid.
#[derive(Debug)]
pub struct ProcessTable {
    proc: ProcFs,
    mounts: Mounts,
    users: Users,
    users_file: PathBuf,
    cgroups: CgroupTree,
    entries: HashMap<u32, Entry>,
    paths: HashMap<(u32, u64), PathBuf>,
    digests: Digests,
    /// Workloads by path of the cgroup; `None` for one that is nobody's.
    workloads: HashMap<Box<str>, Option<Arc<Workload>>>,
    /// Whether systemd keeps a tree of its own, where containers may be that the v2 tree lacks.
    is_hybrid: bool,
    uses: u64,
    index_after_ns: u64,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// Lineage of its children, made when the first one is seen.
    descent: Option<Arc<[Ancestor]>>,
    used: u64,
    verified_ns: u64,
    /// False while the start time is that of an event after the start.
    is_start_known: bool,
    /// Whether its environment was looked at for a trace.
    is_traced: bool,
}

impl ProcessTable {
    /// An empty table over a proc file system, a cgroup tree and a passwd file.
    pub fn new(proc: ProcFs, cgroups: CgroupTree, users_file: &Path) -> Self {
        Self {
            is_hybrid: proc.cgroups(1).systemd.is_some(),
            mounts: proc.own_mounts(),
            users: Users::read(users_file),
            users_file: users_file.to_owned(),
            digests: Digests::idle(proc.clone()),
            proc,
            cgroups,
            entries: HashMap::new(),
            paths: HashMap::new(),
            workloads: HashMap::new(),
            uses: 0,
            index_after_ns: 0,
        }
    }

    /// The same, with digests that somebody computes.
    pub fn with_digests(self, digests: Digests) -> Self {
        Self { digests, ..self }
    }

    /// Reads every process of the host, with its user and mounts anew; gives those that were read.
    /// Takes about 0.1 ms per process.
    pub fn sweep(&mut self) -> Vec<Known> {
        self.mounts = self.proc.own_mounts();
        self.users = Users::read(&self.users_file);
        self.cgroups.index();
        let read = |pid| Some((pid, self.proc.process(pid, &self.mounts)?));
        let mut pending: HashMap<u32, Process> =
            self.proc.pids().into_iter().filter_map(read).collect();
        let mut pids: Vec<(u64, u32)> =
            pending.values().map(|process| (process.started_ns, process.pid)).collect();
        pids.sort_unstable();
        for (_, pid) in &pids {
            self.insert_swept(*pid, &mut pending, LINEAGE_MAX);
        }
        pids.iter().filter_map(|(_, pid)| Some(self.entries.get(pid)?.known.clone())).collect()
    }

    /// A process that is in the table or in /proc.
    pub fn process(&mut self, pid: u32) -> Option<Known> {
        self.touch(pid).or_else(|| self.read(pid, u64::MAX))
    }

    /// Who an event is about: the process of its header, as it was at that time. What neither the
    /// table nor /proc knows is `None` in the process.
    pub fn attribute(&mut self, header: &EventHeader) -> Known {
        self.verify(header.tgid, header.time_ns);
        let known = self
            .touch(header.tgid)
            .or_else(|| self.read(header.tgid, header.time_ns))
            .unwrap_or_else(|| self.insert_from_header(header));
        let known = self.follow_moves(known, header);
        self.recorded(known)
    }

    /// A fork: the child is a copy of its parent until it executes a file.
    pub fn fork(&mut self, event: &ForkEvent) -> Known {
        let parent = self.attribute(&event.header);
        let process = Process {
            pid: event.child,
            started_ns: event.header.time_ns,
            parent: Some(event.header.tgid),
            ..(*parent.process).clone()
        };
        let lineage = self.descent(event.header.tgid);
        let known = self.insert(process, lineage, event.header.time_ns, true);
        if let Some(entry) = self.entries.get_mut(&event.child) {
            // Its environment is its parent's, which was looked at.
            entry.is_traced = true;
        }
        known
    }

    /// An exit. The process stays known, for events that are still on their way and as an ancestor.
    pub fn exit(&mut self, event: &ExitEvent) -> Option<Known> {
        self.touch(event.header.tgid)
    }

    /// Processes in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True for a table without processes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn touch(&mut self, pid: u32) -> Option<Known> {
        self.uses += 1;
        let uses = self.uses;
        let entry = self.entries.get_mut(&pid)?;
        entry.used = uses;
        Some(entry.known.clone())
    }

    /// Forgets an entry whose pid meanwhile belongs to another process.
    fn verify(&mut self, pid: u32, now_ns: u64) {
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        if now_ns.saturating_sub(entry.verified_ns) < VERIFY_NS {
            return;
        }
        entry.verified_ns = now_ns;
        let Some(stat) = self.proc.stat(pid) else { return };
        let started_ns = entry.known.process.started_ns;
        let is_other = if entry.is_start_known {
            stat.started_ns.abs_diff(started_ns) > 2 * TICK_NS
        } else {
            stat.started_ns > started_ns
        };
        if is_other {
            // A process that began after the event is not the one that the event is about.
            if stat.started_ns <= now_ns {
                self.entries.remove(&pid);
            }
        } else if stat.session != 0 && entry.known.process.session != Some(stat.session) {
            Arc::make_mut(&mut entry.known.process).session = Some(stat.session);
        }
    }

    fn read(&mut self, pid: u32, before_ns: u64) -> Option<Known> {
        let process = self.proc.process(pid, &self.mounts)?;
        if process.started_ns > before_ns {
            return None;
        }
        let lineage = match process.parent {
            Some(parent) => self.lineage_of(parent, before_ns),
            None => Arc::new([]),
        };
        let process = self.completed(process);
        let verified_ns = if before_ns == u64::MAX { process.started_ns } else { before_ns };
        Some(self.insert(process, lineage, verified_ns, true))
    }

    fn insert_swept(&mut self, pid: u32, pending: &mut HashMap<u32, Process>, depth: usize) {
        let Some(process) = pending.remove(&pid) else { return };
        let is_kept = self.entries.get(&pid).is_some_and(|entry| {
            entry.known.process.started_ns.abs_diff(process.started_ns) <= 2 * TICK_NS
        });
        let lineage = match process.parent {
            _ if is_kept => self.entries.get(&pid).map(|entry| Arc::clone(&entry.known.lineage)),
            Some(parent) => {
                if depth > 0 {
                    self.insert_swept(parent, pending, depth - 1);
                }
                Some(self.descent(parent))
            }
            None => None,
        };
        let process = self.completed(process);
        let verified_ns = process.started_ns;
        self.insert(process, lineage.unwrap_or_default(), verified_ns, true);
    }

    /// Adds what the host's other files know of a process.
    fn completed(&mut self, mut process: Process) -> Process {
        process.user = process.uid.and_then(|uid| self.users.name(uid));
        if let Some(path) = process.cgroup.take() {
            process.cgroup_id = self.cgroups.id(&path);
            process.cgroup = Some(match process.cgroup_id {
                Some(id) => self.cgroups.learn(id, &path),
                None => path,
            });
        }
        process.workload = self.workload(Some(process.pid), process.cgroup.as_deref());
        process.digest = process.digest.map(|digest| self.digests.of(digest.file()));
        if let Some(exe) = &process.exe {
            self.learn_path(exe.device, exe.inode, &exe.path);
        }
        process
    }

    fn insert_from_header(&mut self, header: &EventHeader) -> Known {
        let cgroup = self.cgroup_path(Some(header.tgid), header.cgroup, header.time_ns);
        let is_known = |id: &u32| *id != EventHeader::NO_ID;
        let uid = Some(header.uid).filter(is_known);
        let process = Process {
            pid: header.tgid,
            started_ns: header.time_ns,
            name: text(&header.comm),
            uid,
            user: uid.and_then(|uid| self.users.name(uid)),
            gid: Some(header.gid).filter(is_known),
            cgroup_id: Some(header.cgroup).filter(|id| *id != 0),
            workload: self.workload(Some(header.tgid), cgroup.as_deref()),
            cgroup,
            ..Process::default()
        };
        self.insert(process, Arc::new([]), header.time_ns, false)
    }

    /// A process can change its user and its cgroup between two events.
    fn follow_moves(&mut self, known: Known, header: &EventHeader) -> Known {
        if header.uid == EventHeader::NO_ID {
            // The event does not say, as the socket's process need not be the current one.
            return known;
        }
        let process = &known.process;
        if process.uid == Some(header.uid) && process.cgroup_id == Some(header.cgroup) {
            return known;
        }
        let cgroup = self.cgroup_path(Some(header.tgid), header.cgroup, header.time_ns);
        let workload = self.workload(Some(header.tgid), cgroup.as_deref());
        let mut moved = known;
        let process = Arc::make_mut(&mut moved.process);
        process.uid = Some(header.uid);
        process.gid = Some(header.gid);
        process.user = self.users.name(header.uid);
        process.cgroup_id = Some(header.cgroup);
        process.cgroup = cgroup;
        process.workload = workload;
        if let Some(entry) = self.entries.get_mut(&header.tgid) {
            entry.known = moved.clone();
        }
        moved
    }

    fn insert(
        &mut self,
        process: Process,
        lineage: Arc<[Ancestor]>,
        verified_ns: u64,
        is_start_known: bool,
    ) -> Known {
        self.uses += 1;
        let pid = process.pid;
        let known = Known { process: Arc::new(process), lineage };
        let entry = Entry {
            known: known.clone(),
            descent: None,
            used: self.uses,
            verified_ns,
            is_start_known,
            is_traced: false,
        };
        self.entries.insert(pid, entry);
        if self.entries.len() > TABLE_PROCESSES_MAX {
            self.forget_oldest();
        }
        known
    }

    /// Forgets the eighth of the entries that was used longest ago.
    fn forget_oldest(&mut self) {
        let mut uses: Vec<u64> = self.entries.values().map(|entry| entry.used).collect();
        let (_, oldest_kept, _) = uses.select_nth_unstable(TABLE_PROCESSES_MAX / 8);
        let oldest_kept = *oldest_kept;
        self.entries.retain(|_, entry| entry.used >= oldest_kept);
    }

    fn lineage_of(&mut self, parent: u32, now_ns: u64) -> Arc<[Ancestor]> {
        if parent == 0 {
            return Arc::new([]);
        }
        self.verify(parent, now_ns);
        if !self.entries.contains_key(&parent) {
            self.read_ancestors(parent, now_ns);
        }
        self.descent(parent)
    }

    /// Reads a process and the ancestors of it that are not known, the oldest first.
    fn read_ancestors(&mut self, pid: u32, before_ns: u64) {
        let mut chain = Vec::new();
        let mut next = Some(pid);
        while let Some(pid) = next.filter(|_| chain.len() < LINEAGE_MAX) {
            if self.entries.contains_key(&pid) {
                break;
            }
            let Some(process) = self.proc.process(pid, &self.mounts) else { break };
            if process.started_ns > before_ns {
                break;
            }
            next = process.parent;
            chain.push(process);
        }
        for process in chain.into_iter().rev() {
            let lineage = process.parent.map(|parent| self.descent(parent)).unwrap_or_default();
            let process = self.completed(process);
            self.insert(process, lineage, before_ns, true);
        }
    }

    /// The lineage of a process's children: itself and its own ancestors. Shared by its children.
    fn descent(&mut self, pid: u32) -> Arc<[Ancestor]> {
        self.uses += 1;
        let uses = self.uses;
        let Some(entry) = self.entries.get_mut(&pid) else { return Arc::new([]) };
        entry.used = uses;
        let known = &entry.known;
        let made = entry.descent.get_or_insert_with(|| {
            let process = &known.process;
            let own = Ancestor {
                pid: process.pid,
                name: process.name.clone(),
                exe: process.exe.as_ref().map(|exe| exe.path.clone()),
            };
            std::iter::once(own).chain(known.lineage.iter().cloned()).take(LINEAGE_MAX).collect()
        });
        Arc::clone(made)
    }

    fn learn_path(&mut self, device: u32, inode: u64, path: &Path) {
        if self.paths.get(&(device, inode)).is_some_and(|known| known == path) {
            return;
        }
        if self.paths.len() >= TABLE_PATHS_MAX {
            self.paths.clear();
        }
        self.paths.insert((device, inode), path.to_owned());
    }

    /// Path of a cgroup, from the process if it still runs, else from the tree, which is walked at
    /// most once a second.
    fn cgroup_path(&mut self, asked: Option<u32>, id: u64, now_ns: u64) -> Option<Arc<str>> {
        if let Some(path) = self.cgroups.path(id) {
            return Some(path);
        }
        if let Some(path) = asked.and_then(|pid| self.proc.cgroups(pid).unified)
            && self.cgroups.id(&path) == Some(id)
        {
            return Some(self.cgroups.learn(id, &path));
        }
        if now_ns >= self.index_after_ns {
            self.index_after_ns = now_ns.saturating_add(VERIFY_NS);
            self.cgroups.index();
        }
        self.cgroups.path(id)
    }
}

fn text(comm: &[u8]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(comm.get(..end).unwrap_or(comm)).into_owned()
}

#[cfg(test)]
mod tests;
