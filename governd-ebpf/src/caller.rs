//! Who calls, as events say it: the current task's user, group, cgroup and name.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_uid_gid};
use governd_common::limits::COMM_BYTES;

use crate::task::{current, in_place, layout};

/// What events say of the current task.
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Id of its cgroup (v2).
    pub(crate) cgroup: u64,
    pub(crate) comm: [u8; COMM_BYTES],
}

impl Caller {
    /// Read where it is, if the kernel lets programs do that, which saves three calls.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        if layout!(has_current_task) == 0 {
            return Self::by_helpers();
        }
        let task = current();
        let cred: *const u8 = in_place(task, layout!(task_cred));
        let set: *const u8 = in_place(task, layout!(task_cgroups));
        let cgroup: *const u8 = in_place(set, layout!(css_set_dfl_cgrp));
        let node: *const u8 = in_place(cgroup, layout!(cgroup_node));
        let mut comm = [0; COMM_BYTES];
        for (index, part) in comm.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let at = layout!(task_comm) + size_of::<u64>() as u32 * index as u32;
            *part = in_place::<u64>(task, at).to_ne_bytes();
        }
        Self {
            uid: in_place(cred, layout!(cred_uid)),
            gid: in_place(cred, layout!(cred_gid)),
            cgroup: in_place(node, layout!(node_id)),
            comm,
        }
    }

    #[inline(always)]
    fn by_helpers() -> Self {
        let uid_gid = bpf_get_current_uid_gid();
        Self {
            uid: uid_gid as u32,
            gid: (uid_gid >> u32::BITS) as u32,
            // SAFETY: the helper only reads the current task's cgroup.
            cgroup: unsafe { bpf_get_current_cgroup_id() },
            comm: bpf_get_current_comm().unwrap_or([0; COMM_BYTES]),
        }
    }
}
