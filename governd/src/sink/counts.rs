//! What a sink counts: what it stored, how long that took, and what it refused.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Words of refusals that are counted apart; those beyond are one.
const WORDS_MAX: usize = 64;
const OTHERS: &str = "others";

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    batches: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    group_us: AtomicU64,
    store_failures: AtomicU64,
    connections: AtomicU64,
    /// Written by the store's thread, for a moment; read by who looks.
    refused: Mutex<BTreeMap<String, u64>>,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Batches that were stored, or were stored already.
    pub batches: u64,
    /// Records that are new.
    pub records: u64,
    /// Bytes of those batches, as they came.
    pub bytes: u64,
    /// Groups of batches that were made durable together.
    pub groups: u64,
    /// How long that took in all.
    pub groups_took: Duration,
    /// Groups that the store did not take: hosts send them again.
    pub store_failures: u64,
    /// Connections that are open.
    pub connections: u64,
    /// What was refused, by its word.
    pub refused: BTreeMap<String, u64>,
}

impl Counts {
    pub(crate) fn stored(&self, records: u64, bytes: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn durable(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.group_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(super) fn store_failed(&self) {
        self.store_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, what: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !refused.contains_key(what);
        let word = if is_new && refused.len() >= WORDS_MAX { OTHERS } else { what };
        *refused.entry(word.to_owned()).or_default() += 1;
    }

    pub(super) fn came(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn went(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// What they are now.
    pub fn now(&self) -> Counted {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            batches: of(&self.batches),
            records: of(&self.records),
            bytes: of(&self.bytes),
            groups: of(&self.groups),
            groups_took: Duration::from_micros(of(&self.group_us)),
            store_failures: of(&self.store_failures),
            connections: of(&self.connections),
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
