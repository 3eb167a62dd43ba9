//! Has another key sign a log that no daemon writes.

use std::{io, path::Path};

use super::{controls, sinking};
use crate::{
    audit::log::{Keep, KeeperOptions, OpenError},
    control::server::Peer,
};

/// Why the key is what it was.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be written.
    #[error("the key of the log cannot be replaced")]
    Io(#[from] io::Error),
}

/// Replaces the key of the log in a state directory, and gives the new one.
///
/// # Errors
/// The log is in use, or cannot be read or written.
pub async fn rotate(state_dir: &Path) -> Result<String, RotateError> {
    // Nothing is deleted, whatever size the daemon keeps the log at.
    let options = KeeperOptions { keep: Keep::ALL, ..KeeperOptions::default() };
    let journal = sinking::open_log_with(state_dir, options)?;
    let uid = rustix::process::getuid().as_raw();
    let by = controls::by(Peer { uid, pid: Some(std::process::id()) });
    Ok(journal.rotate(by).await?)
}
