//! What somebody does to governd itself, as findings.

use super::{discovery::trouble, engine::Engine, frames::FrameGuard};
use crate::{
    audit::record::Record,
    kernel::{Harm, Tampering},
};

impl Engine {
    /// Links that were taken away are put back, and recorded. Gives those that were detached, in
    /// words.
    pub(super) fn look_for_tampering(&mut self) -> Vec<String> {
        let at_interfaces = self.frames.iter().flat_map(FrameGuard::harms).collect::<Vec<_>>();
        match self.kernel.mend().map(|found| [found, at_interfaces].concat()) {
            Ok(found) if found.is_empty() => Vec::new(),
            Ok(found) => {
                let title = "somebody took governd's programs out of the kernel";
                let finding = trouble("tampering", title, found.iter().map(words).collect());
                self.journal.record(Record::Finding(finding), None);
                found.iter().filter(|found| found.harm == Harm::Detached).map(words).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "links cannot be looked at");
                Vec::new()
            }
        }
    }
}

fn words(found: &Tampering) -> String {
    let what = match found.harm {
        Harm::Detached => "was detached",
        Harm::Unpinned => "would have ended with the daemon: its pin was removed",
    };
    let now = if found.is_mended { "is as it was again" } else { "cannot be put back" };
    format!("{} {what}, and {now}", found.program)
}
