//! Limits: how much an agent may do within a minute or an hour.
//!
//! What it does is counted in windows that follow one another. What counts is the present window,
//! and of the one before it the part that the length of a window still reaches back to, as if all
//! of it had come evenly. So there is no moment at which a limit is free again as a whole.

use crate::{
    limits::DESTINATION_KNOWN_S,
    verdict::{Reason, codes},
};

const NS_PER_S: u64 = 1_000_000_000;
/// Parts into which the window before is cut, as a power of two.
const PARTS_SHIFT: u32 = 10;

/// How long a destination is known after it was last reached, in nanoseconds.
pub const DESTINATION_KNOWN_NS: u64 = DESTINATION_KNOWN_S as u64 * NS_PER_S;

codes! {
    /// What is counted.
    Limit {
        /// Calls of `connect(2)` that the policy lets pass, in a minute.
        Connections = 0 => "connections_per_minute",
        /// Addresses that were not reached for a day, in an hour.
        Destinations = 1 => "new_destinations_per_hour",
        /// Bytes of packets in both directions, in an hour.
        Bytes = 2 => "bytes_per_hour",
    }
}

impl Limit {
    /// How long a window is, in nanoseconds.
    #[inline(always)]
    pub const fn window_ns(self) -> u64 {
        match self {
            Self::Connections => 60 * NS_PER_S,
            Self::Destinations | Self::Bytes => 3_600 * NS_PER_S,
        }
    }

    /// Why something is denied, or told, that is too much.
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Connections => Reason::ConnectionsLimit,
            Self::Destinations => Reason::DestinationsLimit,
            Self::Bytes => Reason::BytesLimit,
        }
    }
}

/// What happens when a limit is crossed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Crossing {
    /// The owner is told.
    Notify = 0,
    /// It is denied, and the agent quarantined.
    Halt = 1,
}

shared! {
    /// The limits of a subject, by [`Limit`]; 0 is none.
    #[derive(Default)]
    pub struct Limits {
        /// Beyond these the owner is told.
        pub notify: [u64; Limit::ALL.len()],
        /// Beyond these the subject is halted.
        pub halt: [u64; Limit::ALL.len()],
    }
}

impl Limits {
    /// The limit of this kind, or 0.
    pub fn of(&self, crossing: Crossing, limit: Limit) -> u64 {
        let list = match crossing {
            Crossing::Notify => &self.notify,
            Crossing::Halt => &self.halt,
        };
        list.get(limit as usize).copied().unwrap_or(0)
    }

    /// Whether anything of this kind has to be counted.
    pub fn counts(&self, limit: Limit) -> bool {
        self.of(Crossing::Notify, limit) != 0 || self.of(Crossing::Halt, limit) != 0
    }

    /// Whether nothing has to be counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

shared! {
    /// What happened in one window.
    #[derive(Default)]
    pub struct Window {
        /// Its number since boot.
        pub number: u64,
        /// How much.
        pub count: u64,
    }
}

shared! {
    /// How much a subject did of one thing.
    #[derive(Default)]
    pub struct Used {
        /// The present window and the one before, by the lowest bit of their numbers.
        pub windows: [Window; 2],
        /// The number of the window in which each [`Crossing`] was last told, and one more.
        pub told: [u64; 2],
    }
}

impl Used {
    /// How much it did within a window's length, at a time (`CLOCK_BOOTTIME`, in nanoseconds).
    #[inline(always)]
    pub fn sum(&self, limit: Limit, now_ns: u64) -> u64 {
        let length = limit.window_ns();
        let (number, passed) = (now_ns / length, now_ns % length);
        let [even, odd] = &self.windows;
        let (now, before) = if number & 1 == 0 { (even, odd) } else { (odd, even) };
        let mut sum = if now.number == number { now.count } else { 0 };
        if before.number.wrapping_add(1) == number {
            let parts = ((length - passed) << PARTS_SHIFT) / length;
            let rest = before.count & ((1 << PARTS_SHIFT) - 1);
            sum += (before.count >> PARTS_SHIFT) * parts + ((rest * parts) >> PARTS_SHIFT);
        }
        sum
    }
}

shared! {
    /// How much a subject did, by [`Limit`].
    #[derive(Default)]
    pub struct Usage {
        /// Of each.
        pub used: [Used; Limit::ALL.len()],
    }
}

impl Usage {
    /// How much of one thing, at a time (`CLOCK_BOOTTIME`, in nanoseconds).
    pub fn sum(&self, limit: Limit, now_ns: u64) -> u64 {
        self.used.get(limit as usize).map_or(0, |used| used.sum(limit, now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: u64 = 60 * NS_PER_S;

    fn used(windows: [(u64, u64); 2]) -> Used {
        let windows = windows.map(|(number, count)| Window { number, count });
        Used { windows, told: [0; 2] }
    }

    #[test]
    fn the_window_before_counts_as_far_as_a_window_reaches_back() {
        // Windows by number and count, time in windows since boot, sum.
        let rows = [
            ([(0, 0), (0, 0)], 7.5, 0),
            ([(6, 10), (7, 3)], 7.0, 13),
            ([(6, 10), (7, 3)], 7.5, 8),
            ([(6, 10), (7, 3)], 8.5, 1),
            ([(6, 10), (7, 3)], 9.0, 0),
            ([(8, 4), (7, 1_000_000)], 8.25, 750_004),
            ([(8, u64::MAX >> 11), (7, u64::MAX >> 11)], 8.0, (u64::MAX >> 11) * 2),
        ];
        for (windows, at, sum) in rows {
            let now_ns = (at * MINUTE_NS as f64) as u64;
            assert_eq!(used(windows).sum(Limit::Connections, now_ns), sum, "{windows:?} {at}");
        }
    }

    #[test]
    fn limits_that_are_not_set_are_not_counted() {
        let limits = Limits { notify: [0, 5, 0], halt: [0, 0, 9] };
        let counted = Limit::ALL.iter().map(|limit| limits.counts(*limit));
        assert!(counted.eq([false, true, true]) && !limits.is_empty());
        assert!(Limits::default().is_empty());
    }
}
