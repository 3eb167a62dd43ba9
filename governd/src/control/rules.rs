//! What the daemon answers about rules.

use serde::{Deserialize, Serialize};

/// How often a rule decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuleCount {
    /// The agent that it belongs to.
    pub agent: String,
    /// Its id, such as `invoice-bot/egress/1`, or `invoice-bot/default`.
    pub rule: String,
    /// In words.
    pub text: String,
    /// File and line.
    pub source: Option<String>,
    /// How often.
    pub hits: u64,
    /// The last time, in milliseconds since the epoch, if ever.
    pub last_ms: Option<u64>,
}
