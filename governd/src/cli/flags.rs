//! Flags that several verbs share: raw values, and what they mean.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use governd_common::verdict;
use jiff::Timestamp;

use crate::{
    app::metrics::Address,
    audit::{log::Keep, record::personal::Erasure},
    cli::audit::moment,
    settings::{self, PolicySource, Settings},
    workload::pods::PodSource,
};

/// Where to find the running daemon.
#[derive(Args, Debug)]
pub(super) struct Socket {
    /// Socket of the daemon's local API.
    #[arg(long, env = "GOVERND_SOCKET", value_name = "PATH", default_value = settings::SOCKET)]
    pub(super) socket: PathBuf,
}

/// What extends the catalogue.
#[derive(Args, Debug)]
pub(super) struct Additions {
    /// Directory of `.csv` files that extend the catalogue.
    #[arg(
        long,
        value_name = "DIR",
        env = "GOVERND_CATALOG",
        default_value = settings::CATALOG_DIR
    )]
    pub(super) catalog: PathBuf,
}

/// Which host documents are for.
#[derive(Args, Debug)]
pub(super) struct AboutHost {
    /// File with the environment and labels of the host.
    #[arg(
        long,
        env = "GOVERND_HOST_FILE",
        value_name = "FILE",
        default_value = settings::HOST_FILE
    )]
    pub(super) host_file: PathBuf,
}

/// Which values beside records are erased: those for which all of it holds.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
pub(super) struct Beside {
    /// The name of this user, and the command lines of this user's processes.
    #[arg(long, group = "which", value_name = "NAME")]
    user: Option<String>,
    /// What stands beside records that were logged before this time: `2026-03-01`,
    /// `2026-03-01T08:00Z`, or that long ago: `90m`, `36h`, `4320h`.
    #[arg(long, group = "which", value_name = "TIME", value_parser = moment)]
    before: Option<Timestamp>,
}

impl Beside {
    pub(super) fn erasure(self) -> Erasure {
        let before_ms = self.before.map(|time| u64::try_from(time.as_millisecond()).unwrap_or(0));
        Erasure { user: self.user, before_ms }
    }
}

/// Where to find what outlives the daemon.
#[derive(Args, Debug)]
pub(super) struct Pins {
    /// Directory of a BPF file system for what outlives the daemon.
    #[arg(long, env = "GOVERND_PINS", value_name = "DIR", default_value = settings::PINS_DIR)]
    pub(super) pins: PathBuf,
}

/// How the daemon runs.
#[derive(Args, Debug)]
pub(super) struct Daemon {
    /// cgroup v2 directory to attach to [default: the root of the cgroup v2 tree].
    #[arg(long, env = "GOVERND_CGROUP", value_name = "DIR")]
    cgroup: Option<PathBuf>,
    #[command(flatten)]
    pins: Pins,
    /// Policy file, or directory of policy files.
    #[arg(long, env = "GOVERND_POLICY", value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Public key that has to have signed the policy; what it has not signed is refused.
    #[arg(long, env = "GOVERND_POLICY_KEY", value_name = "FILE")]
    policy_key: Option<PathBuf>,
    #[command(flatten)]
    host: AboutHost,
    #[command(flatten)]
    catalog: Additions,
    /// Directory of the log and the inventory.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: PathBuf,
    /// Size of the log, above which its oldest records are deleted: `10G`, `512M`.
    #[arg(
        long,
        env = "GOVERND_LOG_MAX",
        value_name = "SIZE",
        default_value = "10G",
        value_parser = size
    )]
    log_max: u64,
    /// Delete records after so many days, if each of those that go with them has been kept for as
    /// long as its `retention` says (six months, or two years); without it only for want of room.
    #[arg(long, env = "GOVERND_LOG_DAYS", value_name = "DAYS")]
    log_days: Option<u32>,
    /// File that says where records go beside the log: files, syslog, OTLP, webhooks, NATS.
    #[arg(
        long,
        env = "GOVERND_EXPORTERS",
        value_name = "FILE",
        default_value = settings::EXPORTERS_FILE
    )]
    exporters: PathBuf,
    /// Serve metrics there: `unix:PATH`, or an address of this host such as `127.0.0.1:9464`.
    #[arg(long, env = "GOVERND_METRICS", value_name = "ADDRESS", value_delimiter = ',')]
    metrics: Vec<Address>,
    /// Ask there for the pods of this node: the API server (`.../api/v1/pods?fieldSelector=...`) or
    /// the kubelet (`.../pods`).
    #[arg(long, env = "GOVERND_PODS", value_name = "URL")]
    pods: Option<String>,
    /// Directory with `token` and `ca.crt` for that.
    #[arg(
        long,
        env = "GOVERND_POD_CREDENTIALS",
        value_name = "DIR",
        default_value = settings::POD_CREDENTIALS
    )]
    pod_credentials: PathBuf,
    #[command(flatten)]
    socket: Socket,
    /// Override the mode of every document.
    #[arg(long, env = "GOVERND_MODE", value_name = "MODE")]
    mode: Option<Mode>,
}

impl Daemon {
    /// What `governd run` means by the flags.
    pub(super) fn settings(self) -> Settings {
        let credentials = self.pod_credentials;
        let pods = self.pods.map(|url| PodSource { url, credentials });
        let policy = self.policy.unwrap_or_else(|| PathBuf::from(settings::POLICY_DIR));
        Settings {
            cgroup: self.cgroup,
            policy: PolicySource::Path(policy),
            policy_key: self.policy_key,
            host_file: self.host.host_file,
            catalog: self.catalog.catalog,
            state_dir: self.state_dir,
            keep: Keep { bytes_max: self.log_max, days: self.log_days },
            exporters: self.exporters,
            metrics: self.metrics,
            pods,
            socket: self.socket.socket,
            mode: self.mode.map(verdict::Mode::from),
            pins: self.pins.pins,
            is_trial: false,
        }
    }

    /// What `governd up` means by them: the host's policy if there is one, and monitor mode unless
    /// told otherwise.
    pub(super) fn trial_settings(self) -> Settings {
        let named = self.policy.is_some();
        let mode = self.mode.unwrap_or(Mode::Monitor);
        let mut settings = Settings { mode: Some(mode.into()), is_trial: true, ..self.settings() };
        let absent = matches!(&settings.policy, PolicySource::Path(path) if !path.exists());
        if absent && !named {
            settings.policy = PolicySource::BuiltIn;
        }
        settings
    }
}

/// A number of bytes, of 1,024 with `K`, and so on.
fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (text.trim_end_matches('K'), 10),
        Some(b'M') => (text.trim_end_matches('M'), 20),
        Some(b'G') => (text.trim_end_matches('G'), 30),
        _ => (text, 0),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    let number = number.filter(|bytes| *bytes >= LOG_BYTES_MIN);
    number.ok_or_else(|| "no size of at least 256M, such as `10G`".to_owned())
}

/// Least size of a log: a few segments.
const LOG_BYTES_MIN: u64 = 256 * 1_024 * 1_024;

/// A mode on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Mode {
    /// Stop nothing; record what would have been stopped.
    Monitor,
    /// Carry out denials.
    Enforce,
}

impl From<Mode> for verdict::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Monitor => Self::Monitor,
            Mode::Enforce => Self::Enforce,
        }
    }
}
