//! What the daemon answers about agents.

use serde::{Deserialize, Serialize};

/// Every agent, and what nobody has seen yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AgentsReport {
    /// How many of them somebody answers for.
    pub coverage: Coverage,
    /// Agents and candidates, those seen last first.
    pub agents: Vec<AgentSummary>,
}

/// How many agents there are, and how many of them somebody answers for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Coverage {
    /// Agents, without candidates.
    pub agents: u64,
    /// What may be an agent.
    pub candidates: u64,
    /// Agents that a document registers.
    pub registered: u64,
    /// Agents that are what was approved, by somebody whom their document names.
    pub approved: u64,
    /// Registered agents whose denials are carried out.
    pub enforced: u64,
    /// Registered agents for 100 agents; absent without any agent.
    pub registered_percent: Option<f64>,
    /// Approved agents for 100 agents.
    pub approved_percent: Option<f64>,
    /// Enforced agents for 100 agents.
    pub enforced_percent: Option<f64>,
    /// Agents by state.
    pub states: std::collections::BTreeMap<String, u64>,
    /// Documents that no process was ever seen for.
    pub unseen: Vec<String>,
}

/// An agent in a list.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AgentSummary {
    /// Short id, the same on each start of the agent and of governd.
    pub id: String,
    /// The product, or the name of the script, module or program.
    pub name: String,
    /// What the product is, if the catalogue knows it.
    pub kind: Option<String>,
    /// `agent` or `candidate`.
    pub standing: String,
    /// `approved`, `shadow`, `ownerless`, `drifted`, `out-of-scope`, `expired` or `stale`.
    pub state: String,
    /// Why it is not approved, or that nobody is named who approved it.
    pub reason: Option<String>,
    /// The document that registers it, or did.
    pub document: Option<String>,
    /// Whom to ask.
    pub owner: Option<String>,
    /// User that it runs as, by name or number.
    pub user: Option<String>,
    /// Unit or container.
    pub place: Option<String>,
    /// How sure it is that it is an agent, in percent.
    pub confidence: u8,
    /// Processes that run now.
    pub processes: u64,
    /// Processes that were ever seen.
    pub processes_total: u64,
    /// Destinations.
    pub endpoints: u64,
    /// Providers among them that the catalogue knows.
    pub providers: Vec<String>,
    /// When it was first seen, in milliseconds since the epoch.
    pub first_ms: u64,
    /// When it was last seen, in milliseconds since the epoch.
    pub last_ms: u64,
}

/// Everything about an agent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AgentDetail {
    /// What a list says of it.
    pub summary: AgentSummary,
    /// What makes it the same agent when it is started again.
    pub program: String,
    /// Image of its container and the image's digest, where the runtime told them.
    pub image: Option<String>,
    /// SHA-256 of its executable, once it is known.
    pub sha256: Option<String>,
    /// The script, or the file that a module begins with, that its interpreter ran last.
    #[serde(default)]
    pub script: Option<String>,
    /// SHA-256 of that file, as it was when the process began.
    #[serde(default)]
    pub script_sha256: Option<String>,
    /// Version of the package that it is of.
    #[serde(default)]
    pub version: Option<String>,
    /// The agent that started it.
    pub parent: Option<String>,
    /// Agents that it started.
    pub children: Vec<String>,
    /// What speaks for it.
    pub evidence: Vec<EvidenceRow>,
    /// The process that was seen last.
    pub latest: Option<ProcessRow>,
    /// Processes that run now.
    pub processes: Vec<ProcessRow>,
    /// Where it connected to.
    pub endpoints: Vec<EndpointRow>,
    /// Connections to destinations beyond those that are kept.
    pub endpoints_dropped: u64,
    /// What its document says, if there is one.
    pub policy: Option<PolicyRow>,
}

/// A piece of evidence.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EvidenceRow {
    /// Its kind, such as `contact`.
    pub signal: String,
    /// Product or provider.
    pub name: String,
    /// What matched.
    pub value: String,
    /// `weak`, `medium` or `strong`.
    pub weight: String,
    /// The catalogue's file and line.
    pub source: String,
    /// How often it was observed.
    pub count: u64,
    /// First time, in milliseconds since the epoch.
    pub first_ms: u64,
    /// Last time, in milliseconds since the epoch.
    pub last_ms: u64,
}

/// A process of an agent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub name: String,
    /// Executable.
    pub exe: Option<String>,
    /// Arguments, redacted.
    pub args: Option<Vec<String>>,
    /// User, by name or number.
    pub user: Option<String>,
    /// cgroup v2 path below the mount.
    pub cgroup: Option<String>,
    /// Its session, while it runs.
    pub session: Option<u32>,
    /// Number of the user who logged in, whatever it runs as; if anybody did.
    pub login_uid: Option<u32>,
    /// Number of the login's session; if anybody logged in.
    pub login_session: Option<u32>,
    /// Unit, container and pod; absent if it belongs to none.
    pub workload: Option<WorkloadRow>,
    /// Trace that it is a part of, as whoever started it said.
    pub trace_id: Option<String>,
    /// When it was first seen, in milliseconds since the epoch.
    pub first_ms: u64,
    /// Its ancestors, nearest first.
    pub lineage: Vec<AncestorRow>,
}

/// What a process belongs to. What nobody told is absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct WorkloadRow {
    /// Unit of the system manager.
    pub unit: Option<String>,
    /// Unit of the user's manager.
    pub user_unit: Option<String>,
    /// Runtime of the container.
    pub runtime: Option<String>,
    /// Id of the container.
    pub container: Option<String>,
    /// Image of the container.
    pub image: Option<String>,
    /// Digest of the image.
    pub image_digest: Option<String>,
    /// Uid of the pod.
    pub pod_uid: Option<String>,
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Service account of the pod.
    pub service_account: Option<String>,
    /// What controls the pod, such as `ReplicaSet/invoice-bot-6c9d`.
    pub controller: Option<String>,
    /// Labels of the pod.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// An ancestor of a process.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AncestorRow {
    /// Process id.
    pub pid: u32,
    /// Name.
    pub name: String,
    /// Executable.
    pub exe: Option<String>,
}

/// A destination.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EndpointRow {
    /// Host name, or the address where no name is known.
    pub host: String,
    /// The last address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Provider, if the catalogue knows it.
    pub provider: Option<String>,
    /// Connections, refused ones included.
    pub count: u64,
    /// Connections that the policy denied, in monitor mode too.
    pub denied: u64,
    /// Bytes sent over TCP connections, as of the last look at those that are open.
    pub sent_bytes: u64,
    /// Bytes received over TCP connections, as of the last look at those that are open.
    pub received_bytes: u64,
    /// Whether its document does not allow it.
    pub outside: bool,
    /// First time, in milliseconds since the epoch.
    pub first_ms: u64,
    /// Last time, in milliseconds since the epoch.
    pub last_ms: u64,
}

/// What the document of an agent says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PolicyRow {
    /// Its name.
    pub document: String,
    /// File and line.
    pub source: Option<String>,
    /// `monitor` or `enforce`.
    pub mode: String,
    /// Whom to ask.
    pub owner: Option<String>,
    /// Where to page the owner.
    pub page: Option<String>,
    /// Who answers for it.
    pub sponsor: Option<String>,
    /// What it could do at worst: `low` to `critical`.
    pub risk: Option<String>,
    /// Who approved it, when and where, in words.
    pub approval: Option<String>,
    /// Last day of the approval.
    pub review_by: Option<String>,
    /// Executables that were approved.
    pub sha256: Vec<String>,
    /// Scripts that were approved.
    #[serde(default)]
    pub scripts: Vec<String>,
    /// Digests of images that were approved.
    pub images: Vec<String>,
    /// Versions that were approved.
    pub versions: Vec<String>,
    /// Gateways.
    pub via: Vec<String>,
    /// How much it may do, and does.
    #[serde(default)]
    pub limits: Vec<LimitRow>,
    /// Its rules, the default last: what it declares, beside what was observed.
    pub rules: Vec<RuleRow>,
}

/// A limit, and how much of it is used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitRow {
    /// Its field, such as `connections_per_minute`.
    pub limit: String,
    /// How much was counted within its time.
    pub used: u64,
    /// Beyond this the owner is told.
    pub notify: Option<u64>,
    /// Beyond this the agent is quarantined.
    pub halt: Option<u64>,
}

/// A rule.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RuleRow {
    /// Its id, such as `invoice-bot/egress/1`.
    pub id: String,
    /// In words.
    pub text: String,
}
