//! What was lost, and how much of it is recorded.

use governd_common::verdict::Loss;

use super::{Command, State, now};
use crate::audit::record::{self, LossSource, Record};

impl State {
    /// Losses that are recorded already: how many, and when.
    pub fn set_lost(&mut self, recorded: &[(Loss, u64, u64)]) {
        for (loss, count, time_ms) in recorded {
            let word = LossSource::Kernel(*loss).word();
            self.lost.insert(word, (*count, *time_ms));
        }
    }

    /// What the kernel has lost, by reason; only reasons that occurred.
    pub fn lost(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.lost.iter().map(|(word, (count, _))| (*word, *count))
    }

    /// Records what was lost since the last time.
    pub(super) fn losses(
        &mut self,
        totals: impl IntoIterator<Item = (LossSource, u64)>,
        now_ms: u64,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        for (source, total) in totals {
            let (known, since_ms) = self.lost.get(source.word()).copied().unwrap_or((0, now_ms));
            if total > known {
                let count = total - known;
                let record = record::Loss { source, count, since_ms, detail: None };
                commands.push(now(Record::Loss(record)));
                self.lost.insert(source.word(), (total, now_ms));
            }
        }
        commands
    }
}
