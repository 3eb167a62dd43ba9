//! Limits of agents: who crosses one is told of, and how much of each is used.

use std::{collections::HashMap, sync::Arc};

use governd_common::{
    event::FlowEvent,
    limit::{Crossing, Limit},
    verdict::{Mode, Reason, Verdict},
};

use super::{clock, engine::Engine};
use crate::{
    audit::record::{Actor, Confidence, Finding, Record},
    control::inventory::LimitRow,
    kernel::KernelError,
    policy::image::AgentFacts,
};

const NS_PER_MS: u64 = 1_000_000;
const SEVERITY_MEDIUM: u8 = 3;
const SEVERITY_HIGH: u8 = 4;

/// When each crossing was last told of, in milliseconds since the epoch.
pub(super) type Told = HashMap<(u32, Reason, Verdict), u64>;

impl Engine {
    /// An event says that an agent has halted itself, or does too much.
    pub(super) fn look_at_limits(&mut self, event: &FlowEvent, actor: &Actor) {
        let Some(reason) = Reason::from_byte(event.reason) else { return };
        let limit = Limit::ALL.iter().copied().find(|limit| limit.reason() == reason);
        if let Some(limit) = limit {
            self.tell_limit(event, limit, actor);
        }
        let is_halted = event.verdict == Verdict::Deny as u8 && event.mode == Mode::Enforce as u8;
        if !is_halted || (limit.is_none() && reason != Reason::Halt) {
            return;
        }
        let policy = Arc::clone(self.state.policy());
        let why = match limit {
            Some(limit) => format!("its limit of {}", limit.word()),
            None => "a `halt` rule".to_owned(),
        };
        if let Err(error) = self.take_halted(&policy, &why) {
            tracing::warn!(%error, "what is quarantined cannot be read");
        }
    }

    fn tell_limit(&mut self, event: &FlowEvent, limit: Limit, actor: &Actor) {
        let subject = event.header.subject;
        let Some(facts) = self.state.policy().agent(subject) else { return };
        let verdict = Verdict::from_byte(event.verdict);
        let crossing = match verdict {
            Verdict::Allow => Crossing::Notify,
            Verdict::Deny => Crossing::Halt,
        };
        // Of those that started it, too, the one that has the least left.
        let of = |facts: &AgentFacts| facts.limits.of(crossing, limit);
        let limited = self.state.policy().members(subject).filter(|facts| of(facts) != 0);
        let facts = limited.min_by_key(|facts| of(facts)).unwrap_or(facts);
        let (agent, most) = (Arc::clone(&facts.name), of(facts));
        let now_ms = clock::now_ms();
        let again_ms = limit.window_ns() / NS_PER_MS;
        let last_ms = self.controls.limits_told.insert((subject, limit.reason(), verdict), now_ms);
        if last_ms.is_some_and(|last_ms| now_ms.saturating_sub(last_ms) < again_ms) {
            return;
        }
        let word = limit.word();
        let (severity, what) = match (crossing, Mode::from_byte(event.mode)) {
            (Crossing::Notify, _) => (SEVERITY_MEDIUM, "its owner is to know"),
            (Crossing::Halt, Mode::Monitor) => (SEVERITY_MEDIUM, "it would be quarantined"),
            (Crossing::Halt, Mode::Enforce) => (SEVERITY_HIGH, "it is quarantined"),
        };
        let finding = Finding {
            kind: "limit-crossed".into(),
            uid: format!("limit-crossed/{agent}/{word}/{most}").into(),
            title: format!("{agent} does more than {most} {word}: {what}").into(),
            severity,
            confidence: Confidence::High,
            first_seen_ms: now_ms,
            subject: Some(self.state.subject(subject)),
            actor: Some(actor.clone()),
            destination: None,
            evidence: Vec::new(),
        };
        self.journal.record(Record::Finding(finding), None);
    }

    /// How much agents use of their limits.
    ///
    /// # Errors
    /// The kernel's counts cannot be read.
    pub(super) fn limit_rows(&self) -> Result<HashMap<u32, Vec<LimitRow>>, KernelError> {
        let usages: HashMap<u32, _> = self.kernel.usages()?.into_iter().collect();
        let now_ns = clock::boot_ns();
        let row = |facts: &AgentFacts, limit: Limit| LimitRow {
            limit: limit.word().to_owned(),
            used: usages.get(&facts.subject).map_or(0, |usage| usage.sum(limit, now_ns)),
            notify: Some(facts.limits.of(Crossing::Notify, limit)).filter(|most| *most != 0),
            halt: Some(facts.limits.of(Crossing::Halt, limit)).filter(|most| *most != 0),
        };
        let limited = self.state.policy().agents.iter().filter(|facts| !facts.limits.is_empty());
        let rows = limited.map(|facts| {
            let counted = Limit::ALL.iter().filter(|limit| facts.limits.counts(**limit));
            (facts.subject, counted.map(|limit| row(facts, *limit)).collect())
        });
        Ok(rows.collect())
    }
}
