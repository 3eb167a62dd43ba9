//! Processes in the tables of tracked and lost ones, and the bytes that programs look at first.
//!
//! A byte is set before its process is in a table, by whoever puts it there, so that a program that
//! finds it zero has nothing to look up. It may be set for nobody, which costs two lookups.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::{AtomicU8, Ordering},
};

use aya::maps::{Map, MapError};
use governd_common::{
    limits::{PIDS_MAX, PIDS_PER_BLOCK},
    names::map,
    table::{Task, watch_flag},
};

use super::{
    Kernel, KernelError,
    collection::Collection,
    memory::{Access, Mapping},
    pod::Shared,
    tables::{PolicyTables, read_all, removed},
};

/// Bytes that are mapped at a time: those of all process ids that most hosts give.
const WINDOW_BYTES: usize = 256 * 1_024;
const _: () = assert!((PIDS_MAX as usize).is_multiple_of(WINDOW_BYTES));

/// The bytes, where the kernel has them.
pub(super) struct Watched {
    map: OwnedFd,
    /// Number of a window, and the window.
    window: Option<(usize, Mapping)>,
}

impl Watched {
    pub(super) fn take(collection: &Collection) -> Result<Self, KernelError> {
        let Some(Map::Array(data)) = collection.map(map::WATCHED) else {
            return Err(KernelError::Missing(map::WATCHED));
        };
        let map = data.fd().as_fd().try_clone_to_owned();
        let map = map.map_err(|error| KernelError::map("open", map::WATCHED)(error.into()))?;
        Ok(Self { map, window: None })
    }

    /// Adds bits of [`watch_flag`] to the byte of a process.
    fn mark(&mut self, tgid: u32, flags: u8) -> Result<(), KernelError> {
        let at = tgid as usize;
        if at >= PIDS_MAX as usize {
            return Ok(());
        }
        let number = at / WINDOW_BYTES;
        if self.window.as_ref().is_none_or(|(open, _)| *open != number) {
            let from = number * WINDOW_BYTES;
            let opened = Mapping::new(self.map.as_fd(), from, WINDOW_BYTES, Access::Write);
            let opened =
                opened.map_err(|error| KernelError::map("write", map::WATCHED)(error.into()))?;
            self.window = Some((number, opened));
        }
        let window = self.window.as_ref().map(|(_, window)| window);
        if let Some(byte) = window.and_then(|window| window.at::<u8>(at % WINDOW_BYTES)) {
            // SAFETY: within the memory, which lives as long as the window; programs write the byte
            // in one step as well.
            unsafe { AtomicU8::from_ptr(byte) }.fetch_or(flags, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl PolicyTables {
    /// Marks who is in the tables that an earlier daemon left, whose programs may have had no such
    /// bytes.
    pub(super) fn watch_all(&mut self) -> Result<(), KernelError> {
        for (tgid, _) in read_all(&self.tasks, map::TASKS)? {
            self.watched.mark(tgid, watch_flag::TRACKED)?;
        }
        for number in 0..PIDS_MAX / PIDS_PER_BLOCK as u32 {
            let block = self.untracked.get(&number, 0);
            let Shared(block) = block.map_err(KernelError::map("read", map::UNTRACKED))?;
            let first = number * PIDS_PER_BLOCK as u32;
            let lost = (first..).zip(block.marks).filter(|(_, mark)| *mark != 0);
            for (tgid, _) in lost {
                self.watched.mark(tgid, watch_flag::TRACKED)?;
            }
        }
        Ok(())
    }
}

impl Kernel {
    /// Tracked processes by tgid.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn tasks(&self) -> Result<Vec<(u32, Task)>, KernelError> {
        read_all(&self.tables.tasks, map::TASKS)
    }

    /// What a process is tracked as.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn task(&self, tgid: u32) -> Result<Option<Task>, KernelError> {
        match self.tables.tasks.get(&tgid, 0) {
            Ok(Shared(task)) => Ok(Some(task)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(KernelError::map("read", map::TASKS)(error)),
        }
    }

    /// Tracks a process that ran before its policy came into force.
    ///
    /// # Errors
    /// If the table is full.
    pub fn set_task(&mut self, tgid: u32, task: Task) -> Result<(), KernelError> {
        self.tables.watched.mark(tgid, watch_flag::TRACKED)?;
        let stored = self.tables.tasks.insert(tgid, Shared(task), 0);
        stored.map_err(KernelError::map("write", map::TASKS))
    }

    /// What connections of the process, and of those that it starts, say of themselves is told from
    /// now on. No verdict depends on it.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn note(&mut self, tgid: u32) -> Result<(), KernelError> {
        self.tables.watched.mark(tgid, watch_flag::NOTED)
    }

    /// Stops tracking a process; no error if it was not tracked.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn remove_task(&mut self, tgid: u32) -> Result<(), KernelError> {
        removed(self.tables.tasks.remove(&tgid)).map_err(KernelError::map("write", map::TASKS))
    }
}
