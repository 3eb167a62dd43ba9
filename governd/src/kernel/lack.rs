//! What the running kernel lacks that governd does without, and what then does not happen.
//!
//! What is lacking is found by name in the kernel's own type information, not by its release.
//! Programs get the same knowledge as load-time constants, so that the verifier does not look at
//! the code that needs it; a program that is nothing without it is left out.

use governd_common::{layout::KernelLayout, names::program};

use super::attach;

/// Something that the kernel lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lack {
    /// `bpf_set_retval`, since Linux 5.18.
    RefusalErrno,
    /// Maps that allocate safely in any context, since Linux 6.1: before, tracepoint programs that
    /// read others make the kernel warn, and real-time kernels refuse them.
    Allocator,
    /// Hooks on local sockets, since Linux 6.7.
    LocalSockets,
    /// A tracepoint at the lock of a process's memory that costs little, since Linux 6.14.
    MemoryLocks,
    /// A tracepoint at what a socket is given to send, since Linux 6.3.
    Sends,
    /// A way from a path of a multipath connection to that one, since Linux 5.19; kernels without
    /// multipath TCP have none, and need none.
    Paths,
    /// Links that hold programs at what an interface sends (tcx), since Linux 6.6.
    InterfaceLinks,
    /// Anything that holds them: neither those links nor filters of traffic control.
    Interfaces,
}

impl Lack {
    /// Everything that some kernel lacks.
    pub const EVERY: [Self; 8] = [
        Self::RefusalErrno,
        Self::Allocator,
        Self::LocalSockets,
        Self::MemoryLocks,
        Self::Sends,
        Self::Paths,
        Self::InterfaceLinks,
        Self::Interfaces,
    ];

    /// What a kernel lacks; `has_filters` says whether it has filters of traffic control.
    pub(crate) fn all(layout: &KernelLayout, has_filters: bool) -> Vec<Self> {
        let is_lacking = |lack: &Self| match lack {
            Self::RefusalErrno => layout.has_set_retval == 0,
            Self::Allocator => layout.has_allocator == 0,
            Self::LocalSockets => layout.sock_addr_len == 0,
            Self::MemoryLocks => layout.mm_owner == 0,
            Self::Sends => layout.has_sends == 0,
            Self::Paths => layout.path_connection == 0,
            Self::InterfaceLinks => layout.has_interfaces == 0,
            Self::Interfaces => layout.has_interfaces == 0 && !has_filters,
        };
        Self::EVERY.into_iter().filter(is_lacking).collect()
    }

    /// What suffers, in one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::RefusalErrno => "errno",
            Self::Allocator => "memory",
            Self::LocalSockets => "local-sockets",
            Self::MemoryLocks => "foreign-memory",
            Self::Sends => "foreign-sockets",
            Self::Paths => "foreign-paths",
            Self::InterfaceLinks => "interface-links",
            Self::Interfaces => "interfaces",
        }
    }

    /// What does not happen for it, in one sentence.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::RefusalErrno => "a refused connection gives EPERM",
            Self::Allocator => {
                "tables of executables, users and cgroups take all their memory at once"
            }
            Self::LocalSockets => {
                "no program sees local sockets: an agent may ask any service on this host that \
                 its user may"
            }
            Self::MemoryLocks => {
                "no program sees who writes another process's memory without tracing it"
            }
            Self::Sends => {
                "what an agent queues in a socket that another process gave it, and that leaves \
                 later, is not seen as the agent's"
            }
            Self::Paths => {
                "what an agent gives to a multipath connection that another process gave it is not \
                 seen as the agent's on paths that are opened later"
            }
            Self::InterfaceLinks => {
                "only filters of traffic control can hold programs at interfaces: an agent with \
                 CAP_NET_ADMIN can take them off, which is found and mended within seconds"
            }
            Self::Interfaces => {
                "no program sees frames of packet sockets, nor where packets go in the end: an \
                 agent with CAP_NET_RAW or CAP_NET_ADMIN is found and not stopped"
            }
        }
    }

    /// What happens where it is not lacking, in one sentence.
    pub const fn otherwise(self) -> &'static str {
        match self {
            Self::RefusalErrno => "a refused connection gives EACCES",
            Self::Allocator => "tables take what they hold",
            Self::LocalSockets => "agents reach the listed ones, and no others",
            Self::MemoryLocks => "who writes another process's memory makes it the agent's",
            Self::Sends => "what an agent queues in another's socket makes that the agent's",
            Self::Paths => "what an agent sends over several paths is the agent's on each",
            Self::InterfaceLinks => "links hold programs at interfaces",
            Self::Interfaces => "programs there drop frames of agents' packet sockets",
        }
    }

    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::RefusalErrno => "nothing to do; Linux 5.18 and later can say EACCES",
            Self::Allocator => {
                "nothing to do; Linux 6.1 and later give memory to tables as they fill"
            }
            Self::LocalSockets => {
                "use Linux 6.7 or later, or keep sockets such as docker.sock from the agent's user"
            }
            Self::MemoryLocks => {
                "use Linux 6.14 or later, or set kernel.yama.ptrace_scope to 1, or run agents as \
                 users of their own"
            }
            Self::Sends => {
                "use Linux 6.3 or later, or let agents reach no local socket by which descriptors \
                 are passed (`egress.unix`)"
            }
            Self::Paths => {
                "nothing to do where the kernel has no multipath TCP; else use Linux 5.19 or \
                 later, or let agents reach no local socket by which descriptors are passed \
                 (`egress.unix`)"
            }
            Self::InterfaceLinks => {
                "use Linux 6.6 or later, or run agents without CAP_NET_ADMIN, also in user \
                 namespaces of their own"
            }
            Self::Interfaces => {
                "give the kernel its modules sch_ingress and cls_bpf, or use Linux 6.6 or later, \
                 or run agents without CAP_NET_RAW and CAP_NET_ADMIN, also in user namespaces of \
                 their own"
            }
        }
    }

    /// Programs that cannot be loaded without it.
    pub(crate) const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::LocalSockets => &[program::CONNECT_UNIX, program::SENDMSG_UNIX],
            Self::MemoryLocks => &[program::MEMORY_LOCK],
            Self::Sends => &[program::TCP_SEND, program::ANY_SEND],
            Self::Paths => &[program::PATH_SEND],
            Self::Interfaces => &attach::AT_INTERFACES,
            Self::RefusalErrno | Self::Allocator | Self::InterfaceLinks => &[],
        }
    }
}

/// The lack for which a program is left out.
pub(crate) fn left_out(lacks: &[Lack], program: &str) -> Option<Lack> {
    lacks.iter().copied().find(|lack| lack.programs().contains(&program))
}
