//! What people do to a log that no daemon writes.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{controls, inventory, journal::Journal, sinking};
use crate::{
    audit::{
        log::{Keep, KeeperOptions, OpenError},
        record::{By, personal::Erasure},
    },
    control::server::Peer,
};

/// A log without a daemon, and who has it.
pub struct Unattended {
    state_dir: PathBuf,
    journal: Journal,
    by: By,
}

impl Unattended {
    /// Opens the log of a state directory for the user who asks.
    ///
    /// # Errors
    /// The log is in use, or cannot be read.
    pub fn open(state_dir: &Path) -> Result<Self, OpenError> {
        // Nothing but what is meant goes, whatever size the daemon keeps the log at.
        let options = KeeperOptions { keep: Keep::ALL, ..KeeperOptions::default() };
        let journal = sinking::open_log_with(state_dir, options)?;
        let uid = rustix::process::getuid().as_raw();
        let by = controls::by(Peer { uid, pid: Some(std::process::id()) });
        Ok(Self { state_dir: state_dir.to_owned(), journal, by })
    }

    /// Erases values beside the records and of the inventory, and says how many that was.
    ///
    /// # Errors
    /// The log or the inventory cannot be written.
    pub async fn erase(self, which: Erasure) -> io::Result<u64> {
        let of_inventory = inventory::erase(&self.state_dir, &which)?;
        self.journal.erase(which, of_inventory, self.by).await
    }

    /// Has another key sign the log, and gives it.
    ///
    /// # Errors
    /// The log cannot be written.
    pub async fn rotate(self) -> io::Result<String> {
        self.journal.rotate(self.by).await
    }
}
