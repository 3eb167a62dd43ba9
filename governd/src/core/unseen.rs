//! The finding that a governed process has something whose traffic no program sees, or makes
//! another process do what it wants.

use std::sync::Arc;

use crate::audit::record::{Actor, Confidence, Finding, Subject};

const SEVERITY_HIGH: u8 = 4;

/// What a process does with what was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deed {
    /// It has it.
    Has,
    /// It writes the memory of another process, which is its subject's from then on.
    Writes,
    /// It traces another process, likewise.
    Traces,
    /// It loads programs into the kernel.
    Loads,
    /// It changes what handles packets in its network namespace.
    Changes,
}

/// What was found of a process.
#[derive(Clone, Debug)]
pub struct Unseen {
    /// What it does.
    pub deed: Deed,
    /// Its kind, such as `packet-socket`.
    pub kind: &'static str,
    /// What tells it from others.
    pub name: Arc<str>,
    /// The process.
    pub actor: Actor,
    /// Its subject.
    pub subject: u32,
}

impl Unseen {
    pub(super) fn finding(self, subject: Arc<Subject>, now_ms: u64) -> Finding {
        let Self { deed, kind, name, actor, .. } = self;
        let process = &actor.process;
        let who = format!("{} ({}, process {})", subject.agent, process.name, process.pid);
        let title = match deed {
            Deed::Has => {
                let what = kind.replace('-', " ");
                format!("{who} has a {what}, whose traffic no policy decides about")
            }
            Deed::Writes => {
                format!("{who} writes the memory of {name}, which counts as the agent's by that")
            }
            Deed::Loads => format!(
                "{who} loads programs into the kernel, which may change, send or move what no \
                 policy decides about"
            ),
            Deed::Changes => {
                format!("{who} changes the {name}, which may rewrite, copy or send on packets")
            }
            Deed::Traces => format!("{who} traces {name}, which counts as the agent's by that"),
        };
        Finding {
            kind: kind.into(),
            uid: format!("{kind}/{}/{}/{name}", process.pid, process.started_ns).into(),
            title: title.into(),
            severity: SEVERITY_HIGH,
            confidence: Confidence::High,
            first_seen_ms: now_ms,
            subject: Some(subject),
            destination: None,
            evidence: vec![name.to_string()],
            actor: Some(actor),
        }
    }
}
