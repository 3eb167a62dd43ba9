//! The limit of file descriptors: every map, program and link takes one, and what holds programs at
//! network interfaces takes some for each.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With less the daemon lacks parts of itself, however little happens on the host: it has about 170
/// descriptors when it has begun.
const MIN: u64 = 512;

/// What to do about too few.
pub const DESCRIPTORS_HINT: &str =
    "allow 512 or more: LimitNOFILE= in a unit, `ulimit -Hn` in a shell";

/// Raises the limit to what the process may have: what systemd begins with is for programs that
/// call select(2).
pub fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "cannot raise the limit of descriptors");
    }
}

/// How many the process may have, if that is too few for the daemon.
pub fn too_few_descriptors() -> Option<u64> {
    descriptors_max().filter(|most| *most < MIN)
}

/// How many the process may have, after it raised the limit; `None` is as many as it likes.
pub(super) fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}
