//! Waiting on a state, never on a time.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long a state may take to come about on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How many times as slow as others a machine is, an emulated one for example.
const SLOWNESS: &str = "GOVERND_TEST_SLOWNESS";

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Asks `state` until it answers `Some`, for at most `limit`.
///
/// # Errors
///
/// Fails when the limit is over, naming `what`, or when `state` fails.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut state: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let limit = allowed(limit);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = state()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// What this machine may take for what may take others `limit`.
pub(crate) fn allowed(limit: Duration) -> Duration {
    let slowness = env::var(SLOWNESS).ok().and_then(|text| text.parse().ok());
    limit * slowness.unwrap_or(1).max(1)
}
