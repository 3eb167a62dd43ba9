//! A whole Debian as a kernel's first file system.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::{run, say, setup::debian};

/// Not needed to run, and a third of the whole.
const LEFT_OUT: [&str; 6] = [
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
];
pub(super) const MODE: u32 = 0o7777;

/// The system of a suite, with `packages` beside what debootstrap calls minimal: what was made
/// before, unless `is_fresh` asks for a new one.
pub(super) fn archive(
    suite: &str,
    packages: &str,
    folder: &Path,
    is_fresh: bool,
) -> Result<Archive> {
    let root = folder.join("root");
    let is_whole = folder.join("root.whole");
    if is_fresh || !is_whole.exists() {
        if root.exists() {
            fs::remove_dir_all(&root)
                .with_context(|| format!("cannot remove {}", root.display()))?;
        }
        let archive = debian::archive()?;
        let mut debootstrap = run::command("debootstrap")?;
        debootstrap.args(["--variant=minbase", &format!("--include={packages}"), suite]);
        debootstrap.arg(&root).arg(archive);
        say::note(format_args!("making Debian's {suite} in {}", root.display()));
        run::read(&mut debootstrap)?;
        fs::write(&is_whole, "")?;
    }
    let mut archive = Archive::default();
    add(&mut archive, &root, "")?;
    archive.device("dev/console", 5, 1)?;
    Ok(archive)
}

/// Adds what is in a folder of a root. Its path is relative to the root, and ends in a slash or is
/// empty.
pub(super) fn add(archive: &mut Archive, root: &Path, folder: &str) -> Result<()> {
    add_as(archive, &root.join(folder), folder, &LEFT_OUT)
}

/// Adds what is in a folder of the host as what is in `guest`, which ends in a slash.
pub(super) fn add_tree(archive: &mut Archive, host: &Path, guest: &str) -> Result<()> {
    add_as(archive, host, guest, &[])
}

fn add_as(archive: &mut Archive, host: &Path, guest: &str, left_out: &[&str]) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(host).with_context(|| format!("cannot read {}", host.display()))? {
        names.push(entry?.file_name().into_string().ok().context("a name is not text")?);
    }
    names.sort();
    for name in names {
        let (path, host) = (format!("{guest}{name}"), host.join(&name));
        let about = fs::symlink_metadata(&host)?;
        if left_out.contains(&path.as_str()) {
            archive.folder(&path)?;
        } else if about.is_dir() {
            archive.folder_with(&path, about.permissions().mode() & MODE)?;
            add_as(archive, &host, &format!("{path}/"), left_out)?;
        } else if about.is_symlink() {
            let target = fs::read_link(&host)?;
            archive.link(&path, target.to_str().context("a link is not text")?)?;
        } else if about.is_file() {
            archive.file(&path, about.permissions().mode() & MODE, &fs::read(&host)?)?;
        }
        // Devices are the kernel's own to make.
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_modes_are_kept_and_manuals_are_not() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "usr/share/man"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for (file, mode) in [("bin/su", 0o4755), ("usr/share/man/su.1", 0o644)] {
            fs::write(root.path().join(file), "su").unwrap();
            fs::set_permissions(root.path().join(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("bin/su", root.path().join("link")).unwrap();
        let mut archive = Archive::default();
        add(&mut archive, root.path(), "").unwrap();
        let bytes = archive.finish().unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("bin/su\0") && holds("link\0") && holds("usr/share/man\0"));
        assert!(!holds("su.1"));
        assert!(holds(&format!("{:08x}", 0o104_755)), "a mode is lost");
    }
}
