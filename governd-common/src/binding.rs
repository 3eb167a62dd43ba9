//! What an address stands for, as DNS taught it.

use crate::limits::BINDING_SETS_MAX;

shared! {
    /// One name set that an address stands for.
    pub struct BoundSet {
        /// `CLOCK_BOOTTIME` after which it no longer does, in nanoseconds; 0 is unused.
        pub expires_ns: u64,
        /// The set.
        pub set: u32,
        /// Zero.
        pub reserved: u32,
    }
}

shared! {
    /// What an address stands for.
    pub struct Binding {
        /// The sets; when all are in use, the one that expires first is replaced.
        pub sets: [BoundSet; BINDING_SETS_MAX],
    }
}

const PLACES: u64 = BINDING_SETS_MAX as u64;
/// The lowest bits of a rank: the place, and whether that is of another set.
const RANK_BITS: u64 = 2 * PLACES - 1;

impl BoundSet {
    /// A place that holds no set.
    pub const UNUSED: Self = Self { expires_ns: 0, set: 0, reserved: 0 };

    /// How well a set may take this one's place, which is the `at`th of an address: the smallest
    /// number is best. It is the place of the same set, else the first that is unused or has
    /// expired, else the one that expires first, to 16 ns. [`place_of_rank`] tells which place.
    #[inline(always)]
    pub const fn rank(&self, at: usize, set: u32, now_ns: u64) -> u64 {
        let at = at as u64;
        if self.set == set {
            return at;
        }
        let expires_ns = if self.expires_ns > now_ns { self.expires_ns } else { 0 };
        expires_ns & !RANK_BITS | PLACES | at
    }
}

/// The place in a [`Binding`] that a rank is of.
#[inline(always)]
pub const fn place_of_rank(rank: u64) -> usize {
    (rank & (PLACES - 1)) as usize
}

const _: () = assert!(BINDING_SETS_MAX.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_takes_its_own_place_or_a_free_one_or_that_of_the_first_to_expire() {
        const NOW_NS: u64 = 1_000_000;
        let full: Vec<(u32, u64)> =
            (1..=8).map(|set| (set, NOW_NS + 1_000 * u64::from(set))).collect();
        let with = |at: usize, place: (u32, u64)| {
            let mut sets = full.clone();
            sets[at] = place;
            sets
        };
        let rows = [
            (full.clone(), 6, 5),
            (full.clone(), 9, 0),
            (with(3, (4, NOW_NS + 16)), 9, 3),
            (with(5, (0, 0)), 9, 5),
            (with(7, (8, NOW_NS)), 9, 7),
            // Its own place, though others are free.
            (with(0, (0, 0)), 8, 7),
            (with(2, (3, 1)), 3, 2),
            (Vec::new(), 9, 0),
        ];
        for (places, set, expected) in rows {
            let mut binding = Binding { sets: [BoundSet::UNUSED; BINDING_SETS_MAX] };
            for (place, (set, expires_ns)) in binding.sets.iter_mut().zip(&places) {
                *place = BoundSet { expires_ns: *expires_ns, set: *set, reserved: 0 };
            }
            let ranks = binding.sets.iter().enumerate();
            let best = ranks.map(|(at, place)| place.rank(at, set, NOW_NS)).min().unwrap();
            assert_eq!(place_of_rank(best), expected, "{set} among {places:?}");
        }
    }
}
