//! Cgroups that are new: up to which id user space has looked at all of them, and in which newer
//! ones the programs met somebody.

use governd_common::{
    names::map,
    table::{newcomers, settings_flag},
};

use super::{Kernel, KernelError, pod::Shared};

impl Kernel {
    /// The largest id up to which all cgroups were looked at; 0 if none ever was.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn settled(&self) -> Result<u64, KernelError> {
        self.newcomers(newcomers::SETTLED)
    }

    /// The id of a cgroup that is newer, and in which the programs met somebody. All cgroups up to
    /// it are there to be looked at.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn newcomer(&self) -> Result<Option<u64>, KernelError> {
        let met = self.newcomers(newcomers::MET)?;
        Ok((met > self.settled()?).then_some(met))
    }

    /// All cgroups up to this id were looked at, and what is to be said of them is in force.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn settle(&mut self, cgroup: u64) -> Result<(), KernelError> {
        let stored = self.tables.newcomers.set(newcomers::SETTLED, cgroup, 0);
        stored.map_err(KernelError::map("write", map::NEWCOMERS))
    }

    /// Whether the policy in force, be it an earlier daemon's, denies newcomers anything.
    ///
    /// # Errors
    /// If the maps cannot be read.
    pub fn minds_newcomers(&self) -> Result<bool, KernelError> {
        let active = self.tables.active.get(&0, 0);
        let slot = active.map_err(KernelError::map("read", map::ACTIVE))? as u32 & 1;
        let settings = self.tables.settings.get(&slot, 0);
        let Shared(settings) = settings.map_err(KernelError::map("read", map::SETTINGS))?;
        Ok(settings.flags & settings_flag::HAS_UNCLASSIFIED != 0)
    }

    fn newcomers(&self, index: u32) -> Result<u64, KernelError> {
        let read = self.tables.newcomers.get(&index, 0);
        read.map_err(KernelError::map("read", map::NEWCOMERS))
    }
}
