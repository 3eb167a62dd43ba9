//! Whether what was attached and pinned still is; what is not is mended.
//!
//! Who is root can take anything off, and can do so again: this makes it visible and short.

use std::os::fd::AsFd as _;

use super::{Kernel, KernelError, load::Pinned, removals::Removals, sys};

/// What somebody did to a program's link, or to a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Harm {
    /// It was taken off the cgroup.
    Detached,
    /// Its pin was removed.
    Unpinned,
    /// It is a table, and its pin was removed.
    TableUnpinned,
}

/// What was found of a program or a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tampering {
    /// The program, or the table.
    pub program: &'static str,
    /// What was done.
    pub harm: Harm,
    /// Whether it is as it was.
    pub is_mended: bool,
}

impl Kernel {
    /// Looks at every link and at the pin of every table, and puts back what was taken away. What
    /// cannot be put back, as when the cgroup is gone, is said once.
    ///
    /// # Errors
    /// The state of a link cannot be read.
    pub fn mend(&mut self) -> Result<Vec<Tampering>, KernelError> {
        let is_pinned = self.pinned.as_mut().is_none_or(Pinned::is_as_it_was);
        let mut found = Vec::new();
        if !is_pinned && let Some(pinned) = &mut self.pinned {
            found = pinned.mend_tables();
        }
        let pins = self.pinned.as_ref().map(|pinned| &*pinned.place.links);
        found.extend(self.links.mend(&self.collection, &self.directory, pins, !is_pinned)?);
        Ok(found)
    }
}

impl Pinned {
    /// Whether no pin can have gone since the last look at them. Where it can, or the kernel does
    /// not tell, the directories are there again and watched when this returns.
    fn is_as_it_was(&mut self) -> bool {
        if self.removals.as_ref().is_some_and(Removals::is_none) {
            return true;
        }
        let Self { pins, place, removals, .. } = self;
        if let Err(error) = pins.restore(place) {
            tracing::warn!(%error, "directories of pins are not as they were");
        }
        let directories = [&place.maps, &place.links, &place.frames].map(Clone::clone);
        *removals = Removals::watch(directories).ok();
        false
    }

    /// Without the pins of its tables the next daemon would begin with empty ones. What cannot be
    /// pinned again is said once, and tried at each look from now on.
    fn mend_tables(&mut self) -> Vec<Tampering> {
        let Self { place, maps, unpinned, removals, .. } = self;
        let mut found = Vec::new();
        for (program, map) in maps.iter() {
            let path = place.maps.join(program);
            if path.exists() {
                unpinned.remove(program);
                continue;
            }
            let is_mended = sys::pin(map.as_fd(), &path).is_ok();
            let is_news =
                if is_mended { unpinned.remove(program) } else { unpinned.insert(program) };
            if is_mended || is_news {
                found.push(Tampering { program, harm: Harm::TableUnpinned, is_mended });
            }
        }
        if !unpinned.is_empty() {
            *removals = None;
        }
        found
    }
}
