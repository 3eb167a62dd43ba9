//! Events, as the kernel writes them into the ring. The first field of each is an [`EventHeader`].

use crate::{
    address::Address,
    limits::{
        ALPN_BYTES_MAX, COMM_BYTES, DNS_ADDRESSES_MAX, EXEC_ARGS_BYTES_MAX, EXEC_PATH_BYTES_MAX,
        INITIAL_BYTES_MAX, NAME_BYTES_MAX, SOCKET_PATH_BYTES_MAX,
    },
    name::NAME_BUFFER_BYTES,
};

/// Which struct follows the header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum EventKind {
    /// [`FlowEvent`].
    Flow = 1,
    /// [`ForkEvent`].
    Fork = 2,
    /// [`ExecEvent`], cut after the argument bytes in use.
    Exec = 3,
    /// [`ExitEvent`].
    Exit = 4,
    /// [`DnsEvent`], cut after the addresses in use.
    Dns = 5,
    /// [`NameEvent`].
    Name = 6,
    /// [`InitialEvent`], cut after the bytes in use.
    Initial = 7,
    /// [`PathEvent`].
    Path = 8,
    /// [`TrafficEvent`].
    Traffic = 9,
    /// [`InfluenceEvent`].
    Influence = 10,
}

shared! {
    /// Which hook made a flow decision: a [`Hook`] code and what goes with it.
    pub struct EventHeader {
        /// An [`EventKind`].
        pub kind: u16,
        /// For flows, a [`Hook`].
        pub hook: u16,
        /// Process id (`tgid`) of the current task.
        pub tgid: u32,
        /// `CLOCK_BOOTTIME`, in nanoseconds.
        pub time_ns: u64,
        /// Policy generation that was in force.
        pub generation: u64,
        /// cgroup v2 id of the current task; without a user id that of the socket, or 0.
        pub cgroup: u64,
        /// User id of the current task, or [`EventHeader::NO_ID`] where it is not known.
        pub uid: u32,
        /// Group id of the current task, likewise.
        pub gid: u32,
        /// Subject; 0 is everything that is not a registered agent.
        pub subject: u32,
        /// tgid of the process at which the subject began, or 0.
        pub root: u32,
        /// Name of the current thread.
        pub comm: [u8; COMM_BYTES],
    }
}

impl EventHeader {
    /// No user and no group: `(uid_t) -1`, which none has (setreuid(2)).
    pub const NO_ID: u32 = u32::MAX;
}

/// Where a flow decision was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Hook {
    /// connect4 and connect6.
    Connect = 1,
    /// sendmsg4 and sendmsg6.
    Sendmsg = 2,
    /// sock_create.
    SockCreate = 3,
    /// cgroup_skb/egress: a packet of a socket that an earlier hook did not settle. The current
    /// task means nothing there: the header's `tgid` is the socket's owner.
    Egress = 4,
    /// cgroup/dev: a device is opened or made.
    Device = 5,
    /// connect_unix and sendmsg_unix: a local socket.
    Unix = 6,
    /// tcx egress: a frame of a packet socket.
    Frame = 7,
    /// setsockopt: a socket is told to send where no program sees it.
    Option = 8,
    /// A hook of the kernel's security modules: an act against the daemon.
    Lsm = 9,
    /// cgroup/sysctl: a setting that names a program for the kernel to start.
    Sysctl = 10,
}

/// A setting that names a program for the kernel to start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Setting {
    /// `kernel.core_pattern`: started when a process crashes.
    CorePattern = 1,
    /// `kernel.modprobe`: when something of a module is wanted.
    Modprobe = 2,
    /// `kernel.hotplug`: when a device appears.
    Hotplug = 3,
    /// `kernel.poweroff_cmd`: when the kernel wants to power off.
    PoweroffCmd = 4,
}

/// What a process would do to the daemon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum ActOnDaemon {
    /// Call `bpf(2)`, by which programs and tables can be taken from the kernel.
    Bpf = 1,
    /// Send it a signal.
    Signal = 2,
    /// Trace it, or read or write what belongs to it.
    Trace = 3,
}

shared! {
    /// A decision about a destination.
    pub struct FlowEvent {
        /// Common part.
        pub header: EventHeader,
        /// Destination.
        pub address: Address,
        /// Destination port, host byte order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// A [`crate::verdict::Verdict`]: what the policy says, also in monitor mode.
        pub verdict: u8,
        /// A [`crate::verdict::Reason`].
        pub reason: u8,
        /// A [`crate::verdict::Mode`]: in monitor mode a denial was not carried out.
        pub mode: u8,
        /// `AF_INET`, `AF_INET6` or what `socket(2)` was called with.
        pub family: u16,
        /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_RAW`.
        pub socket_type: u32,
        /// Rule number, or the subject's default rule.
        pub rule: u32,
        /// Set that matched, or 0.
        pub set: u32,
        /// Zero.
        pub reserved: u32,
        /// Socket cookie.
        pub cookie: u64,
    }
}

shared! {
    /// A tracked process writes another's memory, which becomes its subject's by that.
    pub struct InfluenceEvent {
        /// Common part: who writes.
        pub header: EventHeader,
        /// Process id of the other one.
        pub target: u32,
        /// Zero.
        pub reserved: u32,
    }
}

shared! {
    /// A decision about something on this host that would send in the process's place. Only the
    /// header's `tgid` says who it was.
    pub struct PathEvent {
        /// Common part.
        pub header: EventHeader,
        /// For a device, its major number in the upper 12 bits and its minor number below; for an
        /// act against the daemon, an [`ActOnDaemon`].
        pub device: u32,
        /// The subject's default rule.
        pub rule: u32,
        /// A [`crate::verdict::Verdict`].
        pub verdict: u8,
        /// A [`crate::verdict::Reason`].
        pub reason: u8,
        /// A [`crate::verdict::Mode`]: in monitor mode a denial was not carried out.
        pub mode: u8,
        /// Zero.
        pub reserved: u8,
        /// Bytes of `path` in use.
        pub path_len: u32,
        /// For a local socket its path, or NUL and its abstract name.
        pub path: [u8; SOCKET_PATH_BYTES_MAX],
        /// Zero.
        pub padding: u32,
    }
}

shared! {
    /// A tracked process started a child, which inherits its subject.
    pub struct ForkEvent {
        /// Common part; the current task is the parent.
        pub header: EventHeader,
        /// tgid of the child.
        pub child: u32,
        /// Zero.
        pub reserved: u32,
    }
}

shared! {
    /// A process executed a file.
    pub struct ExecEvent {
        /// Common part.
        pub header: EventHeader,
        /// tgid of the parent.
        pub parent: u32,
        /// `s_dev` of the executed file.
        pub device: u32,
        /// Inode of the executed file.
        pub inode: u64,
        /// Bytes of `path` in use.
        pub path_len: u32,
        /// Bytes of `args` in use, arguments separated by NUL.
        pub args_len: u32,
        /// The path as `execve(2)` got it; for a script, the script.
        pub path: [u8; EXEC_PATH_BYTES_MAX],
        /// Arguments.
        pub args: [u8; EXEC_ARGS_BYTES_MAX],
    }
}

shared! {
    /// A tracked process ended.
    pub struct ExitEvent {
        /// Common part.
        pub header: EventHeader,
    }
}

shared! {
    /// One address of a DNS answer.
    pub struct DnsAddress {
        /// The address.
        pub address: Address,
        /// Its TTL as answered, in seconds.
        pub ttl_s: u32,
    }
}

shared! {
    /// A DNS answer that made bindings, or a query that the policy refuses: `reason` tells.
    pub struct DnsEvent {
        /// Common part. The current task means nothing here: `tgid` is the socket's owner, or 0.
        pub header: EventHeader,
        /// Address of the resolver.
        pub resolver: Address,
        /// Set that the name belongs to, or 0 where no pattern matches it.
        pub set: u32,
        /// Question type (1 is A, 28 is AAAA).
        pub question_type: u16,
        /// Bytes of `name` in use.
        pub name_len: u16,
        /// Name in the question, lower case.
        pub name: [u8; NAME_BYTES_MAX + 3],
        /// Addresses in use.
        pub addresses_len: u32,
        /// Rule number of a refusal: the subject's default rule.
        pub rule: u32,
        /// Cookie of the socket.
        pub cookie: u64,
        /// A [`crate::verdict::Verdict`].
        pub verdict: u8,
        /// A [`crate::verdict::Reason`] of a refusal; 0 for answers.
        pub reason: u8,
        /// A [`crate::verdict::Mode`]: in monitor mode a denial was not carried out.
        pub mode: u8,
        /// IP protocol number.
        pub protocol: u8,
        /// Zero.
        pub reserved: u32,
        /// The addresses.
        pub addresses: [DnsAddress; DNS_ADDRESSES_MAX],
    }
}

/// Where a name was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum NameSource {
    /// The server name of a TLS hello.
    Tls = 1,
    /// The Host of a plaintext request.
    Http = 2,
}

shared! {
    /// What the first bytes of a connection name, and the decision about it. For a refusal a
    /// [`FlowEvent`] follows.
    pub struct NameEvent {
        /// Common part, as in a [`FlowEvent`] of [`Hook::Egress`].
        pub header: EventHeader,
        /// Destination.
        pub address: Address,
        /// Destination port, host byte order.
        pub port: u16,
        /// IP protocol number.
        pub protocol: u8,
        /// A [`crate::verdict::Verdict`].
        pub verdict: u8,
        /// A [`crate::verdict::Reason`].
        pub reason: u8,
        /// A [`crate::verdict::Mode`].
        pub mode: u8,
        /// A [`NameSource`].
        pub source: u8,
        /// A [`crate::tls::TlsRefusal`] or [`crate::http::HttpRefusal`], by the source; 0 if there
        /// is a name.
        pub refusal: u8,
        /// Rule number, or the subject's default rule.
        pub rule: u32,
        /// Set of the rule, or 0.
        pub set: u32,
        /// Socket cookie.
        pub cookie: u64,
        /// 1 if the hello carries an encrypted one.
        pub has_ech: u8,
        /// Bytes of `alpn` in use.
        pub alpn_len: u8,
        /// Bytes of `name` in use.
        pub name_len: u16,
        /// Zero.
        pub reserved: u32,
        /// The beginning of the ALPN list as sent.
        pub alpn: [u8; ALPN_BYTES_MAX],
        /// The name, lower case.
        pub name: [u8; NAME_BUFFER_BYTES],
    }
}

shared! {
    /// Datagrams of a QUIC connection's beginning, for user space to read the name in them.
    pub struct InitialEvent {
        /// Common part, as in a [`FlowEvent`] of [`Hook::Egress`].
        pub header: EventHeader,
        /// Destination.
        pub address: Address,
        /// Destination port, host byte order.
        pub port: u16,
        /// Zero.
        pub reserved: u16,
        /// Bytes of each datagram but the last; 0 for one datagram.
        pub piece: u32,
        /// Socket cookie.
        pub cookie: u64,
        /// Bytes of `bytes` in use.
        pub len: u32,
        /// Zero.
        pub reserved_too: u32,
        /// The datagrams, one after the other.
        pub bytes: [u8; INITIAL_BYTES_MAX],
    }
}

shared! {
    /// A TCP connection ended, with what went through it.
    pub struct TrafficEvent {
        /// Common part. `tgid` is the socket's owner, whoever closed it.
        pub header: EventHeader,
        /// The other side.
        pub address: Address,
        /// The other side's port, host byte order.
        pub port: u16,
        /// Zero.
        pub reserved: u16,
        /// Set whose name DNS gave or the first bytes proved, or 0.
        pub set: u32,
        /// Socket cookie.
        pub cookie: u64,
        /// Bytes of data that were sent, each once; SYN may count as one.
        pub sent: u64,
        /// Bytes of data that were received in order; FIN may count as one.
        pub received: u64,
    }
}
