//! How the daemon takes hold of the kernel, and what it leaves there when it ends.

use std::{sync::Arc, thread};

use super::{Exporting, StartError, engine::Engine, frames::FrameGuard};
use crate::{
    audit::record::Phase,
    kernel::{self, Events, Kernel, KernelError, KernelOptions, Offer, Pins},
    policy::ids::Ids,
    settings::Settings,
};

/// What becomes of the programs when the daemon ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// They stay, and enforce.
    Stays,
    /// They go.
    Detaches,
}

impl Ending {
    /// What a signal means.
    pub(super) const fn of(settings: &Settings) -> Self {
        if settings.is_trial { Self::Detaches } else { Self::Stays }
    }
}

/// Locks what is pinned for the cgroup, with the numbers that it knows. A trial has no pins, and
/// leaves alone a cgroup that a service governs.
pub(super) fn pins(settings: &Settings) -> Result<(Option<Pins>, Ids), StartError> {
    let cgroup = settings.cgroup.clone().map_or_else(kernel::cgroup::root, Ok)?;
    if !settings.is_trial {
        let pins = Pins::lock(&settings.pins, &cgroup)?;
        let ids = pins.ids()?;
        return Ok((Some(pins), ids));
    }
    if Pins::has(&settings.pins, &cgroup)? {
        return Err(StartError::Service(cgroup));
    }
    Ok((None, Ids::default()))
}

/// Loads the programs, and does something else meanwhile: they wait for the verifier.
pub(super) fn load_while<T: Send>(
    settings: &Settings,
    offer: &Offer,
    pins: Option<Pins>,
    other: impl Fn() -> Result<T, StartError> + Copy + Send,
) -> Result<(T, Kernel), StartError> {
    thread::scope(|scope| {
        let begun = thread::Builder::new().name("opening".into()).spawn_scoped(scope, other);
        let kernel = load(settings, offer, pins);
        let done = begun.ok().and_then(|begun| begun.join().ok());
        // Where the system gives no thread, one after the other.
        Ok((done.unwrap_or_else(other)?, kernel?))
    })
}

/// Loads the programs.
fn load(settings: &Settings, offer: &Offer, pins: Option<Pins>) -> Result<Kernel, KernelError> {
    let options = KernelOptions { cgroup: settings.cgroup.clone(), ..KernelOptions::default() };
    let mut kernel = match pins {
        Some(pins) => Kernel::load_pinned(&options, offer, pins)?,
        None => Kernel::load(&options, offer)?,
    };
    kernel.make_canary();
    Ok(kernel)
}

impl Engine {
    /// Records the end, and lets go of the kernel.
    ///
    /// # Errors
    /// What is pinned cannot be removed.
    pub(super) fn end(mut self, events: &mut Events, reason: &str) -> Result<(), KernelError> {
        let stays_attached = self.ending == Ending::Stays;
        // Before the last events, or a flood would keep the ring from ever being empty. Where the
        // programs stay, events wait in the ring for the next daemon.
        let detached = if stays_attached { Ok(()) } else { self.kernel.detach() };
        if !stays_attached {
            self.drain(events);
        }
        self.look_last();
        if !stays_attached {
            self.frames.iter().for_each(FrameGuard::end);
        }
        self.release_last();
        self.pass_notices(true);
        self.record_phase(Phase::Stop { reason: Arc::from(reason), stays_attached });
        self.close_inventory();
        self.keep_rule_hits(true);
        self.journal.settle();
        self.settle(events);
        let Self { kernel, journal, exporting, uplink, .. } = self;
        drop((kernel, uplink));
        Exporting::stop(exporting);
        drop(journal);
        detached
    }
}
