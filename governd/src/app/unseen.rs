//! Has the descriptors of governed processes looked at, and records what no program sees, programs
//! of theirs among it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use governd_common::{event::EventHeader, table::SocketOwner, verdict::Mode};

use super::{
    clock,
    engine::{Engine, actor},
    frames::Made,
    gaps::Uncovered,
    influence::Tracers,
};
use crate::{
    core::{
        state::Input,
        unseen::{Deed, Unseen},
    },
    kernel::{Load, Loads, RawEvent},
    policy::image::Compiled,
    workload::sockets::unseen::Lookout,
};

/// The subject of the daemon's own trials.
const CANARY: u32 = SocketOwner::CANARY;
/// The processes are listed at every other look if some may have begun or ended: that costs more
/// than to take what was found.
const LOOKS_CHANGED: u32 = 2;
/// And at every one of so many in any case: who is found to be an agent's as it connects is in no
/// event where nothing of that is recorded.
const LOOKS_UNCHANGED: u32 = 8;
/// How often the thread at interfaces is told the same: it remembers who was enforced before.
const TOLD_MAX: u32 = 2;

/// The thread that looks, and whose processes it looks at.
#[derive(Debug)]
pub(super) struct Watch {
    lookout: Lookout,
    subjects: HashMap<u32, u32>,
    /// Looks until the processes are listed again.
    looks_left: u32,
    told: Told,
    pub(super) tracers: Tracers,
    pub(super) gaps: Uncovered,
    programs: Programs,
}

/// What the thread at interfaces was told last: who is enforced, if anybody can be.
#[derive(Debug, Default)]
struct Told {
    enforced: Option<HashMap<u32, u32>>,
    /// How often in a row.
    times: u32,
}

impl Told {
    /// Whether it is to be told of these.
    fn is_news(&mut self, enforced: Option<&HashMap<u32, u32>>) -> bool {
        if self.enforced.as_ref() != enforced {
            *self = Self { enforced: enforced.cloned(), times: 0 };
        }
        self.times < TOLD_MAX
    }
}

/// BPF programs that processes load.
#[derive(Debug, Default)]
struct Programs {
    loads: Option<Loads>,
    /// Loads of processes of which events may not be read yet.
    waiting: Vec<Load>,
}

impl Programs {
    fn listen() -> Self {
        let loads = Loads::open().inspect_err(|error| {
            let hint = "allow perf_event_open, as docs/hardening.md says";
            tracing::warn!(%error, hint, "who loads BPF programs is not known");
        });
        Self { loads: loads.ok(), waiting: Vec::new() }
    }

    /// What was loaded, by process, with the subject of each that is governed.
    fn take(&mut self, subject: impl Fn(u32) -> Option<u32>) -> BTreeMap<(u32, u32), Vec<u32>> {
        let news = self.loads.as_mut().map(Loads::news).unwrap_or_default();
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut add = |load: Load| {
            let known = subject(load.pid).filter(|subject| *subject != 0);
            if let Some(subject) = known {
                found.entry((load.pid, subject)).or_default().push(load.program);
            }
            known.is_some()
        };
        for load in mem::take(&mut self.waiting) {
            add(load);
        }
        self.waiting = news.into_iter().filter(|load| !add(*load)).collect();
        found
    }
}

impl Watch {
    /// The governed processes with their subjects, as of the last look.
    pub(super) fn subjects(&self) -> &HashMap<u32, u32> {
        &self.subjects
    }

    pub(super) fn new(lookout: Lookout) -> Self {
        let (tracers, gaps) = Default::default();
        let (programs, told) = (Programs::listen(), Told::default());
        Self { lookout, subjects: HashMap::new(), looks_left: 0, told, tracers, gaps, programs }
    }

    /// Takes in who an event is about.
    pub(super) fn hear(&mut self, event: &RawEvent) {
        let EventHeader { tgid, subject, .. } = *event.header();
        let is_known = self.subjects.get(&tgid) == Some(&subject);
        if event.tells_of_others()
            || (SocketOwner::is_agent(subject) && subject != CANARY && !is_known)
        {
            self.expect_changes();
        }
    }

    /// Governed processes may have begun or ended.
    pub(super) fn expect_changes(&mut self) {
        self.looks_left = self.looks_left.min(LOOKS_CHANGED);
    }
}

impl Engine {
    /// Records what was found since, and names the processes that are governed now.
    pub(super) fn look_for_unseen(&mut self) {
        self.look_for_programs();
        self.look_for_gaps();
        self.attached_before();
        let found: Vec<_> = self.watch.lookout.found().collect();
        for found in found {
            let (Some(known), Some(subject)) =
                (self.processes.process(found.pid), self.watch.subjects.get(&found.pid))
            else {
                continue;
            };
            let (kind, subject) = (found.kind.word(), *subject);
            let unseen = Unseen {
                deed: Deed::Has,
                kind,
                name: found.name.into(),
                actor: actor(known),
                subject,
            };
            self.step(Input::Unseen(unseen, clock::now_ms()));
        }
        let made = self.frames.as_ref().map(|frames| frames.found().collect::<Vec<_>>());
        for made in made.unwrap_or_default() {
            let Some(known) = self.processes.process(made.pid) else { continue };
            let Made { deed, kind, name, subject, .. } = made;
            let unseen = Unseen { deed, kind, name: name.into(), actor: actor(known), subject };
            self.step(Input::Unseen(unseen, clock::now_ms()));
        }
        self.watch.looks_left = self.watch.looks_left.saturating_sub(1);
        if self.watch.looks_left > 0 {
            return;
        }
        self.watch.looks_left = LOOKS_UNCHANGED;
        let tasks = match self.kernel.tasks() {
            Ok(tasks) => tasks,
            Err(error) => {
                tracing::warn!(%error, "governed processes cannot be listed");
                return;
            }
        };
        let governed = tasks.into_iter().filter(|(_, task)| task.subject != 0);
        self.watch.subjects = governed.map(|(tgid, task)| (tgid, task.subject)).collect();
        let policy = self.state.policy();
        let quarantined: HashSet<u32> = self.in_numbers(policy).quarantined.into_iter().collect();
        let is_enforced = |subject: u32| {
            let agent = policy.agent(subject);
            quarantined.contains(&subject) || agent.is_some_and(|agent| agent.mode == Mode::Enforce)
        };
        if let Some(frames) = &self.frames {
            let enforced = self.watch.subjects.iter().filter(|(_, subject)| is_enforced(**subject));
            let enforced = enforced.map(|(pid, subject)| (*pid, *subject)).collect();
            let is_any = enforces(policy) || !quarantined.is_empty();
            let enforced = is_any.then_some(enforced);
            let told = &mut self.watch.told;
            if told.is_news(enforced.as_ref()) && frames.set(enforced) {
                told.times += 1;
            }
        }
        self.watch.lookout.watch(self.watch.subjects.keys().copied().collect());
    }

    /// The daemon ends: what was found and not taken yet is recorded.
    pub(super) fn look_last(&mut self) {
        if let Some(frames) = &self.frames {
            frames.finish();
        }
        self.look_for_unseen();
        self.look_for_programs();
    }

    fn look_for_programs(&mut self) {
        let Watch { subjects, tracers, programs, .. } = &mut self.watch;
        let found = programs.take(|pid| {
            let known = subjects.get(&pid).copied();
            known.or_else(|| tracers.of(pid).map(|(subject, _)| subject))
        });
        for ((pid, subject), programs) in found {
            let ids: Vec<String> = programs.iter().map(u32::to_string).collect();
            let name = format!("programs {}", ids.join(", ")).into();
            let actor = actor(self.processes.now(pid, clock::boot_ns()));
            let kind = "bpf-program";
            let unseen = Unseen { deed: Deed::Loads, kind, name, actor, subject };
            self.step(Input::Unseen(unseen, clock::now_ms()));
        }
    }

    /// A policy is about to come into force, or an agent is in quarantine, whatever its mode:
    /// packet sockets are judged from that moment.
    pub(super) fn begin_frames(&mut self, policy: &Compiled) {
        if let Some(frames) = &self.frames
            && (enforces(policy) || self.controls.has_quarantined())
        {
            self.watch.told.times = 0;
            frames.begin();
        }
    }

    /// A governed process runs another program, perhaps in a namespace that nobody was in. Of who
    /// is no agent, every exec of the host would wake the thread.
    pub(super) fn guard_frames(&mut self, pid: u32, subject: u32) {
        let agent = self.state.policy().agent(subject);
        if let Some(frames) = &self.frames
            && SocketOwner::is_agent(subject)
            && agent.is_some_and(|agent| agent.mode == Mode::Enforce)
        {
            self.watch.told.times = 0;
            frames.add(pid, subject);
        }
    }
}

/// Whether somebody is enforced whose packets are judged at interfaces: not who is no agent.
pub(super) fn enforces(policy: &Compiled) -> bool {
    let mut all = policy.agents.iter().chain(&policy.started);
    all.any(|agent| agent.subject != 0 && agent.mode == Mode::Enforce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::image::AgentFacts;

    #[test]
    fn who_is_enforced_is_told_twice_and_again_when_it_is_somebody_else() {
        let one = HashMap::from([(7, 1)]);
        let mut told = Told::default();
        let mut tells = |enforced: Option<&HashMap<u32, u32>>| {
            let is_news = told.is_news(enforced);
            told.times += u32::from(is_news);
            is_news
        };
        for enforced in [None, Some(&one), Some(&HashMap::new()), Some(&one)] {
            assert_eq!([(); 3].map(|()| tells(enforced)), [true, true, false], "{enforced:?}");
        }
    }

    #[test]
    fn who_is_no_agent_is_not_judged_at_interfaces() {
        let of = |subject, mode| {
            let agents = vec![AgentFacts::unknown(subject, "it", mode)];
            enforces(&Compiled { agents, ..Compiled::default() })
        };
        assert!(of(1, Mode::Enforce));
        assert!(!of(1, Mode::Monitor) && !of(0, Mode::Enforce));
        let started = vec![AgentFacts::unknown(7, "it", Mode::Enforce)];
        assert!(enforces(&Compiled { started, ..Compiled::default() }));
    }
}
