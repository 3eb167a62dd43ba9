//! How much an agent may do within a minute or an hour.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scalar;
use crate::policy::shape::Located;

/// Limits, by what happens when one is crossed.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "limits such as {halt: {connections_per_minute: 600}}")]
pub struct LimitsDocument {
    /// Beyond these the owner is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Located<AmountsDocument>>,
    /// Beyond these the agent is quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Located<AmountsDocument>>,
}

/// The most that an agent may do.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "amounts such as {connections_per_minute: 600}")]
#[schemars(extend("minProperties" = 1))]
pub struct AmountsDocument {
    /// Connections that the policy lets pass, in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_minute: Option<Located<Scalar>>,
    /// Addresses that were not reached for a day, in an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_destinations_per_hour: Option<Located<Scalar>>,
    /// Bytes sent and received, in an hour: a number, or one with a unit such as `500MB` or `2GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_hour: Option<Located<Scalar>>,
}
