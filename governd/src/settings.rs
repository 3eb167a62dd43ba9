//! Where governd reads and writes, as values: what the command line and environment said, resolved.

use std::path::PathBuf;

use governd_common::verdict::Mode;

use crate::{app::metrics::Address, audit::log::Keep, workload::pods::PodSource};

pub use crate::workload::host::HOST_FILE;

/// Policies of the host.
pub const POLICY_DIR: &str = "/etc/governd/policies";
/// Files that extend the catalogue.
pub const CATALOG_DIR: &str = "/etc/governd/catalog.d";
/// Where records go beside the log.
pub const EXPORTERS_FILE: &str = "/etc/governd/exporters.toml";
/// State that outlives the daemon: the log and the inventory.
pub const STATE_DIR: &str = "/var/lib/governd";
/// File of the inventory, in the state directory.
pub const INVENTORY_FILE: &str = "inventory.db";
/// Links and maps that outlive the daemon.
pub const PINS_DIR: &str = "/sys/fs/bpf/governd";
/// Socket of the local API.
pub const SOCKET: &str = "/run/governd/control.sock";

/// How one daemon runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// cgroup v2 directory to attach to; the root of the cgroup v2 tree if `None`.
    pub cgroup: Option<PathBuf>,
    /// Where the policy comes from.
    pub policy: PolicySource,
    /// Public key that has to have signed the policy, if one has to.
    pub policy_key: Option<PathBuf>,
    /// File with the environment and labels of this host.
    pub host_file: PathBuf,
    /// Directory of `.csv` files that extend the catalogue.
    pub catalog: PathBuf,
    /// Directory of the log and the inventory.
    pub state_dir: PathBuf,
    /// Which records of the log go.
    pub keep: Keep,
    /// File that says where records go beside the log.
    pub exporters: PathBuf,
    /// Where metrics are served; nowhere if it is empty.
    pub metrics: Vec<Address>,
    /// Where Kubernetes tells of this node's pods; nowhere if `None`.
    pub pods: Option<PodSource>,
    /// Socket of the local API.
    pub socket: PathBuf,
    /// Overrides the mode of every document.
    pub mode: Option<Mode>,
    /// Where links and maps are pinned that outlive the daemon.
    pub pins: PathBuf,
    /// Whether it is a trial: nothing outlives the daemon.
    pub is_trial: bool,
}

/// Credentials of a pod's service account.
pub const POD_CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// File of the state directory with requests, grants and quarantine.
pub const CONTROLS_FILE: &str = "controls.json";

/// File of the state directory with what decides whether approvals hold.
pub const LIFECYCLE_FILE: &str = "lifecycle.json";

/// Where the policy comes from.
#[derive(Clone, Debug)]
pub enum PolicySource {
    /// All `.yaml` and `.yml` files of a directory, or one file.
    Path(PathBuf),
    /// The built-in policy: no registered agent, monitor mode.
    BuiltIn,
}
