//! The records of a ring, one after the other (kernel/bpf/ringbuf.c).
//!
//! Two positions count bytes without end: up to the first programs have reserved, up to the second
//! the reader has read, and gives the place back. The kernel wakes the reader when a program
//! completes the record at the second one, which was the next to be read; so a reader that looks
//! again by itself wants no wakes, and one that sleeps misses none:
//!
//! - While it looks, the second position is behind by the record that was read last. No later one
//!   is there, so only those wake that say that they do.
//! - Before it sleeps, it gives that one back, too ([`Records::rest`]), and looks once more. The
//!   kernel marks a record as complete before it reads the position, and both sides have a barrier
//!   between: either the reader sees the record, or the program sees where the reader is.
//!
//! A reader that is killed meanwhile leaves a record that was read. How far it has read stands
//! behind the position, in the same page, of which the kernel uses nothing else.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence},
};

use aya_obj::generated::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ};

use super::memory::{Access, Mapping, page_bytes};

/// Bytes of data that are mapped at a time.
const WINDOW_BYTES: usize = 256 * 1_024;
const HEADER_BYTES: usize = BPF_RINGBUF_HDR_SZ as usize;
/// Records begin at multiples of this.
const ALIGNMENT: usize = 8;
/// Where in the reader's page is how far it has read.
const READ_AT: usize = 64;

/// A ring, as its reader sees it.
#[derive(Debug)]
pub(super) struct Records {
    ring: OwnedFd,
    /// Bytes of its data: a power of two, and whole pages.
    bytes: usize,
    reader: Mapping,
    programs: Mapping,
    window: Option<Window>,
    /// Position of the next record.
    at: usize,
}

/// A piece of the data, which the kernel has twice in a row.
#[derive(Debug)]
struct Window {
    memory: Mapping,
    from: usize,
    bytes: usize,
}

/// What is at a position.
enum Next {
    Nothing,
    /// A program is writing it.
    Unfinished,
    /// Its bytes with the header, and whether it counts.
    Whole {
        bytes: usize,
        counts: bool,
    },
}

impl Records {
    /// Goes on where the last reader ended.
    pub(super) fn open(ring: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        if !bytes.is_power_of_two() {
            return Err(broken());
        }
        let page = page_bytes();
        let reader = Mapping::new(ring, 0, page, Access::Write)?;
        let programs = Mapping::new(ring, page, page, Access::Read)?;
        let ring = ring.try_clone_to_owned()?;
        let mut records = Self { ring, bytes, reader, programs, window: None, at: 0 };
        let given_back = records.given_back()?.load(Ordering::Acquire);
        let waiting = records.written()?.wrapping_sub(given_back);
        let held = records.read()?.load(Ordering::Acquire).wrapping_sub(given_back);
        // Older readers do not write how far they have read.
        records.at = given_back.wrapping_add(if held <= waiting { held } else { 0 });
        Ok(records)
    }

    /// The bytes of the next record that is whole. They are its own until the next call.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            match self.look()? {
                Next::Nothing | Next::Unfinished => return Ok(None),
                Next::Whole { bytes, counts } => {
                    let from = self.at;
                    self.given_back()?.store(from, Ordering::Release);
                    self.at = from.wrapping_add(bytes.next_multiple_of(ALIGNMENT));
                    if counts {
                        let data = self.data(from, bytes)?;
                        return Ok(data.get(HEADER_BYTES..));
                    }
                }
            }
        }
    }

    /// What was given by [`Records::next`] is dealt with.
    pub(super) fn done(&self) -> io::Result<()> {
        self.read()?.store(self.at, Ordering::Release);
        Ok(())
    }

    /// Gives everything back that was read, so that the next record to be completed wakes the
    /// reader; false if there is one already.
    pub(super) fn rest(&mut self) -> io::Result<bool> {
        self.done()?;
        self.given_back()?.store(self.at, Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(!matches!(self.look()?, Next::Whole { .. }))
    }

    /// What tells of wakes.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    fn look(&mut self) -> io::Result<Next> {
        if self.written()? == self.at {
            return Ok(Next::Nothing);
        }
        let header = self.data(self.at, HEADER_BYTES)?.as_ptr().cast_mut().cast();
        // SAFETY: the kernel completes a record in one step by writing this word, which is aligned
        // as records are, and within what was just mapped.
        let word = unsafe { AtomicU32::from_ptr(header) }.load(Ordering::Acquire);
        if word & BPF_RINGBUF_BUSY_BIT != 0 {
            return Ok(Next::Unfinished);
        }
        let bytes = HEADER_BYTES + (word & !BPF_RINGBUF_DISCARD_BIT) as usize;
        Ok(Next::Whole { bytes, counts: word & BPF_RINGBUF_DISCARD_BIT == 0 })
    }

    /// So many bytes of the data from a position on, which no program writes any more but for a
    /// header.
    fn data(&mut self, position: usize, bytes: usize) -> io::Result<&[u8]> {
        let from = position & (self.bytes - 1);
        let is_within =
            |window: &Window| window.from <= from && from + bytes <= window.from + window.bytes;
        if !self.window.as_ref().is_some_and(is_within) {
            self.window = None;
            self.window = Some(self.open_window(from, bytes)?);
        }
        let window = self.window.as_ref().ok_or_else(broken)?;
        let piece = window.memory.piece(from - window.from, bytes).ok_or_else(broken)?;
        // SAFETY: within the mapping, which lives as long as the window. It is a record that was
        // not given back, so the kernel writes nothing there.
        Ok(unsafe { std::slice::from_raw_parts(piece, bytes) })
    }

    fn open_window(&self, from: usize, bytes: usize) -> io::Result<Window> {
        if bytes > self.bytes {
            return Err(broken());
        }
        let page = page_bytes();
        let start = from - from % page;
        let needed = (from - start + bytes).next_multiple_of(page);
        let bytes = needed.max(WINDOW_BYTES.min(self.bytes));
        // Before the data are the two pages of the positions.
        let memory = Mapping::new(self.ring.as_fd(), 2 * page + start, bytes, Access::Read)?;
        Ok(Window { memory, from: start, bytes })
    }

    fn given_back(&self) -> io::Result<&AtomicUsize> {
        word(&self.reader, 0)
    }

    fn read(&self) -> io::Result<&AtomicUsize> {
        word(&self.reader, READ_AT)
    }

    fn written(&self) -> io::Result<usize> {
        Ok(word(&self.programs, 0)?.load(Ordering::Acquire))
    }
}

impl Drop for Records {
    /// Readers that do not know how far this one has read do not read its last record again.
    fn drop(&mut self) {
        self.rest().ok();
    }
}

/// A position of a page (`unsigned long`).
fn word(page: &Mapping, offset: usize) -> io::Result<&AtomicUsize> {
    let word = page.at(offset).ok_or_else(broken)?;
    // SAFETY: within the mapping and aligned, for as long as the mapping is borrowed; both sides
    // use it as an atomic.
    Ok(unsafe { AtomicUsize::from_ptr(word) })
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the event ring is not laid out as it should be")
}
