//! Notices for owners, recorded.

use super::{clock, engine::Engine};
use crate::audit::record::{Finding, Record};

impl Engine {
    /// A decision is recorded: its agent's owner may want to know.
    pub(super) fn look_at_notices(&mut self, record: &Record) {
        if let Record::Flow(flow) = record {
            let findings = self.notices.observe(flow, clock::now_ms());
            self.tell_owners(findings);
        }
    }

    /// Tells what was put together, at the end all of it.
    pub(super) fn pass_notices(&mut self, is_end: bool) {
        let findings = self.notices.due(clock::now_ms(), is_end);
        self.tell_owners(findings);
    }

    fn tell_owners(&self, findings: Vec<Finding>) {
        findings.into_iter().for_each(|it| self.journal.record(Record::Finding(it), None));
    }
}
