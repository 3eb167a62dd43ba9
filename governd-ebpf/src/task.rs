//! Reads of kernel structures, at offsets that the daemon takes from the kernel's own BTF.
//!
//! Rust has no relocations for structure fields, so each offset is a load-time constant. Reads go
//! through `bpf_probe_read_kernel`, which fails instead of faulting; only the current task is read
//! where it is, by a pointer that the verifier knows.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_task, bpf_probe_read_kernel,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
};
use governd_common::{address::Address, layout::KernelLayout};

/// Offsets in the running kernel's structures.
#[unsafe(no_mangle)]
pub(crate) static LAYOUT: Global<KernelLayout> = Global::new(KernelLayout {
    task_tgid: 0,
    task_pid: 0,
    task_real_parent: 0,
    task_ptrace: 0,
    task_parent: 0,
    task_comm: 0,
    task_mm: 0,
    task_signal: 0,
    signal_live: 0,
    mm_exe_file: 0,
    mm_owner: 0,
    regs_call: 0,
    regs_place: 0,
    mm_arg_start: 0,
    mm_arg_end: 0,
    bprm_file: 0,
    bprm_filename: 0,
    file_inode: 0,
    inode_ino: 0,
    inode_sb: 0,
    sb_dev: 0,
    task_cgroups: 0,
    css_set_dfl_cgrp: 0,
    cgroup_node: 0,
    node_id: 0,
    cgroup_level: 0,
    cgroup_ancestor_ids: 0,
    skb_sk: 0,
    skb_head: 0,
    skb_end: 0,
    shared_flags: 0,
    sock_own_v6: 0,
    sock_peer_v6: 0,
    sock_owned: 0,
    sock_family: 0,
    sock_protocol: 0,
    sock_queued: 0,
    sock_kernel: 0,
    sock_kernel_mask: 0,
    tcp_mptcp: 0,
    tcp_mptcp_mask: 0,
    path_connection: 0,
    tcp_received: 0,
    tcp_acked: 0,
    tcp_unacked: 0,
    tcp_next: 0,
    udp_encap_type: 0,
    sock_addr_address: 0,
    sock_addr_len: 0,
    sock_net: 0,
    net_user_ns: 0,
    task_cred: 0,
    cred_uid: 0,
    cred_gid: 0,
    cred_user_ns: 0,
    user_ns_owner: 0,
    user_ns_level: 0,
    has_set_retval: 0,
    has_loops: 0,
    has_allocator: 0,
    has_current_task: 0,
    has_sends: 0,
    has_interfaces: 0,
});

/// A load-time constant; one field is read at a time, so that the verifier knows its value.
macro_rules! layout {
    ($field:ident) => {{
        let layout = ::core::ptr::from_ref(&$crate::task::LAYOUT)
            .cast::<::governd_common::layout::KernelLayout>();
        // SAFETY: `Global` is transparent over the structure, which is valid for any bytes.
        unsafe { ::core::ptr::read_volatile(&raw const (*layout).$field) }
    }};
}
pub(crate) use layout;

/// tgid of the current task, if nobody traces it (ptrace(2)) and the kernel lets programs read that
/// in place, which takes a tenth of the time that copying does.
#[inline(always)]
pub(crate) fn untraced_tgid() -> Option<u32> {
    if layout!(has_current_task) == 0 {
        return None;
    }
    let current = current();
    if in_place::<u32>(current, layout!(task_ptrace)) != 0 {
        return None;
    }
    Some(in_place(current, layout!(task_tgid)))
}

/// The current process's memory, a `struct mm_struct`; null for kernel threads. Only for programs
/// that need a kernel with [`KernelLayout::has_current_task`].
#[inline(always)]
pub(crate) fn current_memory() -> *const c_void {
    in_place(current(), layout!(task_mm))
}

#[inline(always)]
pub(crate) fn current() -> *const u8 {
    // SAFETY: the helper only gives the address of the current task.
    unsafe { bpf_get_current_task_btf() }.cast::<u8>().cast_const()
}

/// A member of the current task, or of what it points to, which is a number or a pointer.
#[inline(always)]
pub(crate) fn in_place<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the current task lives while it runs, and the verifier checks that a member of this
    // size is there. What it points to may not be there: the kernel gives zeroes then.
    unsafe { ptr::read_volatile(base.wrapping_add(offset as usize).cast::<T>()) }
}

/// A `struct task_struct`.
#[derive(Clone, Copy)]
pub(crate) struct TaskPointer(*const c_void);

impl TaskPointer {
    pub(crate) fn new(pointer: *const c_void) -> Self {
        Self(pointer)
    }

    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper only returns the address of the current task.
        Self(unsafe { bpf_get_current_task() } as *const _)
    }

    #[inline(always)]
    pub(crate) fn tgid(self) -> Option<u32> {
        field(self.0, layout!(task_tgid))
    }

    #[inline(always)]
    pub(crate) fn pid(self) -> Option<u32> {
        field(self.0, layout!(task_pid))
    }

    #[inline(always)]
    pub(crate) fn parent(self) -> Option<Self> {
        field(self.0, layout!(task_real_parent)).map(Self)
    }

    /// The process that traces the thread (ptrace(2)).
    #[inline(always)]
    pub(crate) fn tracer(self) -> Option<Self> {
        let is_traced: u32 = field(self.0, layout!(task_ptrace))?;
        if is_traced == 0 {
            return None;
        }
        field(self.0, layout!(task_parent)).map(Self)
    }

    /// Threads of the process that have not ended yet.
    #[inline(always)]
    pub(crate) fn live_threads(self) -> Option<u32> {
        let signal: *const c_void = field(self.0, layout!(task_signal))?;
        field(signal, layout!(signal_live))
    }

    /// Executable that the process runs; `None` for kernel threads.
    #[inline(always)]
    pub(crate) fn executable(self) -> Option<Executable> {
        let mm: *const c_void = field(self.0, layout!(task_mm))?;
        if mm.is_null() {
            return None;
        }
        Executable::of_file(field(mm, layout!(mm_exe_file))?)
    }

    /// Id of the cgroup at a level above the task's own, or of that one; `None` below it.
    #[inline(always)]
    pub(crate) fn ancestor(self, level: u32) -> Option<u64> {
        let set: *const c_void = field(self.0, layout!(task_cgroups))?;
        let cgroup: *const c_void = field(set, layout!(css_set_dfl_cgrp))?;
        let own_level: u32 = field(cgroup, layout!(cgroup_level))?;
        if level > own_level {
            return None;
        }
        field(cgroup, layout!(cgroup_ancestor_ids) + level * size_of::<u64>() as u32)
    }

    /// Whether the task is in a user namespace that only root can have made. In one that anybody
    /// makes, he may mount whatever he likes over any name.
    #[inline(always)]
    pub(crate) fn is_where_root_mounts(self) -> Option<bool> {
        const ROOT: u32 = 0;
        let cred: *const c_void = field(self.0, layout!(task_cred))?;
        let user_ns: *const c_void = field(cred, layout!(cred_user_ns))?;
        let level: u32 = field(user_ns, layout!(user_ns_level))?;
        let owner: u32 = field(user_ns, layout!(user_ns_owner))?;
        Some(level == 0 || owner == ROOT)
    }

    /// The process that a memory is of; null for one that has ended.
    #[inline(always)]
    pub(crate) fn of_memory(memory: *const c_void) -> Option<Self> {
        let owner: *const c_void = field(memory, layout!(mm_owner))?;
        if owner.is_null() { None } else { Some(Self(owner)) }
    }

    /// User addresses between which the arguments are.
    #[inline(always)]
    pub(crate) fn arguments(self) -> Option<(u64, u64)> {
        let mm: *const c_void = field(self.0, layout!(task_mm))?;
        Some((field(mm, layout!(mm_arg_start))?, field(mm, layout!(mm_arg_end))?))
    }
}

/// Where an executable is.
#[derive(Clone, Copy)]
pub(crate) struct Executable {
    pub(crate) device: u32,
    pub(crate) inode: u64,
}

impl Executable {
    /// No file: inode numbers begin at 1.
    pub(crate) const NONE: Self = Self { device: 0, inode: 0 };

    /// From a `struct file`.
    #[inline(always)]
    fn of_file(file: *const c_void) -> Option<Self> {
        let inode: *const c_void = field(file, layout!(file_inode))?;
        let sb: *const c_void = field(inode, layout!(inode_sb))?;
        Some(Self { device: field(sb, layout!(sb_dev))?, inode: field(inode, layout!(inode_ino))? })
    }
}

/// Number of the system call that the current task is in; the largest number there is in a worker
/// of io_uring's, which is in none.
#[inline(always)]
pub(crate) fn current_call() -> Option<u64> {
    // SAFETY: the helpers give the current task and the registers that it came with.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const c_void;
    let place: u64 = field(registers, layout!(regs_place))?;
    if place == 0 { Some(u64::MAX) } else { field(registers, layout!(regs_call)) }
}

/// A `struct linux_binprm`: what `execve` is about to run.
#[derive(Clone, Copy)]
pub(crate) struct Binprm(*const c_void);

impl Binprm {
    pub(crate) fn new(pointer: *const c_void) -> Self {
        Self(pointer)
    }

    /// The file that is loaded; for a script its interpreter.
    #[inline(always)]
    pub(crate) fn executable(self) -> Option<Executable> {
        Executable::of_file(field(self.0, layout!(bprm_file))?)
    }

    /// Kernel address of the path as `execve` got it.
    #[inline(always)]
    pub(crate) fn path(self) -> Option<*const c_void> {
        field(self.0, layout!(bprm_filename))
    }
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub(crate) const PROTOCOL_TCP: u16 = 6;
/// `IPPROTO_MPTCP` (include/uapi/linux/in.h).
pub(crate) const PROTOCOL_MPTCP: u16 = 262;

/// A `struct sock`.
#[derive(Clone, Copy)]
pub(crate) struct SocketPointer(*const c_void);

impl SocketPointer {
    /// The socket of a packet. The context's own pointer cannot be counted on from, so it is read
    /// from the packet, which is what the context is in the kernel (`struct sk_buff`).
    #[inline(always)]
    pub(crate) fn of_packet(skb: *const c_void) -> Option<Self> {
        field(skb, layout!(skb_sk)).map(Self)
    }

    /// The socket that a program is asked about, which is what its context is in the kernel.
    #[inline(always)]
    pub(crate) fn of_context(socket: *const c_void) -> Self {
        Self(socket)
    }

    /// Bytes that were sent, each once, and received; of TCP sockets only.
    #[inline(always)]
    pub(crate) fn traffic(self) -> Option<(u64, u64)> {
        // The kernel's own count of what was sent has it again each time that it tries.
        let acked: u64 = field(self.0, layout!(tcp_acked))?;
        let unacked: u32 = field(self.0, layout!(tcp_unacked))?;
        let next: u32 = field(self.0, layout!(tcp_next))?;
        let sent = acked.wrapping_add(u64::from(next.wrapping_sub(unacked)));
        Some((sent, field(self.0, layout!(tcp_received))?))
    }

    /// True while a process works with the socket. What comes in then waits, and so do its timers:
    /// who sends is that process.
    #[inline(always)]
    pub(crate) fn is_owned(self) -> Option<bool> {
        field::<u32>(self.0, layout!(sock_owned)).map(|owned| owned != 0)
    }

    /// Its own address; of IPv6 sockets only. The verifier lets programs read it from the socket
    /// itself only word by word, which the compiler does not keep to.
    #[inline(always)]
    pub(crate) fn own_v6(self) -> Option<Address> {
        field(self.0, layout!(sock_own_v6)).map(Address::v6)
    }

    /// The address that it is connected to; of IPv6 sockets only.
    #[inline(always)]
    pub(crate) fn peer_v6(self) -> Option<Address> {
        field(self.0, layout!(sock_peer_v6)).map(Address::v6)
    }

    /// Whether it is one over IPv4 or IPv6.
    #[inline(always)]
    pub(crate) fn is_inet(self) -> Option<bool> {
        let family: u16 = field(self.0, layout!(sock_family))?;
        Some(family == AF_INET || family == AF_INET6)
    }

    /// True for sockets that the kernel made for itself.
    #[inline(always)]
    pub(crate) fn is_kernels(self) -> Option<bool> {
        let byte: u8 = field(self.0, layout!(sock_kernel))?;
        Some(u32::from(byte) & layout!(sock_kernel_mask) != 0)
    }

    /// False for sockets of one path, if the kernel tells them apart.
    #[inline(always)]
    pub(crate) fn may_have_paths(self) -> bool {
        let at = layout!(sock_protocol);
        at == 0 || field::<u16>(self.0, at).is_none_or(|protocol| protocol == PROTOCOL_MPTCP)
    }

    /// True for a path of a multipath connection; of TCP sockets only.
    #[inline(always)]
    pub(crate) fn is_multipath(self) -> Option<bool> {
        let mask = layout!(tcp_mptcp_mask);
        if mask == 0 {
            return Some(false);
        }
        let byte: u8 = field(self.0, layout!(tcp_mptcp))?;
        Some(u32::from(byte) & mask != 0)
    }

    /// True for a socket through which the kernel sends packets of a tunnel; of UDP sockets only.
    #[inline(always)]
    pub(crate) fn is_tunnel(self) -> Option<bool> {
        field::<u8>(self.0, layout!(udp_encap_type)).map(|kind| kind != 0)
    }

    /// Whether its network namespace belongs to the initial user namespace, so that only root can
    /// have made it and changed its addresses.
    #[inline(always)]
    pub(crate) fn is_in_initial_user_namespace(self) -> bool {
        let net_at = layout!(sock_net);
        if net_at == 0 {
            return true;
        }
        let level = field::<*const c_void>(self.0, net_at)
            .and_then(|net| field::<*const c_void>(net, layout!(net_user_ns)))
            .and_then(|user_ns| field::<u32>(user_ns, layout!(user_ns_level)));
        level == Some(0)
    }
}

/// A `struct sock` that the verifier knows as one.
#[derive(Clone, Copy)]
pub(crate) struct KnownSocket(*const c_void);

impl KnownSocket {
    pub(crate) fn new(socket: *const c_void) -> Self {
        Self(socket)
    }

    #[inline(always)]
    pub(crate) fn protocol(self) -> u16 {
        self.in_place(layout!(sock_protocol))
    }

    #[inline(always)]
    pub(crate) fn is_inet(self) -> bool {
        let family: u16 = self.in_place(layout!(sock_family));
        family == AF_INET || family == AF_INET6
    }

    /// Whether something waits to be sent; of other sockets than TCP's, what is not whole.
    #[inline(always)]
    pub(crate) fn has_queued(self) -> bool {
        self.in_place::<u32>(layout!(sock_queued)) != 0
    }

    #[inline(always)]
    fn in_place<T: Copy>(self, offset: u32) -> T {
        let place = self.0.cast::<u8>().wrapping_add(offset as usize);
        // SAFETY: the kernel gives a socket that lives, and the verifier checks that a member of
        // this size is there.
        unsafe { ptr::read_volatile(place.cast::<T>()) }
    }
}

/// The socket of the connection that a path belongs to (`struct mptcp_subflow_context`).
#[inline(always)]
pub(crate) fn connection_of(path: *const c_void) -> *mut c_void {
    let place = path.cast::<u8>().wrapping_add(layout!(path_connection) as usize);
    // SAFETY: the kernel gives a path that lives, and the verifier checks that the member is there.
    unsafe { ptr::read_volatile(place.cast::<*mut c_void>()) }
}

/// Whether a packet's bytes are in pages that somebody else may still write: those of a file
/// (sendfile(2)), of a pipe (splice(2)), or of a process (`MSG_ZEROCOPY`).
#[inline(always)]
pub(crate) fn is_in_shared_pages(skb: *const c_void) -> Option<bool> {
    /// `SKBFL_SHARED_FRAG` (include/linux/skbuff.h).
    const SHARED: u8 = 1 << 1;
    let at = layout!(shared_flags);
    if at == KernelLayout::NOWHERE {
        return Some(false);
    }
    let head: *const c_void = field(skb, layout!(skb_head))?;
    let end: u32 = field(skb, layout!(skb_end))?;
    let flags: u8 = field(head, end.wrapping_add(at))?;
    Some(flags & SHARED != 0)
}

/// The `struct sockaddr_un` that a program is asked about.
#[derive(Clone, Copy)]
pub(crate) struct LocalAddress {
    address: *const c_void,
    len: u32,
}

impl LocalAddress {
    /// Bytes before the path (unix(7)).
    const PATH_AT: u32 = 2;

    /// Of a context, which in the kernel is a `struct bpf_sock_addr_kern`.
    #[inline(always)]
    pub(crate) fn of(context: *const c_void) -> Option<Self> {
        let address = field(context, layout!(sock_addr_address))?;
        Some(Self { address, len: field(context, layout!(sock_addr_len))? })
    }

    /// Bytes of the path or name; 0 for an address that is too short.
    #[inline(always)]
    pub(crate) fn path_len(self) -> u32 {
        self.len.saturating_sub(Self::PATH_AT)
    }

    /// Where the path is, in the kernel.
    #[inline(always)]
    pub(crate) fn path(self) -> *const c_void {
        self.address.cast::<u8>().wrapping_add(Self::PATH_AT as usize).cast()
    }
}

#[inline(always)]
fn field<T>(base: *const c_void, offset: u32) -> Option<T> {
    let at = base.cast::<u8>().wrapping_add(offset as usize);
    // SAFETY: the helper checks the address, and every `T` read here is made of integers or is a
    // pointer that is only passed to the helper again.
    unsafe { bpf_probe_read_kernel(at.cast::<T>()) }.ok()
}

const _: () = assert!(size_of::<*const c_void>() == 8);
