//! The attempts and their library, where everybody can read them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use governd_tests::{
    Lab,
    command::{Finished, Running, must},
    leftover,
};
use tempfile::TempDir;

/// How long the compiler may take for all of them, on a busy machine.
const BUILD_LIMIT: Duration = Duration::from_secs(180);

/// A copy of the attempts with the C files built: attempts run as nobody, who may not enter the
/// workspace.
#[derive(Debug)]
pub(crate) struct Programs(TempDir);

impl Programs {
    /// Copies and builds; `source` has `attempts`, `lib` and the Makefile.
    pub(crate) fn build(lab: &Lab, source: &Path) -> Result<Self> {
        let prefix = format!("{}{}-bypass", leftover::PREFIX, std::process::id());
        let files = TempDir::with_prefix(prefix)?;
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))?;
        let target = files.path().display().to_string();
        for part in ["attempts", "lib", "Makefile"] {
            must("cp", &["-r", &source.join(part).display().to_string(), &target])?;
        }
        let packages = lab.tools().bypass_packages();
        must("cp", &["-r", &packages.display().to_string(), &format!("{target}/packages")])?;
        fs::create_dir_all(files.path().join("venv/bin"))?;
        let python = files.path().join("venv/bin/python3");
        std::os::unix::fs::symlink("/usr/bin/python3", python)?;
        fs::create_dir(files.path().join("build"))?;
        let mut make = Command::new("make");
        make.args(["--silent", "--directory", &target, "--jobs", "2"]);
        Running::start(&mut make)?.finish(BUILD_LIMIT).and_then(Finished::success).context(
            "building the techniques that are written in C; it needs gcc and liburing-dev",
        )?;
        Ok(Self(files))
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> &Path {
        self.0.path()
    }
}
