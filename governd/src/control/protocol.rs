//! Requests, replies and their values.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::inventory::LimitRow;
use crate::core::modes::SetMode;

/// Longest request line, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1_024;

/// What a client asks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What is in force and how the daemon fares: a [`StatusReport`].
    Status,
    /// Events as they happen, after those that the log has since `since` (index of a record).
    Watch {
        /// Index of the first record to send; without it only new ones.
        since: Option<u64>,
    },
    /// Why a process may or may not reach a destination.
    Explain {
        /// The process.
        pid: u32,
        /// Where to.
        destination: Destination,
    },
    /// Why the latest denial, or the latest decision if there was none, came out as it did.
    ExplainLast {
        /// Only of this agent.
        agent: Option<String>,
    },
    /// Every agent: an [`AgentsReport`](super::inventory::AgentsReport).
    Agents,
    /// One agent, by id or name: an [`AgentDetail`](super::inventory::AgentDetail).
    Agent {
        /// Its id, the beginning of it, or a name that no other has.
        id: String,
    },
    /// Read the policy again, now.
    Reload,
    /// Requests that wait for a person: a list of `Request`.
    Approvals,
    /// Grants a request for a time: the `Grant`.
    Approve {
        /// Its number.
        id: u64,
        /// How long, in seconds.
        seconds: u64,
    },
    /// Refuses a request.
    Deny {
        /// Its number.
        id: u64,
    },
    /// Grants that hold: a list of `Grant`.
    Grants,
    /// Ends a grant.
    Revoke {
        /// Its number.
        id: u64,
    },
    /// What is quarantined: a list of `Quarantine`.
    Quarantined,
    /// Quarantines agents: the names of those that were not yet.
    Quarantine {
        /// An agent's name, or the id of one of its processes; every agent, if `None`.
        target: Option<String>,
        /// Ends their processes, too.
        kill: bool,
    },
    /// Releases agents: the names of those that were quarantined.
    Release {
        /// An agent's name; every agent, if `None`.
        target: Option<String>,
    },
    /// Modes that are set in the place of what documents say: a list of `ModeSet`.
    Modes,
    /// Sets the mode: what is set then.
    SetMode {
        /// The mode; what documents say, if `None`.
        mode: Option<SetMode>,
        /// For this agent; for everybody, if `None`.
        agent: Option<String>,
    },
    /// Tests whether the kernel decides as it has to: a list of [`SelfTest`].
    SelfTest {
        /// Only about this agent.
        agent: Option<String>,
    },
    /// How often each rule decided: a list of [`RuleCount`](super::rules::RuleCount).
    RuleCounts,
    /// Erases what stands beside records, where both hold: how many values. Only root may ask.
    Erase {
        /// Of this user.
        user: Option<String>,
        /// Of records that were logged before this time, in milliseconds since the epoch.
        before_ms: Option<u64>,
    },
    /// Has another key sign the log from here on: that key, as text. Only root may ask.
    RotateKey,
    /// End. Only root may ask for it; who agrees does not answer, and closes the connection at its
    /// end.
    Stop {
        /// Whether everything is taken out of the kernel, too.
        detach: bool,
    },
}

/// A destination, as a person writes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// Name or address.
    pub host: Host,
    /// Port.
    pub port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
}

/// A host by name or address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, lower case.
    Name(String),
}

/// What the daemon answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The value that was asked for.
    Ok(Value),
    /// Why there is none.
    Error {
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// Whether the answer is just "no", as opposed to a fault.
        kind: ErrorKind,
    },
}

/// What kind of failure a reply reports.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// There is nothing to answer with.
    NotFound,
    /// The request cannot be understood.
    BadRequest,
    /// The policy is invalid.
    InvalidPolicy,
    /// The daemon failed.
    Internal,
}

/// How the daemon fares.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StatusReport {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// Time since start, in milliseconds.
    pub uptime_ms: u64,
    /// cgroup that the programs are attached to.
    pub cgroup: String,
    /// Whether what is denied is refused.
    #[serde(default)]
    pub enforcement: EnforcementStatus,
    /// How self-tests came out.
    #[serde(default)]
    pub selftests: SelfTestStatus,
    /// Policy in force.
    pub policy: PolicyStatus,
    /// Agents of the policy.
    pub agents: Vec<AgentStatus>,
    /// Processes that are tracked now.
    pub tracked_processes: u64,
    /// Decisions since start.
    pub decisions: DecisionCounts,
    /// The catalogue in use.
    pub catalog: CatalogStatus,
    /// The inventory of agents.
    pub inventory: InventoryStatus,
    /// What was lost, by reason; only reasons that occurred.
    pub lost: std::collections::BTreeMap<String, u64>,
    /// Programs in the kernel.
    pub programs: Vec<ProgramStatus>,
    /// What does not work on this kernel, by the word that `governd doctor` has for it.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub degraded: std::collections::BTreeMap<String, String>,
    /// The log.
    pub log: LogStatus,
    /// Where records go beside the log.
    #[serde(default)]
    pub exporters: Vec<ExporterStatus>,
    /// Events out of the kernel.
    #[serde(default)]
    pub events: EventStatus,
    /// Tables that can be full.
    #[serde(default)]
    pub tables: Vec<TableStatus>,
    /// What the daemon may do on this host.
    #[serde(default)]
    pub privileges: PrivilegeStatus,
}

/// What the daemon may do, as the kernel tells.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PrivilegeStatus {
    /// Its capabilities.
    pub capabilities: Vec<String>,
    /// Whether a program that it starts could get more.
    pub may_gain: bool,
    /// Whether the kernel refuses it system calls.
    pub is_filtered: bool,
}

/// Whether what is denied is refused, as the daemon last tried it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct EnforcementStatus {
    /// `enforcing`, `not enforcing`, `unproved` if it cannot be tried, or `monitoring`, if nobody
    /// is enforced.
    pub state: String,
    /// What passed, or why it could not be tried.
    pub detail: Vec<String>,
    /// Since when that is so, in milliseconds since the epoch.
    pub since_ms: u64,
    /// When it was last tried, in milliseconds since the epoch.
    pub tried_ms: u64,
    /// Trials since start that did not prove it.
    pub failures: u64,
}

/// What the kernel said of one agent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SelfTest {
    /// The agent.
    pub agent: String,
    /// Whether all came out as it has to.
    pub passed: bool,
    /// What has to pass; nothing could be tried, if `None`.
    pub allowed: Option<Tried>,
    /// What has to be refused; nothing could be tried, if `None`.
    pub refused: Option<Tried>,
}

/// One trial.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Tried {
    /// The destination.
    pub to: String,
    /// Whether it came out as it has to.
    pub is_right: bool,
    /// Why it could not be tried.
    pub error: Option<String>,
}

/// How self-tests came out.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SelfTestStatus {
    /// How often they run by themselves, in seconds.
    pub every_s: Option<u64>,
    /// When they last ran, in milliseconds since the epoch.
    pub last_ms: Option<u64>,
    /// Tests of an agent since start that passed.
    pub passed: u64,
    /// Those that failed.
    pub failed: u64,
}

/// The policy in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PolicyStatus {
    /// Where it was read.
    pub source: String,
    /// Its digest.
    pub digest: String,
    /// Its generation.
    pub generation: u64,
    /// Why the newest documents are not in force, if they are not.
    pub rejected: Option<String>,
    /// Policies that were refused since start.
    #[serde(default)]
    pub refused: u64,
}

/// The catalogue of AI endpoints and runtimes in use.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CatalogStatus {
    /// Where its additions are read.
    pub directory: String,
    /// Endpoints.
    pub endpoints: u64,
    /// Runtimes.
    pub runtimes: u64,
    /// Why the newest additions are not in use, if they are not.
    pub rejected: Option<String>,
}

/// The inventory of agents.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InventoryStatus {
    /// The file; `None` if it cannot be used, and what is found is forgotten at the end.
    pub file: Option<String>,
    /// Agents.
    pub agents: u64,
    /// What may be an agent.
    pub candidates: u64,
    /// Observations that were discarded because the inventory is full.
    pub dropped: u64,
    /// Why the latest write failed, until one succeeds.
    pub failing: Option<String>,
}

/// An agent of the policy.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AgentStatus {
    /// Name.
    pub name: String,
    /// Owner to ask.
    pub owner: Option<String>,
    /// `monitor` or `enforce`.
    pub mode: String,
    /// Who set it at run time, in the place of what the documents say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_set_by: Option<String>,
    /// Processes that are tracked as this agent now.
    pub processes: u64,
    /// How much it may do, and does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitRow>,
}

/// Decisions since start.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DecisionCounts {
    /// Allowed by the policy.
    pub allowed: u64,
    /// Refused.
    pub denied: u64,
    /// Denied by the policy and let through, in monitor mode.
    pub would_deny: u64,
}

/// A program in the kernel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProgramStatus {
    /// Name.
    pub name: String,
    /// The kernel's id.
    pub id: u32,
    /// Whether its link is attached.
    pub attached: bool,
    /// Instructions that the verifier looked at, where the kernel says so.
    pub verified_instructions: Option<u32>,
}

/// The log.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LogStatus {
    /// Directory.
    pub directory: String,
    /// Index that the next record gets.
    pub next_index: u64,
    /// Records that could not be written since start.
    pub lost_records: u64,
    /// Why the latest write failed, until one succeeds.
    pub failing: Option<String>,
    /// Index behind the last durable record.
    #[serde(default)]
    pub durable: u64,
    /// Records that wait for the log's thread.
    #[serde(default)]
    pub queued: u64,
    /// How long commits took since start.
    #[serde(default)]
    pub commits: CommitTimes,
}

/// How long commits took.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CommitTimes {
    /// All together, in seconds.
    pub sum_s: f64,
    /// Commits that took at most so many seconds and more than the bound before.
    pub counts: Vec<(f64, u64)>,
    /// Commits that took longer than the last bound.
    pub longer: u64,
}

/// A table that the programs use.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries that it has room for.
    pub entries_max: u64,
}

/// Events out of the kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct EventStatus {
    /// Read since start.
    pub read: u64,
    /// Those that could not be understood: a fault of governd.
    pub malformed: u64,
}

/// An exporter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ExporterStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Records delivered since start.
    pub delivered: u64,
    /// Durable records that are not delivered yet.
    pub behind: u64,
    /// Records that the log had no more, or damaged.
    pub missed: u64,
    /// Records that the receiver will never take.
    pub rejected: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Why the latest attempt failed, until one succeeds.
    pub failing: Option<String>,
    /// Of the way to the sink: the certificates that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
}

/// A certificate that a host's way to its sink needs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CertificateStatus {
    /// `host`, `server` or `authority`.
    pub whose: String,
    /// Seconds until it ends.
    pub left_s: u64,
    /// What to do, once that is near.
    pub warning: Option<String>,
}

/// Why a destination is or is not reachable.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether the connection goes through; true for a denial in monitor mode.
    pub allowed: bool,
    /// `allow` or `deny`: what the policy says.
    pub verdict: String,
    /// `monitor` or `enforce`.
    pub mode: String,
    /// Why, as a [`governd_common::verdict::Reason`] word.
    pub reason: String,
    /// The agent, or `unregistered`.
    pub agent: String,
    /// Agents that started it, and whose policies hold for it, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub started_by: Vec<String>,
    /// Whom to ask.
    pub owner: Option<String>,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// The rule that comes nearest, where none matched.
    pub nearest: Option<String>,
    /// The process.
    pub pid: u32,
    /// The answer in words, line by line.
    pub words: Vec<String>,
}
