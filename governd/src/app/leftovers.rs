//! Filters at network interfaces that nobody holds any more, because their daemon was killed or is
//! another one now: they let everything pass, and are taken off by who comes next or goes last.

use std::{collections::HashSet, path::Path, thread};

use crate::{
    kernel,
    workload::{
        netns::{Lookout, NetworkNamespace, VisitError, Visitor},
        proc::ProcFs,
    },
};

/// Takes them off on the whole host; gives how many stay.
pub fn clear() -> usize {
    let clear_all = || {
        let visitor = Visitor::new().map_err(VisitError::Return)?;
        clear_by(&visitor, &ProcFs::new(Path::new("/proc")))
    };
    // A thread that could not return from a namespace ends there.
    let cleared = thread::Builder::new().name("leftovers".into()).spawn(clear_all);
    match cleared.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(stay))) => stay,
        _ => {
            tracing::warn!("filters at network interfaces may be left, and let everything pass");
            0
        }
    }
}

/// What a thread that does nothing else takes off, once a policy is in force: what an earlier one
/// had has no effect from then on.
#[derive(Debug)]
pub(super) struct Leftovers {
    pub(super) may_be: bool,
}

impl Leftovers {
    /// Takes it off, if there may be some.
    pub(super) fn clear(&mut self, visitor: &Visitor, proc: &ProcFs) -> Result<(), VisitError> {
        if std::mem::take(&mut self.may_be) {
            let stay = clear_by(visitor, proc)?;
            if stay > 0 {
                tracing::warn!(stay, "filters at interfaces stay, and let everything pass");
            }
        }
        Ok(())
    }
}

fn clear_by(visitor: &Visitor, proc: &ProcFs) -> Result<usize, VisitError> {
    let mut known = HashSet::new();
    let mut all = Lookout::default().look(proc, &mut known);
    all.extend(NetworkNamespace::named(&mut known));
    let mut stay = 0;
    for namespace in all {
        match visitor.within(&namespace, kernel::clear_unheld) {
            Ok(Ok(here)) => stay += here,
            Ok(Err(error)) => tracing::debug!(%error, "filters at interfaces cannot be listed"),
            // It is gone.
            Err(VisitError::Enter(_)) => {}
            Err(error @ VisitError::Return(_)) => return Err(error),
        }
    }
    Ok(stay)
}
