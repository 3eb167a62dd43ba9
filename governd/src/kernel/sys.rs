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

use aya_obj::generated::{bpf_link_info, bpf_prog_info};

/// Commands (`enum bpf_cmd`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
#[repr(i64)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjInfoByFd = 15,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    MapFreeze = 22,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
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

/// The member `batch` of `union bpf_attr`.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// What kernels say of a command that a kind of map does not have (`ENOTSUPP`,
/// include/linux/errno.h), or that they do not know.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(524 | libc::EINVAL))
}

/// Writes entries of a map in one call. The caller's keys and values are as large as the map's.
pub(super) fn put_entries<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    let count = keys.len().min(values.len());
    all_of(Command::MapUpdateBatch, map, (keys.as_ptr() as u64, values.as_ptr() as u64), count)
}

/// Takes entries out of a map in one call; ends with an error at the first that is not there.
pub(super) fn remove_entries<K: aya::Pod>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    all_of(Command::MapDeleteBatch, map, (keys.as_ptr() as u64, 0), keys.len())
}

fn all_of(
    command: Command,
    map: BorrowedFd<'_>,
    (keys, values): (u64, u64),
    count: usize,
) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let count = u32::try_from(count).map_err(io::Error::other)?;
    let map_fd = map.as_raw_fd().cast_unsigned();
    let (in_batch, out_batch, elem_flags, flags) = (0, 0, 0, 0);
    let attributes = Batch { in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags };
    bpf(command, &attributes).map(|_| ())
}

/// Reads entries of a hash or a trie from where the last call stopped; `cursor` is empty before the
/// first, and afterwards as long as there are more. Gives how many were read: their keys and values
/// lie one behind the other.
pub(super) fn next_entries(
    map: BorrowedFd<'_>,
    cursor: &mut Vec<u8>,
    (keys, values): (&mut [u8], &mut [u8]),
    entries_max: u32,
) -> io::Result<u32> {
    // A trie's place is a key, a hash's a number of a bucket.
    let mut next = vec![0_u8; keys.len().max(size_of::<u64>())];
    let in_batch = if cursor.is_empty() { 0 } else { cursor.as_ptr() as u64 };
    let mut attributes = Batch {
        in_batch,
        out_batch: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: entries_max,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the attributes and what they point to live through the call. The caller's slices hold
    // as many entries as are asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            Command::MapLookupBatch as libc::c_long,
            std::ptr::from_mut(&mut attributes),
            size_of::<Batch>(),
        )
    };
    let error = io::Error::last_os_error();
    match result {
        0.. => *cursor = next,
        // The last of them.
        _ if error.kind() == io::ErrorKind::NotFound => cursor.clear(),
        _ => return Err(error),
    }
    Ok(attributes.count)
}

/// The same as [`bpf`] for commands that make a descriptor.
pub(super) fn bpf_fd<T>(command: Command, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just given this descriptor to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Writes the one value of an array that has one, which is as long as the bytes.
pub(super) fn fill(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    put_at(map, &0_u32, value.as_ptr() as u64)
}

/// Writes an entry. Key and value are as large as the map's.
pub(super) fn put<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    put_at(map, key, std::ptr::from_ref(value) as u64)
}

fn put_at<K: aya::Pod>(map: BorrowedFd<'_>, key: &K, value: u64) -> io::Result<()> {
    element(Command::MapUpdateElem, map, key, value)
}

/// Reads an entry. Key and value are as large as the map's.
pub(super) fn look_up<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &mut V,
) -> io::Result<()> {
    element(Command::MapLookupElem, map, key, std::ptr::from_mut(value) as u64)
}

/// Takes an entry out. The key is as large as the map's.
pub(super) fn remove<K: aya::Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    element(Command::MapDeleteElem, map, key, 0)
}

fn element<K: aya::Pod>(
    command: Command,
    map: BorrowedFd<'_>,
    key: &K,
    value: u64,
) -> io::Result<()> {
    /// The members of `union bpf_attr` for elements.
    #[repr(C)]
    struct Element {
        map_fd: u32,
        reserved: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let (map_fd, key) = (map.as_raw_fd().cast_unsigned(), std::ptr::from_ref(key) as u64);
    let attributes = Element { map_fd, reserved: 0, key, value, flags: 0 };
    bpf(command, &attributes).map(|_| ())
}

/// Lets nobody but programs write a map any more.
pub(super) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(Command::MapFreeze, &map.as_raw_fd().cast_unsigned()).map(|_| ())
}

/// Gives type information to the kernel.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    /// The members of `union bpf_attr` for this command.
    #[repr(C)]
    struct BtfLoad {
        btf: u64,
        log_buf: u64,
        btf_size: u32,
        log_size: u32,
        log_level: u32,
        reserved: u32,
    }
    let (btf, btf_size) = (types.as_ptr() as u64, types.len() as u32);
    let attributes = BtfLoad { btf, log_buf: 0, btf_size, log_size: 0, log_level: 0, reserved: 0 };
    bpf_fd(Command::BtfLoad, &attributes)
}

/// Runs a program on a packet; gives what it returns.
pub(super) fn run(program: BorrowedFd<'_>, packet: &[u8]) -> io::Result<u32> {
    /// The members of `union bpf_attr` for this command, as far as they are used.
    #[repr(C)]
    struct TestRun {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }
    let mut attributes = TestRun {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        retval: 0,
        data_size_in: packet.len() as u32,
        data_size_out: 0,
        data_in: packet.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    bpf_mut(Command::ProgTestRun, &mut attributes)?;
    Ok(attributes.retval)
}

/// What the kernel says of a program.
pub(super) fn program_info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: numbers and bytes, of which each may be zero.
    let mut info = unsafe { std::mem::zeroed() };
    read_info(program, &mut info).map(|()| info)
}

/// The number of the first map that a program uses, if it uses any.
pub(super) fn first_map_of(program: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let mut map = 0_u32;
    // SAFETY: as above. The kernel writes no more numbers than it is told that there is room for.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    (info.nr_map_ids, info.map_ids) = (1, std::ptr::from_mut(&mut map) as u64);
    read_info(program, &mut info)?;
    Ok((info.nr_map_ids > 0).then_some(map))
}

/// Opens what has a number among programs or maps, by the command for those.
pub(super) fn by_id(command: Command, id: u32) -> io::Result<OwnedFd> {
    bpf_fd(command, &id)
}

/// What the kernel says of a link.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<bpf_link_info> {
    // SAFETY: as above.
    let mut info = unsafe { std::mem::zeroed() };
    read_info(link, &mut info).map(|()| info)
}

/// Older kernels write less, and leave the rest as it is.
fn read_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    /// The member `info` of `union bpf_attr`.
    #[repr(C)]
    struct Info {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let (bpf_fd, info_len) = (object.as_raw_fd().cast_unsigned(), size_of::<T>() as u32);
    let mut attributes = Info { bpf_fd, info_len, info: std::ptr::from_mut(info) as u64 };
    bpf_mut(Command::ObjInfoByFd, &mut attributes)
}

/// The same as [`bpf`] for commands that answer in their attributes.
fn bpf_mut<T>(command: Command, attributes: &mut T) -> io::Result<()> {
    // SAFETY: as there; nobody else holds the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
