//! What somebody does to governd itself, as findings.

use std::sync::Arc;

use super::{discovery::trouble, engine::Engine, frames::FrameGuard};
use crate::{
    audit::record::Record,
    kernel::{Harm, Tampering},
};

impl Engine {
    /// What was taken away is put back, and recorded.
    pub(super) fn mend(&mut self) {
        let detached = self.look_for_tampering();
        self.prove_mended(detached);
    }

    /// Puts links and pins back. Gives the programs that were detached, in words.
    fn look_for_tampering(&mut self) -> Vec<String> {
        let at_interfaces = self.frames.iter().flat_map(FrameGuard::harms).collect::<Vec<_>>();
        match self.kernel.mend().map(|found| [found, at_interfaces].concat()) {
            Ok(found) if found.is_empty() => Vec::new(),
            Ok(found) => {
                let title = "somebody took governd's programs or tables out of the kernel";
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

impl Engine {
    /// Tables that somebody else wrote are written anew, and that is recorded.
    pub(super) fn look_for_strangers_entries(&mut self) {
        let altered = match self.kernel.altered() {
            Ok(altered) if altered.is_empty() => return,
            Ok(altered) => altered,
            Err(error) => {
                tracing::warn!(%error, "tables cannot be looked at");
                return;
            }
        };
        let policy = Arc::clone(self.state.policy());
        let written = self.kernel.reread().and_then(|()| self.put_in_force(policy));
        let now = match &written {
            Ok(()) => "the policy is written anew".to_owned(),
            Err(error) => format!("the policy cannot be written anew: {error}"),
        };
        let title = "somebody wrote into governd's tables";
        let tables = altered.iter().map(|name| format!("{name} is not as it was written"));
        let evidence = tables.chain([now]).collect();
        let finding = trouble("tampering", title, evidence);
        tracing::error!(tables = altered.join(", "), "{title}");
        self.journal.record(Record::Finding(finding), None);
    }
}

fn words(found: &Tampering) -> String {
    let what = match found.harm {
        Harm::Detached => "was detached",
        Harm::TableUnpinned => "would have been empty for the next daemon: its pin was removed",
        Harm::Unpinned => "would have ended with the daemon: its pin was removed",
    };
    let now = if found.is_mended { "is as it was again" } else { "cannot be put back" };
    format!("{} {what}, and {now}", found.program)
}
