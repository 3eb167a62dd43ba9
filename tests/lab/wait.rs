//! Waiting on a state, never on a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long a state may take to come about on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

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
