//! The program that sees frames of packet sockets, at network interfaces.
//!
//! It belongs to an interface and not to a cgroup, so it is attached by whoever knows where
//! governed processes are. Where the kernel has no such place (tcx, Linux 6.6), packet sockets are
//! found and not stopped.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::programs::{Program, ProgramError};
use governd_common::names::program;

use super::{Kernel, KernelError, attach, link::Link, load::load_error};

/// `BPF_TCX_EGRESS` (include/uapi/linux/bpf.h).
const TCX_EGRESS: u32 = 47;

/// The loaded program.
#[derive(Debug)]
pub struct Frames {
    program: OwnedFd,
}

/// Holds the program at an interface until it is dropped.
#[derive(Debug)]
pub struct FrameLink {
    _link: Link,
}

impl Frames {
    /// Attaches it to what an interface sends, behind other programs there. The interface is one of
    /// the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no such interface, or the kernel has no tcx.
    pub fn attach(&self, interface: u32) -> io::Result<FrameLink> {
        let link = Link::to_interface(self.program.as_fd(), interface, TCX_EGRESS)?;
        Ok(FrameLink { _link: link })
    }
}

impl Kernel {
    /// Loads the program.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn load_frames(&mut self) -> Result<Frames, KernelError> {
        let name = program::FRAME;
        let found = attach::find(&mut self.ebpf, name)?;
        attach::load_checked(found, name)?;
        let Program::SchedClassifier(found) = found else {
            return Err(load_error(name, ProgramError::UnexpectedProgramType));
        };
        let fd = found.fd().and_then(|fd| Ok(fd.as_fd().try_clone_to_owned()?));
        Ok(Frames { program: fd.map_err(|error| load_error(name, error))? })
    }
}
