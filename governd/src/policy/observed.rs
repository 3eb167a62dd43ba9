//! Flows that were observed, as the log has them, each kind once.

use std::{net::IpAddr, sync::Arc};

use super::value::container::ContainerFacts;

/// What flows have to have in common to be one kind.
#[derive(Clone, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct FlowKey {
    /// The agent, or `unregistered`.
    pub agent: Arc<str>,
    /// Agents that had started it, in the order of their names.
    pub started_by: Vec<Arc<str>>,
    /// Path of the executable, where it was known.
    pub exe: Option<Arc<str>>,
    /// User, by name or number, where it was known.
    pub user: Option<Arc<str>>,
    /// Its container, where what that is was known.
    pub container: Option<ContainerFacts>,
    /// Name of the destination, where it was known.
    pub name: Option<Arc<str>>,
    /// An address of the destination; of a name, the one that was seen last counts.
    pub address: IpAddr,
    /// Destination port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// Flows of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observed {
    /// What they have in common.
    pub key: FlowKey,
    /// How many there were.
    pub count: u64,
    /// When the last of them was, in milliseconds since the epoch.
    pub last_ms: u64,
    /// Owner of the agent, such as `Dana Smith <dana@acme.example>`.
    pub owner: Option<Arc<str>>,
    /// Whether the last of them was refused, and not only would have been.
    pub was_refused: bool,
}

#[cfg(test)]
impl Observed {
    /// One flow of an agent to 192.0.2.1 port 443 by TCP, of which nothing else is known.
    pub(super) fn by(agent: &str) -> Self {
        let key = FlowKey {
            agent: agent.into(),
            started_by: Vec::new(),
            exe: None,
            user: None,
            container: None,
            name: None,
            address: IpAddr::from([192, 0, 2, 1]),
            port: 443,
            protocol: 6,
        };
        Self { key, count: 1, last_ms: 1, owner: None, was_refused: false }
    }
}
