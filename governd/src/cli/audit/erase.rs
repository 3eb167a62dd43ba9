//! `governd audit erase`: a person's data goes, and the log still verifies.

use clap::Args;

use super::{
    Outcome,
    change::{Change, Writer},
};
use crate::{
    app::unattended::Unattended,
    audit::record::personal::Erasure,
    cli::{exit::Exit, flags::Beside, printer::Printer, unwritable},
    control::protocol::Request,
};

/// Flags of `governd audit erase`.
#[derive(Args, Debug)]
pub(super) struct Erase {
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    writer: Writer,
}

impl Erase {
    pub(super) fn run(self) -> Outcome {
        let Self { beside, writer } = self;
        let which = beside.erasure();
        let Erasure { user, before_ms } = which.clone();
        let count: u64 = writer.change(Change {
            alone: async |log: Unattended| log.erase(which).await,
            request: Request::Erase { user, before_ms },
            failure: (
                "what stands beside the log cannot be erased",
                "see that the file system works, and erase again",
            ),
        })?;
        let printer = Printer::new(false);
        printer.line(format!("erased: {count} values")).map_err(unwritable)?;
        Ok(if count > 0 { Exit::Yes } else { Exit::No })
    }
}
