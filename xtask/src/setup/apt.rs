//! apt with sources, lists and cache of its own, for packages that are unpacked and not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::debian;
use crate::{run, say};

/// Knows the packages of one suite of the archive that this machine uses. The system's own package
/// state stays as it is.
pub(crate) struct PrivateApt {
    folder: tempfile::TempDir,
}

impl PrivateApt {
    /// Reads the package lists of a suite.
    pub(crate) fn of(suite: &str) -> Result<Self> {
        if !debian::is_debian() {
            bail!("this is not Debian: there is no apt to get packages of {suite} with");
        }
        let folder = tempfile::tempdir()?;
        let archive = debian::archive()?;
        let source = format!("deb [signed-by={}] {archive} {suite} main\n", debian::KEYRING);
        fs::write(folder.path().join("sources.list"), source)?;
        for part in ["lists/partial", "cache/archives/partial", "downloads"] {
            fs::create_dir_all(folder.path().join(part))?;
        }
        let apt = Self { folder };
        say::note(format_args!("reading the package lists of {suite}"));
        run::read(apt.command("apt-get")?.arg("update"))?;
        Ok(apt)
    }

    /// One of apt's programs, on these lists.
    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        let mut command = debian::apt(program)?;
        for (option, part) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            let value = self.folder.path().join(part);
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        // The folder is this user's own: apt must not step down to a user who cannot enter it.
        command.args(["-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User="]);
        // Descriptions for software centres and translations are not needed.
        command.args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"]);
        command.args(["-o", "Acquire::Languages=none"]);
        Ok(command)
    }

    /// Downloads a package (`name` or `name=version`); the file goes away with `self`.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let downloads = self.folder.path().join("downloads");
        let before = archives(&downloads)?;
        run::read(self.command("apt-get")?.current_dir(&downloads).args(["download", package]))?;
        let after = archives(&downloads)?;
        let new = after.into_iter().find(|archive| !before.contains(archive));
        new.with_context(|| format!("apt downloaded nothing for {package}"))
    }
}

/// The packages in a folder.
fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    let is_archive = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    Ok(paths.into_iter().filter(is_archive).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_count_as_downloaded() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.deb", "a.deb.partial", "b"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(archives(folder.path()).unwrap(), [folder.path().join("a.deb")]);
    }
}
