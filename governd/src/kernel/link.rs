//! Links between programs and what they are attached to, also those that aya cannot make.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya::programs::links::FdLink;

use super::KernelError;

/// `BPF_LINK_CREATE` (include/uapi/linux/bpf.h).
const LINK_CREATE: libc::c_long = 28;
/// `BPF_CGROUP_DEVICE`, an attach type of the same file.
pub(super) const CGROUP_DEVICE: u32 = 6;

/// What keeps a program attached; it detaches when this is dropped.
#[derive(Debug)]
pub(super) enum Link {
    /// Made by aya.
    Aya(FdLink),
    /// Made here.
    Own(OwnedFd),
}

impl Link {
    /// Attaches a program to a cgroup.
    pub(super) fn to_cgroup(
        program: BorrowedFd<'_>,
        cgroup: &fs::File,
        attach_type: u32,
    ) -> io::Result<Self> {
        Self::create(program, cgroup.as_raw_fd(), attach_type)
    }

    /// Attaches a program to a network interface of the thread's namespace, by its index.
    pub(super) fn to_interface(
        program: BorrowedFd<'_>,
        interface: u32,
        attach_type: u32,
    ) -> io::Result<Self> {
        Self::create(program, interface.cast_signed(), attach_type)
    }

    /// To a target, which is a descriptor or an interface's index.
    fn create(program: BorrowedFd<'_>, target: i32, attach_type: u32) -> io::Result<Self> {
        /// The member `link_create` of `union bpf_attr`, as far as it is used.
        #[repr(C)]
        struct LinkCreate {
            prog_fd: i32,
            target: i32,
            attach_type: u32,
            flags: u32,
        }
        let attributes = LinkCreate { prog_fd: program.as_raw_fd(), target, attach_type, flags: 0 };
        // SAFETY: the attributes live through the call, and have the size that is told.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LINK_CREATE,
                &raw const attributes,
                size_of::<LinkCreate>(),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to nobody else.
        Ok(Self::Own(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// The link's id in the kernel.
    pub(super) fn id(&self) -> Result<u32, KernelError> {
        match self {
            Self::Aya(link) => {
                let info = link.info().map_err(|source| KernelError::Link(Box::new(source)))?;
                Ok(info.id())
            }
            Self::Own(fd) => {
                let id = fd_info(fd, "link_id:").map_err(KernelError::OwnLink)?;
                id.ok_or_else(|| KernelError::OwnLink(io::ErrorKind::InvalidData.into()))
            }
        }
    }
}

impl<T: Into<FdLink>> From<T> for Link {
    fn from(link: T) -> Self {
        Self::Aya(link.into())
    }
}

/// A number that the kernel shows of an open descriptor.
pub(super) fn fd_info(fd: &OwnedFd, name: &str) -> io::Result<Option<u32>> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.and_then(|value| value.trim().parse().ok()))
}
