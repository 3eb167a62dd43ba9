//! Whether the policy tables hold what was written into them, and nothing else.
//!
//! Who is root can write any map: that cannot be refused, but it is seen. What is written into a
//! slot of a table adds up to one number, a sum over its entries, in which an entry that is
//! missing, changed or added shows. When the policy is in force, the tables are read, some entries
//! at a time so that it costs nothing, and at the end of each table the sum has to be the same.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use aya::maps::{MapData, MapError};
use governd_common::{key::GrantKey, names::map, table::Settings};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{Kernel, KernelError, pod::Shared, slotted::Sealed, sys, tables::PolicyTables};

/// Entries that are looked at in one step: few, since that is done every second.
const LOOKED_AT: u32 = 256;
/// Entries that one call reads at most; also more than a bucket of a hash has.
const BATCH: u32 = 1_024;
/// And at least: the kernel reads whole buckets.
const BATCH_MIN: u32 = 64;

/// What was written, beside the tables with slots.
pub(super) struct Known {
    /// What says that the policy in force is whole.
    settings: Settings,
    pub(super) granted: Vec<(GrantKey, u64)>,
    /// The table that is looked at next.
    next: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { settings: Settings::new_zeroed(), granted: Vec::new(), next: 0 }
    }
}

/// A table, as it is read.
pub(super) struct Seal {
    map: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
    /// Nobody but this process can make up entries that add up to the same.
    hasher: RandomState,
    /// The sum of what was written; `None` where it cannot be read.
    sum: Option<u64>,
    walk: Walk,
}

/// How far the table was read, and what it adds up to as far as that.
#[derive(Default)]
struct Walk {
    cursor: Vec<u8>,
    sum: u64,
}

impl Seal {
    pub(super) fn new(data: &MapData) -> io::Result<Self> {
        let info = data.info().map_err(io::Error::other)?;
        Ok(Self {
            map: data.fd().as_fd().try_clone_to_owned()?,
            key_bytes: info.key_size() as usize,
            value_bytes: info.value_size() as usize,
            hasher: RandomState::new(),
            sum: None,
            walk: Walk::default(),
        })
    }

    /// What an entry adds to the sum.
    pub(super) fn part(&self, key: &[u8], value: &[u8]) -> u64 {
        self.hasher.hash_one((key, value))
    }

    /// The entries of the policy that is now in force add up to this.
    pub(super) fn close(&mut self, sum: u64) {
        self.walk = Walk::default();
        self.sum = Some(sum);
    }

    /// The map.
    pub(super) fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Bytes of a key and of a value.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.key_bytes, self.value_bytes)
    }

    /// Reads on, and takes what it read from the budget. At the end of the table it says whether
    /// that is what was written. `is_of` tells the policy's keys.
    pub(super) fn look(
        &mut self,
        budget: &mut u32,
        is_of: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Option<bool>> {
        let Some(expected) = self.sum else {
            return Ok(Some(true));
        };
        let (read, sum) = match self.read((*budget).clamp(BATCH_MIN, BATCH), is_of) {
            // Older kernels cannot read tries so.
            Err(error) if sys::is_unsupported(&error) => {
                self.sum = None;
                return Ok(Some(true));
            }
            read => read?,
        };
        *budget = budget.saturating_sub(read.max(1));
        Ok(sum.map(|sum| sum == expected))
    }

    /// Reads on; gives how many entries, and the sum of all if these were the last.
    fn read(
        &mut self,
        entries_max: u32,
        is_of: impl Fn(&[u8]) -> bool,
    ) -> io::Result<(u32, Option<u64>)> {
        let entries = entries_max as usize;
        let mut keys = vec![0; entries * self.key_bytes];
        let mut values = vec![0; entries * self.value_bytes];
        let places = (keys.as_mut_slice(), values.as_mut_slice());
        let read = sys::next_entries(self.map.as_fd(), &mut self.walk.cursor, places, entries_max)?;
        let found = keys.chunks_exact(self.key_bytes).zip(values.chunks_exact(self.value_bytes));
        for entry in found.take(read as usize).filter(|(key, _)| is_of(key)) {
            let (key, value) = entry;
            self.walk.sum = self.walk.sum.wrapping_add(self.part(key, value));
        }
        let is_whole = self.walk.cursor.is_empty();
        Ok((read, is_whole.then(|| std::mem::take(&mut self.walk).sum)))
    }
}

impl PolicyTables {
    /// What was written into a slot is right, and these are its settings.
    pub(super) fn seal(&mut self, slot: u32, settings: Settings) {
        self.known.settings = settings;
        self.sealed().into_iter().for_each(|table| table.seal(slot));
    }

    /// The tables that hold a policy.
    fn sealed(&mut self) -> [&mut dyn Sealed; 13] {
        [
            &mut self.exes,
            &mut self.uids,
            &mut self.cgroups,
            &mut self.subjects,
            &mut self.delegations,
            &mut self.parents,
            &mut self.names,
            &mut self.cidrs,
            &mut self.decisions,
            &mut self.socket_paths,
            &mut self.resolver_exes,
            &mut self.resolvers,
            &mut self.limits,
        ]
    }

    /// Reads some more of what is in force; gives the maps that do not hold what was written.
    fn altered(&mut self) -> Result<Vec<&'static str>, KernelError> {
        let mut altered = Vec::new();
        if self.is_first {
            return Ok(altered);
        }
        let slot = self.generation as u32 & 1;
        let active = self.active.get(&0, 0).map_err(KernelError::map("read", map::ACTIVE))?;
        let settings = self.settings.get(&slot, 0);
        let settings = settings.map_err(KernelError::map("read", map::SETTINGS))?;
        if active != self.generation {
            altered.push(map::ACTIVE);
        }
        if settings.0.as_bytes() != self.known.settings.as_bytes() {
            altered.push(map::SETTINGS);
        }
        if !self.holds_grants()? {
            altered.push(map::GRANTS);
        }
        let (first, mut budget, mut done) = (self.known.next, LOOKED_AT, 0);
        let mut tables = self.sealed();
        let count = tables.len();
        for step in 0..count {
            let Some(table) = tables.get_mut((first + step) % count) else { break };
            match table.look(slot, &mut budget)? {
                Some(is_right) if !is_right => altered.push(table.name()),
                Some(_) => {}
                None => break,
            }
            done = step + 1;
            if budget == 0 {
                break;
            }
        }
        self.known.next = (first + done) % count;
        Ok(altered)
    }

    fn holds_grants(&self) -> Result<bool, KernelError> {
        let found: Result<Vec<_>, MapError> = self.grants.iter().collect();
        let found = found.map_err(KernelError::map("read", map::GRANTS))?;
        let is_granted = |(key, until_ns): &(Shared<GrantKey>, u64)| {
            self.known.granted.iter().any(|(granted, until)| *granted == key.0 && until == until_ns)
        };
        Ok(found.len() == self.known.granted.len() && found.iter().all(is_granted))
    }
}

impl Kernel {
    /// Reads some more of the policy in force, and gives the maps that do not hold what was written
    /// into them: somebody else wrote there. To be called again and again; a small policy is read
    /// whole each time.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn altered(&mut self) -> Result<Vec<&'static str>, KernelError> {
        self.tables.altered()
    }

    /// Looks which entries there are, so that the next policy removes also what others wrote.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn reread(&mut self) -> Result<(), KernelError> {
        self.tables.sealed().into_iter().try_for_each(Sealed::reread)
    }
}
