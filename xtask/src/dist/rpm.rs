//! The package for distributions that use RPM.

use std::fs;

use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder};

use super::{
    contents::{Contents, Role, ZSH, ZSH_DEBIAN},
    release::{NAME, Release},
};
use crate::place;

/// Scripts of the package, in the workspace.
const SCRIPTS: &str = "deploy/packages/rpm";
/// Of packages of the same version.
const REVISION: &str = "1";
const LICENCE: &str = "(Apache-2.0 OR MIT) AND (GPL-2.0-only OR MIT)";
const SUMMARY: &str = "What AI agents on this host may reach";
const DESCRIPTION: &str = "governd knows the AI agents on a host, lets each of them reach only \
    what its owner approved, and records every decision. It begins in monitor mode, which stops \
    nothing.";
/// Folders that go with the package.
const FOLDERS: [&str; 4] =
    ["/etc/governd", "/etc/governd/policies", "/usr/share/doc/governd", "/usr/share/governd"];
/// The most that gzip compresses.
const LEVEL: u32 = 9;

pub(super) fn name(release: &Release) -> String {
    release.file("", &format!("-{REVISION}.{}.rpm", release.arch()))
}

/// Makes the package.
pub(super) fn pack(release: &Release, contents: &Contents) -> Result<Vec<u8>> {
    let mut builder = PackageBuilder::new(NAME, &release.version, LICENCE, release.arch(), SUMMARY);
    builder
        .using_config(
            BuildConfig::v4()
                .compression(CompressionWithLevel::Gzip(LEVEL))
                .source_date(release.epoch),
        )
        .release(REVISION)
        .description(DESCRIPTION)
        .requires(Dependency::any("shadow-utils"))
        .pre_install_script(script("pre")?)
        .post_install_script(script("post")?)
        .pre_uninstall_script(script("preun")?)
        .post_uninstall_script(script("postun")?);
    for folder in FOLDERS {
        builder.with_dir_entry(FileOptions::dir(folder).permissions(0o755))?;
    }
    for entry in &contents.0 {
        let path = format!("/{}", entry.path.replace(ZSH_DEBIAN, ZSH));
        let permissions = u16::try_from(entry.mode).context("a mode is too large")?;
        let options = FileOptions::new(path).permissions(permissions);
        let options = match entry.role {
            Role::Plain => options,
            Role::Configuration => options.config().noreplace(),
            Role::Document => options.doc(),
        };
        builder.with_file_contents(entry.bytes.clone(), options)?;
    }
    let mut bytes = Vec::new();
    builder.build()?.write(&mut bytes)?;
    Ok(bytes)
}

fn script(name: &str) -> Result<String> {
    let path = place::root()?.join(SCRIPTS).join(name);
    fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{
        dist::{contents, release},
        run,
    };

    #[test]
    fn rpm_reads_what_was_packed() {
        let bytes = pack(&release::sample(), &contents::sample()).unwrap();
        assert!(bytes == pack(&release::sample(), &contents::sample()).unwrap());
        if place::program("rpm").is_none() {
            let package = rpm::Package::parse(&mut bytes.as_slice()).unwrap();
            assert_eq!(package.metadata.get_version().unwrap(), "1.2.3");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name(&release::sample()));
        fs::write(&file, bytes).unwrap();
        let rpm = |arguments: &[&str]| {
            run::read(Command::new("rpm").args(arguments).arg("--package").arg(&file)).unwrap()
        };
        let list = rpm(&["--query", "--list", "--verbose"]);
        for (mode, path) in [
            ("-rwxr-xr-x", "/usr/bin/governd"),
            ("drwxr-xr-x", "/etc/governd/policies"),
            ("-rw-r--r--", "/usr/share/zsh/site-functions/_governd"),
        ] {
            let is_listed = |line: &str| line.starts_with(mode) && line.ends_with(path);
            assert!(list.lines().any(is_listed), "{path}: {list}");
        }
        let configuration = rpm(&["--query", "--configfiles"]);
        assert_eq!(configuration, "/etc/governd/policies/default.yaml\n");
        let scripts = rpm(&["--query", "--scripts"]);
        assert!(scripts.contains("governd stop --detach"), "{scripts}");
        let time = rpm(&["--query", "--queryformat", "%{BUILDTIME}"]);
        assert_eq!(time, "1700000000");
    }

    #[test]
    fn scripts_are_shell() {
        for name in ["pre", "post", "preun", "postun"] {
            let script = place::root().unwrap().join(SCRIPTS).join(name);
            run::read(Command::new("sh").arg("-n").arg(script)).unwrap();
        }
    }
}
