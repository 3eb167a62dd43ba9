//! `governd audit erase`: a person's data goes, and the log still verifies.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::Outcome;
use crate::{
    app::erasing::{self, EraseError},
    audit::{log::OpenError, record::personal::Erasure},
    cli::{
        controls::ask,
        exit::{Exit, Failure},
        flags::{Beside, Socket},
        printer::Printer,
        unwritable,
    },
    control::protocol::Request,
    settings,
};

/// Flags of `governd audit erase`.
#[derive(Args, Debug)]
pub(super) struct Erase {
    #[command(flatten)]
    beside: Beside,
    /// Directory of the daemon's state; the log is in `log` below it.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: PathBuf,
    #[command(flatten)]
    socket: Socket,
}

impl Erase {
    pub(super) fn run(self) -> Outcome {
        let Self { beside, state_dir, socket } = self;
        let which = beside.erasure();
        if !state_dir.join("log").is_dir() {
            let error = anyhow!("there is no log in {}", state_dir.display());
            let hint = "name the state directory with --state-dir";
            return Err(Failure::new(Exit::Environment, error, hint));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| Failure::plain(Exit::Environment, error))?;
        let count = match runtime.block_on(erasing::erase(&state_dir, which.clone())) {
            Ok(count) => count,
            // The daemon writes it, and so has to do it.
            Err(EraseError::Open(OpenError::InUse { .. })) => {
                let Erasure { user, before_ms } = which;
                ask::<u64>(&socket, &Request::Erase { user, before_ms })?
            }
            Err(EraseError::Open(error)) => {
                let hint = error.hint();
                return Err(Failure::new(Exit::Environment, error, hint));
            }
            Err(error @ EraseError::Io(_)) => {
                let hint = "see that the file system works, and erase again";
                return Err(Failure::new(Exit::Environment, error, hint));
            }
        };
        let printer = Printer::new(false);
        printer.line(format!("erased: {count} values")).map_err(unwritable)?;
        Ok(if count > 0 { Exit::Yes } else { Exit::No })
    }
}
