//! What people change of a log: this process does it, or the daemon that writes the log.

use std::{io, path::PathBuf};

use anyhow::{Error, anyhow};
use clap::Args;
use serde::de::DeserializeOwned;

use crate::{
    app::unattended::Unattended,
    audit::log::OpenError,
    cli::{
        controls::ask,
        exit::{Exit, Failure},
        flags::Socket,
    },
    control::protocol::Request,
    settings,
};

/// Which log, and who writes it.
#[derive(Args, Debug)]
pub(super) struct Writer {
    /// Directory of the daemon's state; the log is in `log` below it.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: PathBuf,
    #[command(flatten)]
    socket: Socket,
}

/// A change, as each of the two does it.
pub(super) struct Change<A> {
    pub(super) alone: A,
    pub(super) request: Request,
    /// What is said if the disk refuses it, and what then helps.
    pub(super) failure: (&'static str, &'static str),
}

impl Writer {
    pub(super) fn change<T: DeserializeOwned>(
        &self,
        change: Change<impl AsyncFnOnce(Unattended) -> io::Result<T>>,
    ) -> Result<T, Failure> {
        let Change { alone, request, failure: (what, hint) } = change;
        if !self.state_dir.join("log").is_dir() {
            let error = anyhow!("there is no log in {}", self.state_dir.display());
            let hint = "name the state directory with --state-dir";
            return Err(Failure::new(Exit::Environment, error, hint));
        }
        let log = match Unattended::open(&self.state_dir) {
            Ok(log) => log,
            Err(OpenError::InUse { .. }) => return ask(&self.socket, &request),
            Err(error) => {
                let hint = error.hint();
                return Err(Failure::new(Exit::Environment, error, hint));
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| Failure::plain(Exit::Environment, error))?;
        let done = runtime.block_on(alone(log));
        let failed = |error| Failure::new(Exit::Environment, Error::new(error).context(what), hint);
        done.map_err(failed)
    }
}
