//! `governd stop`: the daemon ends, and what it enforces goes on or ends with it.

use std::{path::PathBuf, time::Duration};

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags,
    printer::Printer,
    status,
};
use crate::{
    control::client::{self, ClientError},
    kernel::{KernelError, Pins},
};
use clap::Args;

/// How long the daemon may take to write what it knows.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `governd stop`.
#[derive(Args, Debug)]
pub(super) struct Stop {
    /// End enforcement, too: take everything of governd out of the kernel. Works without a daemon.
    #[arg(long)]
    detach: bool,
    /// With --detach and no daemon: only what governs this cgroup v2 directory [default: all].
    ///
    /// Without --detach it means nothing and is no error: the variable may be set for the service.
    #[arg(long, env = "GOVERND_CGROUP", value_name = "DIR")]
    cgroup: Option<PathBuf>,
    #[command(flatten)]
    pins: flags::Pins,
    #[command(flatten)]
    socket: flags::Socket,
}

impl Stop {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(false);
        let was_running = match client::stop(&self.socket.socket, self.detach, PATIENCE) {
            Err(ClientError::NotRunning { .. }) => false,
            stopped => stopped.map_err(status::failure).map(|()| true)?,
        };
        if !self.detach {
            printer.note(if was_running {
                "governd has stopped; what it enforces goes on"
            } else {
                "no governd runs"
            });
            return Ok(if was_running { Exit::Yes } else { Exit::No });
        }
        let cgroup = self.cgroup.as_deref();
        let removed = Pins::remove_all(&self.pins.pins, cgroup).map_err(failure)?;
        printer.note(if was_running || removed > 0 {
            "governd has stopped; nothing of it is left in the kernel"
        } else {
            "no governd runs, and nothing of it is in the kernel"
        });
        Ok(Exit::Yes)
    }
}

fn failure(error: KernelError) -> Failure {
    let hint = match &error {
        KernelError::Governed { .. } => "name the socket of that one with --socket",
        other => other.hint(),
    };
    Failure::new(Exit::Environment, error, hint)
}
