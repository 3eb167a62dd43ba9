//! Processes in the tables of tracked and lost ones, and the bytes that programs look at first.
//!
//! A byte is set before its process is in a table, by whoever puts it there, so that a program that
//! finds it zero has nothing to look up. It may be set for nobody, which costs two lookups.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
    sync::atomic::{AtomicU8, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapError},
};
use governd_common::{
    limits::{PIDS_MAX, PIDS_PER_BLOCK},
    names::map,
    table::Task,
};

use super::{
    Kernel, KernelError,
    pod::Shared,
    tables::{PolicyTables, read_all, removed},
};

/// The bytes, where the kernel has them.
pub(super) struct Watched {
    memory: *mut libc::c_void,
}

// SAFETY: the memory belongs to no thread, and its bytes are written as atomics.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    const BYTES: usize = PIDS_MAX as usize;

    pub(super) fn take(ebpf: &Ebpf) -> Result<Self, KernelError> {
        let Some(Map::Array(data)) = ebpf.map(map::WATCHED) else {
            return Err(KernelError::Missing(map::WATCHED));
        };
        let fd = data.fd().as_fd().as_raw_fd();
        // SAFETY: new memory, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            let error = MapError::IoError(io::Error::last_os_error());
            return Err(KernelError::map("open", map::WATCHED)(error));
        }
        Ok(Self { memory })
    }

    fn mark(&self, tgid: u32) {
        let at = tgid as usize;
        if at < Self::BYTES {
            // SAFETY: within the memory, which lives as long as this value; programs write the
            // byte in one step as well.
            let byte = unsafe { AtomicU8::from_ptr(self.memory.cast::<u8>().add(at)) };
            byte.store(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the memory of `take`, once.
        unsafe { libc::munmap(self.memory, Self::BYTES) };
    }
}

impl PolicyTables {
    /// Marks who is in the tables that an earlier daemon left, whose programs may have had no such
    /// bytes.
    pub(super) fn watch_all(&self) -> Result<(), KernelError> {
        for (tgid, _) in read_all(&self.tasks, map::TASKS)? {
            self.watched.mark(tgid);
        }
        for number in 0..PIDS_MAX / PIDS_PER_BLOCK as u32 {
            let block = self.untracked.get(&number, 0);
            let Shared(block) = block.map_err(KernelError::map("read", map::UNTRACKED))?;
            let first = number * PIDS_PER_BLOCK as u32;
            let lost = (first..).zip(block.marks).filter(|(_, mark)| *mark != 0);
            lost.for_each(|(tgid, _)| self.watched.mark(tgid));
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
        self.tables.watched.mark(tgid);
        let stored = self.tables.tasks.insert(tgid, Shared(task), 0);
        stored.map_err(KernelError::map("write", map::TASKS))
    }

    /// Stops tracking a process; no error if it was not tracked.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn remove_task(&mut self, tgid: u32) -> Result<(), KernelError> {
        removed(self.tables.tasks.remove(&tgid)).map_err(KernelError::map("write", map::TASKS))
    }
}
