//! BPF programs that are given to the kernel, and by whom.
//!
//! A process that loads a program can change packets behind the last hook, send some of its own,
//! and move bytes from one socket into another. No hook refuses that where BPF is no security
//! module, but the kernel tells of each load (`PERF_RECORD_BPF_EVENT`, Linux 5.1), on the CPU that
//! it happens on: there is a small ring for each. What comes when a ring is full is missed.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use aya_obj::generated::{perf_event_attr, perf_event_mmap_page};

/// `PERF_TYPE_SOFTWARE` and `PERF_COUNT_SW_DUMMY` (include/uapi/linux/perf_event.h).
const TYPE_SOFTWARE: u32 = 1;
const COUNT_DUMMY: u64 = 9;
/// `PERF_SAMPLE_TID`: which process.
const SAMPLE_TID: u64 = 1 << 1;
/// `PERF_RECORD_BPF_EVENT`, and `PERF_BPF_EVENT_PROG_LOAD` in it.
const RECORD_BPF: u32 = 18;
const PROGRAM_LOAD: u16 = 1;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOEXEC: u64 = 1 << 3;
/// Memory for records of one CPU, besides a page of counters: about 170 loads.
const DATA_BYTES: usize = 8_192;
/// The longest record that is looked at; those of loads have 40 bytes.
const RECORD_BYTES_MAX: usize = 64;

/// A program that was given to the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Load {
    /// The process (`tgid`) that gave it.
    pub pid: u32,
    /// The program's id.
    pub program: u32,
}

/// What tells of them.
#[derive(Debug)]
pub struct Loads {
    rings: Vec<Ring>,
}

impl Loads {
    /// Begins to listen on every CPU.
    ///
    /// # Errors
    /// The kernel has no such events, or has no memory for the rings.
    pub fn open() -> io::Result<Self> {
        // SAFETY: the call only reads a number of the system's.
        let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
        let cpus = libc::c_int::try_from(cpus).unwrap_or(1);
        let mut rings = Vec::new();
        for cpu in 0..cpus {
            match Ring::open(cpu) {
                Ok(ring) => rings.push(ring),
                // A CPU that is off.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { rings })
    }

    /// Programs that were loaded since; never waits.
    pub fn news(&mut self) -> Vec<Load> {
        let mut news = Vec::new();
        for ring in &mut self.rings {
            ring.read(&mut news);
        }
        news
    }
}

/// The ring of one CPU: a page of counters, and records behind it.
#[derive(Debug)]
struct Ring {
    _event: OwnedFd,
    memory: *mut libc::c_void,
    bytes: usize,
    page_bytes: usize,
}

// SAFETY: the memory is this value's alone, apart from the kernel.
unsafe impl Send for Ring {}

impl Ring {
    fn open(cpu: libc::c_int) -> io::Result<Self> {
        // SAFETY: the structure is made of integers.
        let mut attributes: perf_event_attr = unsafe { std::mem::zeroed() };
        attributes.type_ = TYPE_SOFTWARE;
        attributes.size = size_of::<perf_event_attr>() as u32;
        attributes.config = COUNT_DUMMY;
        attributes.sample_type = SAMPLE_TID;
        attributes.set_sample_id_all(1);
        attributes.set_bpf_event(1);
        let (every_process, no_group) = (-1, -1);
        // SAFETY: the attributes live through the call, and say their own size.
        let event = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                every_process,
                cpu,
                no_group,
                CLOEXEC,
            )
        };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor that the call gave, which is nobody else's.
        let event = unsafe { OwnedFd::from_raw_fd(event as i32) };
        // SAFETY: as above.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_bytes = usize::try_from(page_bytes).map_err(io::Error::other)?;
        let bytes = page_bytes + DATA_BYTES.max(page_bytes);
        // SAFETY: new memory, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { _event: event, memory, bytes, page_bytes })
    }

    /// Reads the records that are whole, and gives their place back to the kernel.
    fn read(&mut self, news: &mut Vec<Load>) {
        let page: *mut perf_event_mmap_page = self.memory.cast();
        // SAFETY: the first page is this structure; the kernel writes the head, which says up to
        // where records are whole, and reads the tail.
        let (head, tail) = unsafe {
            let head = AtomicU64::from_ptr(&raw mut (*page).data_head);
            (head.load(Ordering::Acquire), AtomicU64::from_ptr(&raw mut (*page).data_tail))
        };
        let mut at = tail.load(Ordering::Relaxed);
        while at < head {
            let mut record = [0; RECORD_BYTES_MAX];
            self.copy(at, &mut record);
            let Some(len) = record_len(&record) else {
                // What has no length has no end.
                at = head;
                break;
            };
            news.extend(load_of(record.get(..len).unwrap_or_default()));
            at += len as u64;
        }
        tail.store(at, Ordering::Release);
    }

    fn copy(&self, at: u64, to: &mut [u8]) {
        let data_bytes = self.bytes - self.page_bytes;
        let data: *const u8 = self.memory.cast_const().cast();
        for (index, byte) in to.iter_mut().enumerate() {
            let place = (at as usize).wrapping_add(index) % data_bytes;
            // SAFETY: within the memory behind the first page.
            *byte = unsafe { ptr::read_volatile(data.add(self.page_bytes + place)) };
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the memory of `open`, once.
        unsafe { libc::munmap(self.memory, self.bytes) };
    }
}

/// A record's length, with its header (`struct perf_event_header`).
fn record_len(record: &[u8]) -> Option<usize> {
    let len = u16::from_ne_bytes([*record.get(6)?, *record.get(7)?]);
    (len >= 8).then_some(usize::from(len))
}

/// The load that a record tells of, if it is one.
fn load_of(record: &[u8]) -> Option<Load> {
    let word = |at: usize| {
        let bytes = record.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let what = u16::from_ne_bytes([*record.get(8)?, *record.get(9)?]);
    if word(0)? != RECORD_BPF || what != PROGRAM_LOAD {
        return None;
    }
    // Behind the header: what happened, flags, the id, a tag of 8 bytes; then who.
    Some(Load { program: word(12)?, pid: word(24)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loads_are_read_and_no_more_than_there_is() {
        let mut record = [0; 32];
        record[0] = 18;
        record[6] = 32;
        record[8] = 1;
        record[12] = 77;
        record[24] = 9;
        assert_eq!(record_len(&record), Some(32));
        assert_eq!(load_of(&record), Some(Load { pid: 9, program: 77 }));
        assert_eq!(load_of(&record[..27]), None);
        record[8] = 2;
        assert_eq!(load_of(&record), None, "it was taken away");
        record[6] = 7;
        assert_eq!(record_len(&record), None);
    }
}
