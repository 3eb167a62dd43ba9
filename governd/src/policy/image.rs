//! The compiled policy: exactly the bytes that go into the kernel's tables, without slot and
//! generation, which the kernel room adds, and what the rule numbers in events stand for.

use std::{iter, sync::Arc};

use super::{
    compile::hosts::Choice,
    diagnostic::Diagnostics,
    lifecycle::Lapse,
    model::Approval,
    value::{Tier, approval::Risk},
};
use governd_common::{
    address::Address,
    limit::Limits,
    table::{RuleBlock, SelectorSet, SocketOwner, Subject, settings_flag},
    verdict::Mode,
};

/// Contents of the tables of one slot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TableImage {
    /// Bits of `settings_flag`, without `COMPLETE`, which the kernel room sets last.
    pub flags: u32,
    /// Words of the selector bitmaps in use.
    pub selector_words: u32,
    /// Selectors that say nothing about the executable, user or cgroup, in this order.
    pub any: [SelectorSet; 3],
    /// Subject of each selector, by selector number.
    pub selectors: Vec<u32>,
    /// Selectors of an executable by device and inode; each includes the selectors of `any[0]`.
    pub exes: Vec<((u32, u64), SelectorSet)>,
    /// Selectors of a user id; each includes those of `any[1]`.
    pub uids: Vec<(u32, SelectorSet)>,
    /// Selectors of a cgroup id; each includes those of `any[2]`.
    pub cgroups: Vec<(u64, SelectorSet)>,
    /// Selectors that ask for a script, by which user space alone recognises anybody.
    pub asking_script: SelectorSet,
    /// Selectors of a script by device and inode; each includes those that ask for none.
    pub scripts: Vec<((u32, u64), SelectorSet)>,
    /// Subjects; 0 is always present.
    pub subjects: Vec<(u32, Subject)>,
    /// What a process becomes that runs what an agent is recognised by: its subject, the agent's,
    /// and the subject that it has then.
    pub delegations: Vec<((u32, u32), u32)>,
    /// Selectors for what a subject starts, with those for what anybody starts, which alone are
    /// those of subject 0; empty, if every selector is for anybody.
    pub parents: Vec<(u32, SelectorSet)>,
    /// Name patterns: the reversed name with its terminator, and the set.
    pub names: Vec<(Box<[u8]>, u32)>,
    /// Networks of a subject: subject, address, prefix length in the 128-bit form, set.
    pub networks: Vec<(u32, Address, u8, u32)>,
    /// Rule blocks of a subject and set.
    pub blocks: Vec<(u32, u32, RuleBlock)>,
    /// Trusted resolvers.
    pub resolvers: Vec<Address>,
    /// Executables that resolve names for the host, by device and inode.
    pub resolver_exes: Vec<(u32, u64)>,
    /// Limits of subjects that have any.
    pub limits: Vec<(u32, Limits)>,
    /// Local sockets that a subject may reach.
    pub local_sockets: Vec<(u32, LocalSocket)>,
}

impl TableImage {
    /// Those of some selectors by which the kernel recognises: it knows of no scripts.
    pub fn without_scripts(&self, set: &SelectorSet) -> SelectorSet {
        let mut set = *set;
        set.meet(&self.asking_script.complement());
        set
    }
}

/// Local sockets, as a document names them.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum LocalSocket {
    /// The socket at this path.
    Path(Arc<str>),
    /// Sockets at every path that begins so.
    Beginning(Arc<str>),
    /// The socket of this abstract name.
    Abstract(Arc<str>),
}

/// A policy that is ready to be put into force.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The tables.
    pub image: TableImage,
    /// `sha256:` and the hex digest of the policy's canonical documents.
    pub digest: Arc<str>,
    /// Rules by number; 0 is the host's posture for what is not registered.
    pub rules: Vec<RuleFacts>,
    /// Agents, sorted by subject; 0 is the unregistered.
    pub agents: Vec<AgentFacts>,
    /// Agents that others started, sorted by subject: the agent's facts, under a subject that
    /// stands for it and for those. And those in `held`, and what is unclassified.
    pub started: Vec<AgentFacts>,
    /// Agents that nobody registered and somebody quarantined, with their subjects.
    pub held: Vec<(Arc<str>, u32)>,
    /// Name patterns by set id, as written, for words; networks have their text form.
    pub sets: std::collections::BTreeMap<u32, Arc<str>>,
    /// How often self-tests run, in seconds.
    pub selftest_s: Option<u64>,
    /// The host policy that holds.
    pub host_policy: Choice,
    /// Exporters that records go to, by name; `None` is all.
    pub exporters: Option<Vec<Arc<str>>>,
    /// Whether AI endpoints are to be denied while the log cannot be written.
    pub denies_unrecorded_ai: bool,
    /// What is perhaps not meant so, here and in the documents.
    pub warnings: Diagnostics,
}

impl Compiled {
    /// What a rule number stands for.
    pub fn rule(&self, number: u32) -> Option<&RuleFacts> {
        self.rules.get(number as usize)
    }

    /// What a subject stands for.
    pub fn agent(&self, subject: u32) -> Option<&AgentFacts> {
        let find = |list: &'_ [AgentFacts]| list.binary_search_by_key(&subject, |it| it.subject);
        match find(&self.agents) {
            Ok(index) => self.agents.get(index),
            Err(_) => find(&self.started).ok().and_then(|index| self.started.get(index)),
        }
    }

    /// The subject of a registered or held agent.
    pub fn subject_named(&self, name: &str) -> Option<u32> {
        let registered = self.agents.iter().map(|agent| (&agent.name, agent.subject));
        let held = self.held.iter().map(|(name, subject)| (name, *subject));
        registered.chain(held).find(|(known, _)| ***known == *name).map(|(_, subject)| subject)
    }

    /// The agents that a subject stands for: itself, or those that started others first.
    pub fn members(&self, subject: u32) -> impl Iterator<Item = &AgentFacts> {
        let settings = self.image.subjects.iter().find(|(known, _)| *known == subject);
        let members = settings.map_or(Subject::ALONE, |(_, it)| it.members_or(subject));
        let is_one = subject == 0;
        let members = members.into_iter().take_while(move |member| is_one || *member != 0);
        members.take(if is_one { 1 } else { Subject::ALONE.len() }).filter_map(|it| self.agent(it))
    }

    /// The agent that a process of a subject is, whoever started it; the same subject, if it is one
    /// agent.
    pub fn registered(&self, subject: u32) -> u32 {
        if self.started.is_empty() {
            return subject;
        }
        let is_held = self.held.iter().any(|(_, held)| *held == subject);
        if is_held || subject == SocketOwner::UNCLASSIFIED {
            return 0;
        }
        self.members(subject).last().map_or(subject, |agent| agent.subject)
    }

    /// Every subject that stands for an agent among others.
    pub fn subjects_with(&self, agent: u32) -> impl Iterator<Item = u32> {
        let subjects = self.image.subjects.iter();
        subjects.filter(move |(_, it)| it.members.contains(&agent)).map(|(subject, _)| *subject)
    }

    /// Every subject that stands for an agent: its own, and those in which others started it or it
    /// started others.
    pub fn subjects_of(&self, agent: u32) -> impl Iterator<Item = u32> {
        iter::once(agent).chain(self.subjects_with(agent))
    }

    /// Whether what user space has not looked at yet is denied more than what is not registered.
    pub fn has_unclassified(&self) -> bool {
        self.image.flags & settings_flag::HAS_UNCLASSIFIED != 0
    }

    /// Agents that are registered: all but the unregistered.
    pub fn agents_registered(&self) -> usize {
        self.agents.iter().filter(|agent| agent.subject != 0).count()
    }
}

/// What a rule number stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleFacts {
    /// Stable name, such as `invoice-bot/egress/2` or `invoice-bot/default`.
    pub id: Arc<str>,
    /// The subject it belongs to.
    pub subject: u32,
    /// The rule in words, such as `allow api.openai.com port 443/tcp`.
    pub text: Arc<str>,
    /// What it gives.
    pub tier: Tier,
    /// File and line it was written at; `None` for built-in ones.
    pub source: Option<(Arc<str>, u32)>,
}

/// What a subject stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentFacts {
    /// The subject; stays the same for an agent's name while the daemon runs.
    pub subject: u32,
    /// The agent's name, or `unregistered`.
    pub name: Arc<str>,
    /// The owner to ask, such as `Dana Smith <dana@acme.example>`.
    pub owner: Option<Arc<str>>,
    /// The accountable person.
    pub sponsor: Option<Arc<str>>,
    /// Where to page the owner.
    pub page: Option<Arc<str>>,
    /// What it could do at worst.
    pub risk: Option<Risk>,
    /// What the approval holds for.
    pub approval: Approval,
    /// Why its approval does not hold any more, and what it fell to.
    pub lapse: Option<Lapse>,
    /// Mode in force for it.
    pub mode: Mode,
    /// How much it may do.
    pub limits: Limits,
    /// Agents that started it, by name, and whose policies hold for it, too.
    pub started_by: Arc<[Arc<str>]>,
}

impl AgentFacts {
    /// Between the names of those that started an agent, in words.
    const AND: &str = " and ";

    /// Who started it, such as `coder and runner`; `None` if nobody counts as that.
    pub fn started_by_words(&self) -> Option<String> {
        let names: Vec<&str> = self.started_by.iter().map(|name| &**name).collect();
        (!names.is_empty()).then(|| names.join(Self::AND))
    }

    /// The names in such words.
    pub fn started_by_of(words: Option<&str>) -> Vec<Arc<str>> {
        words.into_iter().flat_map(|words| words.split(Self::AND)).map(Arc::from).collect()
    }

    /// A subject of which no more than its name and mode is known.
    pub fn unknown(subject: u32, name: impl Into<Arc<str>>, mode: Mode) -> Self {
        Self {
            subject,
            name: name.into(),
            owner: None,
            sponsor: None,
            page: None,
            risk: None,
            approval: Approval::default(),
            lapse: None,
            mode,
            limits: Limits::default(),
            started_by: Arc::new([]),
        }
    }
}
