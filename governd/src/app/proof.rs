//! Proof that it enforces: what a canary's sockets must be refused is tried when a policy has come
//! into force, and every second from then on. If it is not refused, everybody is told.

use governd_common::verdict::Mode;

use super::{clock, engine::Engine};
use crate::{
    audit::record::{Confidence, Finding, Record},
    control::protocol::EnforcementStatus,
};

/// OCSF's severities.
const SEVERITY_INFORMATIONAL: u8 = 1;
const SEVERITY_HIGH: u8 = 4;
const SEVERITY_FATAL: u8 = 6;

/// Whether what is denied is refused, as it was last tried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Nobody is enforced, so nothing is tried.
    #[default]
    Monitoring,
    /// The kernel refused what it has to.
    Enforcing,
    /// It did not.
    NotEnforcing,
    /// It could not be tried.
    Unproved,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Monitoring => "monitoring",
            Self::Enforcing => "enforcing",
            Self::NotEnforcing => "not enforcing",
            Self::Unproved => "unproved",
        }
    }

    /// What is found out when it comes to this: kind, title and severity.
    const fn finding(self) -> Option<(&'static str, &'static str, u8)> {
        match self {
            Self::Monitoring => None,
            Self::Enforcing => Some((
                "enforcing-again",
                "enforcing again: the kernel refuses what is denied",
                SEVERITY_INFORMATIONAL,
            )),
            Self::NotEnforcing => Some((
                "not-enforcing",
                "not enforcing: what the policy denies passes",
                SEVERITY_FATAL,
            )),
            Self::Unproved => Some((
                "enforcement-unproved",
                "whether the kernel refuses what is denied cannot be tried",
                SEVERITY_HIGH,
            )),
        }
    }
}

/// The latest proof.
#[derive(Debug, Default)]
pub(super) struct Proof {
    state: State,
    /// What was let pass, or why it could not be tried.
    detail: Vec<String>,
    since_ms: u64,
    tried_ms: u64,
    failures: u64,
}

impl Proof {
    /// Takes in how a trial came out; gives what was found out if that is new.
    fn take(&mut self, state: State, detail: Vec<String>, now_ms: u64) -> Option<Finding> {
        self.tried_ms = now_ms;
        let is_trouble = matches!(state, State::NotEnforcing | State::Unproved);
        self.failures += u64::from(is_trouble);
        let before = std::mem::replace(&mut self.state, state);
        let is_known = before == state && self.detail == detail;
        self.detail = detail;
        if before != state || self.since_ms == 0 {
            self.since_ms = now_ms;
        }
        let was_trouble = matches!(before, State::NotEnforcing | State::Unproved);
        if is_known || !(is_trouble || was_trouble) {
            return None;
        }
        let (kind, title, severity) = state.finding()?;
        Some(Finding {
            kind: kind.into(),
            uid: format!("{kind}/{now_ms}").into(),
            title: title.into(),
            severity,
            confidence: Confidence::High,
            first_seen_ms: self.since_ms,
            subject: None,
            actor: None,
            destination: None,
            evidence: self.detail.clone(),
        })
    }

    /// For status and metrics.
    pub(super) fn status(&self) -> EnforcementStatus {
        EnforcementStatus {
            state: self.state.word().into(),
            detail: self.detail.clone(),
            since_ms: self.since_ms,
            tried_ms: self.tried_ms,
            failures: self.failures,
        }
    }
}

impl Engine {
    /// Programs were taken off and put back. That is told whether it was tried meanwhile or not,
    /// and whether the program is one that is tried.
    pub(super) fn prove_mended(&mut self, detached: Vec<String>) {
        if detached.is_empty() {
            return;
        }
        if self.proof.state == State::Enforcing && self.enforces() {
            self.tell(State::NotEnforcing, detached);
        }
        self.prove();
    }

    /// Tries whether what is denied is refused, and tells what came out if that is new.
    pub(super) fn prove(&mut self) {
        let (state, detail) = if self.enforces() {
            match self.kernel.unrefused() {
                Ok(open) if open.is_empty() => (State::Enforcing, open),
                Ok(open) => (State::NotEnforcing, open),
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    let cause = source.map_or_else(String::new, |source| format!(": {source}"));
                    (State::Unproved, vec![format!("{error}{cause}")])
                }
            }
        } else {
            (State::Monitoring, Vec::new())
        };
        self.tell(state, detail);
    }

    fn tell(&mut self, state: State, detail: Vec<String>) {
        if let Some(finding) = self.proof.take(state, detail, clock::now_ms()) {
            if finding.severity > SEVERITY_INFORMATIONAL {
                let evidence = finding.evidence.join("; ");
                tracing::error!(evidence, "{}", finding.title);
            }
            self.journal.record(Record::Finding(finding), None);
        }
    }

    /// Whether anything is to be refused: by mode, or because a person or a rule ordered it.
    fn enforces(&self) -> bool {
        let policy = self.state.policy();
        policy.agents.iter().any(|agent| agent.mode == Mode::Enforce)
            || self.controls.has_quarantined()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_and_its_end_are_told_once() {
        let open = || vec!["connect4".to_owned()];
        let rows = [
            (State::Monitoring, Vec::new(), None),
            (State::Enforcing, Vec::new(), None),
            (State::Enforcing, Vec::new(), None),
            (State::NotEnforcing, open(), Some(SEVERITY_FATAL)),
            (State::NotEnforcing, open(), None),
            (State::NotEnforcing, vec!["another".to_owned()], Some(SEVERITY_FATAL)),
            (State::Unproved, open(), Some(SEVERITY_HIGH)),
            (State::Enforcing, Vec::new(), Some(SEVERITY_INFORMATIONAL)),
            (State::Enforcing, Vec::new(), None),
        ];
        let mut proof = Proof::default();
        for (index, (state, detail, told)) in rows.into_iter().enumerate() {
            let found = proof.take(state, detail, index as u64 + 1);
            assert_eq!(found.map(|found| found.severity), told, "{index} {state:?}");
        }
        assert_eq!(proof.status().failures, 4);
        assert_eq!(proof.status().since_ms, 8);
    }
}
