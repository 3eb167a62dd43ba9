//! The documents as people write them: their fields, and nothing of what the fields mean.
//!
//! Every field is optional here, so that one missing field does not hide what else is wrong;
//! [`super::check`] says which have to be there, and reads the words into types. The JSON Schema
//! comes from these types too.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::shape::Located;

mod approval;
pub mod case;
mod limits;

pub use approval::{ApprovalDocument, OwnerDocument, PersonDocument, ProvenanceDocument};
pub use limits::{AmountsDocument, LimitsDocument};

/// The only `apiVersion` there is.
pub const API_VERSION: &str = "governd.dev/v1";

/// An agent: who owns it, how it is recognised, and what it may reach.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an agent document")]
pub struct AgentDocument {
    /// `governd.dev/v1`.
    #[schemars(required, extend("const" = API_VERSION))]
    pub api_version: Option<Located<String>>,
    /// `Agent`.
    #[schemars(required, extend("const" = "Agent"))]
    pub kind: Option<Located<String>>,
    /// Its name.
    #[schemars(required)]
    pub metadata: Option<Located<Metadata>>,
    /// What it says.
    #[schemars(required)]
    pub spec: Option<Located<AgentSpec>>,
}

/// The policy of a host as a whole.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a host policy document")]
pub struct HostPolicyDocument {
    /// `governd.dev/v1`.
    #[schemars(required, extend("const" = API_VERSION))]
    pub api_version: Option<Located<String>>,
    /// `HostPolicy`.
    #[schemars(required, extend("const" = "HostPolicy"))]
    pub kind: Option<Located<String>>,
    /// Its name.
    #[schemars(required)]
    pub metadata: Option<Located<Metadata>>,
    /// What it says.
    #[schemars(required)]
    pub spec: Option<Located<HostSpec>>,
}

/// Destinations that several rules share.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "an endpoint group document")]
pub struct EndpointGroupDocument {
    /// `governd.dev/v1`.
    #[schemars(required, extend("const" = API_VERSION))]
    pub api_version: Option<Located<String>>,
    /// `EndpointGroup`.
    #[schemars(required, extend("const" = "EndpointGroup"))]
    pub kind: Option<Located<String>>,
    /// Its name.
    #[schemars(required)]
    pub metadata: Option<Located<Metadata>>,
    /// What it says.
    #[schemars(required)]
    pub spec: Option<Located<GroupSpec>>,
}

/// What an endpoint group says.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "the fields of an endpoint group")]
pub struct GroupSpec {
    /// Names, wildcards, addresses and networks, and other groups: `group:NAME` for a document,
    /// `catalog:PROVIDER` or `catalog:PROVIDER/KIND` for what the catalogue knows.
    #[schemars(required, length(min = 1))]
    pub endpoints: Option<Located<Vec<Located<String>>>>,
    /// Ports and port ranges; every port, if absent. A rule or group that includes this one and
    /// names ports of its own reaches those that are in both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Located<Vec<Located<Scalar>>>>,
}

/// What every document has.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "metadata such as {name: invoice-bot}")]
pub struct Metadata {
    /// Lower-case letters, digits and hyphens, at most 63; unique among its kind.
    #[schemars(required, regex(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: Option<Located<String>>,
}

/// What an agent document says.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "the fields of an agent")]
pub struct AgentSpec {
    /// The person or team that runs it and is asked when something is denied.
    #[schemars(required)]
    pub owner: Option<Located<OwnerDocument>>,
    /// The person in the business who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<Located<PersonDocument>>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Located<String>>,
    /// What it could do at worst: `low`, `medium`, `high` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["low", "medium", "high", "critical"]))]
    pub risk: Option<Located<String>>,
    /// Who approved it, when, and where that was discussed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Located<ApprovalDocument>>,
    /// The last day of the approval, such as `2027-03-31`; from the next on the agent counts as
    /// expired, and somebody has to look at it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date"))]
    pub review_by: Option<Located<String>>,
    /// How much it may do without a person once `review_by` has passed: `notify` (if absent),
    /// `approve` or `halt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["notify", "approve", "halt"]))]
    pub on_expired: Option<Located<String>>,
    /// The same once it is not what was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["notify", "approve", "halt"]))]
    pub on_drift: Option<Located<String>>,
    /// What was approved; something else counts as drifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Located<ProvenanceDocument>>,
    /// `monitor` or `enforce`; else the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["monitor", "enforce"]))]
    pub mode: Option<Located<String>>,
    /// What holds where another agent starts it, or it another: the policies of both
    /// (`intersection`, if absent), or, where both agents say `own` and are approved, that of the
    /// one that is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["intersection", "own"]))]
    pub delegation: Option<Located<String>>,
    /// How its processes are recognised: any of these entries. What they start is the agent too.
    #[serde(rename = "match")]
    #[schemars(required, length(min = 1))]
    pub matches: Option<Located<Vec<Located<MatchDocument>>>>,
    /// What it may reach; nothing, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Located<EgressDocument>>,
    /// How much it may do; as much as it likes, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Located<LimitsDocument>>,
}

/// One way to recognise a process: all fields that are there must hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a match such as {exe: /usr/bin/agent}")]
#[schemars(extend("minProperties" = 1))]
pub struct MatchDocument {
    /// Path of the executable, or several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<Located<OneOrMany>>,
    /// Path of the script that its interpreter runs, or of the file that a module begins with, or
    /// several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Located<OneOrMany>>,
    /// User, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Located<Scalar>>,
    /// cgroup below the mount, and everything below it; `*` matches within one component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/."))]
    pub cgroup: Option<Located<String>>,
    /// Image of its container, or several: a reference (without a tag, any), the beginning of one
    /// with `*` at its end, or `sha256:` and a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_or_texts")]
    pub image: Option<Located<OneOrMany>>,
    /// Namespace of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Located<String>>,
    /// Service account of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Located<String>>,
    /// Labels of its pod, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1))]
    pub labels: Option<Located<BTreeMap<String, Located<Scalar>>>>,
    /// Agent that has to have started it, at once or through others; the policies of both hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Located<String>>,
}

/// What an agent may reach.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "egress such as {default: deny, rules: []}")]
pub struct EgressDocument {
    /// What happens where no rule matches: `deny` (if absent) or `allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub default: Option<Located<String>>,
    /// Names of the gateways by which it talks to models. Direct contact with a model provider is
    /// a finding; whether it is stopped is for the rules to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Located<Vec<Located<String>>>>,
    /// Whether a connection that another host opens is left alone (`allow`, if absent), or judged
    /// as if the agent had opened it (`deny`: what no rule on its address allows is refused).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub accepted: Option<Located<String>>,
    /// Local sockets that may be reached: `any`, or a list of whole paths, beginnings of paths with
    /// `*` at their end, abstract names with `@` before them, and `ordinary` for those of logs and
    /// users. Where it is absent, `[ordinary]` if the default is `deny`, and else `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text_or_texts")]
    pub unix: Option<Located<OneOrMany>>,
    /// Names that it may ask DNS for: `restrict` to those that a rule allows (if absent, where the
    /// default is `deny`), or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["restrict", "any"]))]
    pub dns: Option<Located<String>>,
    /// Rules. The most specific that fits counts, whatever their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Located<Vec<Located<RuleDocument>>>>,
}

/// One rule: a list of destinations under the key of its tier, and how they may be reached.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a rule such as {allow: [api.example.com]}")]
pub struct RuleDocument {
    /// Names, wildcards, addresses and networks that may be reached, and groups of them:
    /// `group:NAME`, `catalog:PROVIDER` or `catalog:PROVIDER/KIND`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Located<Vec<Located<String>>>>,
    /// Those that may be reached, and of which the owner is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Located<Vec<Located<String>>>>,
    /// Those that may be reached once a person grants it, for as long as that person says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Located<Vec<Located<String>>>>,
    /// Those that may not be reached, and for which the agent is quarantined when it tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Located<Vec<Located<String>>>>,
    /// Names, wildcards, addresses, networks and groups that may not be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Located<Vec<Located<String>>>>,
    /// Ports and port ranges; every port, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Located<Vec<Located<Scalar>>>>,
    /// `tcp`, `udp` or `any` (if absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["tcp", "udp", "any"]))]
    pub protocol: Option<Located<String>>,
    /// What proves a name: `both` DNS and the connection's first bytes (if absent), `sni` the
    /// first bytes alone, `dns` DNS alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["both", "sni", "dns"]))]
    pub verify: Option<Located<String>>,
    /// Whether the Host of a plaintext HTTP request counts on every port (`allow`), or only on
    /// port 80 (`deny`, if absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub plaintext: Option<Located<String>>,
    /// Whether QUIC may be used: `deny` (if absent) or `allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub quic: Option<Located<String>>,
}

/// What a host policy says.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "the fields of a host policy")]
pub struct HostSpec {
    /// Host names that it is for; `*` matches any run of characters. Every host, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Located<Vec<Located<String>>>>,
    /// Labels that a host has to have, each with this value; any, if absent. What labels a host has
    /// is in its own configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Located<BTreeMap<String, Located<Scalar>>>>,
    /// Environment that a host has to be in, or several; any, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Located<OneOrMany>>,
    /// `monitor` (if absent) or `enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["monitor", "enforce"]))]
    pub mode: Option<Located<String>>,
    /// What happens to processes that are no registered agent: `monitor` (if absent), `deny-ai`
    /// or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["monitor", "deny-ai", "deny"]))]
    pub unregistered: Option<Located<String>>,
    /// What happens to processes that are no registered agent while their cgroup, or what runs in
    /// it, is not known yet: `allow` (if absent: what `unregistered` says), or `deny-ai`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["allow", "deny-ai"]))]
    pub unclassified: Option<Located<String>>,
    /// What happens while the audit log cannot be written: `continue` (if absent), or `deny-ai`, by
    /// which AI endpoints are denied to everybody until it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["continue", "deny-ai"]))]
    pub on_log_failure: Option<Located<String>>,
    /// Whether agents may reach this host itself without a rule: `deny` (if absent) or `allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["deny", "allow"]))]
    pub loopback: Option<Located<String>>,
    /// Whose DNS answers are believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolvers: Option<Located<ResolversDocument>>,
    /// When it is tested whether the kernel decides about each enforced agent as it has to; never,
    /// if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selftest: Option<Located<SelfTestDocument>>,
    /// Which of the host's exporters records go to, by their names; all of them, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporters: Option<Located<Vec<Located<String>>>>,
}

/// When self-tests run.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a schedule such as {every: 1h}")]
pub struct SelfTestDocument {
    /// How often, such as `1h`.
    #[schemars(required)]
    pub every: Option<Located<String>>,
}

/// Trusted resolvers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "resolvers such as {host: true, addresses: []}")]
pub struct ResolversDocument {
    /// The resolvers of the host's own configuration; true if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Located<bool>>,
    /// Further addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Located<Vec<Located<String>>>>,
    /// Further executables of root's that resolve names for the whole host: what they learn from a
    /// trusted resolver counts for every agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Located<Vec<Located<String>>>>,
}

/// Text, or a number as text.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
        }
        // Asking for text gets a number as it was written.
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "integer"]})
    }
}

/// One text, or a list of them.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<Located<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut many = Vec::new();
                while let Some(item) = items.next_element()? {
                    many.push(item);
                }
                Ok(OneOrMany::Many(many))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ]})
    }
}

/// One text, or a list of them that may be empty.
fn text_or_texts(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "null"},
    ]})
}

/// The JSON Schema (2020-12) of one document, for editors.
pub fn schema() -> serde_json::Value {
    let agent = schemars::schema_for!(AgentDocument);
    let host = schemars::schema_for!(HostPolicyDocument);
    let group = schemars::schema_for!(EndpointGroupDocument);
    let test = schemars::schema_for!(case::PolicyTestDocument);
    let mut definitions = serde_json::Map::new();
    let mut branches = Vec::new();
    for (name, schema) in
        [("Agent", agent), ("EndpointGroup", group), ("HostPolicy", host), ("PolicyTest", test)]
    {
        let mut value = schema.to_value();
        if let Some(object) = value.as_object_mut() {
            object.remove("$schema");
            if let Some(serde_json::Value::Object(inner)) = object.remove("$defs") {
                definitions.extend(inner);
            }
        }
        definitions.insert(name.to_owned(), value);
        branches.push(serde_json::json!({"$ref": format!("#/$defs/{name}")}));
    }
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://governd.dev/schema/v1/policy.json",
        "title": "governd policy document",
        "oneOf": branches,
        "$defs": definitions,
    })
}
