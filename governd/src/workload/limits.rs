//! Every maximum of this room, with the relations between them checked at compile time.

/// Bytes of `/proc/PID/cmdline` that are read.
pub const CMDLINE_BYTES_MAX: usize = 64 * 1_024;
/// Bytes of `/proc/PID/environ` that are read.
pub const ENVIRON_BYTES_MAX: usize = 64 * 1_024;
/// Bytes of `/proc/PID/stat`, `status` and `cgroup` that are read, each.
pub const SMALL_FILE_BYTES_MAX: usize = 16 * 1_024;
/// Bytes of `/proc/PID/mountinfo` that are read.
pub const MOUNTINFO_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Bytes of `/proc/PID/maps` that are read.
pub const MAPS_BYTES_MAX: usize = 1_024 * 1_024;
/// Bytes of `/etc/passwd` that are read.
pub const PASSWD_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Bytes of `resolv.conf` that are read.
pub const RESOLV_CONF_BYTES_MAX: usize = 64 * 1_024;
/// Bytes of one socket table below `/proc/PID/net` that are read.
pub const SOCKET_TABLE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Bytes of one file that an administrator adds to the catalogue.
pub const CATALOG_FILE_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// Arguments of a process that are kept.
pub const ARGS_MAX: usize = 128;
/// Bytes of all arguments of a process that are kept, after redaction.
pub const ARGS_KEPT_BYTES_MAX: usize = 4 * 1_024;
/// Names in the environment of a process that are kept.
pub const ENVIRON_NAMES_MAX: usize = 512;

/// Bytes of an executable whose digest is computed; a larger one has none.
pub const DIGEST_FILE_BYTES_MAX: u64 = 2 * 1_024 * 1_024 * 1_024;
/// Digests that are remembered.
pub const DIGESTS_MAX: usize = 8_192;
/// Digests that are asked for and not computed yet.
pub const DIGESTS_WAITING_MAX: usize = 1_024;

/// Scripts and modules that are asked for and not looked at yet.
pub const PROGRAMS_WAITING_MAX: usize = 64;
/// Most processes of which is still to be found out what script they run.
pub const SCRIPTS_WAITING_MAX: usize = 4096;
/// Entries of a directory of packages that are looked at.
pub const PACKAGES_MAX: usize = 4_096;
/// Bytes of a file that describes a package.
pub const PACKAGE_FILE_BYTES_MAX: u64 = 1_024 * 1_024;
/// Directories above a file that are looked at for its package.
pub const PACKAGE_LEVELS_MAX: usize = 8;

/// Network interfaces of one namespace that are looked at.
pub const INTERFACES_MAX: usize = 4_096;

/// How long a container runtime may take for an answer, in milliseconds.
pub const IMAGE_TIMEOUT_MS: u64 = 1_000;
/// Bytes of a container runtime's answer.
pub const IMAGE_ANSWER_BYTES_MAX: usize = 1_024 * 1_024;
/// Bytes of a file in which Podman or CRI-O lists containers or images.
pub const STORAGE_FILE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Bytes of an image's name.
pub const IMAGE_NAME_BYTES_MAX: usize = 512;
/// Containers whose images are asked for and not answered yet.
pub const IMAGES_WAITING_MAX: usize = 64;
/// Containers whose images are remembered.
pub const IMAGES_MAX: usize = 4_096;

/// Bytes of a file in which an agent is told of tool servers. It is read in small pieces.
pub const TOOL_FILE_BYTES_MAX: u64 = 8 * 1_024 * 1_024;
/// Agents whose files are asked for and not read yet.
pub const TOOLS_WAITING_MAX: usize = 64;

/// How long the API server or kubelet may take to list the node's pods.
pub const PODS_TIMEOUT_MS: u64 = 5_000;
/// How often it is asked at most.
pub const PODS_INTERVAL_MS: u64 = 10_000;
/// Bytes of a list of pods.
pub const PODS_ANSWER_BYTES_MAX: u64 = 32 * 1_024 * 1_024;
/// Pods that are asked for and not answered yet.
pub const PODS_WAITING_MAX: usize = 64;
/// Pods that are remembered.
pub const PODS_MAX: usize = 4_096;
/// Labels of a pod that are kept.
pub const POD_LABELS_MAX: usize = 32;
/// Bytes of a name or label of a pod; Kubernetes allows 253 and a prefix (RFC 1123).
pub const POD_TEXT_BYTES_MAX: usize = 512;

/// Processes that one sweep of `/proc` looks at; `pid_max` is at most 2^22.
pub const SWEEP_PROCESSES_MAX: usize = 65_536;
/// Processes that the table remembers, exited ones included.
pub const TABLE_PROCESSES_MAX: usize = 32_768;
/// Paths of executables that the table remembers by device and inode.
pub const TABLE_PATHS_MAX: usize = 8_192;
/// Ancestors that a lineage lists, nearest first.
pub const LINEAGE_MAX: usize = 32;
/// cgroups that are remembered by id, and directories that one walk visits.
pub const CGROUPS_MAX: usize = 65_536;
/// Depth to which the cgroup tree is walked.
pub const CGROUP_DEPTH_MAX: usize = 32;
/// File descriptors that one listing of sockets looks at, over all processes.
pub const SOCKET_FDS_MAX: usize = 1_048_576;
/// Sockets that one listing returns.
pub const SOCKETS_MAX: usize = 65_536;
/// Network namespaces whose sockets one listing reads.
pub const NETWORK_NAMESPACES_MAX: usize = 1_024;
/// Threads of a process whose network namespaces are looked at.
pub const THREADS_LOOKED_AT_MAX: usize = 256;
/// How long the kernel may take for one answer about sockets.
pub const DIAG_TIMEOUT_MS: u64 = 250;
/// Messages of one answer about sockets; one lists up to hundreds.
pub const DIAG_MESSAGES_MAX: usize = 4_096;
/// Sockets that wait for their end.
pub const DESTROY_QUEUE_MAX: usize = 1_024;
/// How often the descriptors of governed processes are looked at.
pub const UNSEEN_INTERVAL_MS: u64 = 250;
/// Descriptors of governed processes that are remembered; the rest is not looked at.
pub const UNSEEN_KNOWN_MAX: usize = 262_144;
/// What was found and not yet told.
pub const UNSEEN_QUEUE_MAX: usize = 256;
/// How often the listeners of all network namespaces are looked at.
pub const LISTENERS_INTERVAL_MS: u64 = 1_000;
/// Listeners that were found and not yet told.
pub const LISTENERS_QUEUE_MAX: usize = 256;
/// How often the open connections of governed processes are measured.
pub const OPEN_INTERVAL_MS: u64 = 2_000;
/// How long a socket is looked for, over all network namespaces.
pub const DESTROY_TIMEOUT_MS: u64 = 1_000;

const _: () = {
    assert!(ARGS_KEPT_BYTES_MAX <= CMDLINE_BYTES_MAX);
    assert!(LINEAGE_MAX < TABLE_PROCESSES_MAX);
    assert!(DIAG_TIMEOUT_MS < DESTROY_TIMEOUT_MS);
    assert!(TABLE_PATHS_MAX <= TABLE_PROCESSES_MAX);
};
