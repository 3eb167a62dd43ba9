//! Whether what was attached and pinned still is; what is not is mended.
//!
//! Who is root can take anything off, and can do so again: this makes it visible and short.

use super::{Kernel, KernelError};

/// What somebody did to a program's link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Harm {
    /// It was taken off the cgroup.
    Detached,
    /// Its pin was removed.
    Unpinned,
}

/// What was found of a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tampering {
    /// The program.
    pub program: &'static str,
    /// What was done.
    pub harm: Harm,
    /// Whether it is as it was.
    pub is_mended: bool,
}

impl Kernel {
    /// Looks at every link, and puts back what was taken away. What cannot be put back, as when the
    /// cgroup is gone, is said once.
    ///
    /// # Errors
    /// The state of a link cannot be read.
    pub fn mend(&mut self) -> Result<Vec<Tampering>, KernelError> {
        let pins = self.pinned.as_ref().map(|pinned| &*pinned.place.links);
        self.links.mend(&self.collection, &self.directory, pins)
    }
}
