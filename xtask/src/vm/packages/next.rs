//! Another build of governd, which calls itself newer and lays its tables out anew: a copy of the
//! workspace in which two constants differ.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{dist::Release, place, run};

/// Where the version of what is in the kernel's tables is.
const TABLES: &str = "governd-common/src/table.rs";
const TABLE_VERSION: (&str, &str) =
    ("pub const STATE_VERSION: u32 = 1;", "pub const STATE_VERSION: u32 = 2;");
const MANIFEST: &str = "Cargo.toml";
const VERSION: &str = "99.0.0";

/// Builds it, and gives its program, without debug information.
pub(super) fn build(release: &Release, folder: &Path) -> Result<(Release, PathBuf)> {
    let source = folder.join("next");
    copy(&place::root()?, &source)?;
    let old = format!("version = \"{}\"", release.version);
    change(&source.join(MANIFEST), &old, &format!("version = \"{VERSION}\""))?;
    change(&source.join(TABLES), TABLE_VERSION.0, TABLE_VERSION.1)?;
    // Packages of the registry are built already; those of the workspace have names of their own,
    // by their version. The lock's own versions are those of the workspace: it is not locked.
    let target = place::target()?;
    run::loud(
        run::cargo()?
            .current_dir(&source)
            .args(["build", "--offline", "--package", "governd", "--target-dir"])
            .arg(&target),
    )?;
    let program = folder.join("governd-next");
    run::stripped(&place::programs()?.join("governd"), &program)?;
    let release = Release { version: VERSION.to_owned(), ..release.clone() };
    Ok((release, program))
}

/// Copies what belongs to the workspace, and leaves nothing of an earlier copy.
fn copy(root: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    let mut git = run::command("git")?;
    git.arg("-C").arg(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    for file in run::read(&mut git)?.lines() {
        let (from, to) = (root.join(file), to.join(file));
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a file without a folder")?)?;
            fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}

fn change(path: &Path, old: &str, new: &str) -> Result<()> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let changed = text.replacen(old, new, 1);
    if changed == text {
        anyhow::bail!("{} does not say `{old}`", path.display());
    }
    fs::write(path, changed).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_where_the_copy_changes_them() {
        let root = place::root().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (file, (old, new)) in [
            (TABLES, TABLE_VERSION),
            (MANIFEST, ("[workspace.package]\nversion = \"", "[workspace.package]\nv = \"")),
        ] {
            let copy = folder.path().join("copy");
            fs::copy(root.join(file), &copy).unwrap();
            change(&copy, old, new).unwrap();
            assert!(fs::read_to_string(&copy).unwrap().contains(new), "{file}");
            assert!(change(&copy, old, new).is_err(), "{file}");
        }
    }
}
