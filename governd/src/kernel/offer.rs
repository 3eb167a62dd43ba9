//! What the running kernel offers: read once, for all who want to know.

use std::{
    collections::HashMap,
    thread::{self, JoinHandle},
};

use governd_common::layout::KernelLayout;

use super::{KernelError, btf::Btf, filter, lack::Lack, layout, lsm, program::Kind, sending, unix};

/// What its type information says, and which security modules it has.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(super) layout: KernelLayout,
    /// Filters of traffic control, where it has no links at interfaces.
    pub(super) has_filters: bool,
    /// Kinds of the programs of which the object does not say them.
    pub(super) kinds: HashMap<&'static str, Kind>,
}

/// What is being read, by a thread of its own: that takes a while, and needs nothing of the rest.
#[derive(Debug)]
pub struct Reading(Option<JoinHandle<Result<Offer, KernelError>>>);

impl Reading {
    /// Waits until it is read. Where the system gave no thread, it is read now.
    ///
    /// # Errors
    /// If the kernel's type information cannot be read.
    pub fn end(self) -> Result<Offer, KernelError> {
        self.0.and_then(|reading| reading.join().ok()).unwrap_or_else(Offer::of_kernel)
    }
}

impl Offer {
    /// Begins to read that of the running kernel.
    pub fn begin() -> Reading {
        let name = "offer".to_owned();
        Reading(thread::Builder::new().name(name).spawn(Self::of_kernel).ok())
    }

    /// That of the running kernel.
    ///
    /// # Errors
    /// If its type information cannot be read.
    pub fn of_kernel() -> Result<Self, KernelError> {
        let btf = Btf::of_kernel()?;
        let kinds = unix::kinds().chain(sending::kinds(&btf)).chain(lsm::kinds(&btf));
        let layout = layout::of(&btf)?;
        let has_filters = layout.has_interfaces == 0 && filter::are_there();
        Ok(Self { layout, has_filters, kinds: kinds.collect() })
    }

    /// What it lacks.
    pub fn lacks(&self) -> Vec<Lack> {
        Lack::all(&self.layout, self.has_filters)
    }

    /// A program's kind, where the object does not say it.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        self.kinds.get(name).copied()
    }
}
