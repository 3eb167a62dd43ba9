//! The latest decisions, for `explain --last`: a person asks minutes later, when the process is
//! gone.

use std::{collections::VecDeque, sync::Arc};

use governd_common::{event::FlowEvent, verdict::Verdict};

use crate::audit::record::Actor;

/// Decisions that are kept.
const RECENT_MAX: usize = 1_024;

/// A decision, as it was made.
#[derive(Clone, Debug)]
pub struct Recent {
    /// The kernel's event.
    pub event: FlowEvent,
    /// Who asked.
    pub actor: Actor,
    /// The name that the destination was known by.
    pub name: Option<Arc<str>>,
}

/// A ring of decisions.
#[derive(Debug, Default)]
pub struct RecentFlows {
    flows: VecDeque<Recent>,
}

impl RecentFlows {
    /// Keeps a decision and forgets the oldest if there are too many.
    pub fn push(&mut self, recent: Recent) {
        if self.flows.len() >= RECENT_MAX {
            self.flows.pop_front();
        }
        self.flows.push_back(recent);
    }

    /// The latest denial of the subjects that are meant, else their latest decision.
    pub fn last(&self, is_meant: impl Fn(u32) -> bool) -> Option<&Recent> {
        let mine = |recent: &&Recent| is_meant(recent.event.header.subject);
        let denied = |recent: &&Recent| recent.event.verdict == Verdict::Deny as u8;
        let newest = || self.flows.iter().rev().filter(mine);
        newest().find(denied).or_else(|| newest().next())
    }
}
