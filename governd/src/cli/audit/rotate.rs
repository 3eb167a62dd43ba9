//! `governd audit rotate-key`: another key signs the log from here on.

use clap::Args;

use super::{
    Outcome,
    change::{Change, Writer},
};
use crate::{
    app::unattended::Unattended,
    cli::{exit::Exit, printer::Printer, unwritable},
    control::protocol::Request,
};

/// Flags of `governd audit rotate-key`.
#[derive(Args, Debug)]
pub(super) struct RotateKey {
    #[command(flatten)]
    writer: Writer,
}

impl RotateKey {
    pub(super) fn run(self) -> Outcome {
        let key: String = self.writer.change(Change {
            alone: async |log: Unattended| log.rotate().await,
            request: Request::RotateKey,
            failure: (
                "the key of the log cannot be replaced",
                "see that the file system works, and try again: the log has one key or the other",
            ),
        })?;
        let printer = Printer::new(false);
        printer.line(key).map_err(unwritable)?;
        printer.note("this key signs the log from here on; note it where the one before was noted");
        Ok(Exit::Yes)
    }
}
