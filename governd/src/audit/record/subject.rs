//! Whom records are about.

use std::sync::Arc;

/// Who a record is about: a registered agent, or everything else.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subject {
    /// Number in the kernel's tables; 0 is everything that is not registered.
    pub id: u32,
    /// The agent's name, or `unregistered`.
    pub agent: Arc<str>,
    /// The owner to ask, such as `Dana Smith <dana@acme.example>`.
    pub owner: Option<Arc<str>>,
    /// The accountable person.
    pub sponsor: Option<Arc<str>>,
    /// What it could do at worst: `low` to `critical`.
    pub risk: Option<&'static str>,
    /// Agents that started it, and whose policies hold for it, too.
    pub started_by: Option<Arc<str>>,
    /// Who approved it.
    pub approver: Option<Arc<str>>,
}
