//! Who counts as which agent, where the kernel cannot tell by itself: processes that are older than
//! the policy, and those of which a policy asks for the script that they run.
//!
//! A script is told by the command line, and only user space can look which file that is. So
//! whoever executes a file, and fits the other fields of such an entry, is asked about; when the
//! answer is there, the kernel is told. Until then the process is what the kernel says: nobody's,
//! or its parent's. Nothing waits for the answer but the inventory, which would call it a shadow
//! agent.

use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use governd_common::{event::EventHeader, table::Task};

use super::{
    clock,
    engine::{Engine, actor},
};
use crate::{
    core::{
        classify::{Candidate, Classifier, TaskChange, reconcile},
        process::Process,
        state::Input,
    },
    kernel::KernelError,
    policy::{host::Host as _, image::Compiled},
    workload::{
        host::HostFacts,
        program::script::{FileId, Question, has_script},
        table::Known,
    },
};

/// Passes over the processes until a pass finds nothing new: children can be born meanwhile.
const SWEEPS_MAX: usize = 5;
/// How long the daemon's start waits to know what scripts run.
const START_PATIENCE: Duration = Duration::from_secs(1);

impl Engine {
    /// Makes the kernel's table of tracked processes fit a policy.
    pub(super) fn track(&mut self, policy: &Compiled) -> Result<(), KernelError> {
        let classifier = Classifier::new(&policy.image);
        for _ in 0..SWEEPS_MAX {
            let swept = self.processes.sweep();
            let mut cgroups = CgroupIds::new(&self.host);
            let above: Vec<Arc<[u64]>> =
                swept.iter().map(|known| cgroups.of(known.process.cgroup.as_deref())).collect();
            self.discovery.scripts.keep(&swept);
            let candidates: Vec<Candidate<'_>> = swept
                .iter()
                .zip(&above)
                .map(|(Known { process, .. }, cgroups)| {
                    let script = self.discovery.scripts.of(process);
                    Candidate { process, cgroups, script }
                })
                .collect();
            for (known, candidate) in swept.iter().zip(&candidates) {
                if classifier.asks_script(candidate) {
                    self.discovery.scripts.ask(known, None);
                }
            }
            let tracked: HashMap<u32, Task> = self.kernel.tasks()?.into_iter().collect();
            let changes = reconcile(&classifier, &candidates, &tracked, clock::boot_ns());
            if changes.is_empty() {
                return Ok(());
            }
            for change in changes {
                match change {
                    TaskChange::Track(tgid, task) => self.kernel.set_task(tgid, task)?,
                    TaskChange::Forget(tgid) => self.kernel.remove_task(tgid)?,
                }
            }
        }
        Ok(())
    }

    /// Asks what script a process runs that has executed a file, if its being an agent may depend
    /// on that; whether the answer is still to come.
    pub(super) fn ask_script(&mut self, known: &Known, executed: EventHeader) -> bool {
        let policy = Arc::clone(self.state.policy());
        if policy.image.scripts.is_empty() || !has_script(&known.process) {
            return false;
        }
        let cgroups = CgroupIds::new(&self.host).of(known.process.cgroup.as_deref());
        let candidate = Candidate { process: &known.process, cgroups: &cgroups, script: None };
        Classifier::new(&policy.image).asks_script(&candidate)
            && self.discovery.scripts.ask(known, Some(executed))
    }

    /// A process's subject; that of a script may be known by now that was none when it connected.
    pub(super) fn known_by_now(&self, subject: u32, process: &Process) -> u32 {
        if subject != 0 || self.discovery.scripts.of(process).is_none() {
            return subject;
        }
        self.kernel.task(process.pid).ok().flatten().map_or(0, |task| task.subject)
    }

    /// Takes the answers that are there.
    pub(super) fn take_scripts(&mut self) {
        while let Some((question, file)) = self.discovery.scripts.next(Duration::ZERO) {
            self.recognise(question, file);
        }
    }

    /// The daemon starts: the inventory is told who is an agent, and not first that they are none.
    pub(super) fn await_scripts(&mut self) {
        let limit = Instant::now() + START_PATIENCE;
        while self.discovery.scripts.is_waiting() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if let Some((question, file)) = self.discovery.scripts.next(left) {
                self.recognise(question, file);
            }
        }
    }

    /// What agents started before they were recognised is theirs, too.
    pub(super) fn track_again(&mut self) {
        self.discovery.scripts.look_after(Instant::now());
        if mem::take(&mut self.discovery.scripts.is_behind) {
            let policy = Arc::clone(self.state.policy());
            if let Err(error) = self.track(&policy) {
                tracing::error!(%error, "not every process of an agent is governed");
            }
        }
    }

    fn recognise(&mut self, question: Question, file: Option<FileId>) {
        let Question { known, executed } = question;
        let process = Arc::clone(&known.process);
        let task = file.and_then(|file| {
            let tracked = self.track_by_script(&process, file);
            let tracked =
                tracked.inspect_err(|error| tracing::error!(%error, "an agent is not governed"));
            tracked.ok().flatten()
        });
        let actor = actor(known);
        let Some(Task { subject, root, .. }) = task else {
            // Who is tracked is known to the inventory.
            if executed.is_some_and(|header| header.subject == 0) {
                self.discover_process(&actor, 0, false);
            }
            return;
        };
        self.discovery.scripts.is_behind = true;
        self.watch.expect_changes();
        self.watch.tracers.begin(process.pid, subject, root);
        self.guard_frames(process.pid, subject);
        self.discover_process(&actor, subject, executed.is_none());
        if let Some(header) = executed {
            self.step(Input::Exec(&EventHeader { subject, root, ..header }, actor));
        }
    }

    /// Has the kernel count a process as the agent that its script makes it, if it does; how it is
    /// tracked then.
    fn track_by_script(
        &mut self,
        process: &Process,
        file: FileId,
    ) -> Result<Option<Task>, KernelError> {
        let policy = Arc::clone(self.state.policy());
        let mut tracked = HashMap::new();
        for pid in [Some(process.pid), process.parent].into_iter().flatten() {
            tracked.extend(self.kernel.task(pid)?.map(|task| (pid, task)));
        }
        let cgroups = CgroupIds::new(&self.host).of(process.cgroup.as_deref());
        let candidate = Candidate { process, cgroups: &cgroups, script: Some(file) };
        let classifier = Classifier::new(&policy.image);
        let changes = reconcile(&classifier, &[candidate], &tracked, clock::boot_ns());
        let task = changes.into_iter().find_map(|change| match change {
            TaskChange::Track(pid, task) if pid == process.pid => Some(task),
            _ => None,
        });
        let Some(task) = task.filter(|_| self.discovery.proc.still_runs(process)) else {
            return Ok(None);
        };
        self.kernel.set_task(process.pid, task)?;
        if !self.discovery.proc.still_runs(process) {
            // The number may be another's by now, who is not meant.
            self.kernel.remove_task(process.pid)?;
            return Ok(None);
        }
        Ok(Some(task))
    }
}

/// Ids of cgroups and of those above them, by path.
pub(super) struct CgroupIds<'a> {
    host: &'a HostFacts,
    known: HashMap<String, Arc<[u64]>>,
}

impl<'a> CgroupIds<'a> {
    pub(super) fn new(host: &'a HostFacts) -> Self {
        Self { host, known: HashMap::new() }
    }

    pub(super) fn of(&mut self, path: Option<&str>) -> Arc<[u64]> {
        let Some(path) = path else { return Arc::new([]) };
        if let Some(ids) = self.known.get(path) {
            return Arc::clone(ids);
        }
        let mut ids = self.host.cgroups("/");
        for (end, _) in path.match_indices('/').skip(1).chain([(path.len(), "")]) {
            ids.extend(path.get(..end).into_iter().flat_map(|above| self.host.cgroups(above)));
        }
        let ids: Arc<[u64]> = ids.into();
        self.known.insert(path.to_owned(), Arc::clone(&ids));
        ids
    }
}
