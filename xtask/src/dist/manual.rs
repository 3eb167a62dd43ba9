//! Manual pages, completions and the schema of policy documents: an example of the daemon's crate
//! generates them.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{place, run};

/// Files by name, sorted.
pub(super) type Manual = Vec<(String, Vec<u8>)>;

/// Generates them, for the workspace's own version.
pub(super) fn generate() -> Result<Manual> {
    let folder = place::target()?.join("manual");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    run::loud(
        run::cargo()?
            .args(["run", "--quiet", "--locked", "--package", "governd", "--example", "manual"])
            .arg("--")
            .arg(&folder),
    )?;
    read(&folder)
}

fn read(folder: &Path) -> Result<Manual> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name is not text")?;
        files.push((name, fs::read(entry.path())?));
    }
    files.sort();
    Ok(files)
}
