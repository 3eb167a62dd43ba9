//! What can go wrong between the daemon and the kernel, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError};
use thiserror::Error;

use super::load;

/// Why the kernel could not be made to do something. [`KernelError::hint`] says what to do.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The mounted file systems could not be read.
    #[error("cannot read the mounted file systems from /proc/self/mountinfo")]
    Mounts(#[source] io::Error),
    /// No cgroup v2 tree is mounted.
    #[error("no cgroup v2 file system is mounted")]
    NoCgroup,
    /// The cgroup to govern cannot be opened.
    #[error("cannot open cgroup {path}")]
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory is not part of a cgroup v2 tree.
    #[error("{path} is not in a cgroup v2 file system")]
    NotCgroup {
        /// The directory.
        path: PathBuf,
    },
    /// The kernel's type information cannot be read.
    #[error("cannot read the kernel's type information (BTF) from {path}")]
    NoBtf {
        /// Where it was looked for.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel's type information lacks something or is malformed.
    #[error("the kernel's type information (BTF) is not usable: {0}")]
    Btf(String),
    /// The process may not use BPF.
    #[error("no permission to use BPF: {what}")]
    Permission {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The embedded object or one of its maps was refused.
    #[error("cannot load the eBPF object")]
    Object(#[source] Box<EbpfError>),
    /// A program was refused.
    #[error("cannot load the eBPF program {program}: {log}")]
    Load {
        /// Its name.
        program: &'static str,
        /// The verifier's words.
        log: String,
        /// Why.
        source: io::Error,
    },
    /// A program could not be attached.
    #[error("cannot attach the eBPF program {program} to {target}")]
    Attach {
        /// Its name.
        program: &'static str,
        /// The cgroup or tracepoint.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The object lacks something that it was built with: a build error.
    #[error("the embedded eBPF object has no {0}")]
    Missing(&'static str),
    /// A map could not be read or written.
    #[error("cannot {action} the map {map}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// Its name.
        map: &'static str,
        /// Why.
        source: Box<MapError>,
    },
    /// Whether the programs enforce cannot be tried.
    #[error("cannot try whether what is denied is refused")]
    Canary {
        /// Why.
        source: io::Error,
    },
    /// The policy has more entries than a table holds.
    #[error(
        "the policy does not fit: table {map} has room for {room} entries, {wanted} are needed"
    )]
    TableFull {
        /// The map's name.
        map: &'static str,
        /// Entries that are free for one policy while another is in force.
        room: u32,
        /// Entries of the policy.
        wanted: usize,
    },
    /// The compiled policy contradicts itself.
    #[error("the compiled policy is not valid: {0}")]
    Image(String),
    /// The state of a link could not be read.
    #[error("cannot read the state of a link")]
    Link(#[source] io::Error),
    /// A program could not be run on a packet.
    #[error("cannot run the eBPF program {program} on a packet of {packet_bytes} bytes")]
    Run {
        /// Its name.
        program: &'static str,
        /// Length of the packet.
        packet_bytes: usize,
        /// Why.
        source: io::Error,
    },
    /// Something pinned could not be made, read or removed.
    #[error("cannot use {path} in the BPF file system")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no BPF file system where links and maps are to be pinned.
    #[error("{path} is not in a BPF file system")]
    NoBpfFileSystem {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// Others may write where links and maps are pinned.
    #[error("{path} is not a directory of this user alone")]
    PinsNotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// Another daemon governs the cgroup.
    #[error("another governd governs {cgroup} already")]
    Governed {
        /// The cgroup.
        cgroup: PathBuf,
    },
    /// What is pinned is a later governd's.
    #[error("{path} is of a later governd (state version {version})")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The event ring could not be waited on.
    #[error("cannot wait for events")]
    Ring(#[source] io::Error),
}

impl KernelError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Mounts(_) => "mount proc on /proc",
            Self::NoCgroup => {
                "mount it with `mount -t cgroup2 none /sys/fs/cgroup`, or boot with \
                 systemd.unified_cgroup_hierarchy=1"
            }
            Self::Cgroup { .. } => "check the path given with --cgroup, and run as root",
            Self::NotCgroup { .. } => {
                "give a directory of the cgroup v2 tree with --cgroup, or leave the option out"
            }
            Self::NoBtf { .. } | Self::Btf(_) => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of Debian, Ubuntu and \
                 Fedora are"
            }
            Self::Permission { .. } => {
                "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; in a container these \
                 must be granted, and a locked-down kernel refuses them"
            }
            Self::Object(_) | Self::Load { .. } => {
                "run `governd doctor`; on kernels before 5.11 raise the memlock limit (`ulimit -l \
                 unlimited`)"
            }
            Self::Attach { .. } => {
                "run `governd doctor`; another program without BPF_F_ALLOW_MULTI may hold the \
                 cgroup, see `bpftool cgroup tree`"
            }
            Self::TableFull { .. } => {
                "use fewer or wider rules; the limits are in governd-common/src/limits.rs"
            }
            Self::Pin { .. } => {
                "run as root; `mount -t bpf bpf /sys/fs/bpf` makes a BPF file system"
            }
            Self::NoBpfFileSystem { .. } => {
                "mount one with `mount -t bpf bpf /sys/fs/bpf`, or name a directory of one with \
                 --pins"
            }
            Self::PinsNotOurs { .. } => {
                "somebody else made it: look whose it is, remove it, and start again"
            }
            Self::Governed { .. } => "stop that one with `governd stop`, or leave it running",
            Self::Newer { .. } => {
                "what it enforces goes on; start that version or a later one, or take everything \
                 out with `governd stop --detach`"
            }
            Self::Missing(_)
            | Self::Map { .. }
            | Self::Image(_)
            | Self::Link(_)
            | Self::Run { .. }
            | Self::Canary { .. }
            | Self::Ring(_) => {
                "this is a fault of governd: please report it with the output of `governd doctor \
                 --json`"
            }
        }
    }

    pub(crate) fn pin(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Pin { path: path.to_owned(), source }
    }

    pub(crate) fn map(action: &'static str, map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| match source {
            MapError::CreateError { io_error: source, .. } if load::is_permission(&source) => {
                Self::Permission { what: "creating a map", source }
            }
            source => Self::Map { action, map, source: Box::new(source) },
        }
    }
}
