//! What follows from a log that cannot be written: nothing but that it is counted, or that AI
//! endpoints are denied until it can, as the host's policy has it.

use super::engine::Engine;
use crate::audit::record::{Control, Record, Ruling};

impl Engine {
    /// Puts into force what the policy says for as long as nothing can be recorded, and takes it
    /// back. What fails is tried again.
    pub(super) fn follow_log(&mut self) {
        let is_failing = self.journal.is_failing();
        if is_failing == self.rulebook.is_unrecorded() {
            return;
        }
        self.rulebook.set_unrecorded(is_failing);
        if let Err(error) = self.recompiled() {
            let reason = error.to_string();
            tracing::error!(reason, is_failing, "the policy does not follow the log's state");
            self.rulebook.set_unrecorded(!is_failing);
            return;
        }
        if self.state.policy().denies_unrecorded_ai && self.rulebook.may_stop() {
            self.record_following(is_failing);
        }
    }

    /// The record waits with the others until the log can be written.
    fn record_following(&self, is_failing: bool) {
        let (ruling, message) = if is_failing {
            let message = "AI endpoints are denied to everybody: the log cannot be written";
            tracing::error!("AI endpoints are denied until the log can be written");
            (Ruling::Changed, message)
        } else {
            tracing::info!("AI endpoints are as the policy has them: the log is written again");
            (Ruling::Restored, "AI endpoints are as the policy has them: the log is written again")
        };
        let record = Control {
            operation: "log.failure",
            ruling,
            agent: None,
            destination: None,
            correlation: None,
            by: None,
            actor: None,
            message: message.into(),
        };
        self.journal.record(Record::Control(record), None);
    }
}
