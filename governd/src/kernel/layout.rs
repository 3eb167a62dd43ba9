//! What the programs have to know of the running kernel: where members of its structures are.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use governd_common::layout::KernelLayout;

use super::{KernelError, btf::Btf, sending};

/// The running kernel's.
#[cfg(test)]
pub(crate) fn of_kernel() -> Result<KernelLayout, KernelError> {
    of(&Btf::of_kernel()?)
}

/// Reads the offsets from a kernel's BTF. One without MPTCP or IPv6 has their fields nowhere.
pub(crate) fn of(btf: &Btf) -> Result<KernelLayout, KernelError> {
    let (sock_kernel, sock_kernel_mask) = btf.bit("sock", "sk_kern_sock")?;
    let (tcp_mptcp, tcp_mptcp_mask) = btf.bit("tcp_sock", "is_mptcp").unwrap_or_default();
    let (mm_owner, regs_call, regs_place) = of_memory_locks(btf);
    Ok(KernelLayout {
        task_tgid: btf.offset("task_struct", "tgid")?,
        task_pid: btf.offset("task_struct", "pid")?,
        task_real_parent: btf.offset("task_struct", "real_parent")?,
        task_ptrace: btf.offset("task_struct", "ptrace")?,
        task_parent: btf.offset("task_struct", "parent")?,
        task_comm: btf.offset("task_struct", "comm")?,
        task_mm: btf.offset("task_struct", "mm")?,
        task_signal: btf.offset("task_struct", "signal")?,
        signal_live: btf.offset("signal_struct", "live.counter")?,
        mm_exe_file: btf.offset("mm_struct", "exe_file")?,
        mm_owner,
        regs_call,
        regs_place,
        mm_arg_start: btf.offset("mm_struct", "arg_start")?,
        mm_arg_end: btf.offset("mm_struct", "arg_end")?,
        bprm_file: btf.offset("linux_binprm", "file")?,
        bprm_filename: btf.offset("linux_binprm", "filename")?,
        file_inode: btf.offset("file", "f_inode")?,
        inode_ino: btf.offset("inode", "i_ino")?,
        inode_sb: btf.offset("inode", "i_sb")?,
        sb_dev: btf.offset("super_block", "s_dev")?,
        task_cgroups: btf.offset("task_struct", "cgroups")?,
        css_set_dfl_cgrp: btf.offset("css_set", "dfl_cgrp")?,
        cgroup_node: btf.offset("cgroup", "kn")?,
        node_id: btf.offset("kernfs_node", "id")?,
        cgroup_level: btf.offset("cgroup", "level")?,
        cgroup_ancestor_ids: btf.offset("cgroup", "ancestor_ids").unwrap_or(0),
        skb_sk: btf.offset("sk_buff", "sk")?,
        skb_head: btf.offset("sk_buff", "head")?,
        skb_end: btf.offset("sk_buff", "end")?,
        shared_flags: btf.offset("skb_shared_info", "flags").unwrap_or(KernelLayout::NOWHERE),
        sock_own_v6: btf.offset("sock", "__sk_common.skc_v6_rcv_saddr").unwrap_or_default(),
        sock_peer_v6: btf.offset("sock", "__sk_common.skc_v6_daddr").unwrap_or_default(),
        sock_owned: btf.offset("sock", "sk_lock.owned")?,
        sock_family: btf.offset("sock", "__sk_common.skc_family")?,
        sock_protocol: btf.offset("sock", "sk_protocol").unwrap_or_default(),
        sock_queued: btf.offset("sock", "sk_write_queue.qlen")?,
        sock_kernel,
        sock_kernel_mask,
        tcp_mptcp,
        tcp_mptcp_mask,
        path_connection: sending::paths(btf).map_or(0, |(connection, _)| connection),
        tcp_received: btf.offset("tcp_sock", "bytes_received")?,
        tcp_acked: btf.offset("tcp_sock", "bytes_acked")?,
        tcp_unacked: btf.offset("tcp_sock", "snd_una")?,
        tcp_next: btf.offset("tcp_sock", "snd_nxt")?,
        udp_encap_type: btf.offset("udp_sock", "encap_type")?,
        sock_addr_address: btf.offset("bpf_sock_addr_kern", "uaddr")?,
        sock_addr_len: btf.offset("bpf_sock_addr_kern", "uaddrlen").unwrap_or_default(),
        sock_net: btf.offset("sock", "__sk_common.skc_net.net")?,
        net_user_ns: btf.offset("net", "user_ns")?,
        task_cred: btf.offset("task_struct", "cred")?,
        cred_uid: btf.offset("cred", "uid")?,
        cred_gid: btf.offset("cred", "gid")?,
        cred_user_ns: btf.offset("cred", "user_ns")?,
        user_ns_owner: btf.offset("user_namespace", "owner")?,
        user_ns_level: btf.offset("user_namespace", "level")?,
        has_set_retval: u32::from(btf.has_name(SET_RETVAL)),
        has_loops: u32::from(btf.has_name(LOOP)),
        has_allocator: u32::from(btf.has_name(ALLOCATOR)),
        has_current_task: u32::from(has_current_task()),
        has_sends: u32::from(sending::queue_kind(btf).is_some()),
        has_interfaces: u32::from(btf.has_name(INTERFACE)),
    })
}

/// What the program at the lock of a process's memory has to know: its owner, and of the registers
/// the number of the system call and where the program is. Nothing where that tells too little.
fn of_memory_locks(btf: &Btf) -> (u32, u32, u32) {
    // Before, the tracepoint looks up the path of a cgroup each time (mm/mmap_lock.c), and so does
    // a kernel that does not say what is its argument.
    let tells_of_locks = btf.offset("trace_event_raw_mmap_lock", "memcg_id").is_ok();
    // Which calls write is known of x86-64 alone.
    let registers = btf.offset("pt_regs", "orig_ax").ok().zip(btf.offset("pt_regs", "ip").ok());
    let Some((regs_call, regs_place)) = registers.filter(|_| tells_of_locks) else {
        return (0, 0, 0);
    };
    (btf.offset("mm_struct", "owner").unwrap_or_default(), regs_call, regs_place)
}

/// The helper by which programs choose the error of a refused call, since Linux 5.18; asked by name
/// and not by release, because distributions carry it back. So is the next.
const SET_RETVAL: &str = "BPF_FUNC_set_retval";
/// The helper that repeats, since Linux 5.17. Without it programs call a function for each round.
const LOOP: &str = "BPF_FUNC_loop";
/// The place for programs at what an interface sends, since Linux 6.6.
const INTERFACE: &str = "BPF_TCX_EGRESS";
/// The allocator of BPF's own, since Linux 6.1.
const ALLOCATOR: &str = "bpf_mem_alloc";

/// Whether all programs on sockets and packets may have the current task as a structure. That is
/// tried: kernels differ in which kinds of programs may.
fn has_current_task() -> bool {
    let kinds = [ProgramType::CgroupSkb, ProgramType::CgroupSockAddr, ProgramType::CgroupSock];
    let helper = BpfHelper::BPF_FUNC_get_current_task_btf;
    kinds.into_iter().all(|kind| is_helper_supported(kind, helper).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_every_member() {
        let layout = of_kernel().unwrap();
        assert_ne!(layout.task_real_parent, 0);
        assert_ne!(layout.mm_arg_end, layout.mm_arg_start);
        assert_ne!(layout.sock_own_v6, layout.sock_peer_v6);
        assert!(layout.sock_kernel_mask.is_power_of_two() && layout.sock_kernel_mask < 256);
        assert_ne!(layout.sock_net, 0);
        assert_ne!(layout.user_ns_level, 0);
    }
}
