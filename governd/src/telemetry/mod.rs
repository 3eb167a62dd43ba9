//! Logging of the daemon itself, to stderr. Records of what agents do are the audit room's.

pub mod service;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Environment variable with the filter, in `tracing-subscriber`'s syntax.
pub const FILTER_ENV: &str = "GOVERND_LOG";

/// Starts logging. A second call changes nothing. A filter that cannot be understood is reported
/// on stderr and replaced by the default, `info`.
pub fn start(default: &str) {
    let filter = EnvFilter::builder()
        .with_default_directive(default.parse().unwrap_or_default())
        .with_env_var(FILTER_ENV);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started =
        tracing_subscriber::registry().with(filter.from_env_lossy()).with(layer).try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "logging had been started before");
    }
}
