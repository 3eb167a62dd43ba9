//! Memory that the kernel shares with this process: a piece of a map.
//!
//! The kernel gives all pages of a piece at once, and counts them as this process's. So who maps a
//! large map maps the piece that is in use.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

/// What may be done with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A piece of a map's memory.
#[derive(Debug)]
pub(super) struct Mapping {
    memory: *mut libc::c_void,
    bytes: usize,
}

// SAFETY: the memory belongs to no thread; what is read or written in it is up to `Mapping::at`'s
// callers, who say how.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Bytes of a map from an offset on, both multiples of [`page_bytes`].
    pub(super) fn new(
        map: BorrowedFd<'_>,
        offset: usize,
        bytes: usize,
        access: Access,
    ) -> io::Result<Self> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: new memory, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                offset,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { memory, bytes })
    }

    /// Where a value is that lies wholly within: it is valid as long as this one, and others read
    /// and write it meanwhile.
    pub(super) fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        let is_within = end <= self.bytes && offset.is_multiple_of(align_of::<T>());
        // SAFETY: within the memory, as was just checked.
        is_within.then(|| unsafe { self.memory.cast::<u8>().add(offset).cast() })
    }

    /// Where so many bytes are, likewise.
    pub(super) fn piece(&self, offset: usize, bytes: usize) -> Option<*const u8> {
        let is_within = offset.checked_add(bytes)? <= self.bytes;
        // SAFETY: as above.
        is_within.then(|| unsafe { self.memory.cast::<u8>().add(offset).cast_const() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the memory of `new`, once, with its length.
        unsafe { libc::munmap(self.memory, self.bytes) };
    }
}

/// Bytes of a piece of memory that the allocator takes from the kernel by itself and gives back
/// when it is freed, and of freed memory at the end of the heap that it keeps.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 128 * 1_024;
/// Heaps that threads share.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// Has the allocator keep little of what is freed: a start takes several times what is needed
/// afterwards, and left to itself the allocator keeps more the more it has seen. To be called
/// before there are other threads.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_MMAP_THRESHOLD, KEPT_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: the call sets numbers that later allocations go by.
        if unsafe { libc::mallopt(what, value) } == 0 {
            tracing::debug!(what, "the allocator keeps more than it has to");
        }
    }
}

/// Gives back what is free now, wherever in the heap it is.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call touches only what nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes of a page.
pub(super) fn page_bytes() -> usize {
    // SAFETY: the call only reads; it has no reason to fail, and pages are not smaller.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4_096)
}
