//! The system calls that are refused, each group with its reason.
//!
//! A list of what is refused, not of what is allowed. Which calls a program makes is also its
//! libraries' and its C library's to say, and changes with their versions, with the host's name
//! service modules, and in ways that are seldom gone. A call that an allow-list forgot would stop
//! governd on a host that nobody tried, and governd has to go on. What a process that was taken
//! over needs to get further is known, on the other hand: to start programs, to look into others,
//! to mount, to make namespaces, to load code. The last line of [`REFUSED`] is about numbers: calls
//! that Linux will get later do not exist for governd. (The unit of `deploy/systemd/` has systemd's
//! own allow-list on top.)
//!
//! Calls are refused with EPERM rather than with the end of the process: what some library tries in
//! passing (a name service module that runs a program) then fails as on a hardened host, and the
//! daemon goes on.
//!
//! What the capabilities that are given up already rule out (modules, kexec, the clock, raw ports)
//! is not listed: a test makes each call with the filter and without.

use std::collections::BTreeMap;

use libc::{self, c_long};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Length,
    SeccompCmpOp as Compare, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// When a call is refused, by its arguments; their numbers start at 0.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Always.
    Always,
    /// If the argument has one of these bits.
    Has(u8, &'static [u32]),
    /// If the argument has none of these bits.
    Lacks(u8, u32),
    /// If the argument has all of these bits.
    HasAll(u8, u32),
    /// If the argument is none of these.
    IsNot(u8, &'static [u32]),
    /// If the argument is this.
    Is(u8, u32),
    /// If the argument is not this process.
    IsOther(u8),
}

/// A group of calls that are refused for one reason.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Why governd never makes them, and what others could do with them.
    pub reason: &'static str,
    /// Name, number and when.
    pub calls: &'static [(&'static str, c_long, When)],
}

/// `open_tree_attr`, since Linux 6.15 (include/uapi/asm-generic/unistd.h).
const OPEN_TREE_ATTR: c_long = 467;
/// The first number that means nothing yet, as of Linux 6.18.
const UNKNOWN: u32 = 470;
const CLONE_THREAD: u32 = libc::CLONE_THREAD.cast_unsigned();
const CLONE_NEWNET: u32 = libc::CLONE_NEWNET.cast_unsigned();
const NAMESPACES: &[u32] = &[
    libc::CLONE_NEWNS.cast_unsigned(),
    libc::CLONE_NEWCGROUP.cast_unsigned(),
    libc::CLONE_NEWUTS.cast_unsigned(),
    libc::CLONE_NEWIPC.cast_unsigned(),
    libc::CLONE_NEWUSER.cast_unsigned(),
    libc::CLONE_NEWPID.cast_unsigned(),
    CLONE_NEWNET,
];
const PROT_EXEC: u32 = libc::PROT_EXEC.cast_unsigned();
const PROT_WRITE: u32 = libc::PROT_WRITE.cast_unsigned();
const FAMILIES: &[u32] = &[
    libc::AF_UNIX.cast_unsigned(),
    libc::AF_INET.cast_unsigned(),
    libc::AF_INET6.cast_unsigned(),
    libc::AF_NETLINK.cast_unsigned(),
];

use When::{Always, Has, HasAll, Is, IsNot, IsOther, Lacks};

/// What is refused.
pub const REFUSED: &[Refused] = &[
    Refused {
        reason: "starting programs and processes: governd is one process with threads",
        calls: &[
            ("execve", libc::SYS_execve, Always),
            ("execveat", libc::SYS_execveat, Always),
            ("clone", libc::SYS_clone, Lacks(0, CLONE_THREAD)),
            #[cfg(target_arch = "x86_64")]
            ("fork", libc::SYS_fork, Always),
            #[cfg(target_arch = "x86_64")]
            ("vfork", libc::SYS_vfork, Always),
        ],
    },
    Refused {
        reason: "namespaces: only network namespaces are entered, and none is made",
        calls: &[
            ("unshare", libc::SYS_unshare, Always),
            ("setns", libc::SYS_setns, IsNot(1, &[CLONE_NEWNET])),
            ("clone", libc::SYS_clone, Has(0, NAMESPACES)),
        ],
    },
    Refused {
        reason: "mounts and roots: governd takes the file systems as they are",
        calls: &[
            ("mount", libc::SYS_mount, Always),
            ("umount2", libc::SYS_umount2, Always),
            ("pivot_root", libc::SYS_pivot_root, Always),
            ("open_tree", libc::SYS_open_tree, Always),
            ("open_tree_attr", OPEN_TREE_ATTR, Always),
            ("move_mount", libc::SYS_move_mount, Always),
            ("fsopen", libc::SYS_fsopen, Always),
            ("fsconfig", libc::SYS_fsconfig, Always),
            ("fsmount", libc::SYS_fsmount, Always),
            ("fspick", libc::SYS_fspick, Always),
            ("mount_setattr", libc::SYS_mount_setattr, Always),
            ("swapon", libc::SYS_swapon, Always),
            ("swapoff", libc::SYS_swapoff, Always),
            ("quotactl", libc::SYS_quotactl, Always),
            ("quotactl_fd", libc::SYS_quotactl_fd, Always),
        ],
    },
    Refused {
        reason: "looking and writing into other processes, beyond what /proc shows",
        calls: &[
            ("ptrace", libc::SYS_ptrace, Always),
            ("process_vm_readv", libc::SYS_process_vm_readv, Always),
            ("process_vm_writev", libc::SYS_process_vm_writev, Always),
            ("pidfd_getfd", libc::SYS_pidfd_getfd, Always),
            ("kcmp", libc::SYS_kcmp, Always),
        ],
    },
    Refused {
        reason: "signals to others by number, which may belong to another process by now; \
                 quarantine holds a process before it ends it",
        calls: &[
            ("kill", libc::SYS_kill, Always),
            ("tkill", libc::SYS_tkill, Always),
            ("tgkill", libc::SYS_tgkill, IsOther(0)),
            ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, Always),
            ("rt_tgsigqueueinfo", libc::SYS_rt_tgsigqueueinfo, IsOther(0)),
        ],
    },
    Refused {
        reason: "files by handle, which reach outside every mount and container",
        calls: &[("open_by_handle_at", libc::SYS_open_by_handle_at, Always)],
    },
    Refused {
        reason: "code that was data: no part of governd makes code while it runs",
        calls: &[
            ("mmap", libc::SYS_mmap, HasAll(2, PROT_WRITE | PROT_EXEC)),
            ("mprotect", libc::SYS_mprotect, Has(2, &[PROT_EXEC])),
            ("pkey_mprotect", libc::SYS_pkey_mprotect, Has(2, &[PROT_EXEC])),
            ("memfd_create", libc::SYS_memfd_create, Always),
            ("personality", libc::SYS_personality, Always),
            #[cfg(target_arch = "x86_64")]
            ("modify_ldt", libc::SYS_modify_ldt, Always),
        ],
    },
    Refused {
        reason: "parts of the kernel that governd has no use for and attacks have",
        calls: &[
            ("io_uring_setup", libc::SYS_io_uring_setup, Always),
            ("io_uring_enter", libc::SYS_io_uring_enter, Always),
            ("io_uring_register", libc::SYS_io_uring_register, Always),
            ("userfaultfd", libc::SYS_userfaultfd, Always),
            ("perf_event_open", libc::SYS_perf_event_open, Always),
            ("fanotify_init", libc::SYS_fanotify_init, Always),
            ("add_key", libc::SYS_add_key, Always),
            ("request_key", libc::SYS_request_key, Always),
            ("keyctl", libc::SYS_keyctl, Always),
        ],
    },
    Refused {
        reason: "sockets of other families than governd uses: packet, vsock, Bluetooth and others",
        calls: &[("socket", libc::SYS_socket, IsNot(0, FAMILIES))],
    },
    Refused {
        reason: "typing into the terminal that it was started from",
        calls: &[("ioctl", libc::SYS_ioctl, Is(1, libc::TIOCSTI as u32))],
    },
    Refused {
        reason: "names of the host",
        calls: &[
            ("sethostname", libc::SYS_sethostname, Always),
            ("setdomainname", libc::SYS_setdomainname, Always),
        ],
    },
];

/// Refuses them to the calling thread and those that it starts.
pub(super) fn refuse() -> Result<(), Error> {
    seccompiler::apply_filter(&filter()?)
}

/// Refuses them to every thread.
pub(super) fn refuse_everywhere() -> Result<(), Error> {
    seccompiler::apply_filter_all_threads(&filter()?)
}

/// The program that decides for each call.
fn filter() -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (_, number, when) in REFUSED.iter().flat_map(|group| group.calls) {
        // A call without rules is refused always.
        rules.entry(*number).or_default().extend(when.rules()?);
    }
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let target: TargetArch = std::env::consts::ARCH.try_into()?;
    let listed = SeccompFilter::new(rules, SeccompAction::Allow, refused, target)?;
    let mut program = absent();
    program.extend(BpfProgram::try_from(listed)?);
    Ok(program)
}

/// Calls that are not there: `clone3`, whose flags are in memory where no filter sees them (C
/// libraries then use `clone`), and numbers that mean nothing yet, or are another ABI's.
fn absent() -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Where the number of the call is (`struct seccomp_data`).
    const NUMBER: u32 = 0;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let enosys = u32::from(SeccompAction::Errno(libc::ENOSYS.cast_unsigned()));
    vec![
        step(LOAD, 0, 0, NUMBER),
        step(IF_EQUAL, 1, 0, libc::SYS_clone3 as u32),
        step(IF_AT_LEAST, 0, 1, UNKNOWN),
        step(RETURN, 0, 0, enosys),
    ]
}

impl When {
    /// Each refuses by itself; none means always.
    fn rules(self) -> Result<Vec<SeccompRule>, BackendError> {
        let one = |argument, compare, value: u32| {
            SeccompCondition::new(argument, Length::Dword, compare, u64::from(value))
        };
        let bits =
            |argument, mask: u32, value| one(argument, Compare::MaskedEq(u64::from(mask)), value);
        let rule = |condition: SeccompCondition| SeccompRule::new(vec![condition]);
        match self {
            Always => Ok(Vec::new()),
            Has(argument, each) => {
                each.iter().map(|bit| rule(bits(argument, *bit, *bit)?)).collect()
            }
            Lacks(argument, bit) => Ok(vec![rule(bits(argument, bit, 0)?)?]),
            HasAll(argument, all) => Ok(vec![rule(bits(argument, all, all)?)?]),
            IsNot(argument, values) => {
                let conditions: Result<_, _> =
                    values.iter().map(|value| one(argument, Compare::Ne, *value)).collect();
                Ok(vec![SeccompRule::new(conditions?)?])
            }
            Is(argument, value) => Ok(vec![rule(one(argument, Compare::Eq, value)?)?]),
            IsOther(argument) => Ok(vec![rule(one(argument, Compare::Ne, std::process::id())?)?]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/hardening.md");

    #[test]
    fn the_page_has_every_group_with_its_calls() {
        for group in REFUSED {
            let names: Vec<_> = group.calls.iter().map(|(name, ..)| format!("`{name}`")).collect();
            let row = format!("| {} | {} |", names.join(", "), group.reason);
            assert!(PAGE.contains(&row), "docs/hardening.md lacks: {row}");
        }
    }
}
