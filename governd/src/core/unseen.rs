//! The finding that a governed process has something whose traffic no program sees.

use std::sync::Arc;

use crate::audit::record::{Actor, Confidence, Finding, Subject};

const SEVERITY_HIGH: u8 = 4;

/// What a process has.
#[derive(Clone, Debug)]
pub struct Unseen {
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
    pub(super) fn finding(self, subject: Subject, now_ms: u64) -> Finding {
        let Self { kind, name, actor, .. } = self;
        let what = kind.replace('-', " ");
        let process = &actor.process;
        let title = format!(
            "{} ({}, process {}) has a {what}, whose traffic no policy decides about",
            subject.agent, process.name, process.pid
        );
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
