//! Limits of agents: where the programs count, and how much was counted.

use std::collections::HashSet;

use governd_common::{
    limit::{Limit, Limits, Usage},
    names::map,
    table::settings_flag,
};

use super::{
    Kernel, KernelError,
    pod::Shared,
    tables::{PolicyTables, read_all, removed},
};
use crate::policy::image::TableImage;

/// What the programs have to look for under a policy.
pub(super) fn flags(image: &TableImage) -> u32 {
    let any = |is: fn(&Limits) -> bool| image.limits.iter().any(|(_, limits)| is(limits));
    let mut flags = 0;
    if any(|limits| !limits.is_empty()) {
        flags |= settings_flag::HAS_LIMITS;
    }
    if any(|limits| limits.counts(Limit::Bytes)) {
        flags |= settings_flag::HAS_BYTE_LIMITS;
    }
    flags
}

impl PolicyTables {
    /// Makes the entries in which is counted, before a policy wants them. What was counted stays.
    pub(super) fn count_limited(&mut self, image: &TableImage) -> Result<(), KernelError> {
        let known: HashSet<u32> = self.counted()?.into_iter().collect();
        for (subject, _) in image.limits.iter().filter(|(subject, _)| !known.contains(subject)) {
            let stored = self.usages.insert(*subject, Shared(Usage::default()), 0);
            stored.map_err(KernelError::map("write", map::USAGES))?;
        }
        Ok(())
    }

    /// Removes those that the policy in this slot does not want: no program goes by another one any
    /// more.
    pub(super) fn forget_unlimited(&mut self, slot: u32) -> Result<(), KernelError> {
        let limited = self.limits.written(slot).iter().map(|key| key.0.subject);
        let limited: HashSet<u32> = limited.collect();
        for subject in self.counted()?.iter().filter(|subject| !limited.contains(subject)) {
            removed(self.usages.remove(subject)).map_err(KernelError::map("write", map::USAGES))?;
        }
        Ok(())
    }

    fn counted(&self) -> Result<Vec<u32>, KernelError> {
        Ok(read_all(&self.usages, map::USAGES)?.into_iter().map(|(subject, _)| subject).collect())
    }
}

impl Kernel {
    /// How much was counted of subjects with limits.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn usages(&self) -> Result<Vec<(u32, Usage)>, KernelError> {
        read_all(&self.tables.usages, map::USAGES)
    }

    /// Counts a subject's amounts anew, if it has limits.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub fn forget_usage(&mut self, subject: u32) -> Result<(), KernelError> {
        if !self.usages()?.iter().any(|(counted, _)| *counted == subject) {
            return Ok(());
        }
        let stored = self.tables.usages.insert(subject, Shared(Usage::default()), 0);
        stored.map_err(KernelError::map("write", map::USAGES))
    }
}
