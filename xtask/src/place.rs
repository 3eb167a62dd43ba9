//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The workspace's folder.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest_dir.parent().context("xtask's manifest has no parent folder")?;
    Ok(root.to_path_buf())
}

/// The folder in which cargo puts programs of the profile that built xtask: `target/debug`,
/// wherever the target folder is.
pub(crate) fn programs() -> Result<PathBuf> {
    let exe = env::current_exe().context("cannot tell where xtask itself is")?;
    Ok(exe.parent().context("xtask's own path has no parent")?.to_path_buf())
}

/// The target folder.
pub(crate) fn target() -> Result<PathBuf> {
    let programs = programs()?;
    Ok(programs.parent().map_or_else(|| programs.clone(), Path::to_path_buf))
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    if let Some(root) = env::var_os("CARGO_INSTALL_ROOT") {
        return Some(Path::new(&root).join("bin"));
    }
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))?;
    Some(home.join("bin"))
}

/// Folders in which programs are looked for: PATH, then cargo's own and those of administrators,
/// which an ordinary user's PATH lacks.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let more = [cargo_bin(), Some("/usr/local/sbin".into()), Some("/usr/sbin".into())];
    for folder in more.into_iter().chain([Some("/sbin".into())]).flatten() {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// Looks for a program.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}
