//! How long commits take, in buckets.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets in which commits are counted by their duration, in seconds.
pub const COMMIT_BOUNDS_S: [f64; 8] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0];

/// How long commits took since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CommitDurations {
    /// All together, in seconds.
    pub sum_s: f64,
    /// Commits by [`COMMIT_BOUNDS_S`], and those that took longer.
    pub counts: [u64; COMMIT_BOUNDS_S.len() + 1],
}

/// The same while it is counted.
#[derive(Default)]
pub(super) struct CommitTimes {
    sum_ns: AtomicU64,
    counts: [AtomicU64; COMMIT_BOUNDS_S.len() + 1],
}

impl CommitTimes {
    /// One took so long.
    pub(super) fn observe(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        let fits = |bound: &f64| took.as_secs_f64() <= *bound;
        let bucket = COMMIT_BOUNDS_S.iter().position(fits).unwrap_or(COMMIT_BOUNDS_S.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted until now.
    pub(super) fn durations(&self) -> CommitDurations {
        let sum_s = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        let counts = std::array::from_fn(|bucket| {
            self.counts.get(bucket).map_or(0, |count| count.load(Ordering::Relaxed))
        });
        CommitDurations { sum_s, counts }
    }
}
