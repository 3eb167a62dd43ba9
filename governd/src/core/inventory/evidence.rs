//! Evidence: what speaks for an agent, and how much.

use crate::{
    catalog::{Endpoint, EndpointKind, Runtime, Weight, words},
    core::tools::Server,
};

words! {
    /// Kinds of evidence that do not follow from each other.
    Signal {
        /// A registered document claims the process.
        Registration => "registered",
        /// The file that is executed, by its path or name.
        Executable => "executable",
        /// What the process was told to run: script, module, package, or its command line.
        CommandLine => "command-line",
        /// Contact with a catalogued endpoint or a local model server.
        Network => "contact",
        /// A library that the process has loaded.
        Library => "library",
        /// The name of an API key in the environment.
        KeyName => "key-name",
        /// Other names in the environment.
        Environment => "environment",
        /// A tool server in its configuration.
        Configuration => "mcp-configuration",
        /// A TCP port that it listens on.
        Listener => "listener",
        /// Arguments that switch safety off; says something about an agent, not that it is one.
        Risk => "risk",
    }
}

impl Signal {
    /// Whether it can carry an agent: network or identity.
    const fn is_carrying(self) -> bool {
        matches!(
            self,
            Self::Registration
                | Self::Executable
                | Self::CommandLine
                | Self::Network
                | Self::Library
                | Self::Listener
        )
    }
}

/// One observation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Sign {
    pub(super) signal: Signal,
    /// Product or provider.
    pub(super) name: String,
    /// What matched: a path, host name, port or variable's name.
    pub(super) value: String,
    pub(super) weight: Weight,
    pub(super) source: String,
}

impl Sign {
    pub(super) fn of_runtime(signal: Signal, entry: &Runtime, value: &str) -> Self {
        Self {
            signal,
            name: entry.name.to_string(),
            value: value.to_owned(),
            weight: entry.weight,
            source: format!("{}:{}", entry.origin.file, entry.origin.line),
        }
    }

    /// `None` for endpoints that say nothing about who contacts them.
    pub(super) fn of_endpoint(entry: &Endpoint, host: &str) -> Option<Self> {
        let weight = match entry.kind {
            EndpointKind::DohResolver => return None,
            _ if entry.is_shared => Weight::Weak,
            EndpointKind::ModelApi | EndpointKind::LlmGateway | EndpointKind::AgentSaas => {
                Weight::Strong
            }
            EndpointKind::ToolMcp
            | EndpointKind::SearchTool
            | EndpointKind::VectorDb
            | EndpointKind::CodeExecSandbox => Weight::Medium,
            EndpointKind::ModelHub | EndpointKind::Telemetry => Weight::Weak,
        };
        Some(Self {
            signal: Signal::Network,
            name: entry.provider.to_string(),
            value: host.to_owned(),
            weight,
            source: format!("{}:{}", entry.origin.file, entry.origin.line),
        })
    }

    pub(super) fn configured(file: &str, server: &Server) -> Self {
        Self {
            signal: Signal::Configuration,
            name: "mcp".to_owned(),
            value: server.to_string(),
            weight: Weight::Weak,
            source: file.to_owned(),
        }
    }

    pub(super) fn registered(subject: u32) -> Self {
        Self {
            signal: Signal::Registration,
            name: "policy".to_owned(),
            value: format!("subject {subject}"),
            weight: Weight::Strong,
            source: "policy".to_owned(),
        }
    }
}

/// What speaks for an agent: the same observation counts up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// Its kind.
    pub signal: Signal,
    /// Product or provider that the catalogue names.
    pub name: String,
    /// What matched: a path, host name, port or variable's name.
    pub value: String,
    /// How much it says.
    pub weight: Weight,
    /// File and line of the catalogue's entry, or the agent's own file.
    pub source: String,
    /// How often it was observed.
    pub count: u64,
    /// First time, in milliseconds since the epoch.
    pub first_ms: u64,
    /// Last time, in milliseconds since the epoch.
    pub last_ms: u64,
}

impl Evidence {
    /// One line of words. It is for records, which never change: command lines, which can be
    /// erased, are not in it but beside the record of whom it is about, and what a person wrote
    /// into a configuration is not in it.
    pub fn line(&self) -> String {
        let Self { signal, name, value, weight, source, count, .. } = self;
        let value = match signal {
            Signal::CommandLine | Signal::Configuration => String::new(),
            _ => format!(": {value}"),
        };
        format!(
            "{}{value} ({name}, {}, seen {count} times, {source})",
            signal.word(),
            weight.word()
        )
    }
}

/// Signals and their best weight each.
fn best(evidence: &[Evidence]) -> Vec<(Signal, Weight)> {
    let mut best: Vec<(Signal, Weight)> = Vec::new();
    for one in evidence.iter().filter(|one| one.signal != Signal::Risk) {
        match best.iter_mut().find(|(signal, _)| *signal == one.signal) {
            Some((_, weight)) => *weight = (*weight).max(one.weight),
            None => best.push((one.signal, one.weight)),
        }
    }
    best
}

/// How sure it is that this is an agent, in percent: each signal leaves a part of the doubt.
pub(super) fn confidence(evidence: &[Evidence]) -> u8 {
    let doubt = best(evidence).iter().fold(100.0_f64, |doubt, (signal, weight)| {
        let share = match (signal, weight) {
            (Signal::Registration, _) => 0.01,
            (_, Weight::Strong) => 0.3,
            (_, Weight::Medium) => 0.5,
            (_, Weight::Weak) => 0.85,
        };
        doubt * share
    });
    (100.0 - doubt).round().clamp(0.0, 99.0) as u8
}

/// Whether the evidence makes an agent: two independent signals of which one that can carry it is
/// more than weak, or the identity of a known runtime that nothing else shares.
pub(super) fn is_agent(evidence: &[Evidence], is_runtime: bool) -> bool {
    let signals = best(evidence);
    let carries =
        |(signal, weight): &(Signal, Weight)| signal.is_carrying() && *weight > Weight::Weak;
    let is_identity = |(signal, weight): &(Signal, Weight)| {
        matches!(signal, Signal::Executable | Signal::CommandLine) && *weight > Weight::Weak
    };
    signals.iter().any(|(signal, _)| *signal == Signal::Registration)
        || (is_runtime && signals.iter().any(is_identity))
        || (signals.len() >= 2 && signals.iter().any(carries))
}
