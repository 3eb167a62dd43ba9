//! The programs at network interfaces: that which sees frames of packet sockets, and that which
//! also sees where packets go in the end.
//!
//! They belong to an interface and not to a cgroup, so they are attached by whoever knows where
//! governed processes are. Their links outlive the daemon where the others do, and the next daemon
//! goes on with them. Where the kernel has no such place (tcx, Linux 6.6), packet sockets and
//! tunnels are found and not stopped.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use governd_common::names::program;

use super::{Harm, Kernel, KernelError, Tampering, link::Link};

/// `BPF_TCX_EGRESS` (include/uapi/linux/bpf.h).
const TCX_EGRESS: u32 = 47;

/// Where a network interface is: the inode of its network namespace, and its index there.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Interface {
    /// Tells network namespaces apart, as long as they are.
    pub namespace: u64,
    /// As if_nametoindex(3) gives it.
    pub index: u32,
}

impl Interface {
    /// The name of its link's pin.
    fn name(self, look: Look) -> String {
        format!("{}-{}-{}", look.program(), self.namespace, self.index)
    }

    fn of_name(name: &str) -> Option<(Self, Look)> {
        let (program, rest) = name.split_once('-')?;
        let (namespace, index) = rest.split_once('-')?;
        let look = LOOKS.into_iter().find(|look| look.program() == program)?;
        Some((Self { namespace: namespace.parse().ok()?, index: index.parse().ok()? }, look))
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// Frames of packet sockets.
    Frames,
    /// Those, and the destinations of packets as they leave.
    Packets,
}

const LOOKS: [Look; 2] = [Look::Frames, Look::Packets];

impl Look {
    const fn program(self) -> &'static str {
        match self {
            Self::Frames => program::FRAME,
            Self::Packets => program::WIRE,
        }
    }
}

/// The loaded programs.
#[derive(Debug)]
pub struct Frames {
    frames: OwnedFd,
    packets: OwnedFd,
    /// Where links are pinned, if they are.
    pins: Option<PathBuf>,
}

/// Holds a program at an interface: until it is dropped, or if it is pinned, until
/// [`FrameLink::detach`].
#[derive(Debug)]
pub struct FrameLink {
    link: Link,
    look: Look,
    pin: Option<PathBuf>,
}

impl Frames {
    fn program(&self, look: Look) -> BorrowedFd<'_> {
        match look {
            Look::Frames => self.frames.as_fd(),
            Look::Packets => self.packets.as_fd(),
        }
    }

    /// Attaches one to what an interface sends, behind other programs there. The calling thread is
    /// in the interface's network namespace.
    ///
    /// # Errors
    /// There is no such interface, the kernel has no tcx, or the link cannot be pinned.
    pub fn attach(&self, interface: Interface, look: Look) -> io::Result<FrameLink> {
        let link = Link::to_interface(self.program(look), interface.index, TCX_EGRESS)?;
        let pin = self.pins.as_ref().map(|directory| directory.join(interface.name(look)));
        if let Some(path) = &pin {
            link.pin(path)?;
        }
        Ok(FrameLink { link, look, pin })
    }

    /// Goes on with what an earlier daemon left, and removes what is of interfaces that are gone.
    ///
    /// # Errors
    /// The directory of pins cannot be read, or something in it cannot be removed.
    pub fn take(&self) -> io::Result<Vec<(Interface, FrameLink)>> {
        let Some(directory) = &self.pins else { return Ok(Vec::new()) };
        let mut taken = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let named = name.and_then(Interface::of_name);
            let updated = named.and_then(|(interface, look)| {
                let link = Link::pinned(&path).ok()?;
                link.update(self.program(look)).ok()?;
                Some((interface, FrameLink { link, look, pin: Some(path.clone()) }))
            });
            match updated {
                Some(updated) => taken.push(updated),
                None => fs::remove_file(&path)?,
            }
        }
        Ok(taken)
    }
}

impl FrameLink {
    /// What its program looks at.
    pub fn look(&self) -> Look {
        self.look
    }

    /// Whether it is where it was attached, and pinned as it was; false where that cannot be told.
    pub fn is_intact(&self) -> bool {
        self.link.is_at_interface().unwrap_or(false)
            && self.pin.as_ref().is_none_or(|path| path.exists())
    }

    /// What somebody did to it, if it is not as it was. A missing pin is put back, or done without
    /// from now on; what was detached is to be attached again.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn tampering(&mut self) -> io::Result<Option<Tampering>> {
        let program = self.look.program();
        let found = |harm, is_mended| Tampering { program, harm, is_mended };
        if !self.link.is_at_interface()? {
            return Ok(Some(found(Harm::Detached, false)));
        }
        let Some(path) = self.pin.as_ref().filter(|path| !path.exists()) else { return Ok(None) };
        let is_mended = self.link.pin(path).is_ok();
        if !is_mended {
            self.pin = None;
        }
        Ok(Some(found(Harm::Unpinned, is_mended)))
    }

    /// Where it is pinned, if it is.
    #[cfg(test)]
    pub(super) fn pin(&self) -> Option<&std::path::Path> {
        self.pin.as_deref()
    }

    /// Takes the program off, pinned or not.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn detach(self) -> io::Result<()> {
        match self.pin.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Kernel {
    /// Loads the programs.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn load_frames(&mut self) -> Result<Frames, KernelError> {
        let frames = self.load_at_interfaces(program::FRAME)?;
        let packets = self.load_at_interfaces(program::WIRE)?;
        let pins = self.pinned.as_ref().map(|pinned| pinned.place.frames.clone());
        Ok(Frames { frames, packets, pins })
    }

    fn load_at_interfaces(&mut self, name: &'static str) -> Result<OwnedFd, KernelError> {
        if let Some(at) = self.refused.iter().position(|(refused, _)| *refused == name) {
            return Err(self.refused.swap_remove(at).1);
        }
        let program = self.collection.program(name)?.try_clone_to_owned();
        program.map_err(KernelError::Link)
    }
}
