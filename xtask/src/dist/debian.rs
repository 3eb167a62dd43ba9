//! The package for Debian and what comes from it, built by dpkg's own program.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context, Result};

use super::{
    contents::{Contents, Role},
    release::{NAME, Release},
};
use crate::{place, run};

/// Scripts of the package, in the workspace.
const SCRIPTS: &str = "deploy/packages/debian";
/// When dpkg runs them.
const EVENTS: [&str; 3] = ["postinst", "postrm", "prerm"];
const BYTES_PER_KIB: usize = 1_024;

pub(super) fn name(release: &Release) -> String {
    format!("{NAME}_{}_{}.deb", release.version, release.debian_arch())
}

/// Writes the package into a folder.
pub(super) fn pack(release: &Release, contents: &Contents, folder: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let stage = scratch.path().join("stage");
    for entry in &contents.0 {
        write(&stage.join(&entry.path), &entry.bytes, entry.mode)?;
    }
    let about = stage.join("DEBIAN");
    write(&about.join("control"), control(release, contents).as_bytes(), 0o644)?;
    let configuration = contents.0.iter().filter(|entry| entry.role == Role::Configuration);
    let configuration: String = configuration.map(|entry| format!("/{}\n", entry.path)).collect();
    write(&about.join("conffiles"), configuration.as_bytes(), 0o644)?;
    for event in EVENTS {
        let script = place::root()?.join(SCRIPTS).join(event);
        let script = fs::read(&script).with_context(|| format!("no {}", script.display()))?;
        write(&about.join(event), &script, 0o755)?;
    }
    run::read(
        run::command("dpkg-deb")?
            // Times later than the release's are replaced by it: those of all staged files.
            .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
            // How xz cuts its blocks depends on the number of threads.
            .args(["--root-owner-group", "--threads-max=1", "-Zxz", "--build"])
            .arg(&stage)
            .arg(folder.join(name(release))),
    )?;
    Ok(())
}

fn control(release: &Release, contents: &Contents) -> String {
    let bytes: usize = contents.0.iter().map(|entry| entry.bytes.len()).sum();
    format!(
        "Package: {NAME}\n\
         Version: {}\n\
         Architecture: {}\n\
         Maintainer: The governd maintainers <maintainers@governd.invalid>\n\
         Installed-Size: {}\n\
         Depends: passwd\n\
         Section: admin\n\
         Priority: optional\n\
         Description: what AI agents on this host may reach\n \
         governd knows the AI agents on a host, lets each of them reach only what its owner\n \
         approved, and records every decision. It begins in monitor mode, which stops nothing.\n",
        release.version,
        release.debian_arch(),
        bytes.div_ceil(BYTES_PER_KIB)
    )
}

/// Writes a file of exactly this mode, below folders that everybody may enter, whatever the umask.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut missing: Vec<_> = path.ancestors().skip(1).take_while(|path| !path.exists()).collect();
    while let Some(folder) = missing.pop() {
        fs::create_dir(folder).with_context(failed)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755)).with_context(failed)?;
    }
    fs::write(path, bytes).with_context(failed)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(failed)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::dist::{contents, release};

    fn dpkg_deb(option: &str, package: &Path) -> Option<String> {
        place::program("dpkg-deb")?;
        Some(run::read(Command::new("dpkg-deb").arg(option).arg(package)).unwrap())
    }

    #[test]
    fn dpkg_reads_what_was_packed() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join(name(&release::sample()));
        if place::program("dpkg-deb").is_none() {
            return; // Not Debian: nothing here could build the package.
        }
        pack(&release::sample(), &contents::sample(), folder.path()).unwrap();
        let about = dpkg_deb("--info", &package).unwrap();
        for line in ["Version: 1.2.3", "Depends: passwd", "postinst", "prerm", "postrm"] {
            assert!(about.contains(line), "{line}: {about}");
        }
        let list = dpkg_deb("--contents", &package).unwrap();
        for line in [
            "-rwxr-xr-x root/root        23 2023-11-14 22:13 ./usr/bin/governd",
            "drwxr-xr-x root/root         0 2023-11-14 22:13 ./etc/governd/policies/",
            "./usr/share/man/man1/governd.1.gz",
        ] {
            assert!(list.contains(line), "{line}: {list}");
        }
        let conffiles =
            run::read(Command::new("dpkg-deb").arg("-I").arg(&package).arg("conffiles")).unwrap();
        assert_eq!(conffiles, "/etc/governd/policies/default.yaml\n");
    }

    #[test]
    fn two_packages_are_the_same_bytes() {
        if place::program("dpkg-deb").is_none() {
            return; // As above.
        }
        let packed = || {
            let folder = tempfile::tempdir().unwrap();
            pack(&release::sample(), &contents::sample(), folder.path()).unwrap();
            fs::read(folder.path().join(name(&release::sample()))).unwrap()
        };
        assert!(packed() == packed());
    }

    #[test]
    fn scripts_are_shell() {
        for event in EVENTS {
            let script = place::root().unwrap().join(SCRIPTS).join(event);
            run::read(Command::new("sh").arg("-n").arg(script)).unwrap();
        }
    }
}
