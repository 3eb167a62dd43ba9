//! `governd policy learn`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::{Additions, Exit, Failure, Outcome, Printer, catalogue, unreadable, unwritable};
use crate::{
    app::flows,
    cli::audit::moment,
    policy::{
        self,
        learn::{Options, learn},
    },
    settings,
};

#[derive(Args, Debug)]
pub(super) struct Learn {
    /// Only connections from this time on: `2026-03-01`, or that long ago: `36h`, `30d`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only this agent; of unregistered processes, only those of this executable.
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Name groups of the catalogue instead of the hosts that they have.
    #[arg(long)]
    group: bool,
    /// Name a wildcard instead of three or more hosts of one domain.
    #[arg(long)]
    wildcard: bool,
    /// Directory of the daemon's state; the log is in `log` below it.
    #[arg(
        long,
        env = "GOVERND_STATE_DIR",
        value_name = "DIR",
        default_value = settings::STATE_DIR
    )]
    state_dir: PathBuf,
    #[command(flatten)]
    additions: Additions,
}

impl Learn {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(false);
        let since_ms = self.since.map_or(i64::MIN, Timestamp::as_millisecond);
        let seen = flows::read(&self.state_dir.join("log"), since_ms).map_err(unreadable)?;
        let endpoints = catalogue::known(&self.additions.load()?).endpoints;
        let options = Options {
            agent: self.agent.as_deref(),
            groups: self.group.then_some(&endpoints),
            has_wildcards: self.wildcard,
        };
        let learned = learn(&seen.flows, &options);
        for remark in &learned.remarks {
            printer.note(remark);
        }
        if seen.left_out > 0 {
            printer.note(format!("{} connections of further kinds were left out", seen.left_out));
        }
        if learned.documents.is_empty() {
            let error = anyhow::anyhow!("the log has no connection that a policy could be made of");
            let hint = "watch for longer, in monitor mode, or name another time or agent";
            return Err(Failure::new(Exit::No, error, hint));
        }
        let text = learned.documents.join("---\n");
        if let Err(diagnostics) = policy::load(&[("learned", &text)]) {
            return Err(Failure::plain(Exit::Internal, diagnostics));
        }
        printer.text(text).map_err(unwritable)?;
        Ok(Exit::Yes)
    }
}
