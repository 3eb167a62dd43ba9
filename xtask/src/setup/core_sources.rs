//! core's sources of exactly the compiler's version, which the eBPF target is built from.
//!
//! rustup's component is tried first. Where it cannot be fetched, Debian's `rust-src` package of
//! the same version is: it is unpacked, not installed, and apt works with lists and caches of its
//! own, so the system's package state stays as it was.

use std::{ffi::OsString, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use super::{apt::PrivateApt, debian};
use crate::{place, run, say};

/// The suite that carries the pinned compiler's sources for Debian.
const SUITE: &str = "trixie-backports";
/// Where a sysroot has core's sources.
const SOURCES: &str = "lib/rustlib/src/rust/library";
/// Beside the sources: the version that they were unpacked for, as a toolchain can be updated in
/// place.
const STAMP: &str = "lib/rustlib/src/rust/library.version";
/// rustup gives up late where the network swallows its packets.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// Puts the sources in place unless they are there; returns how many things were installed.
pub(super) fn provide() -> Result<usize> {
    let rustc = OsString::from("rustc");
    let sysroot = run::read(run::command(&rustc)?.args(["--print", "sysroot"]))?;
    let version = run::read(run::command(&rustc)?.arg("--version"))?;
    let version = version.split_whitespace().nth(1).context("rustc tells no version")?;
    let sysroot = Path::new(sysroot.trim());
    if is_present(sysroot, version) {
        return Ok(0);
    }
    say::note(format_args!(
        "core's sources of Rust {version} are missing in {}",
        sysroot.display()
    ));
    discard_stale(sysroot)?;
    if from_rustup(sysroot, version) {
        return Ok(1);
    }
    let by_hand = format!(
        "hint: copy `library/` of Rust {version}'s source archive to {}",
        sysroot.join(SOURCES).display()
    );
    if !debian::is_debian() {
        bail!("core's sources are missing and this is not Debian; {by_hand}");
    }
    from_debian(sysroot, version)
        .with_context(|| format!("cannot get core's sources from Debian; {by_hand}"))?;
    Ok(1)
}

fn is_present(sysroot: &Path, version: &str) -> bool {
    let stamp = fs::read_to_string(sysroot.join(STAMP));
    let is_current = stamp.map_or(true, |stamp| stamp.trim() == version);
    is_current && sysroot.join(SOURCES).join("core/src/lib.rs").is_file()
}

/// Removes sources that we unpacked for another version: rustup does not write over them.
fn discard_stale(sysroot: &Path) -> Result<()> {
    let stamp = sysroot.join(STAMP);
    if !stamp.exists() {
        return Ok(());
    }
    let sources = sysroot.join(SOURCES);
    if sources.exists() {
        fs::remove_dir_all(&sources)
            .with_context(|| format!("cannot remove stale sources in {}", sources.display()))?;
    }
    fs::remove_file(stamp)?;
    Ok(())
}

fn from_rustup(sysroot: &Path, version: &str) -> bool {
    let Some(rustup) = place::program("rustup") else { return false };
    let mut command = Command::new(rustup);
    command.args(["component", "add", "rust-src"]);
    say::note(run::text(&command));
    match run::within(&mut command, RUSTUP_LIMIT) {
        Ok(()) if is_present(sysroot, version) => true,
        Ok(()) => {
            say::note("rustup says that it is installed, and it is not there; asking Debian");
            false
        }
        Err(error) => {
            say::note(format_args!("rustup cannot fetch it here ({error:#}); asking Debian"));
            false
        }
    }
}

fn from_debian(sysroot: &Path, version: &str) -> Result<()> {
    let apt = PrivateApt::of(SUITE)?;
    let listing = run::read(apt.command("apt-cache")?.args(["madison", "rust-src"]))?;
    let package = newest_of(&listing, version)
        .with_context(|| format!("{SUITE} has no rust-src {version}"))?;
    say::note(format_args!("unpacking rust-src {package} into {}", sysroot.display()));
    let archive = apt.download(&format!("rust-src={package}"))?;
    install(&archive, sysroot, version)
}

/// Unpacks beside the final place and renames, so that nobody sees half of it.
fn install(archive: &Path, sysroot: &Path, version: &str) -> Result<()> {
    let place = sysroot.join(SOURCES);
    let parent = place.parent().context("the place of the sources has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot write {}", parent.display()))?;
    let scratch = tempfile::tempdir_in(parent)?;
    run::read(run::command("dpkg")?.arg("-x").arg(archive).arg(scratch.path()))?;
    let unpacked = scratch.path().join(format!("usr/src/rustc-{version}/library"));
    if !unpacked.join("core/src/lib.rs").is_file() {
        bail!("the package does not hold library/ of Rust {version}");
    }
    if place.exists() {
        // Half of something: what is whole is not replaced.
        fs::rename(&place, scratch.path().join("half"))?;
    }
    fs::rename(&unpacked, &place)?;
    fs::write(sysroot.join(STAMP), version)?;
    Ok(())
}

/// The newest build of a version in `apt-cache madison`'s answer, which lists the newest first.
fn newest_of(listing: &str, version: &str) -> Option<String> {
    let versions = listing.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    let prefix = format!("{version}+");
    versions.filter(|candidate| candidate.starts_with(&prefix)).map(str::to_owned).next()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_newest_build_of_the_exact_version_is_chosen() {
        let listing = " rust-src | 1.96.0+dfsg1-1~bpo13+1 | http://m.example suite/main\n \
                       rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://m.example suite/main\n \
                       rust-src | 1.95.0+dfsg1-1~bpo13+1 | http://m.example suite/main\n";
        let chosen = newest_of(listing, "1.95.0");
        assert_eq!(chosen.as_deref(), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(newest_of(listing, "1.94.0"), None);
        assert_eq!(newest_of(listing, "1.95"), None);
    }

    #[test]
    fn sources_of_another_version_do_not_count() {
        let sysroot = tempfile::tempdir().unwrap();
        let core = sysroot.path().join(SOURCES).join("core/src");
        assert!(!is_present(sysroot.path(), "1.95.0"));
        fs::create_dir_all(&core).unwrap();
        fs::write(core.join("lib.rs"), "").unwrap();
        assert!(is_present(sysroot.path(), "1.95.0"), "rustup leaves no stamp");
        fs::write(sysroot.path().join(STAMP), "1.94.0").unwrap();
        assert!(!is_present(sysroot.path(), "1.95.0"));
        fs::write(sysroot.path().join(STAMP), "1.95.0\n").unwrap();
        assert!(is_present(sysroot.path(), "1.95.0"));
    }

    /// Builds a package that holds one file.
    fn package(folder: &Path, file: &str) -> PathBuf {
        let tree = folder.join("tree");
        let control = "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@m.example>\n\
                       Description: d\n";
        for (path, text) in [("DEBIAN/control", control), (file, "//! core")] {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let archive = folder.join("p.deb");
        run::read(Command::new("dpkg-deb").arg("-b").arg(&tree).arg(&archive)).unwrap();
        archive
    }

    #[test]
    fn a_package_replaces_stale_sources_and_leaves_nothing_else() {
        if !debian::is_debian() {
            return; // There is no dpkg to unpack with, and `provide` does not come here.
        }
        let folder = tempfile::tempdir().unwrap();
        let archive = package(folder.path(), "usr/src/rustc-1.95.0/library/core/src/lib.rs");
        let sysroot = tempfile::tempdir().unwrap();
        let stale = sysroot.path().join(SOURCES).join("stale");
        fs::create_dir_all(&stale).unwrap();
        fs::write(sysroot.path().join(STAMP), "1.94.0").unwrap();
        discard_stale(sysroot.path()).unwrap();
        install(&archive, sysroot.path(), "1.95.0").unwrap();
        assert!(is_present(sysroot.path(), "1.95.0"));
        assert!(!stale.exists());
        let parent = sysroot.path().join(SOURCES).parent().unwrap().to_path_buf();
        assert_eq!(fs::read_dir(parent).unwrap().count(), 2, "library and its stamp");
    }

    #[test]
    fn a_package_of_another_version_changes_nothing() {
        if !debian::is_debian() {
            return; // As above.
        }
        let folder = tempfile::tempdir().unwrap();
        let archive = package(folder.path(), "usr/src/rustc-1.96.0/library/core/src/lib.rs");
        let sysroot = tempfile::tempdir().unwrap();
        let error = install(&archive, sysroot.path(), "1.95.0").unwrap_err();
        assert!(error.to_string().contains("does not hold"), "{error}");
        assert!(!is_present(sysroot.path(), "1.95.0"));
    }
}
