//! Erases values beside the records of a log that no daemon writes.

use std::{io, path::Path};

use super::{controls, sinking};
use crate::{
    audit::{
        log::{Keep, KeeperOptions, OpenError},
        record::personal::Erasure,
    },
    control::server::Peer,
};

/// Why nothing was erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be written.
    #[error("what stands beside the log cannot be erased")]
    Io(#[from] io::Error),
}

/// Erases what is meant in the log of a state directory, and says how many values that was.
///
/// # Errors
/// The log is in use, or cannot be read or written.
pub async fn erase(state_dir: &Path, which: Erasure) -> Result<u64, EraseError> {
    // Nothing but what is meant goes, whatever size the daemon keeps the log at.
    let options = KeeperOptions { keep: Keep::ALL, ..KeeperOptions::default() };
    let journal = sinking::open_log_with(state_dir, options)?;
    let uid = rustix::process::getuid().as_raw();
    let by = controls::by(Peer { uid, pid: Some(std::process::id()) });
    Ok(journal.erase(which, by).await?)
}
