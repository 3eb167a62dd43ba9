//! `governd stop`: the daemon ends, and what it enforces goes on or ends with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags,
    printer::Printer,
    status,
};
use crate::{
    app::leftovers,
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
        let (socket, pins) = (&self.socket, &self.pins);
        if self.detach {
            printer.note(if detach(socket, pins, self.cgroup.as_deref())? {
                "governd has stopped; nothing of it is left in the kernel"
            } else {
                "no governd runs, and nothing of it is in the kernel"
            });
            return Ok(Exit::Yes);
        }
        let was_running = end(socket, false)?;
        printer.note(if was_running {
            "governd has stopped; what it enforces goes on"
        } else {
            "no governd runs"
        });
        Ok(if was_running { Exit::Yes } else { Exit::No })
    }
}

/// Ends the daemon, if one runs, and takes out of the kernel what is pinned for a cgroup, or for
/// all. Says whether there was anything.
pub(super) fn detach(
    socket: &flags::Socket,
    pins: &flags::Pins,
    cgroup: Option<&Path>,
) -> Result<bool, Failure> {
    let was_running = end(socket, true)?;
    let removed = Pins::remove_all(&pins.pins, cgroup).map_err(failure)?;
    let stay = leftovers::clear();
    if stay > 0 {
        Printer::new(false).note(format_args!(
            "{stay} filters at network interfaces let everything pass and could not be removed; \
             hint: `tc filter show dev NAME egress` shows them with governd's name"
        ));
    }
    Ok(was_running || removed > 0)
}

/// Ends the daemon, and says whether one was there.
fn end(socket: &flags::Socket, with_enforcement: bool) -> Result<bool, Failure> {
    match client::stop(&socket.socket, with_enforcement, PATIENCE) {
        Err(ClientError::NotRunning { .. }) => Ok(false),
        stopped => stopped.map_err(status::failure).map(|()| true),
    }
}

fn failure(error: KernelError) -> Failure {
    let hint = match &error {
        KernelError::Governed { .. } => {
            "name the socket of that one with --socket, or end its process"
        }
        other => other.hint(),
    };
    Failure::new(Exit::Environment, error, hint)
}
