//! What people decide at run time: grants and quarantine, under whatever policy.

use aya::maps::MapError;
use governd_common::{key::GrantKey, names::map, table::ever};

use super::{Kernel, KernelError, pod::Shared, tables::removed};

impl Kernel {
    /// Replaces all grants by these, each with the `CLOCK_BOOTTIME` until which it holds.
    ///
    /// # Errors
    /// If the map is full or cannot be written; what was granted before and is not any more is
    /// gone by then.
    pub fn set_grants(&mut self, grants: &[(GrantKey, u64)]) -> Result<(), KernelError> {
        let map = &mut self.tables.grants;
        let known: Result<Vec<_>, MapError> = map.keys().collect();
        for key in known.map_err(KernelError::map("read", map::GRANTS))? {
            if !grants.iter().any(|(wanted, _)| *wanted == key.0) {
                removed(map.remove(&key)).map_err(KernelError::map("write", map::GRANTS))?;
            }
        }
        for (key, until_ns) in grants {
            let stored = map.insert(Shared(*key), *until_ns, 0);
            stored.map_err(KernelError::map("write", map::GRANTS))?;
        }
        self.tables.known.granted = grants.to_vec();
        Ok(())
    }

    /// Subjects of which nothing passes.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn quarantined(&self) -> Result<Vec<u32>, KernelError> {
        let subjects: Result<Vec<u32>, MapError> = self.tables.quarantined.keys().collect();
        subjects.map_err(KernelError::map("read", map::QUARANTINED))
    }

    /// Lets nothing of a subject pass from here on, or lets its policy decide again.
    ///
    /// # Errors
    /// If the map is full or cannot be written.
    pub fn set_quarantined(&mut self, subject: u32, is_on: bool) -> Result<(), KernelError> {
        if is_on {
            self.tables.will_have_been(ever::QUARANTINED)?;
        }
        let map = &mut self.tables.quarantined;
        let written = if is_on { map.insert(subject, 1, 0) } else { removed(map.remove(&subject)) };
        written.map_err(KernelError::map("write", map::QUARANTINED))
    }
}
