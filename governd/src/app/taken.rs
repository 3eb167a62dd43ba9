//! What was taken out of the ring and is not on record yet: a daemon that is killed loses it, and
//! the next one says so.

use super::{clock, engine::Engine};
use crate::{
    audit::record::{Loss, LossSource, Record},
    kernel::Events,
};

/// Events that were read, and the records that have to be durable for all of them to be on record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    events: u64,
    records: u64,
}

impl Engine {
    /// Records what a daemon that was killed had read.
    pub(super) fn record_taken(&self, events: &Events) {
        let count = events.unsettled();
        if count > 0 {
            let (source, since_ms) = (LossSource::Killed, clock::now_ms());
            let loss = Loss { source, count, since_ms, detail: None };
            self.journal.record(Record::Loss(loss), None);
        }
    }

    /// Notes how many of the events that were read are on record by now.
    pub(super) fn settle(&mut self, events: &mut Events) {
        let (handed, settled) = self.journal.settled();
        if let Some(taken) = self.taken.filter(|taken| settled >= taken.records) {
            events.settle(taken.events);
            self.taken = None;
        }
        // Decisions that are put together have no record yet.
        if self.taken.is_none() && self.pressure.is_empty() && events.unsettled() > 0 {
            let taken = Taken { events: events.read(), records: handed };
            if settled >= handed {
                events.settle(taken.events);
            } else {
                self.taken = Some(taken);
            }
        }
    }
}
