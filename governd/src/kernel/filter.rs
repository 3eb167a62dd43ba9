//! Programs at what an interface sends where the kernel has no links for that: filters of traffic
//! control hold them.
//!
//! Nobody owns such a filter, and it goes with its interface or when somebody takes it off. So what
//! is attached is a gate: a program of six instructions that calls the one in an array of its own
//! and lets pass what finds none. The kernel empties the array when neither a descriptor nor a pin
//! of it is left. So a gate is held as a link is: it outlives the daemon where it is pinned, one
//! program takes the place of another in one step, and without descriptor and pin it lets
//! everything pass, however its daemon ended. What is left then is taken off by who finds it.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
    thread,
};

use aya_obj::generated::bpf_map_type;
use rustix::thread::UnshareFlags;

use super::{
    program,
    sys::{self, Command},
    tc::{Found, Spot, TrafficControl},
};

/// Every network namespace has a loopback interface, with this index.
const LOOPBACK: u32 = 1;

/// What calls the program.
#[derive(Debug)]
pub(super) struct Gate {
    /// With the program, and the number of that.
    array: OwnedFd,
    program: u32,
    spot: Spot,
    name: &'static str,
    /// `None` of one that another daemon attached, and of which nothing is known yet.
    attached: Option<Attached>,
}

/// The way to the interface's network namespace, from wherever the thread is, and the number of
/// the filter's program.
#[derive(Debug)]
struct Attached {
    control: TrafficControl,
    program: u32,
}

impl Gate {
    /// Attaches a program, in the thread's present network namespace: in the place of one that is
    /// there.
    pub(super) fn attach(
        program: BorrowedFd<'_>,
        spot: Spot,
        name: &'static str,
    ) -> io::Result<Self> {
        let mut gate = Self { array: make_array()?, program: 0, spot, name, attached: None };
        gate.update(program)?;
        gate.put(TrafficControl::open()?)?;
        Ok(gate)
    }

    /// One that another daemon pinned there, with another program.
    pub(super) fn take(
        path: &Path,
        program: BorrowedFd<'_>,
        spot: Spot,
        name: &'static str,
    ) -> io::Result<Self> {
        let array = sys::pinned(path)?;
        let mut gate = Self { array, program: 0, spot, name, attached: None };
        gate.update(program)?;
        Ok(gate)
    }

    /// Puts another program in the place of the one that is called.
    pub(super) fn update(&mut self, program: BorrowedFd<'_>) -> io::Result<()> {
        sys::put(self.array.as_fd(), &0_u32, &program.as_raw_fd())?;
        self.program = sys::program_info(program)?.id;
        Ok(())
    }

    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        sys::pin(self.array.as_fd(), path)
    }

    /// Whether it is where it was attached, and calls the program; false where that is not known
    /// yet.
    pub(super) fn is_attached(&self) -> io::Result<bool> {
        let Some(attached) = &self.attached else { return Ok(false) };
        Ok(attached.is_at(self.spot)? && called(self.array.as_fd())? == Some(self.program))
    }

    /// The same in the interface's network namespace. What another daemon attached is put anew,
    /// since only who did that knows that it calls this array.
    pub(super) fn is_attached_here(&mut self) -> io::Result<bool> {
        if self.attached.is_some() {
            return self.is_attached();
        }
        let control = TrafficControl::open()?;
        let is_there = control.look(self.spot)?.is_some();
        if is_there {
            self.put(control)?;
        }
        Ok(is_there)
    }

    fn put(&mut self, control: TrafficControl) -> io::Result<()> {
        let gate = load_gate(self.array.as_fd())?;
        let program = sys::program_info(gate.as_fd())?.id;
        control.put(self.spot, gate.as_fd(), self.name)?;
        self.attached = Some(Attached { control, program });
        Ok(())
    }

    /// Has it let everything pass, and takes it off if it is known where it is.
    pub(super) fn clear(&self) -> io::Result<()> {
        open_up(self.array.as_fd())?;
        match &self.attached {
            Some(attached) if attached.is_at(self.spot)? => attached.control.clear(self.spot),
            _ => Ok(()),
        }
    }
}

impl Attached {
    fn is_at(&self, spot: Spot) -> io::Result<bool> {
        Ok(self.control.look(spot)?.is_some_and(|found| found.program == self.program))
    }
}

/// Has the gate with this array let everything pass, whoever holds it: the kernel does so itself
/// some time after nobody holds it any more.
pub(super) fn open_up(array: BorrowedFd<'_>) -> io::Result<()> {
    match sys::remove(array, &0_u32) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Takes off the gates of the thread's present network namespace that nobody holds any more; gives
/// how many of them stay.
///
/// # Errors
/// Filters cannot be listed.
pub fn clear_unheld() -> io::Result<usize> {
    let control = TrafficControl::open()?;
    let all = control.all()?;
    let unheld = all.iter().filter(|found| is_unheld(found).unwrap_or(false));
    Ok(unheld.filter(|found| control.clear(found.spot).is_err()).count())
}

/// Whether its array is empty: who attaches one puts a program there first.
fn is_unheld(found: &Found) -> io::Result<bool> {
    let program = sys::by_id(Command::ProgGetFdById, found.program)?;
    let Some(array) = sys::first_map_of(program.as_fd())? else { return Ok(false) };
    Ok(called(sys::by_id(Command::MapGetFdById, array)?.as_fd())?.is_none())
}

/// The number of the program that is called by way of an array.
fn called(array: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut program = 0_u32;
    match sys::look_up(array, &0_u32, &mut program) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(|()| Some(program)),
    }
}

/// Whether this kernel has such filters: found by trying, in a network namespace that ends with the
/// trial. A kernel that has them as modules loads these.
pub(super) fn are_there() -> bool {
    let trial = || -> io::Result<()> {
        // SAFETY: only the network namespace of a thread that does nothing else changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        let gate = load_gate(make_array()?.as_fd())?;
        let spot = Spot { index: LOOPBACK, handle: 1 };
        TrafficControl::open()?.put(spot, gate.as_fd(), "trial")
    };
    let begun = thread::Builder::new().name("filters".into()).spawn(trial);
    let tried =
        begun.map(|trial| trial.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
    tried.flatten().inspect_err(|error| tracing::debug!(%error, "no filters")).is_ok()
}

/// An array for one program.
fn make_array() -> io::Result<OwnedFd> {
    /// The members of `union bpf_attr` for maps, as far as they are used.
    #[repr(C)]
    struct MapCreate {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    let map_type = bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY as u32;
    let attributes = MapCreate { map_type, key_size: 4, value_size: 4, max_entries: 1 };
    sys::bpf_fd(Command::MapCreate, &attributes)
}

/// The program that calls the one in an array, and lets pass what finds none there.
fn load_gate(array: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let [a, b, c, d] = array.as_raw_fd().to_le_bytes();
    program::load_classifier(&[
        // r2 = the array, in two parts
        [0x18, 0x12, 0, 0, a, b, c, d],
        [0; 8],
        // r3 = 0
        [0xb7, 0x03, 0, 0, 0, 0, 0, 0],
        // bpf_tail_call(r1, r2, r3), which comes back if there is no program
        [0x85, 0, 0, 0, 12, 0, 0, 0],
        // return TC_ACT_UNSPEC: the next filter decides
        [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ])
}
