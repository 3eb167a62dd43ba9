//! Links between programs and what they are attached to.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use aya_obj::generated::bpf_link_type;

use super::{
    KernelError,
    sys::{self, Command},
};

/// What keeps a program attached. It detaches when this is dropped, unless it is pinned.
#[derive(Debug)]
pub(super) struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches a program to a cgroup, beside others.
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
        Ok(Self { fd: sys::bpf_fd(Command::LinkCreate, &attributes)? })
    }

    /// Attaches a program to a raw tracepoint.
    pub(super) fn to_tracepoint(program: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        let name = CString::new(name)?;
        Self::open(program, name.as_ptr() as u64)
    }

    /// Attaches a program of a security module's hook, which it was loaded for.
    pub(super) fn to_loaded_hook(program: BorrowedFd<'_>) -> io::Result<Self> {
        Self::open(program, 0)
    }

    /// To the tracepoint whose name is at an address that lives through the call.
    fn open(program: BorrowedFd<'_>, name: u64) -> io::Result<Self> {
        /// The member `raw_tracepoint` of `union bpf_attr`, as far as it is used.
        #[repr(C)]
        struct RawTracepoint {
            name: u64,
            prog_fd: i32,
            reserved: u32,
        }
        let attributes = RawTracepoint { name, prog_fd: program.as_raw_fd(), reserved: 0 };
        Ok(Self { fd: sys::bpf_fd(Command::RawTracepointOpen, &attributes)? })
    }

    /// A link that is pinned there.
    pub(super) fn pinned(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: sys::pinned(path)? })
    }

    /// Puts another program in the place of the link's, in one step: whatever runs runs one of
    /// them. Links to tracepoints cannot.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        /// The member `link_update` of `union bpf_attr`.
        #[repr(C)]
        struct LinkUpdate {
            link_fd: i32,
            new_prog_fd: i32,
            flags: u32,
            old_prog_fd: u32,
        }
        let (link_fd, new_prog_fd) = (self.fd.as_raw_fd(), program.as_raw_fd());
        let attributes = LinkUpdate { link_fd, new_prog_fd, flags: 0, old_prog_fd: 0 };
        sys::bpf(Command::LinkUpdate, &attributes).map(|_| ())
    }

    /// Keeps the link after this process.
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        sys::pin(self.fd.as_fd(), path)
    }

    /// Whether it still holds: the kernel takes links off a cgroup that is removed, and root may
    /// take off any. Other links hold as long as they are.
    pub(super) fn is_alive(&self) -> Result<bool, KernelError> {
        let info = sys::link_info(self.fd.as_fd()).map_err(KernelError::Link)?;
        // SAFETY: the kernel says which member it wrote, and what it did not write is zero.
        let cgroup = unsafe { info.__bindgen_anon_1.cgroup.cgroup_id };
        Ok(info.type_ != bpf_link_type::BPF_LINK_TYPE_CGROUP as u32 || cgroup != 0)
    }

    /// Whether it still is at an interface, one to which it was attached.
    pub(super) fn is_at_interface(&self) -> io::Result<bool> {
        let info = sys::link_info(self.fd.as_fd())?;
        // SAFETY: as above.
        let interface = unsafe { info.__bindgen_anon_1.tcx.ifindex };
        Ok(info.type_ != bpf_link_type::BPF_LINK_TYPE_TCX as u32 || interface != 0)
    }
}
