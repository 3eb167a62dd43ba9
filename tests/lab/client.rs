//! Starting a client where it belongs: cgroup, network namespace, resolver, then the program, all
//! in one process, so that the program has the pid that was started.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use crate::{
    command::{Finished, Running},
    namespace::Namespaces,
    wait,
};

/// Which addresses a client gets for a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4 and IPv6.
    Any,
    /// Only IPv4.
    V4,
    /// Only IPv6.
    V6,
}

impl Family {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Any, Self::V4, Self::V6];
    /// Those that leave a client no choice.
    pub const EACH: &'static [Self] = &[Self::V4, Self::V6];
}

/// Enters cgroup `$1` (unless empty) and network namespace `$2`, puts `$3` over
/// `/etc/resolv.conf` in a mount namespace of its own, and becomes the rest.
const ENTER: &str = r#"
if [ -n "$1" ]; then echo $$ > "$1/cgroup.procs" || exit 70; fi
exec nsenter --net="$2" unshare --mount sh -c '
mount --bind "$1" /etc/resolv.conf || exit 71
shift
exec "$@"
' lab "$3" "${@:4}"
"#;

/// A client that is about to be started.
#[derive(Debug)]
pub struct Client {
    cgroup: Option<PathBuf>,
    namespace: PathBuf,
    resolv_conf: PathBuf,
    authority: PathBuf,
    argv: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
}

impl Client {
    pub(crate) fn new(
        program: &Path,
        namespaces: &Namespaces,
        resolv_conf: PathBuf,
        authority: &Path,
    ) -> Self {
        Self {
            cgroup: None,
            namespace: namespaces.client(),
            resolv_conf,
            authority: authority.to_owned(),
            argv: vec![program.into()],
            variables: Vec::new(),
        }
    }

    /// Runs it in this cgroup.
    #[must_use]
    pub fn cgroup(mut self, path: &Path) -> Self {
        self.cgroup = Some(path.to_owned());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Starts it beside the test.
    ///
    /// # Errors
    ///
    /// Fails if the shell cannot be started.
    pub fn start(&self) -> Result<Running> {
        let mut command = Command::new("bash");
        command.args(["-c", ENTER, "lab"]);
        command.arg(self.cgroup.as_deref().unwrap_or(Path::new("")));
        command.arg(&self.namespace).arg(&self.resolv_conf).args(&self.argv);
        // Nothing of the test's own surroundings, such as a proxy, may change what a client does.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
        for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"] {
            command.env(name, &self.authority);
        }
        for name in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY"] {
            command.env(name, "lab-key-that-opens-nothing");
        }
        command.env("HOME", "/nonexistent").env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Running::start(&mut command)
    }

    /// Runs it to its end, for at most [`wait::PATIENCE`].
    ///
    /// # Errors
    ///
    /// Fails if it does not end in time.
    pub fn run(&self) -> Result<Finished> {
        self.run_within(wait::PATIENCE)
    }

    /// Runs it to its end, for at most `limit`.
    ///
    /// # Errors
    ///
    /// Fails if it does not end in time.
    pub fn run_within(&self, limit: Duration) -> Result<Finished> {
        let mut running = self.start()?;
        running.close_input();
        running.finish(limit)
    }
}
