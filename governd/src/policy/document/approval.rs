//! Who answers for an agent, and what was approved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scalar;
use crate::policy::shape::Located;

/// A person who answers for something.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a person such as {name: Dana Smith, mail: dana@acme.example}"
)]
pub struct PersonDocument {
    /// Name.
    #[schemars(required)]
    pub name: Option<Located<String>>,
    /// Mail address.
    #[schemars(required, email)]
    pub mail: Option<Located<String>>,
}

/// The person or team to ask.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an owner such as {name: Dana Smith, mail: dana@acme.example}"
)]
pub struct OwnerDocument {
    /// Name.
    #[schemars(required)]
    pub name: Option<Located<String>>,
    /// Mail address.
    #[schemars(required, email)]
    pub mail: Option<Located<String>>,
    /// Where to page, as the on-call system names it, such as `pagerduty:payments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Located<String>>,
}

/// The approval.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an approval such as {by: {name: Lee Wong, mail: lee@acme.example}, on: 2026-10-01}"
)]
pub struct ApprovalDocument {
    /// The person who approved it.
    #[schemars(required)]
    pub by: Option<Located<PersonDocument>>,
    /// The day, such as `2026-10-01`.
    #[schemars(required, extend("format" = "date"))]
    pub on: Option<Located<String>>,
    /// Where it was asked for, such as `SEC-1234`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Located<String>>,
}

/// What was approved.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "provenance such as {sha256: []}")]
pub struct ProvenanceDocument {
    /// SHA-256 of each executable that the agent may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Located<Vec<Located<String>>>>,
    /// SHA-256 of each script, or file that a module begins with, that its interpreter may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Located<Vec<Located<String>>>>,
    /// Digest of each container image that it may run in: `sha256:…`, with or without the image's
    /// name and `@` before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Located<Vec<Located<String>>>>,
    /// Versions that it may have: the tag of its container's image, or outside of containers the
    /// version of the package that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Located<Vec<Located<Scalar>>>>,
}
