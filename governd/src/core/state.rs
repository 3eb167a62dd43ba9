//! What the daemon knows beside the kernel, and what each event means: inputs in, records out.

mod lost;
mod subjects;

use std::{collections::BTreeMap, sync::Arc};

use governd_common::{
    address::Address,
    event::{DnsEvent, EventHeader, FlowEvent, Hook, NameEvent, PathEvent},
    verdict::{Loss, Mode, Reason, Verdict},
};

use super::{
    counts::Counts,
    local,
    names::Names,
    recent::{Recent, RecentFlows},
    said::{self, SaidNames},
    unseen::Unseen,
};
use crate::{
    audit::record::{
        self, Actor, Decision, Destination, DnsAnswer, DnsQuery, Evidence, Exec, LossSource,
        PolicyChange, PolicyOutcome, PolicyRef, Record, RuleRef, Subject,
    },
    policy::image::Compiled,
};

const PORT_DNS: u16 = 53;
const PROTOCOL_TCP: u8 = 6;

/// What happens to the daemon.
#[derive(Debug)]
pub enum Input<'a> {
    /// The kernel decided about a destination.
    Flow(&'a FlowEvent, Actor),
    /// The kernel decided about something local.
    Path(&'a PathEvent, Actor),
    /// The kernel read a name in a connection's first bytes.
    Name(&'a NameEvent, Actor),
    /// User space read the beginning of a QUIC connection, and decided about it.
    Quic(&'a FlowEvent, record::Said, Actor),
    /// The kernel learned from a DNS answer. The actor is the socket's owner, where known.
    Dns(&'a DnsEvent, Option<Actor>),
    /// A query that the policy refuses, and who asked.
    Query(&'a DnsEvent, Actor),
    /// A process executed a file.
    Exec(&'a EventHeader, Actor),
    /// What the kernel has lost since it was loaded, at this time (milliseconds since the epoch).
    Lost(&'a [(Loss, u64)], u64),
    /// A governed process has something whose traffic no program sees, at this time.
    Unseen(Unseen, u64),
    /// How many [`Command::Destroy`] could not be carried out since start, at this time.
    Undestroyed(u64, u64),
    /// A policy came into force.
    Installed {
        /// The policy.
        policy: Arc<Compiled>,
        /// Its generation.
        generation: u64,
        /// Files that it was read from.
        sources: Vec<String>,
    },
    /// A policy could not be read or installed.
    Refused {
        /// The reasons, one line each.
        errors: Vec<String>,
        /// Files that it was read from.
        sources: Vec<String>,
    },
}

/// What the daemon does about it.
#[derive(Debug)]
pub enum Command {
    /// Append a record to the log and show it to watchers. The time is the event's own
    /// (`CLOCK_BOOTTIME`, in nanoseconds), or `None` for now.
    Record(Box<Record>, Option<u64>),
    /// End a socket whose packets the kernel refuses, so that its program gets an error at once
    /// and does not wait for an answer that cannot come. It must be connected.
    Destroy {
        /// The socket's cookie.
        cookie: u64,
        /// IP protocol number.
        protocol: u8,
        /// Destination port, or 0 if it is not known.
        port: u16,
        /// tgid of its owner.
        tgid: u32,
    },
}

/// What the catalogue knows of names.
pub trait Services: std::fmt::Debug {
    /// The service behind a name, such as `openai`.
    fn provider(&self, name: &str) -> Option<Arc<str>>;
}

/// The daemon's knowledge.
#[derive(Debug)]
pub struct State {
    services: Box<dyn Services>,
    policy: Arc<Compiled>,
    generation: u64,
    /// The policy before, which events that were in flight at the swap still name.
    previous: Option<(u64, Arc<Compiled>)>,
    /// The policy's agents as records have them, by their number.
    subjects: Vec<(u32, Arc<Subject>)>,
    refused: Option<String>,
    /// Names that DNS gave to addresses.
    pub names: Names,
    said: SaidNames,
    /// The latest decisions.
    pub recent: RecentFlows,
    counts: Counts,
    lost: BTreeMap<&'static str, (u64, u64)>,
}

impl State {
    /// A daemon with this policy, which is not yet in force.
    pub fn new(policy: Arc<Compiled>, services: Box<dyn Services>) -> Self {
        Self {
            services,
            subjects: subjects::of(&policy),
            policy,
            generation: 0,
            previous: None,
            refused: None,
            names: Names::default(),
            said: SaidNames::default(),
            recent: RecentFlows::default(),
            counts: Counts::default(),
            lost: BTreeMap::new(),
        }
    }

    /// Takes what another catalogue knows.
    pub fn set_services(&mut self, services: Box<dyn Services>) {
        self.services = services;
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Compiled> {
        &self.policy
    }

    /// Generation of the policy in force.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Digest and generation of the policy in force.
    pub fn policy_ref(&self) -> PolicyRef {
        PolicyRef { digest: Arc::clone(&self.policy.digest), generation: self.generation }
    }

    /// Why the newest documents are not in force.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Decisions since start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The documents on disk are those in force.
    pub fn accept(&mut self) {
        self.refused = None;
    }

    /// Takes in what happened.
    pub fn step(&mut self, input: Input<'_>) -> Vec<Command> {
        match input {
            Input::Flow(event, actor) => {
                let mut commands = self.flow(event, actor);
                commands.extend(destroy(event));
                commands
            }
            Input::Path(event, _) if local::is_habitual(event) => Vec::new(),
            Input::Path(event, actor) => self.local(event, actor),
            Input::Name(event, actor) => self.named(event, actor),
            Input::Quic(event, said, actor) => {
                self.said.keep(event.cookie, said);
                self.decided(event, actor)
            }
            Input::Dns(event, actor) => self.dns(event, actor),
            Input::Query(event, actor) => self.query(event, actor),
            Input::Exec(event, actor) => self.exec(event, actor),
            Input::Lost(counts, now_ms) => {
                let lost = counts.iter().map(|(loss, total)| (LossSource::Kernel(*loss), *total));
                self.losses(lost, now_ms)
            }
            Input::Unseen(unseen, now_ms) => {
                let subject = self.subject(unseen.subject);
                vec![now(Record::Finding(unseen.finding(subject, now_ms)))]
            }
            Input::Undestroyed(total, now_ms) => {
                self.losses([(LossSource::Undestroyed, total)], now_ms)
            }
            Input::Installed { policy, generation, sources } => {
                self.installed(policy, generation, sources)
            }
            Input::Refused { errors, sources } => self.refuse(errors, sources),
        }
    }

    fn flow(&mut self, event: &FlowEvent, actor: Actor) -> Vec<Command> {
        let verdict = Verdict::from_byte(event.verdict);
        let mode = Mode::from_byte(event.mode);
        self.counts.decision(verdict, mode);
        self.decided(event, actor)
    }

    /// A name that is allowed is a record of its own; a refusal follows as a flow.
    fn named(&mut self, event: &NameEvent, actor: Actor) -> Vec<Command> {
        let is_new = self.said.observe(event);
        if !is_new || Verdict::from_byte(event.verdict) == Verdict::Deny {
            return Vec::new();
        }
        self.decided(&said::flow(event), actor)
    }

    fn decided(&mut self, event: &FlowEvent, actor: Actor) -> Vec<Command> {
        let subject = event.header.subject;
        let at_egress = event.header.hook == Hook::Egress as u16;
        let said = self.said.of(event.cookie).filter(|_| at_egress).cloned();
        let spoken = said.as_ref().and_then(|said| said.name.clone());
        let (name, evidence) = match spoken {
            Some(name) if self.names.has(subject, event.address, &name) => {
                (Some(name), Evidence::Both)
            }
            Some(name) => (Some(name), Evidence::Sni),
            None => {
                let name = self.names.name(subject, event.address, event.set);
                let evidence = if name.is_some() { Evidence::Dns } else { Evidence::None };
                (name, evidence)
            }
        };
        self.recent.push(Recent { event: *event, actor: actor.clone(), name: name.clone() });
        let hook = hook(event.header.hook);
        let service = name.as_deref().and_then(|name| self.services.provider(name));
        let record = record::Flow {
            actor,
            subject: self.subject(subject),
            decision: self.decision(event),
            hook,
            destination: (!has_no_destination(hook, event)).then(|| Destination {
                address: event.address.into(),
                port: event.port,
                name,
                evidence,
                service,
                said,
            }),
            path: None,
            protocol: event.protocol,
            cookie: event.cookie,
        };
        at(Record::Flow(record), event.header.time_ns)
    }

    fn local(&mut self, event: &PathEvent, actor: Actor) -> Vec<Command> {
        let verdict = Verdict::from_byte(event.verdict);
        let mode = Mode::from_byte(event.mode);
        self.counts.decision(verdict, mode);
        let generation = event.header.generation;
        let record = record::Flow {
            actor,
            subject: self.subject(event.header.subject),
            decision: Decision {
                verdict,
                reason: Reason::from_byte(event.reason).unwrap_or(Reason::Fault),
                mode,
                rule: self.rule(generation, event.rule),
                policy: self.policy_at(generation),
            },
            hook: hook(event.header.hook),
            destination: None,
            path: Some(local::path(event)),
            protocol: 0,
            cookie: 0,
        };
        at(Record::Flow(record), event.header.time_ns)
    }

    fn dns(&mut self, event: &DnsEvent, actor: Option<Actor>) -> Vec<Command> {
        let Some(answer) = self.names.observe(event) else {
            return Vec::new();
        };
        let record = DnsAnswer {
            actor,
            subject: self.subject(answer.subject),
            policy: self.policy_at(event.header.generation),
            resolver: event.resolver.into(),
            name: answer.name,
            question_type: event.question_type,
            addresses: answer.addresses,
        };
        at(Record::Dns(record), event.header.time_ns)
    }

    /// A query that the policy refuses, or would.
    fn query(&mut self, event: &DnsEvent, actor: Actor) -> Vec<Command> {
        let name = event.name.get(..usize::from(event.name_len)).unwrap_or_default();
        let name: Arc<str> = String::from_utf8_lossy(name).into();
        let flow = flow_of_query(event);
        self.counts.decision(Verdict::from_byte(flow.verdict), Mode::from_byte(flow.mode));
        let known = (!name.is_empty()).then(|| Arc::clone(&name));
        self.recent.push(Recent { event: flow, actor: actor.clone(), name: known });
        let record = DnsQuery {
            flow: record::Flow {
                actor,
                subject: self.subject(event.header.subject),
                decision: self.decision(&flow),
                hook: Hook::Egress,
                destination: Some(Destination {
                    address: flow.address.into(),
                    port: flow.port,
                    name: None,
                    evidence: Evidence::None,
                    service: None,
                    said: None,
                }),
                path: None,
                protocol: flow.protocol,
                cookie: flow.cookie,
            },
            name,
            question_type: event.question_type,
        };
        let mut commands = at(Record::Query(record), event.header.time_ns);
        commands.extend(destroy(&flow).filter(|_| flow.protocol == PROTOCOL_TCP));
        commands
    }

    fn decision(&self, event: &FlowEvent) -> Decision {
        let generation = event.header.generation;
        Decision {
            verdict: Verdict::from_byte(event.verdict),
            reason: Reason::from_byte(event.reason).unwrap_or(Reason::Fault),
            mode: Mode::from_byte(event.mode),
            rule: self.rule(generation, event.rule),
            policy: self.policy_at(generation),
        }
    }

    fn exec(&mut self, event: &EventHeader, actor: Actor) -> Vec<Command> {
        if event.subject == 0 {
            return Vec::new();
        }
        let record = Exec {
            actor,
            subject: self.subject(event.subject),
            policy: self.policy_at(event.generation),
        };
        at(Record::Exec(record), event.time_ns)
    }

    fn installed(
        &mut self,
        policy: Arc<Compiled>,
        generation: u64,
        sources: Vec<String>,
    ) -> Vec<Command> {
        let previous = (self.generation != 0).then(|| self.policy_ref());
        let agents = policy.agents_registered();
        let outcome = PolicyOutcome::Installed {
            previous,
            agents: u32::try_from(agents).unwrap_or(u32::MAX),
            rules: u32::try_from(policy.rules.len()).unwrap_or(u32::MAX),
        };
        self.subjects = subjects::of(&policy);
        let before = std::mem::replace(&mut self.policy, policy);
        self.previous = Some((self.generation, before));
        self.generation = generation;
        self.refused = None;
        let policy = Some(self.policy_ref());
        vec![now(Record::Policy(PolicyChange { policy, sources, outcome }))]
    }

    fn refuse(&mut self, errors: Vec<String>, sources: Vec<String>) -> Vec<Command> {
        self.counts.refused_policies += 1;
        self.refused = Some(errors.join("; "));
        let policy = (self.generation != 0).then(|| self.policy_ref());
        let outcome = PolicyOutcome::Refused { errors };
        vec![now(Record::Policy(PolicyChange { policy, sources, outcome }))]
    }

    /// A subject, for a record. One that the policy no longer has is named by its number.
    pub fn subject(&self, id: u32) -> Arc<Subject> {
        let known = self.subjects.binary_search_by_key(&id, |(known, _)| *known);
        match known.ok().and_then(|index| self.subjects.get(index)) {
            Some((_, subject)) => Arc::clone(subject),
            None => {
                let agent = format!("removed-agent-{id}").into();
                Arc::new(Subject { id, agent, ..Subject::default() })
            }
        }
    }

    fn rule(&self, generation: u64, number: u32) -> Option<RuleRef> {
        let rule = self.compiled(generation).rule(number)?;
        Some(RuleRef { id: Arc::clone(&rule.id), text: Arc::clone(&rule.text) })
    }

    fn policy_at(&self, generation: u64) -> PolicyRef {
        PolicyRef { digest: Arc::clone(&self.compiled(generation).digest), generation }
    }

    fn compiled(&self, generation: u64) -> &Compiled {
        match &self.previous {
            Some((known, policy)) if *known == generation => policy,
            _ => &self.policy,
        }
    }
}

/// Refused at `connect` or `sendmsg`, a program has its error. Refused at egress, the packets of a
/// connection vanish, and it would wait.
fn destroy(event: &FlowEvent) -> Option<Command> {
    const CONNECTIONS: [(u32, u8); 2] = [(1, 6), (2, 17)];
    let FlowEvent { cookie, protocol, port, socket_type, .. } = *event;
    let is_refused = event.header.hook == Hook::Egress as u16
        && Verdict::from_byte(event.verdict) == Verdict::Deny
        && Mode::from_byte(event.mode) == Mode::Enforce;
    let can_wait = cookie != 0 && CONNECTIONS.contains(&(socket_type, protocol));
    let tgid = event.header.tgid;
    (is_refused && can_wait).then_some(Command::Destroy { cookie, protocol, port, tgid })
}

/// A query as the decision about its packet.
fn flow_of_query(event: &DnsEvent) -> FlowEvent {
    FlowEvent {
        header: EventHeader { hook: Hook::Egress as u16, ..event.header },
        address: event.resolver,
        port: PORT_DNS,
        protocol: event.protocol,
        verdict: event.verdict,
        reason: event.reason,
        mode: event.mode,
        family: if event.resolver.is_v4() { 2 } else { 10 },
        socket_type: if event.protocol == PROTOCOL_TCP { 1 } else { 2 },
        rule: event.rule,
        set: 0,
        reserved: 0,
        cookie: event.cookie,
    }
}

fn hook(code: u16) -> Hook {
    const OTHERS: [Hook; 9] = [
        Hook::Sendmsg,
        Hook::SockCreate,
        Hook::Egress,
        Hook::Device,
        Hook::Unix,
        Hook::Frame,
        Hook::Option,
        Hook::Lsm,
        Hook::Sysctl,
    ];
    OTHERS.into_iter().find(|hook| *hook as u16 == code).unwrap_or(Hook::Connect)
}

/// A socket as such is judged; of options, those of multicast groups have a destination.
fn has_no_destination(hook: Hook, event: &FlowEvent) -> bool {
    let is_unspecified = event.address == Address::UNSPECIFIED;
    matches!(hook, Hook::SockCreate | Hook::Frame) || (hook == Hook::Option && is_unspecified)
}

fn at(record: Record, time_ns: u64) -> Vec<Command> {
    vec![Command::Record(Box::new(record), Some(time_ns))]
}

fn now(record: Record) -> Command {
    Command::Record(Box::new(record), None)
}

#[cfg(test)]
mod tests {
    use governd_common::address::Address;
    use zerocopy::FromZeros;

    use super::*;
    use crate::{
        core::process::Process,
        policy::{
            image::{AgentFacts, RuleFacts},
            value::Tier,
        },
    };

    #[derive(Debug)]
    struct OneService;

    impl Services for OneService {
        fn provider(&self, name: &str) -> Option<Arc<str>> {
            (name == "api.openai.com").then(|| "openai".into())
        }
    }

    fn policy(digest: &str, rule: &str) -> Arc<Compiled> {
        let rules = [("unregistered", Tier::Allow), (rule, Tier::Deny)];
        let agent = AgentFacts {
            owner: Some("Dana".into()),
            ..AgentFacts::unknown(1, "invoice-bot", Mode::Enforce)
        };
        Arc::new(Compiled {
            digest: digest.into(),
            rules: rules
                .map(|(id, tier)| RuleFacts {
                    id: id.into(),
                    subject: 1,
                    text: id.into(),
                    tier,
                    source: None,
                })
                .to_vec(),
            agents: vec![agent],
            ..Compiled::default()
        })
    }

    fn actor() -> Actor {
        let process = Process { pid: 7, name: "python3".into(), ..Process::default() };
        Actor { process: Arc::new(process), lineage: Arc::new([]) }
    }

    fn flow(verdict: Verdict, mode: Mode, generation: u64) -> FlowEvent {
        let mut event = FlowEvent::new_zeroed();
        event.header.subject = 1;
        event.header.generation = generation;
        event.header.hook = Hook::Connect as u16;
        event.address = Address::v4([10, 0, 0, 1]);
        event.port = 443;
        event.protocol = 6;
        event.verdict = verdict as u8;
        event.reason = Reason::Rule as u8;
        event.mode = mode as u8;
        event.rule = 1;
        event
    }

    fn state() -> State {
        let mut state = State::new(policy("sha256:none", "none"), Box::new(OneService));
        let policy = policy("sha256:one", "invoice-bot/default");
        state.step(Input::Installed { policy, generation: 1, sources: Vec::new() });
        state
    }

    fn only_flow(commands: Vec<Command>) -> record::Flow {
        let mut commands = commands.into_iter();
        let (Some(Command::Record(record, _)), None) = (commands.next(), commands.next()) else {
            panic!("one record");
        };
        match *record {
            Record::Flow(flow) => flow,
            other => panic!("a flow, not {other:?}"),
        }
    }

    #[test]
    fn a_decision_carries_rule_policy_agent_and_owner() {
        let mut state = state();
        let event = flow(Verdict::Deny, Mode::Enforce, 1);
        let flow = only_flow(state.step(Input::Flow(&event, actor())));
        assert_eq!(&*flow.decision.rule.unwrap().id, "invoice-bot/default");
        assert_eq!(&*flow.decision.policy.digest, "sha256:one");
        assert_eq!(
            (&*flow.subject.agent, flow.subject.owner.as_deref()),
            ("invoice-bot", Some("Dana"))
        );
        assert_eq!(flow.destination.unwrap().evidence, Evidence::None);
    }

    #[test]
    fn outcomes_are_counted_apart() {
        let mut state = state();
        let outcomes = [
            (Verdict::Allow, Mode::Enforce),
            (Verdict::Deny, Mode::Enforce),
            (Verdict::Deny, Mode::Monitor),
            (Verdict::Deny, Mode::Monitor),
        ];
        for (verdict, mode) in outcomes {
            state.step(Input::Flow(&flow(verdict, mode, 1), actor()));
        }
        assert_eq!(
            state.counts(),
            Counts { allowed: 1, denied: 1, would_deny: 2, refused_policies: 0 }
        );
    }

    #[test]
    fn an_event_of_the_generation_before_keeps_its_rule_and_digest() {
        let mut state = state();
        let next = policy("sha256:two", "other/default");
        state.step(Input::Installed { policy: next, generation: 2, sources: Vec::new() });
        for (generation, digest, rule) in
            [(1, "sha256:one", "invoice-bot/default"), (2, "sha256:two", "other/default")]
        {
            let event = flow(Verdict::Deny, Mode::Enforce, generation);
            let flow = only_flow(state.step(Input::Flow(&event, actor())));
            assert_eq!(&*flow.decision.policy.digest, digest);
            assert_eq!(&*flow.decision.rule.unwrap().id, rule);
        }
    }

    #[test]
    fn a_name_from_dns_is_in_the_record_with_its_service() {
        let mut state = state();
        let mut answer = DnsEvent::new_zeroed();
        answer.header.subject = 1;
        answer.name[..14].copy_from_slice(b"api.openai.com");
        answer.name_len = 14;
        answer.addresses[0].address = Address::v4([10, 0, 0, 1]);
        answer.addresses_len = 1;
        assert_eq!(state.step(Input::Dns(&answer, None)).len(), 1);
        let event = flow(Verdict::Allow, Mode::Enforce, 1);
        let to = only_flow(state.step(Input::Flow(&event, actor()))).destination.unwrap();
        assert_eq!(to.name.as_deref(), Some("api.openai.com"));
        assert_eq!((to.evidence, to.service.as_deref()), (Evidence::Dns, Some("openai")));
    }

    #[test]
    fn only_refused_connections_at_egress_are_destroyed() {
        let (deny, enforce) = (Verdict::Deny, Mode::Enforce);
        let (tcp, udp) = ((1, 6), (2, 17));
        let rows = [
            (Hook::Egress, deny, enforce, tcp, 7, true),
            (Hook::Egress, deny, enforce, udp, 7, true),
            (Hook::Egress, deny, enforce, (3, 6), 7, false),
            (Hook::Egress, deny, enforce, (2, 1), 7, false),
            (Hook::Egress, deny, enforce, tcp, 0, false),
            (Hook::Egress, deny, Mode::Monitor, tcp, 7, false),
            (Hook::Egress, Verdict::Allow, enforce, tcp, 7, false),
            (Hook::Connect, deny, enforce, tcp, 7, false),
            (Hook::Sendmsg, deny, enforce, udp, 7, false),
            (Hook::SockCreate, deny, enforce, tcp, 7, false),
        ];
        for (hook, verdict, mode, (socket_type, protocol), cookie, destroyed) in rows {
            let mut event = flow(verdict, mode, 1);
            event.header.hook = hook as u16;
            event.header.tgid = 9;
            (event.socket_type, event.protocol, event.cookie) = (socket_type, protocol, cookie);
            let commands = state().step(Input::Flow(&event, actor()));
            let found = commands.iter().any(|command| {
                matches!(command, Command::Destroy { cookie: 7, port: 443, tgid: 9, .. })
            });
            assert_eq!((found, commands.len()), (destroyed, 1 + usize::from(destroyed)));
        }
    }

    #[test]
    fn what_no_program_sees_is_a_finding_with_process_kind_and_agent() {
        let name = "socket:[7]".into();
        let deed = crate::core::unseen::Deed::Has;
        let unseen = Unseen { deed, kind: "packet-socket", name, actor: actor(), subject: 1 };
        let commands = state().step(Input::Unseen(unseen, 5));
        let [Command::Record(record, None)] = commands.as_slice() else { panic!("{commands:?}") };
        let Record::Finding(finding) = &**record else { panic!("{record:?}") };
        assert_eq!((&*finding.kind, finding.first_seen_ms), ("packet-socket", 5));
        assert!(finding.title.starts_with("invoice-bot (python3, process 7) has a packet socket"));
        assert_eq!(&*finding.subject.as_ref().unwrap().agent, "invoice-bot");
    }

    #[test]
    fn only_what_was_lost_since_the_last_look_is_recorded() {
        let mut state = state();
        let lost =
            |state: &mut State, total| state.step(Input::Lost(&[(Loss::Ring, total)], 5)).len();
        assert_eq!((lost(&mut state, 0), lost(&mut state, 3), lost(&mut state, 3)), (0, 1, 0));
        assert_eq!(lost(&mut state, 4), 1);
        assert_eq!(state.step(Input::Undestroyed(2, 5)).len(), 1);
        assert_eq!(state.step(Input::Undestroyed(2, 6)).len(), 0);
        let lost: Vec<_> = state.lost().collect();
        assert_eq!(lost, [("ring-full", 4), ("sockets-not-destroyed", 2)]);
    }

    #[test]
    fn a_refused_policy_leaves_the_running_one_and_is_remembered() {
        let mut state = state();
        let errors = vec!["a.yaml:3:5: error[bad-word]: no".to_string()];
        let commands = state.step(Input::Refused { errors, sources: Vec::new() });
        assert_eq!(commands.len(), 1);
        assert_eq!(&*state.policy().digest, "sha256:one");
        assert!(state.refused().unwrap().contains("a.yaml:3:5"));
        let policy = policy("sha256:two", "x");
        state.step(Input::Installed { policy, generation: 2, sources: Vec::new() });
        assert_eq!(state.refused(), None);
    }
}
