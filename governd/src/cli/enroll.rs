//! `governd enroll`: lets a sink take this host's log.

use std::path::PathBuf;

use clap::Args;

use super::{
    Outcome,
    exit::{Exit, Failure},
    printer::Printer,
};
use crate::{app::uplink, settings};

/// Flags of `governd enroll`.
#[derive(Args, Debug)]
pub(super) struct Enroll {
    /// The token that `governd sink token` printed, or `-` to read it from stdin.
    #[arg(value_name = "TOKEN", env = "GOVERND_TOKEN", hide_env_values = true)]
    token: String,
    /// Directory of the daemon's state.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: PathBuf,
}

impl Enroll {
    pub(super) fn run(self) -> Outcome {
        let token = match self.token.as_str() {
            "-" => std::io::read_to_string(std::io::stdin())
                .map_err(|error| Failure::plain(Exit::Environment, error))?,
            _ => self.token,
        };
        let sink = uplink::enroll(&self.state_dir, &token).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Environment, error, hint)
        })?;
        Printer::new(false)
            .note(format_args!("{sink} takes this host's log from the next start of governd on"));
        Ok(Exit::Yes)
    }
}
