//! What records have in common, in the form in which they have it. Most of a record is about its
//! process, its agent and the rule, and most records are of processes that had one a moment ago.

use std::sync::Arc;

use governd_common::event::Hook;

use super::{Actor, Decision, DnsQuery, Flow, Host, Record, Stamp, Subject, Tokens, flow, object};
use crate::audit::canonical;

/// Processes whose parts are kept, each at the place that its id has.
const PROCESSES_MAX: usize = 32;
/// Kinds of decisions about one process whose parts are kept.
const DECISIONS_MAX: usize = 4;

/// The parts of the records of the latest processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Vec<Option<Prepared>>);

impl Kept {
    fn of(&self, actor: &Actor, tokens: &Tokens) -> Option<&Prepared> {
        let known = self.0.get(place(actor))?.as_ref();
        known.filter(|known| known.is_of(actor, tokens))
    }

    fn place(&mut self, actor: &Actor) -> Option<&mut Option<Prepared>> {
        self.0.resize_with(PROCESSES_MAX, || None);
        self.0.get_mut(place(actor))
    }
}

fn place(actor: &Actor) -> usize {
    actor.process.pid as usize % PROCESSES_MAX
}

/// The parts of one process's records.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    actor: Actor,
    tokens: Tokens,
    learned: Learned,
    /// OCSF's `process`, with what stands for its user and command line.
    pub(super) process: String,
    /// governd's own.
    pub(super) lineage: String,
    pub(super) facts: String,
    /// The latest kinds of decisions, the last one at the end.
    decided: Vec<Decided>,
}

/// What is learned of a process while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Learned {
    /// The digest of its executable.
    digest: bool,
    /// What the runtime told of its container.
    container: bool,
    /// What Kubernetes told of its pod.
    pod: bool,
}

impl Learned {
    fn of(actor: &Actor) -> Self {
        let workload = actor.process.workload.as_deref();
        Self {
            digest: actor.process.sha256().is_some(),
            container: workload.is_some_and(|it| it.told.get().is_some()),
            pod: workload.is_some_and(|it| it.pod_facts.get().is_some()),
        }
    }
}

/// The parts of records of one kind of decision about a process.
#[derive(Clone, Debug)]
struct Decided {
    subject: Arc<Subject>,
    decision: Decision,
    hook: Hook,
    parts: flow::Parts,
}

impl Decided {
    fn is_of(&self, flow: &Flow) -> bool {
        self.hook == flow.hook && self.decision == flow.decision && self.subject == flow.subject
    }
}

impl Prepared {
    fn of(actor: &Actor, host: &Host, stamp: &Stamp) -> Self {
        // First: what is learned while the parts are made may or may not be in them.
        let learned = Learned::of(actor);
        let (mut process, mut lineage, mut facts) = Default::default();
        canonical::object(&mut process, |o| object::process(o, actor, host, stamp));
        canonical::array(&mut lineage, actor.lineage.iter(), |out, ancestor| {
            canonical::object(out, |o| object::ancestor(o, ancestor));
        });
        canonical::object(&mut facts, |o| object::process_facts(o, actor));
        let (actor, tokens, decided) = (actor.clone(), stamp.tokens, Vec::new());
        Self { actor, tokens, learned, process, lineage, facts, decided }
    }

    /// Whether it is of this process, and not only of one that is alike.
    fn is_of(&self, actor: &Actor, tokens: &Tokens) -> bool {
        Arc::ptr_eq(&self.actor.process, &actor.process)
            && Arc::ptr_eq(&self.actor.lineage, &actor.lineage)
            && self.tokens == *tokens
            && self.learned == Learned::of(actor)
    }

    fn parts(&self, flow: &Flow) -> Option<&flow::Parts> {
        let decided = self.decided.iter().rfind(|known| known.is_of(flow))?;
        Some(&decided.parts)
    }

    fn keep(&mut self, decided: Decided) {
        if self.decided.len() >= DECISIONS_MAX {
            self.decided.remove(0);
        }
        self.decided.push(decided);
    }
}

impl Host {
    /// Makes parts of this record, if it is of a decision, and of those like it that follow. They
    /// are the same with it and without; it is for who writes many.
    pub fn prepare(&mut self, record: &Record, stamp: &Stamp) {
        let (Record::Flow(flow) | Record::Query(DnsQuery { flow, .. })) = record else { return };
        let actor = &flow.actor;
        if self.kept.of(actor, &stamp.tokens).is_none() {
            let prepared = Prepared::of(actor, self, stamp);
            if let Some(place) = self.kept.place(actor) {
                *place = Some(prepared);
            }
        }
        if matches!(record, Record::Flow(_)) && self.parts(flow, stamp).is_none() {
            let Flow { subject, decision, hook, .. } = flow;
            let (subject, decision) = (Arc::clone(subject), decision.clone());
            let parts = flow::Parts::of(flow, self, stamp);
            if let Some(Some(prepared)) = self.kept.place(actor) {
                prepared.keep(Decided { subject, decision, hook: *hook, parts });
            }
        }
    }

    pub(super) fn prepared(&self, actor: &Actor, stamp: &Stamp) -> Option<&Prepared> {
        self.kept.of(actor, &stamp.tokens)
    }

    pub(super) fn parts(&self, flow: &Flow, stamp: &Stamp) -> Option<&flow::Parts> {
        self.prepared(&flow.actor, stamp)?.parts(flow)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use governd_common::verdict::{Mode, Reason, Verdict};
    use proptest::prelude::*;

    use super::{
        super::{Context, Destination, Evidence, PolicyRef, Repeated, RuleRef, Said, Token},
        *,
    };
    use crate::core::{
        digest::{Digest, FileVersion},
        process::{Ancestor, Exe, Process},
        workload::{Container, Runtime, Told, Workload},
    };

    const WORDS: [&str; 4] = ["bot", "a \"b\" \\ c\n", "größer\u{1}", "x/y z"];
    const HOOKS: [Hook; 4] = [Hook::Connect, Hook::Sendmsg, Hook::Egress, Hook::Device];

    fn host() -> Host {
        Host::new(Context {
            hostname: "host-a.example".into(),
            machine_id: None,
            boot_id: "boot".into(),
            booted_ms: 5,
            kernel: "6.18.44".into(),
            version: "0.1.0".into(),
            degraded: [].into(),
        })
    }

    /// Processes with the same ids as others, in containers and not.
    fn actors() -> Vec<Actor> {
        let of = |number: usize| {
            let workload = Workload {
                unit: Some("bot.service".to_owned()),
                container: Some(Container { runtime: Runtime::Docker, id: "ab".repeat(32) }),
                told: OnceLock::new(),
                ..Workload::default()
            };
            let version = FileVersion { device: 1, inode: 2, bytes: 3, changed: (4, 5) };
            let process = Process {
                pid: [7, 7, 7 + 32, 8][number % 4],
                started_ns: number as u64,
                name: WORDS[number % 4].to_owned(),
                exe: Some(Exe { path: WORDS[number % 3].into(), device: 1, inode: 2 }),
                digest: Some(Arc::new(Digest::of(version))),
                workload: number.is_multiple_of(2).then(|| Arc::new(workload)),
                uid: Some(5),
                ..Process::default()
            };
            let above = Ancestor { pid: 1, name: WORDS[1].to_owned(), exe: None };
            Actor { process: Arc::new(process), lineage: vec![above; number % 3].into() }
        };
        (0..6).map(of).collect()
    }

    fn reason() -> impl Strategy<Value = Reason> {
        prop_oneof![Just(Reason::NoRule), Just(Reason::Rule), Just(Reason::Fault)]
    }

    prop_compose! {
        fn decision()(
            allows in any::<bool>(),
            enforces in any::<bool>(),
            reason in reason(),
            rule in proptest::option::of(0_usize..4),
            generation in 1_u64..3,
        ) -> Decision {
            Decision {
                verdict: if allows { Verdict::Allow } else { Verdict::Deny },
                reason,
                mode: if enforces { Mode::Enforce } else { Mode::Monitor },
                rule: rule.map(|at| RuleRef { id: WORDS[at].into(), text: WORDS[3 - at].into() }),
                policy: PolicyRef { digest: "sha256:0".into(), generation },
            }
        }
    }

    prop_compose! {
        fn destination()(
            address in any::<std::net::IpAddr>(),
            port in any::<u16>(),
            name in proptest::option::of(any::<String>()),
            has_said in any::<bool>(),
        ) -> Destination {
            let said = Said {
                source: "tls",
                name: None,
                alpn: vec!["h2".to_owned()],
                has_ech: true,
                refusal: Some("cut"),
            };
            let (name, service) = (name.map(Into::into), Some("openai".into()));
            let (evidence, said) = (Evidence::Dns, has_said.then_some(said));
            Destination { address, port, name, evidence, service, said }
        }
    }

    #[derive(Clone, Debug)]
    struct One {
        actor: usize,
        /// Something is learned of the process first.
        learns: Option<usize>,
        agent: usize,
        decision: Decision,
        hook: usize,
        destination: Option<Destination>,
        path: Option<String>,
        numbers: (u8, u64, u64),
        /// Which kind of record.
        kind: u8,
        salt: u8,
    }

    prop_compose! {
        fn one()(
            actor in 0_usize..6,
            learns in proptest::option::weighted(0.1, 0_usize..2),
            agent in 0_usize..3,
            decision in decision(),
            hook in 0..HOOKS.len(),
            destination in proptest::option::of(destination()),
            path in proptest::option::of(any::<String>()),
            numbers in any::<(u8, u64, u64)>(),
            (kind, salt) in (0_u8..8, 0_u8..2),
        ) -> One {
            One { actor, learns, agent, decision, hook, destination, path, numbers, kind, salt }
        }
    }

    impl One {
        fn record(self, actors: &[Actor]) -> Record {
            let (protocol, cookie, count) = self.numbers;
            let agent = WORDS[self.agent].into();
            let subject = Subject { id: 3, agent, ..Subject::default() };
            let flow = Flow {
                actor: actors[self.actor].clone(),
                subject: Arc::new(subject),
                decision: self.decision,
                hook: HOOKS[self.hook],
                destination: self.destination,
                path: self.path.map(Into::into),
                protocol: [protocol, 6, 17][usize::from(protocol % 3)],
                cookie,
            };
            match self.kind {
                0 => Record::Repeated(Repeated { flow, count, first_ms: 3 }),
                1 => Record::Query(DnsQuery { flow, name: "a.example".into(), question_type: 1 }),
                _ => Record::Flow(flow),
            }
        }
    }

    fn learn(actor: &Actor, what: usize) {
        if what == 0 {
            actor.process.digest.as_ref().unwrap().settle(Some("12".repeat(32).into()));
        } else if let Some(workload) = &actor.process.workload {
            workload.told.get_or_init(|| Told {
                pod: Some(("agents".into(), "bot-1".into())),
                ..Told::default()
            });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn records_are_the_same_with_parts_that_were_made_for_others(
            records in proptest::collection::vec(one(), 1..80),
        ) {
            let (mut preparing, actors) = (host(), actors());
            for (sequence, one) in (0..).zip(records) {
                if let Some(what) = one.learns {
                    learn(&actors[one.actor], what);
                }
                let user = Some(Token::of(&[one.salt; 16], "user"));
                let stamp = Stamp {
                    time_ms: one.numbers.1,
                    logged_ms: 1_763_640_000_123,
                    sequence,
                    tokens: Tokens { user, command_line: None },
                };
                let record = one.record(&actors);
                let plain = record.line(&host(), &stamp);
                preparing.prepare(&record, &stamp);
                prop_assert_eq!(record.line(&preparing, &stamp), plain);
            }
        }
    }

    #[test]
    fn parts_are_made_once_for_each_kind_of_decision() {
        let (mut host, actors) = (host(), actors());
        let rule = RuleRef { id: "bot/egress/1".into(), text: "allow".into() };
        let mut flow = |actor: usize, generation, cookie| {
            let record = Record::Flow(Flow {
                actor: actors[actor].clone(),
                subject: Arc::default(),
                decision: Decision {
                    verdict: Verdict::Allow,
                    reason: Reason::Rule,
                    mode: Mode::Enforce,
                    rule: Some(rule.clone()),
                    policy: PolicyRef { digest: "sha256:0".into(), generation },
                },
                hook: Hook::Connect,
                destination: None,
                path: None,
                protocol: 6,
                cookie,
            });
            let tokens = Tokens::default();
            let stamp = Stamp { time_ms: 1, logged_ms: 2, sequence: cookie, tokens };
            host.prepare(&record, &stamp);
            host.kept.of(&actors[actor], &stamp.tokens).unwrap().decided.len()
        };
        // Another generation is another kind; another process with the same id takes the place.
        let kept: Vec<usize> = [(0, 1), (0, 1), (0, 2), (3, 1), (0, 1), (1, 1), (0, 1)]
            .into_iter()
            .zip(1..)
            .map(|((actor, generation), cookie)| flow(actor, generation, cookie))
            .collect();
        assert_eq!(kept, [1, 1, 2, 1, 2, 1, 1]);
    }
}
