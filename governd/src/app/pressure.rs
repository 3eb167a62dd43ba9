//! What happens when decisions come faster than the log takes them: the same one, again and again,
//! becomes one record that says how often. Nothing is dropped for it, and the counts are exact.
//!
//! Only under pressure: while the log keeps up, every decision has a record of its own.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use governd_common::verdict::{Mode, Reason, Verdict};

use super::clock;
use crate::audit::record::{Flow, Record, Repeated};

/// Records that wait for the log above which decisions are put together.
const QUEUED_MAX: u64 = 16_384;
/// Different decisions that are put together at a time; more have records of their own.
const KINDS_MAX: usize = 4_096;

/// Decisions that wait to be recorded together.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    waiting: HashMap<Key, Waiting>,
}

/// What makes two decisions the same.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Key {
    process: (u32, u64),
    subject: u32,
    hook: u16,
    verdict: Verdict,
    reason: Reason,
    mode: Mode,
    generation: u64,
    rule: Option<Arc<str>>,
    address: Option<(IpAddr, u16)>,
    name: Option<Arc<str>>,
    path: Option<Arc<str>>,
    protocol: u8,
}

#[derive(Debug)]
struct Waiting {
    flow: Flow,
    count: u64,
    first_ns: u64,
    last_ns: u64,
}

impl Pressure {
    /// Takes a decision in, if the log has so much to do that it should; gives it back if not.
    pub(super) fn take(
        &mut self,
        record: Box<Record>,
        time_ns: Option<u64>,
        queued: u64,
    ) -> Option<Box<Record>> {
        if queued < QUEUED_MAX {
            return Some(record);
        }
        let (Record::Flow(flow), Some(time_ns)) = (&*record, time_ns) else {
            return Some(record);
        };
        let room = self.waiting.len() < KINDS_MAX;
        match self.waiting.entry(key(flow)) {
            Entry::Occupied(mut entry) => {
                let waiting = entry.get_mut();
                waiting.count += 1;
                waiting.first_ns = waiting.first_ns.min(time_ns);
                waiting.last_ns = waiting.last_ns.max(time_ns);
            }
            Entry::Vacant(entry) if room => {
                let flow = flow.clone();
                entry.insert(Waiting { flow, count: 1, first_ns: time_ns, last_ns: time_ns });
            }
            Entry::Vacant(_) => return Some(record),
        }
        None
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The records of what was put together, each with the time of the last such decision, unless
    /// the log still has too much to do.
    pub(super) fn release(&mut self, queued: u64) -> Vec<(Record, u64)> {
        if self.waiting.is_empty() || queued >= QUEUED_MAX {
            return Vec::new();
        }
        let mut records: Vec<_> =
            self.waiting.drain().map(|(_, waiting)| waiting.record()).collect();
        records.sort_unstable_by_key(|(_, time_ns)| *time_ns);
        records
    }
}

impl Waiting {
    fn record(self) -> (Record, u64) {
        let Self { flow, count, first_ns, last_ns } = self;
        if count == 1 {
            return (Record::Flow(flow), last_ns);
        }
        // Each had a socket of its own.
        let flow = Flow { cookie: 0, ..flow };
        let first_ms = clock::booted_ms().saturating_add(clock::ms(first_ns));
        (Record::Repeated(Repeated { flow, count, first_ms }), last_ns)
    }
}

fn key(flow: &Flow) -> Key {
    let Flow { actor, subject, decision, hook, destination, path, protocol, cookie: _ } = flow;
    Key {
        process: (actor.process.pid, actor.process.started_ns),
        subject: subject.id,
        hook: *hook as u16,
        verdict: decision.verdict,
        reason: decision.reason,
        mode: decision.mode,
        generation: decision.policy.generation,
        rule: decision.rule.as_ref().map(|rule| Arc::clone(&rule.id)),
        address: destination.as_ref().map(|to| (to.address, to.port)),
        name: destination.as_ref().and_then(|to| to.name.clone()),
        path: path.clone(),
        protocol: *protocol,
    }
}

#[cfg(test)]
mod tests {
    use governd_common::event::Hook;

    use super::*;
    use crate::{
        audit::record::{Actor, Decision, Destination, Evidence, PolicyRef, Subject},
        core::process::Process,
    };

    fn flow(pid: u32, port: u16, cookie: u64) -> Box<Record> {
        let process = Process { pid, ..Process::default() };
        Box::new(Record::Flow(Flow {
            actor: Actor { process: Arc::new(process), lineage: [].into() },
            subject: Arc::new(Subject { id: 1, agent: "bot".into(), ..Subject::default() }),
            decision: Decision {
                verdict: Verdict::Deny,
                reason: Reason::NoRule,
                mode: Mode::Enforce,
                rule: None,
                policy: PolicyRef { digest: "sha256:0".into(), generation: 1 },
            },
            hook: Hook::Connect,
            destination: Some(Destination {
                address: [10, 0, 0, 1].into(),
                port,
                name: None,
                evidence: Evidence::None,
                service: None,
                said: None,
            }),
            path: None,
            protocol: 6,
            cookie,
        }))
    }

    /// How often each port of each process is in records.
    fn counts(records: Vec<(Record, u64)>) -> Vec<(u32, u16, u64)> {
        let mut counts: Vec<_> = records
            .into_iter()
            .map(|(record, _)| {
                let (flow, count) = match record {
                    Record::Flow(flow) => (flow, 1),
                    Record::Repeated(Repeated { flow, count, .. }) => (flow, count),
                    other => panic!("{other:?}"),
                };
                (flow.actor.process.pid, flow.destination.unwrap().port, count)
            })
            .collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn while_the_log_keeps_up_every_decision_is_a_record() {
        let mut pressure = Pressure::default();
        for cookie in 0..10 {
            assert!(pressure.take(flow(1, 443, cookie), Some(cookie), QUEUED_MAX - 1).is_some());
        }
        assert!(pressure.release(0).is_empty());
    }

    #[test]
    fn under_pressure_the_same_decisions_are_one_record_and_none_is_lost() {
        let mut pressure = Pressure::default();
        for time in 0..100 {
            for (pid, port) in [(1, 443), (1, 80), (2, 443)] {
                if port == 443 || time == 7 {
                    assert!(pressure.take(flow(pid, port, time), Some(time), QUEUED_MAX).is_none());
                }
            }
        }
        assert!(pressure.release(QUEUED_MAX).is_empty());
        let records = pressure.release(QUEUED_MAX - 1);
        assert!(records.iter().any(|(record, time)| {
            matches!(record, Record::Repeated(one) if one.flow.cookie == 0) && *time == 99
        }));
        assert_eq!(counts(records), [(1, 80, 1), (1, 443, 100), (2, 443, 100)]);
        assert!(pressure.release(0).is_empty());
    }

    #[test]
    fn what_has_no_room_is_a_record_of_its_own() {
        let mut pressure = Pressure::default();
        let kinds = u32::try_from(KINDS_MAX).unwrap();
        for pid in 0..kinds {
            assert!(pressure.take(flow(pid, 1, 0), Some(0), QUEUED_MAX).is_none());
        }
        assert!(pressure.take(flow(kinds, 1, 0), Some(0), QUEUED_MAX).is_some());
        assert!(pressure.take(flow(0, 1, 0), Some(0), QUEUED_MAX).is_none());
        assert_eq!(pressure.release(0).len(), KINDS_MAX);
    }
}
