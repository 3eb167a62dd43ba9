//! What the records of one process have in common, in the form in which they have it. Most records
//! in a row are of the same process, and most of a record is about its process.

use std::sync::Arc;

use super::{Actor, DnsQuery, Host, Record, Stamp, Tokens, object};
use crate::audit::canonical;

/// The parts of one process's records.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    actor: Actor,
    tokens: Tokens,
    /// Whether the digest of its executable was known, which comes later.
    has_digest: bool,
    /// OCSF's `process`, with what stands for its user and command line.
    pub(super) process: String,
    /// governd's own.
    pub(super) lineage: String,
    pub(super) facts: String,
}

impl Prepared {
    /// Of a process. What is known of one in a container may grow while it runs: it has none.
    fn of(actor: &Actor, host: &Host, stamp: &Stamp) -> Option<Self> {
        if actor.process.workload.is_some() {
            return None;
        }
        let has_digest = actor.process.sha256().is_some();
        let (mut process, mut lineage, mut facts) = Default::default();
        canonical::object(&mut process, |o| object::process(o, actor, host, stamp));
        canonical::array(&mut lineage, actor.lineage.iter(), |out, ancestor| {
            canonical::object(out, |o| object::ancestor(o, ancestor));
        });
        canonical::object(&mut facts, |o| object::process_facts(o, actor));
        let (actor, tokens) = (actor.clone(), stamp.tokens);
        Some(Self { actor, tokens, has_digest, process, lineage, facts })
    }

    /// Whether it is of this process, and not only of one that is alike.
    pub(super) fn is_of(&self, actor: &Actor, tokens: &Tokens) -> bool {
        Arc::ptr_eq(&self.actor.process, &actor.process)
            && Arc::ptr_eq(&self.actor.lineage, &actor.lineage)
            && self.tokens == *tokens
            && self.has_digest == actor.process.sha256().is_some()
    }
}

impl Host {
    /// Makes parts of this record, if it is of a decision, and of those of its process that follow.
    /// They are the same with it and without; it is for who writes many.
    pub fn prepare(&mut self, record: &Record, stamp: &Stamp) {
        let (Record::Flow(flow) | Record::Query(DnsQuery { flow, .. })) = record else { return };
        let actor = &flow.actor;
        if !self.prepared.as_ref().is_some_and(|known| known.is_of(actor, &stamp.tokens)) {
            self.prepared = Prepared::of(actor, self, stamp);
        }
    }

    pub(super) fn prepared(&self, actor: &Actor, stamp: &Stamp) -> Option<&Prepared> {
        self.prepared.as_ref().filter(|known| known.is_of(actor, &stamp.tokens))
    }
}
