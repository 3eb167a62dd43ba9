//! The programs at network interfaces: that which sees frames of packet sockets, and that which
//! also sees where packets go in the end.
//!
//! They belong to an interface and not to a cgroup, so they are attached by whoever knows where
//! governed processes are. Their links outlive the daemon where the others do, and the next daemon
//! goes on with them. Where the kernel has no links there (tcx, since Linux 6.6), filters of
//! traffic control take their place.

use std::{
    fs, io, mem,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use governd_common::names::program;
use ring::digest::{SHA256, digest};

use super::{
    Harm, Kernel, KernelError, Lack, Tampering,
    filter::{self, Gate},
    link::Link,
    pins::Place,
    sys,
    tc::Spot,
};

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
    /// The name of the pin of what holds a program there; a filter's ends in its handle.
    fn name(self, look: Look, way: Way) -> String {
        let Self { namespace, index } = self;
        let name = format!("{}-{namespace}-{index}", look.program());
        match way {
            Way::Links => name,
            Way::Filters { handle } => format!("{name}-{handle}"),
        }
    }

    fn of_name(name: &str) -> Option<(Self, Look, Way)> {
        let mut parts = name.split('-');
        let program = parts.next()?;
        let look = LOOKS.into_iter().find(|look| look.program() == program)?;
        let namespace = parts.next()?.parse().ok()?;
        let index = parts.next()?.parse().ok()?;
        let way = match parts.next() {
            None => Way::Links,
            Some(handle) => Way::Filters { handle: handle.parse().ok()? },
        };
        Some((Self { namespace, index }, look, way))
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

/// How programs are attached to interfaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// By links.
    Links,
    /// By filters, of which those of a cgroup and a layout of its maps have a handle of their own.
    Filters { handle: u32 },
}

/// The loaded programs.
#[derive(Debug)]
pub struct Frames {
    frames: OwnedFd,
    packets: OwnedFd,
    way: Way,
    /// Where what holds them is to be pinned, if it is.
    pins: Option<PathBuf>,
    /// What is attached is pinned.
    is_kept: bool,
}

/// Holds a program at an interface: until it is dropped, or if it is pinned, until
/// [`FrameLink::detach`].
#[derive(Debug)]
pub struct FrameLink {
    hold: Hold,
    look: Look,
    pin: Option<PathBuf>,
}

#[derive(Debug)]
enum Hold {
    Link(Link),
    Gate(Gate),
}

impl Hold {
    fn attach(way: Way, program: BorrowedFd<'_>, index: u32, look: Look) -> io::Result<Self> {
        match way {
            Way::Links => Link::to_interface(program, index, TCX_EGRESS).map(Self::Link),
            Way::Filters { handle } => {
                Gate::attach(program, Spot { index, handle }, look.program()).map(Self::Gate)
            }
        }
    }

    /// What is pinned there, with another program.
    fn take(
        way: Way,
        path: &Path,
        program: BorrowedFd<'_>,
        index: u32,
        look: Look,
    ) -> io::Result<Self> {
        match way {
            Way::Links => {
                let link = Link::pinned(path)?;
                link.update(program).map(|()| Self::Link(link))
            }
            Way::Filters { handle } => {
                Gate::take(path, program, Spot { index, handle }, look.program()).map(Self::Gate)
            }
        }
    }

    fn pin(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Link(link) => link.pin(path),
            Self::Gate(gate) => gate.pin(path),
        }
    }
}

/// Has filters let everything pass whose pins are in a directory.
pub(super) fn open_up(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some((_, _, Way::Filters { .. })) = name.to_str().and_then(Interface::of_name)
            && let Err(error) =
                sys::pinned(&entry.path()).and_then(|array| filter::open_up(array.as_fd()))
        {
            // The kernel does it when the pin is gone.
            tracing::debug!(%error, "a filter at an interface is held some time longer");
        }
    }
}

impl Frames {
    /// What they attach is to be pinned there from [`Frames::keep`] on.
    pub(super) fn new(frames: OwnedFd, packets: OwnedFd, way: Way, pins: Option<PathBuf>) -> Self {
        Self { frames, packets, way, pins, is_kept: false }
    }

    fn program(&self, look: Look) -> BorrowedFd<'_> {
        match look {
            Look::Frames => self.frames.as_fd(),
            Look::Packets => self.packets.as_fd(),
        }
    }

    /// What the kernel says of the filters that hold the programs, if filters do: of `struct tcmsg`
    /// what is behind the interface.
    pub fn mark(&self) -> Option<[u8; 12]> {
        match self.way {
            Way::Links => None,
            Way::Filters { handle } => Some(Spot { index: 0, handle }.mark()),
        }
    }

    /// Attaches one to what an interface sends, behind other programs there. The calling thread is
    /// in the interface's network namespace.
    ///
    /// # Errors
    /// There is no such interface, the kernel has no place for programs there, or what holds it
    /// cannot be pinned.
    pub fn attach(&self, interface: Interface, look: Look) -> io::Result<FrameLink> {
        let hold = Hold::attach(self.way, self.program(look), interface.index, look)?;
        let mut link = FrameLink { hold, look, pin: None };
        if self.is_kept
            && let Err(error) = self.pin(interface, &mut link)
        {
            return link.detach().and(Err(error));
        }
        Ok(link)
    }

    /// Pins what is attached from now on, and what was attached before.
    ///
    /// # Errors
    /// Something cannot be pinned, which then goes with the daemon.
    pub fn keep<'a>(
        &mut self,
        attached: impl Iterator<Item = (Interface, &'a mut FrameLink)>,
    ) -> io::Result<()> {
        if mem::replace(&mut self.is_kept, true) {
            return Ok(());
        }
        let mut kept = Ok(());
        for (interface, link) in attached.filter(|(_, link)| link.pin.is_none()) {
            // One that cannot be pinned keeps no other from being so.
            kept = kept.and(self.pin(interface, link));
        }
        kept
    }

    fn pin(&self, interface: Interface, link: &mut FrameLink) -> io::Result<()> {
        let Some(directory) = &self.pins else { return Ok(()) };
        let path = directory.join(interface.name(link.look, self.way));
        link.hold.pin(&path)?;
        link.pin = Some(path);
        Ok(())
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
            let updated = named.and_then(|(interface, look, way)| {
                let (program, index) = (self.program(look), interface.index);
                let hold = Hold::take(way, &path, program, index, look).ok()?;
                Some((interface, FrameLink { hold, look, pin: Some(path.clone()) }))
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
        let is_attached = match &self.hold {
            Hold::Link(link) => link.is_at_interface(),
            Hold::Gate(gate) => gate.is_attached(),
        };
        is_attached.unwrap_or(false) && self.pin.as_ref().is_none_or(|path| path.exists())
    }

    /// What somebody did to it, if it is not as it was. A missing pin is put back, or done without
    /// from now on; what was detached is to be attached again. The calling thread is in the
    /// interface's network namespace.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn tampering(&mut self) -> io::Result<Option<Tampering>> {
        let program = self.look.program();
        let found = |harm, is_mended| Tampering { program, harm, is_mended };
        let is_attached = match &mut self.hold {
            Hold::Link(link) => link.is_at_interface()?,
            Hold::Gate(gate) => gate.is_attached_here()?,
        };
        if !is_attached {
            return Ok(Some(found(Harm::Detached, false)));
        }
        let Some(path) = self.pin.as_ref().filter(|path| !path.exists()) else { return Ok(None) };
        let is_mended = self.hold.pin(path).is_ok();
        if !is_mended {
            self.pin = None;
        }
        Ok(Some(found(Harm::Unpinned, is_mended)))
    }

    /// Where it is pinned, if it is.
    pub fn pin(&self) -> Option<&Path> {
        self.pin.as_deref()
    }

    /// Takes the program off, pinned or not.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn detach(self) -> io::Result<()> {
        if let Hold::Gate(gate) = &self.hold
            && let Err(error) = gate.clear()
        {
            // It lets everything pass as soon as its pin is gone.
            tracing::debug!(%error, "a filter at an interface stays");
        }
        match self.pin.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// How the programs of a cgroup are attached to interfaces.
pub(super) fn way(
    lacks: &[Lack],
    cgroup: &fs::File,
    place: Option<&Place>,
) -> Result<Way, KernelError> {
    let has_links = !lacks.contains(&Lack::InterfaceLinks);
    if has_links { Ok(Way::Links) } else { by_filters(cgroup, place) }
}

/// The way of kernels without links there. What another layout has there stays beside it until the
/// policy is in force.
fn by_filters(cgroup: &fs::File, place: Option<&Place>) -> Result<Way, KernelError> {
    let cgroup = cgroup.metadata().map_err(KernelError::Link)?.ino();
    let layout = place.and_then(|place| place.path.file_name());
    let name = digest(&SHA256, format!("{cgroup} {layout:?}").as_bytes());
    let handle = name.as_ref().iter().take(4).fold(0, |all, byte| all << 8 | u32::from(*byte));
    // No filter has the handle 0.
    Ok(Way::Filters { handle: handle.max(1) })
}

impl Kernel {
    /// Loads the programs.
    ///
    /// # Errors
    /// The kernel refuses one, or the governed cgroup cannot be looked at.
    pub fn load_frames(&mut self) -> Result<Frames, KernelError> {
        self.load_frames_for(way(&self.lacks, &self.directory, self.place())?)
    }

    #[cfg(test)]
    pub(super) fn by_filters(&self) -> Result<Way, KernelError> {
        by_filters(&self.directory, self.place())
    }

    fn place(&self) -> Option<&Place> {
        self.pinned.as_ref().map(|pinned| &pinned.place)
    }

    pub(super) fn load_frames_for(&mut self, way: Way) -> Result<Frames, KernelError> {
        let frames = self.load_at_interfaces(program::FRAME)?;
        let packets = self.load_at_interfaces(program::WIRE)?;
        let pins = self.place().map(|place| place.frames.clone());
        Ok(Frames { frames, packets, way, pins, is_kept: true })
    }

    fn load_at_interfaces(&mut self, name: &'static str) -> Result<OwnedFd, KernelError> {
        if let Some(at) = self.refused.iter().position(|(refused, _)| *refused == name) {
            return Err(self.refused.swap_remove(at).1);
        }
        let program = self.collection.program(name)?.try_clone_to_owned();
        program.map_err(KernelError::Link)
    }
}
