//! Where the programs are that the tests run.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// What `cargo xtask setup` (through `setup.sh` beside this file) put below `target/lab`, the
/// client scripts beside this file, and the `governd` that was built.
#[derive(Debug)]
pub struct Tools {
    clients: PathBuf,
    installed: PathBuf,
    node: PathBuf,
    governd: PathBuf,
}

impl Tools {
    /// Finds the tools.
    ///
    /// # Errors
    ///
    /// Fails, with how to mend it, if something is not installed.
    pub fn find() -> Result<Self> {
        let mut tools = Self::of_bypass()?;
        tools.node = program("node")?;
        for path in [tools.agent(), tools.node_modules(), tools.uv_cache()] {
            tools.must_have(&path)?;
        }
        Ok(tools)
    }

    /// Those alone that the bypass table needs: a machine with no more can run it.
    ///
    /// # Errors
    ///
    /// As [`Self::find`].
    pub fn of_bypass() -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "the lab needs root");
        let own = env::current_exe().context("finding the test's own executable")?;
        // target/<profile>/deps/<test>
        let profile = own.ancestors().nth(2).context("no target directory above the test")?;
        let target = profile.parent().context("no target directory above the test")?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab");
        let tools = Self {
            clients: sources.join("clients"),
            installed: target.join("lab"),
            node: PathBuf::new(),
            governd: profile.join("governd"),
        };
        for name in ["bash", "curl", "dnsmasq", "ip", "nft", "nsenter", "setpriv", "unshare"] {
            program(name)?;
        }
        tools.must_have(&tools.bypass_packages())?;
        Ok(tools)
    }

    fn must_have(&self, path: &Path) -> Result<()> {
        ensure!(
            path.exists(),
            "{} is missing\nhint: run `cargo xtask setup`, or `bash {} {}`",
            path.display(),
            self.clients.with_file_name("setup.sh").display(),
            self.installed.display(),
        );
        Ok(())
    }

    /// The Python agent's interpreter: a file of its own, with the official clients.
    pub fn agent(&self) -> PathBuf {
        self.installed.join("agent/bin/python3")
    }

    /// The Node.js interpreter, links followed; nothing among the tools of the bypass table.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Where Node.js finds the official client.
    pub fn node_modules(&self) -> PathBuf {
        self.installed.join("node/node_modules")
    }

    /// Where uvx finds the tool server, without asking an index.
    pub fn uv_cache(&self) -> PathBuf {
        self.installed.join("uv")
    }

    /// What the bypass attempts import.
    pub fn bypass_packages(&self) -> PathBuf {
        self.installed.join("bypass")
    }

    /// A script of `tests/lab/clients`.
    pub fn script(&self, name: &str) -> PathBuf {
        self.clients.join(name)
    }

    /// The `governd` that was built beside this test.
    ///
    /// # Errors
    ///
    /// Fails if it is not built.
    pub fn governd(&self) -> Result<&Path> {
        let path = &self.governd;
        ensure!(
            path.exists(),
            "{} is missing\nhint: run `cargo build -p governd`, or `cargo xtask test`",
            path.display()
        );
        Ok(path)
    }
}

/// An executable of `PATH`, links followed.
fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").context("PATH is not set")?;
    for directory in env::split_paths(&path) {
        let candidate = directory.join(name);
        if candidate.is_file() {
            return fs::canonicalize(&candidate)
                .with_context(|| format!("following {}", candidate.display()));
        }
    }
    bail!("{name} is not installed\nhint: run `cargo xtask setup`")
}
