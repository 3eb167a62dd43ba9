//! What programs have to know of the running kernel: load-time constants that the daemon fills in.

shared! {
    /// Offsets of kernel structures on the running kernel, from its BTF, in bytes.
    pub struct KernelLayout {
        /// `task_struct.tgid`.
        pub task_tgid: u32,
        /// `task_struct.pid`.
        pub task_pid: u32,
        /// `task_struct.real_parent`.
        pub task_real_parent: u32,
        /// `task_struct.ptrace`: not 0 while another process traces the thread.
        pub task_ptrace: u32,
        /// `task_struct.parent`: the one that traces it, if one does.
        pub task_parent: u32,
        /// `task_struct.comm`.
        pub task_comm: u32,
        /// `task_struct.mm`.
        pub task_mm: u32,
        /// `mm_struct.arg_start`.
        pub mm_arg_start: u32,
        /// `mm_struct.arg_end`.
        pub mm_arg_end: u32,
        /// `task_struct.signal`.
        pub task_signal: u32,
        /// `signal_struct.live.counter`: threads of the process that have not ended.
        pub signal_live: u32,
        /// `mm_struct.exe_file`.
        pub mm_exe_file: u32,
        /// `mm_struct.owner`, or 0 where nothing tells cheaply of its lock (before Linux 6.14).
        pub mm_owner: u32,
        /// `pt_regs`: the number of the system call.
        pub regs_call: u32,
        /// `pt_regs`: where the program is.
        pub regs_place: u32,
        /// `linux_binprm.file`.
        pub bprm_file: u32,
        /// `linux_binprm.filename`.
        pub bprm_filename: u32,
        /// `file.f_inode`.
        pub file_inode: u32,
        /// `inode.i_ino`.
        pub inode_ino: u32,
        /// `inode.i_sb`.
        pub inode_sb: u32,
        /// `super_block.s_dev`.
        pub sb_dev: u32,
        /// `task_struct.cgroups`.
        pub task_cgroups: u32,
        /// `css_set.dfl_cgrp`: the cgroup v2 of the tasks that share the set.
        pub css_set_dfl_cgrp: u32,
        /// `cgroup.kn`.
        pub cgroup_node: u32,
        /// `kernfs_node.id`: of a cgroup's node, the cgroup's.
        pub node_id: u32,
        /// `cgroup.level`: how far below the root.
        pub cgroup_level: u32,
        /// `cgroup.ancestor_ids`, by level, before Linux 6.1; 0 where a helper is to be asked
        /// instead, which tracepoint programs may do since Linux 5.15.
        pub cgroup_ancestor_ids: u32,
        /// `sk_buff.sk`.
        pub skb_sk: u32,
        /// `sk_buff.head`.
        pub skb_head: u32,
        /// `sk_buff.end`: where in the memory of `head` the `skb_shared_info` is.
        pub skb_end: u32,
        /// `skb_shared_info.flags`, or [`Self::NOWHERE`] before Linux 5.13.
        pub shared_flags: u32,
        /// `sock.__sk_common.skc_v6_rcv_saddr`, or 0 where the kernel has no IPv6.
        pub sock_own_v6: u32,
        /// `sock.__sk_common.skc_v6_daddr`, or 0 where the kernel has no IPv6.
        pub sock_peer_v6: u32,
        /// `sock.sk_lock.owned`: not 0 while a process works with the socket.
        pub sock_owned: u32,
        /// `sock.__sk_common.skc_family`.
        pub sock_family: u32,
        /// `sock.sk_protocol`.
        pub sock_protocol: u32,
        /// `sock.sk_write_queue.qlen`.
        pub sock_queued: u32,
        /// The byte of `sock.sk_kern_sock`.
        pub sock_kernel: u32,
        /// Its bit in that byte: set if the kernel made the socket for itself.
        pub sock_kernel_mask: u32,
        /// The byte of `tcp_sock.is_mptcp`.
        pub tcp_mptcp: u32,
        /// Its bit in that byte, or 0 where the kernel has no MPTCP.
        pub tcp_mptcp_mask: u32,
        /// `mptcp_subflow_context.conn`, or 0 where programs get from a path to its connection in
        /// no way (before Linux 5.19, and on kernels without MPTCP).
        pub path_connection: u32,
        /// `tcp_sock.bytes_received`.
        pub tcp_received: u32,
        /// `tcp_sock.bytes_acked`.
        pub tcp_acked: u32,
        /// `tcp_sock.snd_una`: the first number in the sequence that is not acknowledged.
        pub tcp_unacked: u32,
        /// `tcp_sock.snd_nxt`: the next number in the sequence.
        pub tcp_next: u32,
        /// `udp_sock.encap_type`.
        pub udp_encap_type: u32,
        /// `bpf_sock_addr_kern.uaddr`.
        pub sock_addr_address: u32,
        /// `bpf_sock_addr_kern.uaddrlen`, or 0 before Linux 6.7, where no program sees local
        /// sockets.
        pub sock_addr_len: u32,
        /// `sock.__sk_common.skc_net.net`; 0 on kernels without network namespaces.
        pub sock_net: u32,
        /// `net.user_ns`.
        pub net_user_ns: u32,
        /// `task_struct.cred`.
        pub task_cred: u32,
        /// `cred.uid`.
        pub cred_uid: u32,
        /// `cred.gid`.
        pub cred_gid: u32,
        /// `cred.user_ns`.
        pub cred_user_ns: u32,
        /// `user_namespace.owner`: the user that made it.
        pub user_ns_owner: u32,
        /// `user_namespace.level`: 0 is the initial one.
        pub user_ns_level: u32,
        /// 1 where `bpf_set_retval` exists (Linux 5.18), else 0 and a refused connect gives EPERM.
        pub has_set_retval: u32,
        /// 1 where `bpf_loop` exists (Linux 5.17), else 0 and programs repeat by calling functions.
        pub has_loops: u32,
        /// 1 where maps allocate safely in any context (Linux 6.1), else 0 and those that
        /// tracepoint programs read get their memory when they are created.
        pub has_allocator: u32,
        /// 1 where programs may read the current task where it is (Linux 5.11), else they copy.
        pub has_current_task: u32,
        /// 1 where a tracepoint tells of bytes that are queued to be sent (Linux 6.3), else 0.
        pub has_sends: u32,
        /// 1 where programs are attached to what an interface sends (tcx, Linux 6.6), else 0.
        pub has_interfaces: u32,
    }
}

impl KernelLayout {
    /// The offset of a member that the kernel does not have and that could be the first one.
    pub const NOWHERE: u32 = u32::MAX;
}
