//! `governd audit rotate-key`: another key signs the log from here on.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::Outcome;
use crate::{
    app::rotating::{self, RotateError},
    audit::log::OpenError,
    cli::{
        controls::ask,
        exit::{Exit, Failure},
        flags::Socket,
        printer::Printer,
        unwritable,
    },
    control::protocol::Request,
    settings,
};

/// Flags of `governd audit rotate-key`.
#[derive(Args, Debug)]
pub(super) struct RotateKey {
    /// Directory of the daemon's state; the log is in `log` below it.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: PathBuf,
    #[command(flatten)]
    socket: Socket,
}

impl RotateKey {
    pub(super) fn run(self) -> Outcome {
        let Self { state_dir, socket } = self;
        if !state_dir.join("log").is_dir() {
            let error = anyhow!("there is no log in {}", state_dir.display());
            let hint = "name the state directory with --state-dir";
            return Err(Failure::new(Exit::Environment, error, hint));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| Failure::plain(Exit::Environment, error))?;
        let key = match runtime.block_on(rotating::rotate(&state_dir)) {
            Ok(key) => key,
            // The daemon writes it, and so has to do it.
            Err(RotateError::Open(OpenError::InUse { .. })) => {
                ask::<String>(&socket, &Request::RotateKey)?
            }
            Err(RotateError::Open(error)) => {
                let hint = error.hint();
                return Err(Failure::new(Exit::Environment, error, hint));
            }
            Err(error @ RotateError::Io(_)) => {
                let hint = "see that the file system works, and try again: the log has one key or \
                            the other";
                return Err(Failure::new(Exit::Environment, error, hint));
            }
        };
        let printer = Printer::new(false);
        printer.line(key).map_err(unwritable)?;
        printer.note("this key signs the log from here on; note it where the one before was noted");
        Ok(Exit::Yes)
    }
}
