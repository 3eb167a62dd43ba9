//! What changed in the inventory, and how a record says it.

use std::sync::Arc;

use super::agent::{Agent, AgentState, Standing};
use crate::audit::record::{Actor, Confidence, Finding, Subject};

/// What changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChangeKind {
    /// Something might be an agent.
    Candidate,
    /// An agent was found.
    Found,
    /// An agent's state changed.
    State {
        /// The state before.
        from: AgentState,
    },
    /// An agent contacted a provider for the first time.
    NewProvider {
        /// The provider.
        provider: Arc<str>,
    },
    /// An agent contacted a model provider although its document names a gateway.
    GatewayBypass {
        /// The provider's host.
        host: Arc<str>,
    },
    /// An agent asked for names in a way that nobody on the host can read.
    HiddenDns {
        /// DNS over what.
        protocol: &'static str,
        /// The resolver, or its address.
        host: Arc<str>,
    },
    /// An agent's TLS hello carries an encrypted one, whose name nobody on the way can read.
    EncryptedHello {
        /// The host that the outer hello names, or its address.
        host: Arc<str>,
    },
    /// A browser visited an AI service; it is no agent.
    BrowserVisit {
        /// The provider.
        provider: Arc<str>,
    },
}

/// A change of the inventory.
#[derive(Clone, Debug)]
pub struct Change {
    /// What changed.
    pub kind: ChangeKind,
    /// The agent after it.
    pub agent: Box<Agent>,
    /// The process that brought it about, where there is one.
    pub actor: Option<Actor>,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
}

const SEVERITY_INFORMATIONAL: u8 = 1;
const SEVERITY_LOW: u8 = 2;
const SEVERITY_MEDIUM: u8 = 3;
const SEVERITY_HIGH: u8 = 4;

fn severity(state: AgentState) -> u8 {
    match state {
        AgentState::Approved => SEVERITY_INFORMATIONAL,
        AgentState::Stale => SEVERITY_LOW,
        AgentState::Shadow
        | AgentState::Ownerless
        | AgentState::OutOfScope
        | AgentState::Expired => SEVERITY_MEDIUM,
        AgentState::Drifted => SEVERITY_HIGH,
    }
}

impl Change {
    pub(super) fn new(kind: ChangeKind, agent: &Agent, actor: Option<&Actor>, at_ms: u64) -> Self {
        Self { kind, agent: Box::new(agent.clone()), actor: actor.cloned(), at_ms }
    }

    /// The finding that a record carries.
    pub fn finding(&self) -> Finding {
        let agent = &self.agent;
        let (kind, severity, title) = self.words();
        let confidence = match agent.confidence {
            0..40 => Confidence::Low,
            40..75 => Confidence::Medium,
            _ => Confidence::High,
        };
        let subject = agent.subject.map(|id| Subject {
            id,
            agent: agent.registered_as.clone().unwrap_or_else(|| Arc::clone(&agent.name)),
            owner: agent.owner.clone(),
            ..Subject::default()
        });
        let subject = subject.map(Arc::new);
        let lines = agent.evidence.iter().map(super::Evidence::line);
        Finding {
            kind: kind.into(),
            uid: self.uid(kind),
            title: title.into(),
            severity,
            confidence,
            first_seen_ms: agent.first_ms,
            subject,
            actor: self.actor.clone(),
            destination: None,
            evidence: agent.reason.iter().map(|reason| reason.to_string()).chain(lines).collect(),
        }
    }

    /// The same finding again has the same: of one host, where it is about a host.
    fn uid(&self, kind: &str) -> Arc<str> {
        let id = &self.agent.id;
        match &self.kind {
            ChangeKind::GatewayBypass { host }
            | ChangeKind::HiddenDns { host, .. }
            | ChangeKind::EncryptedHello { host } => format!("{kind}/{id}/{host}").into(),
            ChangeKind::Candidate
            | ChangeKind::Found
            | ChangeKind::State { .. }
            | ChangeKind::NewProvider { .. }
            | ChangeKind::BrowserVisit { .. } => format!("{kind}/{id}").into(),
        }
    }

    fn words(&self) -> (&'static str, u8, String) {
        let agent = &self.agent;
        let name = &agent.name;
        let what = agent.kind.map_or("agent", |kind| kind.word());
        match (&self.kind, agent.state) {
            (ChangeKind::Candidate, _) => {
                ("agent-candidate", SEVERITY_INFORMATIONAL, format!("{name} may be an AI agent"))
            }
            (ChangeKind::Found, AgentState::Approved) => {
                let title = format!("{name} ({what}) runs and is approved");
                ("approved-agent", SEVERITY_INFORMATIONAL, title)
            }
            (ChangeKind::Found, AgentState::Shadow) => {
                let title = format!("{name} ({what}) runs and nobody registered it");
                ("shadow-agent", SEVERITY_MEDIUM, title)
            }
            (ChangeKind::Found, state) => {
                let title = format!("{name} ({what}) runs and is {}", state.word());
                ("agent-state", severity(state), title)
            }
            (ChangeKind::State { from }, to) => {
                let reason = agent.reason.as_ref().map(|reason| format!(": {reason}"));
                let reason = reason.unwrap_or_default();
                let title = format!("{name} was {} and is {}{reason}", from.word(), to.word());
                ("agent-state", severity(to), title)
            }
            (ChangeKind::GatewayBypass { host }, _) => {
                let title = format!("{name} contacts {host} itself, not by its gateway");
                ("gateway-bypass", SEVERITY_MEDIUM, title)
            }
            (ChangeKind::HiddenDns { protocol, host }, _) => {
                let title = format!("{name} asks {host} for names by {protocol}, out of sight");
                ("hidden-dns", SEVERITY_MEDIUM, title)
            }
            (ChangeKind::EncryptedHello { host }, _) => {
                let title = format!("{name} may ask for another name than {host} there (ECH)");
                ("encrypted-hello", SEVERITY_MEDIUM, title)
            }
            (ChangeKind::NewProvider { provider }, _) => {
                let title = format!("{name} contacts {provider} for the first time");
                ("agent-provider", SEVERITY_LOW, title)
            }
            (ChangeKind::BrowserVisit { provider }, _) => {
                let title = format!("a browser, {name}, visits {provider}");
                ("browser-visit", SEVERITY_INFORMATIONAL, title)
            }
        }
    }

    /// Whether a person who asked which agents run wants to see it at once.
    pub fn is_agent(&self) -> bool {
        self.agent.standing == Standing::Agent
    }
}
