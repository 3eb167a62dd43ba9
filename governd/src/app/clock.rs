//! The one place that asks what time it is. Kernel events carry `CLOCK_BOOTTIME`; records carry
//! milliseconds since the epoch.

use rustix::time::{ClockId, clock_gettime};

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Nanoseconds since boot, suspended time included, as `bpf_ktime_get_boot_ns` counts them.
pub fn boot_ns() -> u64 {
    read_ns(ClockId::Boottime)
}

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    read_ns(ClockId::Realtime) / NS_PER_MS
}

/// Seconds since the epoch.
pub fn now_s() -> u64 {
    read_ns(ClockId::Realtime) / NS_PER_S
}

/// When the host booted, in milliseconds since the epoch, by the present setting of the clock.
pub fn booted_ms() -> u64 {
    (read_ns(ClockId::Realtime).saturating_sub(boot_ns())) / NS_PER_MS
}

/// Milliseconds of nanoseconds.
pub fn ms(ns: u64) -> u64 {
    ns / NS_PER_MS
}

fn read_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NS_PER_S).saturating_add(nanos)
}
