//! Looks at interpreters a moment after they began, when they have loaded what they are made of.
//!
//! At the start of the daemon every running interpreter is looked at; one that begins later has
//! loaded nothing yet when the kernel tells of it. What ends before the look is missed, and so are
//! those beyond the limits, which many that begin at once reach: their contacts tell of them.

use std::collections::VecDeque;

use super::{clock, discovery::is_python, engine::Engine};
use crate::{audit::record::Actor, core::inventory::Standing};

/// When an interpreter is looked at, in milliseconds after it began.
const LOOKS_MS: [u64; 2] = [1_000, 5_000];
/// Interpreters that wait for a look.
const WAITING_MAX: usize = 512;
/// Interpreters that are looked at in one second: a look reads up to 1 MiB.
const LOOKS_AT_ONCE_MAX: usize = 16;

/// Who is looked at, and when.
#[derive(Debug, Default)]
pub(super) struct SecondLooks {
    /// For each look a row, the next one first.
    waiting: [VecDeque<Waiting>; LOOKS_MS.len()],
}

#[derive(Clone, Debug)]
struct Waiting {
    due_ms: u64,
    actor: Actor,
    subject: u32,
}

impl SecondLooks {
    /// A process executed a file.
    pub(super) fn begin(&mut self, actor: &Actor, subject: u32, now_ms: u64) {
        if is_python(&actor.process) {
            for (row, after_ms) in self.waiting.iter_mut().zip(LOOKS_MS) {
                if row.len() < WAITING_MAX {
                    let due_ms = now_ms.saturating_add(after_ms);
                    row.push_back(Waiting { due_ms, actor: actor.clone(), subject });
                }
            }
        }
    }

    /// Those who are looked at now.
    fn due(&mut self, now_ms: u64) -> Vec<Waiting> {
        let mut due = Vec::new();
        for row in &mut self.waiting {
            while due.len() < LOOKS_AT_ONCE_MAX
                && let Some(next) = row.pop_front_if(|next| next.due_ms <= now_ms)
            {
                due.push(next);
            }
        }
        due
    }
}

impl Engine {
    /// Has interpreters that began a moment ago tell what they loaded.
    pub(super) fn look_again(&mut self) {
        for Waiting { actor, subject, .. } in self.discovery.second_looks.due(clock::now_ms()) {
            let pid = actor.process.pid;
            let known = self.discovery.inventory.agent_of(pid);
            let is_known = known.is_some_and(|agent| agent.standing == Standing::Agent);
            if is_known || !self.discovery.proc.still_runs(&actor.process) {
                continue;
            }
            let changes = self.discovery.modules(&actor, subject);
            self.found(changes);
            self.want_digest(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::process::{Exe, Process};

    fn actor(pid: u32, exe: &str) -> Actor {
        let exe = Some(Exe { path: exe.into(), device: 1, inode: 1 });
        let process = Process { pid, exe, ..Process::default() };
        Actor { process: Arc::new(process), lineage: Arc::new([]) }
    }

    fn due(looks: &mut SecondLooks, now_ms: u64) -> Vec<u32> {
        looks.due(now_ms).iter().map(|one| one.actor.process.pid).collect()
    }

    #[test]
    fn interpreters_are_looked_at_twice_and_others_not_at_all() {
        let mut looks = SecondLooks::default();
        looks.begin(&actor(1, "/usr/bin/python3.11"), 0, 0);
        looks.begin(&actor(2, "/usr/bin/ls"), 0, 0);
        looks.begin(&actor(3, "/opt/venv/bin/python3"), 0, 600);
        assert!(due(&mut looks, 999).is_empty());
        assert_eq!(due(&mut looks, 1_000), [1]);
        assert_eq!(due(&mut looks, 5_000), [3, 1]);
        assert_eq!(due(&mut looks, 60_000), [3]);
        assert!(due(&mut looks, 60_000).is_empty());
    }

    #[test]
    fn many_at_once_are_looked_at_one_after_another_and_only_so_many_wait() {
        let mut looks = SecondLooks::default();
        for pid in 0..2_000 {
            looks.begin(&actor(pid, "/usr/bin/python3"), 0, 0);
        }
        let mut seen = 0;
        loop {
            let now = due(&mut looks, 60_000);
            assert!(now.len() <= LOOKS_AT_ONCE_MAX);
            if now.is_empty() {
                break;
            }
            seen += now.len();
        }
        assert_eq!(seen, LOOKS_MS.len() * WAITING_MAX);
    }
}
