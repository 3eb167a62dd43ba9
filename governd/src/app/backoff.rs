//! How long to wait before the next attempt to reach somebody who does not answer.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// Waits between attempts grow from this to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(60);
const DOUBLINGS_MAX: u32 = 10;

/// The wait after so many failures in a row: twice as long each time, less up to a half, so that
/// hosts do not come all at once.
pub(super) fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let longest = WAIT_MIN.saturating_mul(1 << doublings).min(WAIT_MAX);
    let mut byte = [0];
    // Without randomness all hosts wait equally long, which is no harm to this one.
    SystemRandom::new().fill(&mut byte).ok();
    longest / 2 + longest / 2 * u32::from(byte[0]) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_are_never_less_than_half() {
        for (failures, longest) in [(0, 500), (1, 500), (2, 1_000), (5, 8_000), (9, 60_000)] {
            let longest = Duration::from_millis(longest);
            let pause = pause(failures);
            assert!(pause >= longest / 2 && pause <= longest, "{failures}: {pause:?}");
        }
        assert!(pause(u32::MAX) <= WAIT_MAX);
    }
}
