//! The calls of bpf(2) that aya does not make.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Commands (`enum bpf_cmd`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
#[repr(i64)]
pub(super) enum Command {
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    RawTracepointOpen = 17,
    LinkCreate = 28,
    LinkUpdate = 29,
}

/// The members of `union bpf_attr` for pins, as far as they are used.
#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Calls with the attributes of the command; gives a descriptor, or 0 where the command makes none.
pub(super) fn bpf<T>(command: Command, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes live through the call, and have the size that is told. What they point
    // to is the caller's to keep.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// The same for commands that make a descriptor.
pub(super) fn bpf_fd<T>(command: Command, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just given this descriptor to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives an object a name in a BPF file system, which keeps it.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let pathname = CString::new(path.as_os_str().as_bytes())?;
    let bpf_fd = object.as_raw_fd().cast_unsigned();
    let attributes = Object { pathname: pathname.as_ptr() as u64, bpf_fd, file_flags: 0 };
    bpf(Command::ObjPin, &attributes).map(|_| ())
}

/// Opens what has a name there.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let pathname = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Object { pathname: pathname.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    bpf_fd(Command::ObjGet, &attributes)
}
