//! Test cases, as people write them beside a policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{API_VERSION, Metadata, OneOrMany, Scalar};
use crate::policy::shape::Located;

/// What a policy is expected to decide. `governd policy test` runs it; nothing else reads it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a policy test document")]
pub struct PolicyTestDocument {
    /// `governd.dev/v1`.
    #[schemars(required, extend("const" = API_VERSION))]
    pub api_version: Option<Located<String>>,
    /// `PolicyTest`.
    #[schemars(required, extend("const" = "PolicyTest"))]
    pub kind: Option<Located<String>>,
    /// Its name.
    #[schemars(required)]
    pub metadata: Option<Located<Metadata>>,
    /// What it says.
    #[schemars(required)]
    pub spec: Option<Located<TestSpec>>,
}

/// What a policy test says.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "the fields of a policy test")]
pub struct TestSpec {
    /// Name of the host that the cases happen on; `localhost`, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Located<String>>,
    /// Environment of that host; none, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Located<String>>,
    /// Its labels; none, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Located<BTreeMap<String, Located<Scalar>>>>,
    /// The cases.
    #[schemars(required, length(min = 1))]
    pub cases: Option<Located<Vec<Located<CaseDocument>>>>,
}

/// One case: who goes where, and what is expected.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a case such as {agent: bot, to: api.example.com, expect: allow}"
)]
pub struct CaseDocument {
    /// The agent, or `unregistered`. Either this or `process`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Located<String>>,
    /// A process, to be recognised by the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Located<ProcessDocument>>,
    /// Agents that started it, by name, the first one first; nobody, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Located<OneOrMany>>,
    /// Name or address.
    #[schemars(required)]
    pub to: Option<Located<String>>,
    /// The address that DNS gave to the name; if absent, no rule on a network counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Located<String>>,
    /// Port; 443, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Located<Scalar>>,
    /// `tcp` (if absent) or `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["tcp", "udp"]))]
    pub protocol: Option<Located<String>>,
    /// `allow` or `deny`, whatever the mode.
    #[schemars(required, extend("enum" = ["allow", "deny"]))]
    pub expect: Option<Located<String>>,
    /// The rule that has to decide, such as `invoice-bot/egress/2` or `invoice-bot/default`; any,
    /// if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Located<String>>,
}

/// A process: what a policy recognises agents by.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a process such as {exe: /usr/bin/agent}")]
#[schemars(extend("minProperties" = 1))]
pub struct ProcessDocument {
    /// Path of its executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<Located<String>>,
    /// Path of the script that it runs, or of the file that its module begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Located<String>>,
    /// User, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Located<Scalar>>,
    /// cgroup below the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Located<String>>,
    /// Image of its container, as whoever started it named it, or `sha256:` and a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Located<String>>,
    /// Namespace of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Located<String>>,
    /// Service account of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Located<String>>,
    /// Labels of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Located<BTreeMap<String, Located<Scalar>>>>,
}
