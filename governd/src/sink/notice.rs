//! What the sink tells about hosts and clients, for its own log.

use std::sync::Arc;

/// Something that somebody should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The word for it.
    pub what: String,
    /// The host, or the address of who is none.
    pub who: String,
    /// One sentence.
    pub detail: String,
    /// How often it was since it was told last.
    pub count: u64,
    /// How bad it is.
    pub weight: Weight,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weight {
    /// A host's history is not what it was, or the host is not heard of.
    Alarm,
    /// Somebody sent what a sink does not take.
    Refused,
    /// A host began, or is heard of again.
    News,
    /// Somebody changed something about the sink itself.
    Own,
    /// The sink will not go on as it does unless somebody sees to it.
    Soon,
}

/// Takes notices; it must not wait.
pub type Tell = Arc<dyn Fn(Notice) + Send + Sync>;
