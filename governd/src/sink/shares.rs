//! Who may have how much of a sink at once. What all hosts share is bounded, so that memory is; and
//! of each part one host may have so little that others find room beside it, whatever it sends and
//! however slowly. What is small has room of its own: it does not wait behind what is large.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::wire;

const KIB: usize = 1_024;
/// Longest small body, in bytes: thousands of records that resemble each other.
const SMALL_BODY_MAX: usize = 64 * KIB;
/// Small bodies in memory at once, by the length that is announced, in KiB: and those of one host.
const SMALL_BODIES_KIB_MAX: usize = 16 * KIB;
const SMALL_BODIES_OF_HOST_KIB_MAX: usize = KIB;
/// The same of all others. One host may have the longest that there is.
const BODIES_KIB_MAX: usize = 64 * KIB;
const BODIES_OF_HOST_KIB_MAX: usize = wire::BODY_BYTES_MAX / KIB;
/// What a small batch becomes when it is decompressed, at most, in bytes.
const SMALL_BATCH_MAX: usize = KIB * KIB;
/// Batches at once that are taken apart and wait for the store: more take memory, and no host is
/// served earlier for it.
const SMALL_BATCHES_MAX: usize = 16;
const BATCHES_MAX: usize = 4;
/// Requests of those who want to be let in, beyond small ones, at once.
const LONG_ENROLLS_MAX: usize = 4;

const _: () = assert!(2 * BODIES_OF_HOST_KIB_MAX <= BODIES_KIB_MAX);
const _: () = assert!(2 * SMALL_BODIES_OF_HOST_KIB_MAX <= SMALL_BODIES_KIB_MAX);

/// Something that is full for the moment.
#[derive(Debug)]
struct Room {
    small: Semaphore,
    large: Semaphore,
}

impl Room {
    fn new(small: usize, large: usize) -> Self {
        Self { small: Semaphore::new(small), large: Semaphore::new(large) }
    }

    fn of(&self, is_small: bool) -> &Semaphore {
        if is_small { &self.small } else { &self.large }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shares {
    bodies: Room,
    batches: Room,
    long_enrolls: Semaphore,
    hosts: Mutex<HashMap<String, Arc<Share>>>,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            bodies: Room::new(SMALL_BODIES_KIB_MAX, BODIES_KIB_MAX),
            batches: Room::new(SMALL_BATCHES_MAX, BATCHES_MAX),
            long_enrolls: Semaphore::new(LONG_ENROLLS_MAX),
            hosts: Mutex::default(),
        }
    }
}

/// What one host has of it, over all its connections.
#[derive(Debug)]
pub(super) struct Share {
    bodies: Room,
    /// Its batches go on from each other, so they take turns.
    turn: Semaphore,
    /// Index behind the last record that was acknowledged since the start.
    known: AtomicU64,
}

/// Is kept for as long as the room is used.
pub(super) type Taken<'a> = [SemaphorePermit<'a>; 2];

impl Shares {
    /// That of a host. There are as many as hosts that were let in.
    pub(super) fn of(&self, host: &str) -> Arc<Share> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Share {
                bodies: Room::new(SMALL_BODIES_OF_HOST_KIB_MAX, BODIES_OF_HOST_KIB_MAX),
                turn: Semaphore::new(1),
                known: AtomicU64::new(0),
            })
        };
        Arc::clone(hosts.entry(host.to_owned()).or_insert_with(new))
    }

    /// Room for a body of so many bytes; `None` at the end of the sink.
    pub(super) async fn body<'a>(&'a self, share: &'a Share, bytes: usize) -> Option<Taken<'a>> {
        let is_small = bytes <= SMALL_BODY_MAX;
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        // One that waits for what itself has keeps nothing from others meanwhile.
        let own = share.bodies.of(is_small).acquire_many(kib).await.ok()?;
        Some([own, self.bodies.of(is_small).acquire_many(kib).await.ok()?])
    }

    /// Room for a batch that becomes so many bytes.
    pub(super) async fn batch(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.batches.of(bytes <= SMALL_BATCH_MAX).acquire().await.ok()
    }

    /// Room for a long request to be let in.
    pub(super) async fn long_enroll(&self) -> Option<SemaphorePermit<'_>> {
        self.long_enrolls.acquire().await.ok()
    }
}

impl Share {
    /// The turn of one batch of the host.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// Records up to an index are acknowledged.
    pub(super) fn reached(&self, size: u64) {
        self.known.fetch_max(size, Ordering::Relaxed);
    }

    /// Whether records up to an index may have been sent before.
    pub(super) fn may_know(&self, size: u64) -> bool {
        size <= self.known.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context};

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn what_one_host_holds_leaves_room_for_others() {
        let shares = Shares::default();
        let [one, other, third] = ["one", "other", "third"].map(|host| shares.of(host));
        let long = wire::BODY_BYTES_MAX;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let held = shares.body(&one, long).await;
            // It has all that it may have, and small ones still.
            assert!(!is_ready(shares.body(&one, SMALL_BODY_MAX + 1)));
            assert!(is_ready(shares.body(&one, SMALL_BODY_MAX)));
            assert!(is_ready(shares.body(&other, long)));
            let mut small = Vec::new();
            for _ in 0..SMALL_BODIES_OF_HOST_KIB_MAX * KIB / SMALL_BODY_MAX {
                small.push(shares.body(&one, SMALL_BODY_MAX).await);
            }
            assert!(!is_ready(shares.body(&one, 1)));
            assert!(is_ready(shares.body(&other, 1)) && is_ready(shares.body(&third, long)));
            drop(held);
            assert!(is_ready(shares.body(&one, SMALL_BODY_MAX + 1)));
            drop(small);
            assert!(is_ready(shares.body(&one, 1)));
        });
    }

    #[test]
    fn a_host_takes_turns_with_itself_and_small_batches_do_not_wait_for_large_ones() {
        let shares = Shares::default();
        let [one, again, other] = ["one", "one", "other"].map(|host| shares.of(host));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let turn = one.turn().await;
            assert!(!is_ready(again.turn()) && is_ready(other.turn()));
            drop(turn);
            assert!(is_ready(again.turn()));
            let mut large = Vec::new();
            for _ in 0..BATCHES_MAX {
                large.push(shares.batch(SMALL_BATCH_MAX + 1).await);
            }
            assert!(!is_ready(shares.batch(wire::BATCH_BYTES_MAX)));
            assert!(is_ready(shares.batch(SMALL_BATCH_MAX)));
        });
        one.reached(7);
        one.reached(3);
        assert!(again.may_know(7) && !again.may_know(8) && !other.may_know(1));
    }
}
