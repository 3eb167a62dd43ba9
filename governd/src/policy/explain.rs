//! Why a destination is or is not reachable for a process, in types and in words.
//!
//! The answer comes from the very tables and the very `decide()` that the kernel has, so that it
//! cannot differ from what the kernel does with the same knowledge of DNS.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use governd_common::{
    address::Address,
    decide::{Decision, Flow, Proof, Tables, decide},
    key::{BindingKey, GrantKey},
    table::{Binding, RuleBlock, SocketOwner, Subject},
    verdict::{Mode, Reason, Verdict},
};

use super::{
    image::{AgentFacts, Compiled, RuleFacts},
    nearest::{self, Nearest, port_text},
    tables::{Controls, ImageTables},
    value::verdict_word,
};

/// Where to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// A host name, lower case, without final dot.
    Name(Arc<str>),
    /// An address.
    Address(IpAddr),
}

/// An address that DNS gave to a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bound {
    /// The name.
    pub name: Arc<str>,
    /// The address.
    pub address: IpAddr,
    /// True if a resolver of the host learned it for everybody, false if the process's subject did.
    pub is_hosts: bool,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The process in words, such as `python3 (pid 4711)`.
    pub process: &'a str,
    /// Its subject.
    pub subject: u32,
    /// Where to.
    pub destination: Destination,
    /// Port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// What DNS said, as far as it is still valid.
    pub bound: &'a [Bound],
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The process in words.
    pub process: String,
    /// The agent, or what stands for everything that is none.
    pub agent: AgentFacts,
    /// The destination in words, such as `files.example.com port 443/tcp`.
    pub destination: String,
    /// The decision.
    pub decision: Decision,
    /// The rule that decided, if one did.
    pub rule: Option<RuleFacts>,
    /// How the destination is known by DNS, in words.
    pub known: String,
    /// What comes nearest to allowing it, if it is denied and no rule says so.
    pub nearest: Option<Nearest>,
    /// Where several policies hold, the agent whose policy denies it.
    pub whose: Option<AgentFacts>,
    /// What to do to have it allowed, line by line; empty if it is allowed.
    pub advice: Vec<String>,
}

/// Decides under what people said at run time, and explains the decision.
pub fn explain(compiled: &Compiled, question: &Question<'_>, under: Controls) -> Answer {
    let decision = decision(compiled, question, under);
    explain_decision(compiled, question, decision)
}

/// Explains a decision that was made, such as one that an event reported.
pub fn explain_decision(
    compiled: &Compiled,
    question: &Question<'_>,
    decision: Decision,
) -> Answer {
    let Question { process, subject, destination, port, protocol, bound } = question;
    let names = names(destination, bound);
    let agent = compiled.agent(*subject).cloned().unwrap_or_else(|| {
        AgentFacts::unknown(*subject, format!("subject {subject}"), decision.mode)
    });
    let is_by_rule =
        matches!(decision.reason, Reason::Rule | Reason::Approval | Reason::Granted | Reason::Halt);
    let rule = compiled.rule(decision.rule).filter(|_| is_by_rule).cloned();
    let is_open = decision.verdict == Verdict::Deny && !is_by_rule;
    // Of several agents that it stands for, the one whose policy says so.
    let own = compiled.rule(decision.rule).map_or(*subject, |rule| rule.subject);
    let own = if agent.started_by.is_empty() { *subject } else { own };
    let asked = Question { subject: own, ..question.clone() };
    let nearest = if is_open { nearest::find(compiled, &asked, &names) } else { None };
    let what = match destination {
        Destination::Name(name) => name.to_string(),
        Destination::Address(address) => address.to_string(),
    };
    let mut answer = Answer {
        process: (*process).to_owned(),
        destination: format!("{what} {}", port_text(*port, *port, *protocol)),
        known: known(question, &names),
        agent,
        decision,
        rule,
        nearest,
        whose: None,
        advice: Vec::new(),
    };
    if decision.verdict == Verdict::Deny {
        let whose = compiled.agent(own).filter(|_| own != *subject).cloned();
        answer.advice = advice(compiled, &asked, &answer, names.first(), whose.as_ref());
        answer.whose = whose;
    }
    answer
}

fn decision(compiled: &Compiled, question: &Question<'_>, under: Controls) -> Decision {
    let Question { subject, destination, port, protocol, bound, .. } = question;
    let mut tables = ImageTables::new(&compiled.image).under(under);
    for Bound { name, address, is_hosts } in *bound {
        let owner = if *is_hosts { BindingKey::HOST } else { *subject };
        tables.bind(owner, name, Address::from(*address), u64::MAX);
    }
    let flow = |address: IpAddr| Flow {
        subject: *subject,
        address: Address::from(address),
        port: *port,
        protocol: *protocol,
        now_ns: 0,
    };
    let name = match destination {
        Destination::Address(address) => return decide(&tables, &flow(*address)),
        Destination::Name(name) => name,
    };
    let addresses = bound.iter().filter(|one| one.name == *name).map(|one| one.address);
    let decisions = addresses.map(|address| decide(&tables, &flow(address)));
    // A client may use any of them, so the answer is the worst.
    if let Some(worst) = decisions.min_by_key(|decision| decision.verdict as u8) {
        return worst;
    }
    let nowhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    tables.bind(*subject, name, Address::from(nowhere), u64::MAX);
    decide(&NamesOnly::new(&tables), &flow(nowhere))
}

/// Tables for a name that has no address yet: networks cannot say anything about it.
pub(super) struct NamesOnly<'t, 'a> {
    tables: &'t ImageTables<'a>,
    /// Whatever a person can grant is granted.
    is_granting: bool,
}

impl<'t, 'a> NamesOnly<'t, 'a> {
    pub(super) fn new(tables: &'t ImageTables<'a>) -> Self {
        Self { tables, is_granting: false }
    }

    pub(super) fn granting(tables: &'t ImageTables<'a>) -> Self {
        Self { tables, is_granting: true }
    }
}

impl Tables for NamesOnly<'_, '_> {
    fn subject(&self, subject: u32) -> Option<&Subject> {
        self.tables.subject(subject)
    }

    fn binding(&self, subject: u32, address: &Address) -> Option<&Binding> {
        self.tables.binding(subject, address)
    }

    fn network(&self, _: u32, _: &Address) -> Option<u32> {
        None
    }

    fn block(&self, subject: u32, set: u32) -> Option<&RuleBlock> {
        self.tables.block(subject, set)
    }

    fn is_resolver(&self, _: &Address) -> bool {
        false
    }

    fn granted_until(&self, grant: &GrantKey) -> u64 {
        if self.is_granting { u64::MAX } else { self.tables.granted_until(grant) }
    }

    fn is_quarantined(&self, subject: u32) -> bool {
        self.tables.is_quarantined(subject)
    }
}

/// Names that the destination has.
fn names(destination: &Destination, bound: &[Bound]) -> Vec<Arc<str>> {
    match destination {
        Destination::Name(name) => vec![Arc::clone(name)],
        Destination::Address(address) => {
            let same =
                bound.iter().filter(|one| one.address.to_canonical() == address.to_canonical());
            same.map(|one| Arc::clone(&one.name)).collect()
        }
    }
}

fn known(question: &Question<'_>, names: &[Arc<str>]) -> String {
    let is_agent = SocketOwner::is_agent(question.subject);
    let who = if !is_agent { "this process" } else { "this agent" };
    match &question.destination {
        Destination::Address(address) if names.is_empty() => {
            format!("no DNS answer that {who} got has {address}: only rules on networks can match")
        }
        Destination::Address(address) => {
            format!("{address} is {} by DNS answers that {who} got", names.join(", "))
        }
        Destination::Name(name) => {
            let same = question.bound.iter().filter(|one| one.name == *name);
            let addresses: Vec<String> = same.map(|one| one.address.to_string()).collect();
            if addresses.is_empty() {
                return format!(
                    "{who} has not looked up {name}: this is what holds once it does, without \
                     rules on networks"
                );
            }
            format!("{name} is {} by DNS answers that {who} got", addresses.join(", "))
        }
    }
}

fn advice(
    compiled: &Compiled,
    question: &Question<'_>,
    answer: &Answer,
    name: Option<&Arc<str>>,
    whose: Option<&AgentFacts>,
) -> Vec<String> {
    if question.subject == SocketOwner::UNCLASSIFIED {
        return vec![
            "wait until governd knows what runs in its cgroup; the host policy's `unclassified` \
             says what holds before"
                .to_owned(),
        ];
    }
    if question.subject == 0 {
        return vec![
            "register it: write an Agent document with an owner, how the process is recognised, \
             and what it may reach"
                .to_owned(),
        ];
    }
    if let Some(rule) = &answer.rule {
        let at = rule.source.as_ref().map(|(file, line)| format!(" at {file}:{line}"));
        let at = at.unwrap_or_default();
        return vec![format!("have the rule {}{at} changed, if it should be allowed", rule.id)];
    }
    let settings = compiled.image.subjects.iter().find(|(id, _)| *id == question.subject);
    let default = settings.and_then(|(_, settings)| compiled.rule(settings.default_rule));
    let at = default.and_then(|rule| rule.source.as_ref());
    let at = at.map(|(file, line)| format!(" ({file}:{line})")).unwrap_or_default();
    let target = match (name, &question.destination) {
        (Some(name), _) => name.to_string(),
        (None, Destination::Name(name)) => name.to_string(),
        (None, Destination::Address(IpAddr::V4(v4))) => v4.to_string(),
        (None, Destination::Address(address)) => format!("\"{address}\""),
    };
    let mut lines = vec![
        format!(
            "to allow it, add under spec.egress.rules of the agent {}{at}:",
            whose.unwrap_or(&answer.agent).name
        ),
        format!("  - allow: [{target}]"),
        format!("    ports: [{}]", question.port),
    ];
    match question.protocol {
        6 => lines.push("    protocol: tcp".to_owned()),
        17 => lines.push("    protocol: udp".to_owned()),
        _ => {}
    }
    lines
}

impl Answer {
    /// Whether the connection goes through: true for a denial that is not carried out.
    pub fn goes_through(&self) -> bool {
        !self.decision.refuses()
    }

    /// The answer in words, line by line.
    pub fn words(&self) -> Vec<String> {
        let Self { process, agent, destination, decision, known, nearest, whose, advice, .. } =
            self;
        let who = match (agent.subject, agent.started_by_words()) {
            (0, _) => format!("{process} is not a registered agent"),
            (_, None) => format!("{process} is the agent {}", agent.name),
            (_, Some(others)) => format!(
                "{process} is the agent {}, started by {others}: what it reaches all their \
                 policies have to allow",
                agent.name
            ),
        };
        let outcome = match (decision.verdict, decision.mode) {
            (Verdict::Allow, _) => "allowed",
            (Verdict::Deny, Mode::Enforce) => "denied",
            (Verdict::Deny, Mode::Monitor) => "would be denied; in monitor mode nothing is stopped",
        };
        let mut lines = vec![who, format!("{destination}: {outcome}"), self.why()];
        if !matches!(decision.reason, Reason::Loopback | Reason::Resolver) {
            lines.push(known.clone());
        }
        if decision.proof == Proof::Name {
            lines.push("its first bytes have to name it: the TLS server name, or the Host".into());
        }
        lines.extend(nearest.as_ref().map(Nearest::to_string));
        if decision.verdict == Verdict::Deny {
            let agent = whose.as_ref().unwrap_or(agent);
            if whose.is_some() {
                lines.push(format!("it is the policy of the agent {} that says so", agent.name));
            }
            match &agent.owner {
                Some(owner) => lines.push(format!("the owner to ask is {owner}")),
                None => lines.push("nobody owns it".to_owned()),
            }
            lines.extend(agent.page.as_ref().map(|page| format!("to page the owner: {page}")));
        }
        lines.extend(agent.lapse.as_ref().map(|lapse| {
            let (why, tier) = (lapse.cause.words(), lapse.fallback.word());
            format!("{why}, so that what it was allowed is `{tier}` until somebody reviews it")
        }));
        lines.extend(agent.approval.words().map(|words| format!("the agent was {words}")));
        lines.extend(advice.iter().cloned());
        lines
    }

    fn why(&self) -> String {
        match (self.decision.reason, &self.rule) {
            (Reason::Rule, Some(rule)) => {
                let at = rule.source.as_ref().map(|(file, line)| format!(" ({file}:{line})"));
                format!("by the rule {}{}: {}", rule.id, at.unwrap_or_default(), rule.text)
            }
            (Reason::Rule, None) => "by a rule of an earlier policy".to_owned(),
            (Reason::NoRule, _) => {
                let verdict = verdict_word(self.decision.verdict);
                format!("no rule matches, and the agent's default is {verdict}")
            }
            (Reason::Unregistered, _) => {
                let what = match self.decision.verdict {
                    Verdict::Allow => "leaves it alone",
                    Verdict::Deny => "denies it",
                };
                format!("no rule is about it, and the host's posture for what is no agent {what}")
            }
            (reason, _) => words_of(reason).to_owned(),
        }
    }
}

/// Reasons that no rule and no default stands behind.
fn words_of(reason: Reason) -> &'static str {
    match reason {
        Reason::Rule => "by a rule",
        Reason::NoRule | Reason::Unregistered => "no rule is about it",
        Reason::Resolver => "it is DNS to a trusted resolver",
        Reason::Loopback => "it is this host itself, which the policy leaves alone",
        Reason::RawSocket => "a raw or ping socket has no destination to judge",
        Reason::Fault => "the kernel could not read a table, and then denies; see `governd status`",
        Reason::ServerName => {
            "the connection's first bytes name a server that the policy does not allow there"
        }
        Reason::NoServerName => {
            "the connection's first bytes name no server, and a rule about a name needs one"
        }
        Reason::Quic => "it is QUIC, and no rule allows that, or not with the name that it carries",
        Reason::DnsName => "no rule of the agent speaks of the name that it asks DNS for",
        Reason::DnsRecord => "DNS records of this type would hide the names of later connections",
        Reason::ForeignSocket => {
            "the socket came from another process, and is judged as its user's"
        }
        Reason::Mptcp => "further paths of a multipath TCP connection could not be judged",
        Reason::UnixSocket => "the process behind this local socket could act in the agent's place",
        Reason::Accepted => "the other side opened the connection",
        Reason::DnsAnswer => {
            "a packet of an agent must not pass for an answer of a trusted resolver"
        }
        Reason::Approval => "a person has to grant it, and nobody did",
        Reason::Granted => "a person granted it, for a time",
        Reason::Halt => "a rule denies it, and has the agent quarantined",
        Reason::Quarantine => "the agent is quarantined: it reaches nothing until it is released",
        Reason::ConnectionsLimit => "the agent connects more often than its limit",
        Reason::DestinationsLimit => "the agent reaches more new destinations than its limit",
        Reason::BytesLimit => "the agent sends and receives more bytes than its limit",
        Reason::SelfProtection => "agents that are enforced do nothing to governd itself",
        Reason::Setting => "the kernel would start a program for nobody whom the policy knows",
        Reason::Device => "packets that leave by this device could not be judged",
    }
}
