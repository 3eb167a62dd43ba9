//! Times of events and of files: the one is `CLOCK_BOOTTIME`, the other the time of day.

use rustix::time::{ClockId, clock_gettime};

const SECOND_NS: u64 = 1_000_000_000;

/// A time of `CLOCK_BOOTTIME` in nanoseconds since the epoch, by the present setting of the clock.
pub(super) fn wall_ns(boot_ns: u64) -> u64 {
    let booted_ns = now_ns(ClockId::Realtime).saturating_sub(now_ns(ClockId::Boottime));
    booted_ns.saturating_add(boot_ns)
}

fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let [seconds, nanos] = [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds.saturating_mul(SECOND_NS).saturating_add(nanos)
}
