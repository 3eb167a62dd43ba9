//! Where a process comes from, beside its ancestors: unit, container and pod, login, trace.

use std::sync::Arc;

use governd_common::event::EventHeader;
use zerocopy::FromZeros as _;

use super::{Known, ProcessTable};
use crate::{
    core::{
        process::{Login, Process},
        workload::Workload,
    },
    workload::{limits::CGROUPS_MAX, owner},
};

impl ProcessTable {
    /// A process that something other than an event tells of, as it is now.
    pub fn now(&mut self, pid: u32, now_ns: u64) -> Known {
        let (uid, gid) = (EventHeader::NO_ID, EventHeader::NO_ID);
        let bare = EventHeader::new_zeroed();
        self.attribute(&EventHeader { tgid: pid, time_ns: now_ns, uid, gid, ..bare })
    }

    /// Whom a cgroup belongs to, as its path says; the same for all processes in it. Where systemd
    /// has a tree of its own, a process that still runs is asked, too.
    pub(super) fn workload(
        &mut self,
        asked: Option<u32>,
        cgroup: Option<&str>,
    ) -> Option<Arc<Workload>> {
        let asked = asked.filter(|_| self.is_hybrid);
        let systemd = asked.and_then(|pid| self.proc.cgroups(pid).systemd);
        let of_both = [systemd.as_deref(), cgroup].into_iter().flatten().map(|path| {
            if let Some(known) = self.workloads.get(path) {
                return known.clone();
            }
            if self.workloads.len() >= CGROUPS_MAX {
                self.workloads.clear();
            }
            let workload = Some(owner::workload(path)).filter(|workload| !workload.is_nobodys());
            let workload = workload.map(Arc::new);
            self.workloads.insert(path.into(), workload.clone());
            workload
        });
        let of_both: Vec<Arc<Workload>> = of_both.flatten().collect();
        let in_container = of_both.iter().find(|workload| workload.container.is_some());
        in_container.or_else(|| of_both.first()).cloned()
    }

    /// The login of a process that executed a file. A child has its parent's until it logs somebody
    /// in, which happens once; if there is none, /proc is asked if the process still runs.
    pub(super) fn login_of(&self, pid: u32, asked: Option<u32>) -> Login {
        let inherited = self.entries.get(&pid).map(|entry| entry.known.process.login);
        let inherited = inherited.filter(|login| login.uid.is_some());
        inherited.or_else(|| Some(self.proc.login(asked?))).unwrap_or_default()
    }

    /// Adds what only those processes are looked at for of which there is something to record.
    pub(super) fn recorded(&mut self, known: Known) -> Known {
        self.digests.want(&known.process);
        self.traced(known)
    }

    /// Asks for the digest of what a process executes, which is known later.
    pub fn want_digest(&self, process: &Process) {
        self.digests.want(process);
    }

    /// Looks for the trace that a process is a part of, once.
    fn traced(&mut self, known: Known) -> Known {
        let pid = known.process.pid;
        let Some(entry) = self.entries.get_mut(&pid).filter(|entry| !entry.is_traced) else {
            return known;
        };
        entry.is_traced = true;
        let trace = self.proc.trace_id(pid).filter(|_| self.proc.still_runs(&known.process));
        let Some(trace) = trace else { return known };
        let mut traced = known;
        Arc::make_mut(&mut traced.process).trace = Some(trace);
        entry.known = traced.clone();
        traced
    }
}
