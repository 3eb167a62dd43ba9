//! How the daemon takes hold of the kernel, and what it leaves there when it ends.

use std::{io, sync::Arc, thread};

use super::{Exporting, StartError, engine::Engine, frames::FrameGuard};
use crate::{
    audit::record::Phase,
    kernel::{self, Early, Events, Kernel, KernelError, KernelOptions, Lack, Offer, Pins},
    policy::{ids::Ids, image::Compiled},
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

/// Loads the programs, and does something else meanwhile: they wait for the verifier. Those at
/// interfaces are handed over early, to who guards those.
pub(super) fn load_while<T: Send>(
    settings: &Settings,
    offer: &Offer,
    pins: Option<Pins>,
    policy: &Compiled,
    other: impl Fn() -> Result<T, StartError> + Copy + Send,
) -> Result<(T, Kernel, Option<FrameGuard>), StartError> {
    let (early, coming) = Early::new();
    let guard = FrameGuard::spawn(coming, super::proc(), policy);
    let (done, mut kernel) = thread::scope(|scope| {
        let begun = thread::Builder::new().name("opening".into()).spawn_scoped(scope, other);
        let kernel = load(settings, offer, pins, early);
        let done = begun.ok().and_then(|begun| begun.join().ok());
        // Where the system gives no thread, one after the other.
        Ok::<_, StartError>((done.unwrap_or_else(other)?, kernel?))
    })?;
    let frames = guard_frames(&mut kernel, guard);
    Ok((done, kernel, frames))
}

/// Where nothing holds the programs or one does not load, packet sockets are found and not stopped.
fn guard_frames(kernel: &mut Kernel, guard: io::Result<FrameGuard>) -> Option<FrameGuard> {
    if kernel.lacks().contains(&Lack::Interfaces) {
        return None;
    }
    let loaded = kernel.load_frames().map_err(|error| error.to_string());
    let guard = loaded.and_then(|_| guard.map_err(|error| error.to_string()));
    guard.inspect_err(|error| tracing::warn!(%error, "no program at interfaces")).ok()
}

/// Loads the programs.
fn load(
    settings: &Settings,
    offer: &Offer,
    pins: Option<Pins>,
    early: Early,
) -> Result<Kernel, KernelError> {
    let options = KernelOptions { cgroup: settings.cgroup.clone(), ..KernelOptions::default() };
    let mut kernel = Kernel::load(&options, offer, pins, early)?;
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
