//! What is handed out: which version, for which machines, and of what time.

use std::{env, path::Path};

use anyhow::{Context, Result};

use crate::run;

/// The product, and what its files begin with.
pub(super) const NAME: &str = "governd";
/// By which builders of distributions say what time it is (reproducible-builds.org).
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// One version of the product.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    /// As the workspace's manifest has it.
    pub(crate) version: String,
    /// Seconds since 1970 that every file carries.
    pub(crate) epoch: u32,
}

impl Release {
    /// The version of a workspace, at the time of its last commit.
    pub(crate) fn of_workspace(root: &Path) -> Result<Self> {
        let manifest = root.join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let version = version_of(&text).context("the workspace's manifest has no version")?;
        let epoch = match env::var(EPOCH) {
            Ok(epoch) => epoch,
            Err(_) => run::read(run::command("git")?.arg("-C").arg(root).args([
                "log",
                "-1",
                "--format=%ct",
            ]))
            .with_context(|| format!("no time of a commit; hint: set {EPOCH}"))?,
        };
        let epoch = epoch.trim().parse().with_context(|| format!("{EPOCH}: {epoch}"))?;
        Ok(Self { version, epoch })
    }

    /// The architecture as Rust, RPM and the kernel call it: that of this machine.
    pub(super) fn arch(&self) -> &'static str {
        env::consts::ARCH
    }

    /// The same as Debian and container registries call it.
    pub(super) fn debian_arch(&self) -> &'static str {
        match self.arch() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }

    /// The target that the program is built for.
    pub(super) fn target(&self) -> String {
        format!("{}-unknown-linux-musl", self.arch())
    }

    /// The time, as documents write it.
    pub(super) fn time(&self) -> Result<String> {
        Ok(jiff::Timestamp::from_second(i64::from(self.epoch))?.to_string())
    }

    /// A file's name around the version.
    pub(super) fn file(&self, between: &str, after: &str) -> String {
        format!("{NAME}{between}-{}{after}", self.version)
    }
}

fn version_of(manifest: &str) -> Option<String> {
    let manifest: toml::Value = toml::from_str(manifest).ok()?;
    let version = manifest.get("workspace")?.get("package")?.get("version")?;
    version.as_str().map(str::to_owned)
}

#[cfg(test)]
pub(super) fn sample() -> Release {
    Release { version: "1.2.3".to_owned(), epoch: 1_700_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_tells_its_version() {
        let manifest = "[workspace]\nmembers = []\n[workspace.package]\nversion = \"1.2.3\"\n";
        assert_eq!(version_of(manifest).as_deref(), Some("1.2.3"));
        assert_eq!(version_of("[package]\nversion = \"1.2.3\"\n"), None);
        assert_eq!(sample().time().unwrap(), "2023-11-14T22:13:20Z");
    }
}
