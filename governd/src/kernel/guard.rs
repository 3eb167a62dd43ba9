//! Whether what was attached and pinned still is; what is not is mended.
//!
//! Who is root can take anything off, and can do so again: this makes it visible and short.

use std::os::fd::AsFd as _;

use super::{Kernel, KernelError, load::Pinned, sys};

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
        let mut found = self.mend_tables();
        let pins = self.pinned.as_ref().map(|pinned| &*pinned.place.links);
        found.extend(self.links.mend(&self.collection, &self.directory, pins)?);
        Ok(found)
    }

    /// Without the pins of its tables the next daemon would begin with empty ones. What cannot be
    /// pinned again is done without from now on.
    fn mend_tables(&mut self) -> Vec<Tampering> {
        let Some(Pinned { pins, place, maps, .. }) = &mut self.pinned else { return Vec::new() };
        if let Err(error) = pins.restore(place) {
            tracing::warn!(%error, "directories of pins are not as they were");
        }
        let mut found = Vec::new();
        maps.retain(|(program, map)| {
            let path = place.maps.join(program);
            if path.exists() {
                return true;
            }
            let is_mended = sys::pin(map.as_fd(), &path).is_ok();
            found.push(Tampering { program, harm: Harm::TableUnpinned, is_mended });
            is_mended
        });
        found
    }
}
