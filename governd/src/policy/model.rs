//! The checked policy: what the documents mean, in types that cannot be wrong.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use governd_common::{
    limit::Limits,
    verdict::{Mode, Verdict},
};

use super::{
    diagnostic::{Diagnostics, Place},
    explain::Destination,
    host::HostLabels,
    limits::RULE_TEXT_TARGETS_MAX,
    value::{
        Delegation, LogFailure, Mail, Posture, Questions, Target, Tier, Unclassified, Verify,
        approval::{Day, Fallback, ImageDigest, Risk, Sha256, Version},
        container::{ContainerFacts, ContainerMatch},
        group::GroupRef,
        label::{Environment, LabelKey, LabelValue},
        local::LocalSockets,
        name::{HostGlob, HostPattern},
        port::{Ports, Protocol},
        process::{Cgroup, Executable, Script, User},
    },
};

/// All documents, in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Host policies.
    pub hosts: Vec<HostPolicy>,
    /// Agents.
    pub agents: Vec<Agent>,
    /// Endpoint groups.
    pub groups: Vec<EndpointGroup>,
    /// What is expected of all this.
    pub tests: Vec<Tested>,
}

/// Expectations.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Name of the test.
    pub name: Arc<str>,
    /// Where the name was written.
    pub place: Place,
    /// Name of the host that the cases happen on.
    pub host: Arc<str>,
    /// What that host says of itself.
    pub labels: HostLabels,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One expectation.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it was written.
    pub place: Place,
    /// Who connects.
    pub who: Who,
    /// Agents that started it, the first one first.
    pub started_by: Vec<Arc<str>>,
    /// Where to.
    pub destination: Destination,
    /// The address that DNS gave to the destination, if it is a name.
    pub address: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// The verdict.
    pub expect: Verdict,
    /// The rule that decides, if that matters.
    pub rule: Option<Arc<str>>,
}

/// Who connects.
#[derive(Clone, Debug)]
pub enum Who {
    /// An agent, by name.
    Agent(Arc<str>),
    /// A process that has to be recognised.
    Process(TestProcess),
}

/// What a process is recognised by.
#[derive(Clone, Debug)]
pub struct TestProcess {
    /// Its executable.
    pub exe: Option<Executable>,
    /// The script that it runs.
    pub script: Option<Script>,
    /// Its user.
    pub user: Option<User>,
    /// Its cgroup.
    pub cgroup: Option<Cgroup>,
    /// Its container, if it is in one.
    pub container: Option<ContainerFacts>,
}

/// Destinations that several rules share.
#[derive(Clone, Debug)]
pub struct EndpointGroup {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name was written.
    pub place: Place,
    /// Destinations of its own.
    pub targets: Vec<Target>,
    /// Groups that it includes.
    pub groups: Vec<Placed<GroupRef>>,
    /// Ports, sorted and merged; `None` is every port.
    pub ports: Option<Vec<Ports>>,
    /// What is to be said of its destinations where a rule opens them.
    pub remarks: Diagnostics,
}

/// A destination that a rule has from a group.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Member {
    /// The destination.
    pub target: Target,
    /// Ports on which both the rule and the groups allow it; `None` is every port.
    pub ports: Option<Arc<[Ports]>>,
}

/// What holds for a host as a whole.
#[derive(Clone, Debug)]
pub struct HostPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name was written; `None` for the built-in one.
    pub place: Option<Place>,
    /// Hosts that it is for.
    pub hosts: Vec<HostGlob>,
    /// Labels that they have.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Environments that they are in; `None` is any or none.
    pub environments: Option<Vec<Environment>>,
    /// Mode of agents that say nothing about theirs, and of everything else.
    pub mode: Mode,
    /// What happens to everything that is no agent.
    pub unregistered: Posture,
    /// What happens to what may yet turn out to be an agent.
    pub unclassified: Unclassified,
    /// What happens while the log cannot be written.
    pub on_log_failure: LogFailure,
    /// Whether agents may reach this host itself without a rule.
    pub loopback: Verdict,
    /// Whether the resolvers of the host's configuration are trusted.
    pub host_resolvers: bool,
    /// Further trusted resolvers.
    pub resolvers: Vec<IpAddr>,
    /// Further executables that resolve names for the host.
    pub resolver_processes: Vec<Placed<Executable>>,
    /// How often self-tests run, in seconds.
    pub selftest_s: Option<u64>,
    /// Exporters that records go to; `None` is all.
    pub exporters: Option<Vec<Arc<str>>>,
}

impl HostPolicy {
    /// What holds for a host that no document is for: monitor everything, stop nothing.
    pub fn built_in() -> Self {
        Self {
            name: "built-in".into(),
            place: None,
            hosts: Vec::new(),
            labels: BTreeMap::new(),
            environments: None,
            mode: Mode::Monitor,
            unregistered: Posture::Monitor,
            unclassified: Unclassified::Allow,
            on_log_failure: LogFailure::Continue,
            loopback: Verdict::Deny,
            host_resolvers: true,
            resolvers: Vec::new(),
            resolver_processes: Vec::new(),
            selftest_s: None,
            exporters: None,
        }
    }
}

/// An agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name was written.
    pub place: Place,
    /// Who runs it.
    pub owner: Person,
    /// Where to page its owner.
    pub page: Option<Arc<str>>,
    /// Who answers for it.
    pub sponsor: Option<Person>,
    /// What it is for.
    pub purpose: Option<Arc<str>>,
    /// What it could do at worst.
    pub risk: Option<Risk>,
    /// What the approval holds for.
    pub approval: Approval,
    /// Its mode, if it differs from the host's.
    pub mode: Option<Mode>,
    /// What holds where another agent starts it, or it another, if that is said.
    pub delegation: Option<Placed<Delegation>>,
    /// How its processes are recognised: any of these.
    pub matches: Vec<Match>,
    /// What happens where no rule matches.
    pub default: Verdict,
    /// Whether connections that other hosts open are left alone.
    pub accepted: Verdict,
    /// Local sockets that it may reach.
    pub local_sockets: LocalSockets,
    /// Names that it may ask DNS for.
    pub questions: Questions,
    /// Its rules, in the order of the document.
    pub rules: Vec<Rule>,
    /// How much it may do.
    pub limits: Limits,
}

impl Agent {
    /// Whether it may have its own rights where an agent starts it that says the same.
    pub fn says_own(&self) -> bool {
        self.delegation.as_ref().is_some_and(|said| said.value == Delegation::Own)
    }
}

/// Who approved an agent, and what that holds for. Says nothing, if empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Approval {
    /// The person.
    pub by: Option<Person>,
    /// The day.
    pub on: Option<Day>,
    /// Where it was asked for.
    pub ticket: Option<Arc<str>>,
    /// The last day.
    pub review_by: Option<Day>,
    /// What it falls to after that day.
    pub on_expired: Fallback,
    /// What it falls to when it is not what was approved.
    pub on_drift: Fallback,
    /// Executables that were approved; any, if empty.
    pub digests: Vec<Sha256>,
    /// Scripts and modules that were approved; any, if empty.
    pub scripts: Vec<Sha256>,
    /// Images that were approved; any, if empty.
    pub images: Vec<ImageDigest>,
    /// Versions that were approved; any, if empty.
    pub versions: Vec<Version>,
    /// Gateways by which it talks to models; it may do so directly, if empty.
    pub via: Vec<HostPattern>,
}

impl Approval {
    /// Whether it says who approved the agent, and when.
    pub const fn is_said(&self) -> bool {
        self.by.is_some() && self.on.is_some()
    }

    /// `approved by Lee Wong <lee@acme.example> on 2026-10-01 (SEC-1234)`, as far as it is said.
    pub fn words(&self) -> Option<String> {
        let (by, on) = (self.by.as_ref()?, self.on?);
        let ticket = self.ticket.as_ref().map(|ticket| format!(" ({ticket})")).unwrap_or_default();
        Some(format!("approved by {by} on {on}{ticket}"))
    }
}

/// A person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Person {
    /// Name.
    pub name: Arc<str>,
    /// Mail address.
    pub mail: Mail,
}

impl std::fmt::Display for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <{}>", self.name, self.mail.as_str())
    }
}

/// A value and its place in a file.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

/// One way to recognise a process: what is there must hold, and something is there.
#[derive(Clone, Debug)]
pub struct Match {
    /// Where it was written.
    pub place: Place,
    /// Any of these executables; empty if it says nothing about them.
    pub exes: Vec<Placed<Executable>>,
    /// Running any of these scripts; empty if it says nothing about them.
    pub scripts: Vec<Placed<Script>>,
    /// This user.
    pub user: Option<Placed<User>>,
    /// This cgroup or one below it.
    pub cgroup: Option<Placed<Cgroup>>,
    /// A container that is this; empty if it says nothing about that.
    pub container: ContainerMatch,
    /// Started by this agent, or by what it started.
    pub parent: Option<Placed<Arc<str>>>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it was written.
    pub place: Place,
    /// Its number in the document, from 1.
    pub index: u32,
    /// What it gives.
    pub tier: Tier,
    /// What it is about; nothing, if empty.
    pub targets: Vec<Target>,
    /// Groups that it is about, too.
    pub groups: Vec<Placed<GroupRef>>,
    /// What the groups have in them; filled for a host, whose catalogue is known. Rules on one
    /// group share its list.
    pub members: Arc<[Member]>,
    /// Ports, sorted and merged; `None` is every port, and an empty list none.
    pub ports: Option<Vec<Ports>>,
    /// Transport.
    pub protocol: Protocol,
    /// What proves a name.
    pub verify: Verify,
    /// Whether the Host of a plaintext request counts on every port.
    pub plaintext: Verdict,
    /// Whether QUIC may be used.
    pub quic: Verdict,
}

impl Rule {
    /// Every destination, those from groups included, with its ports.
    pub fn destinations(&self) -> impl Iterator<Item = (&Target, Option<&[Ports]>)> {
        let own = self.targets.iter().map(|target| (target, self.ports.as_deref()));
        let members = self.members.iter().map(|one| (&one.target, one.ports.as_deref()));
        own.chain(members)
    }

    /// Whether it denies a name, as long as nobody granted it.
    pub fn denies_names(&self) -> bool {
        let is_name = |(target, _): (&Target, _)| matches!(target, Target::Name(_));
        self.tier.verdict() == Verdict::Deny && self.destinations().any(is_name)
    }

    /// The rule in words, such as `allow api.openai.com port 443/tcp`.
    pub fn text(&self) -> String {
        let mut text = self.tier.word().to_owned();
        let targets = self.targets.iter().map(Target::to_string);
        let all = targets.chain(self.groups.iter().map(|group| group.value.to_string()));
        for (index, target) in all.take(RULE_TEXT_TARGETS_MAX).enumerate() {
            let separator = if index > 0 { ", " } else { " " };
            text.push_str(&format!("{separator}{target}"));
        }
        match self.targets.len() + self.groups.len() {
            0 => text.push_str(" nothing"),
            more if more > RULE_TEXT_TARGETS_MAX => {
                text.push_str(&format!(" and {} more", more - RULE_TEXT_TARGETS_MAX));
            }
            _ => {}
        }
        text.push_str(&ports_text(self.ports.as_deref(), self.protocol));
        if self.verify != Verify::Both {
            text.push_str(&format!(", verified by {}", self.verify.word()));
        }
        if self.plaintext == Verdict::Allow {
            text.push_str(", plaintext too");
        }
        if self.quic == Verdict::Allow {
            text.push_str(", QUIC too");
        }
        text
    }
}

/// ` port 443/tcp`, ` ports 80, 8000-8100`, ` over udp`, or nothing.
fn ports_text(ports: Option<&[Ports]>, protocol: Protocol) -> String {
    let slash = match protocol {
        Protocol::Any => String::new(),
        _ => format!("/{}", protocol.word()),
    };
    let Some(ports) = ports else {
        return match protocol {
            Protocol::Any => String::new(),
            _ => format!(" over {}", protocol.word()),
        };
    };
    let words: Vec<String> = ports.iter().map(Ports::to_string).collect();
    match ports {
        [] => " on no port".to_owned(),
        [one] if one.first() == one.last() => format!(" port {}{slash}", words.join("")),
        _ => format!(" ports {}{slash}", words.join(", ")),
    }
}
