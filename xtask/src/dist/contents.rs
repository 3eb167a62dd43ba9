//! What a package puts on a host, whichever kind of package it is.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{PROGRAM_MODE, archive, manual::Manual, release::Release};
use crate::place;

const PROGRAM: &str = "usr/bin/governd";
const DOCUMENTS: &str = "usr/share/doc/governd";
const FILE_MODE: u32 = 0o644;
/// The folder that completions for zsh are looked for in, on Debian.
pub(super) const ZSH_DEBIAN: &str = "usr/share/zsh/vendor-completions";
/// The same elsewhere.
pub(super) const ZSH: &str = "usr/share/zsh/site-functions";

/// Files of the workspace, and where a host has them.
const FILES: &[(&str, &str, Role)] = &[
    ("deploy/systemd/governd.service", "usr/lib/systemd/system/governd.service", Role::Plain),
    ("deploy/policies/default.yaml", "etc/governd/policies/default.yaml", Role::Configuration),
    ("deploy/packages/copyright", "usr/share/doc/governd/copyright", Role::Document),
    ("CHANGELOG.md", "usr/share/doc/governd/CHANGELOG.md", Role::Document),
    ("README.md", "usr/share/doc/governd/README.md", Role::Document),
    ("SECURITY.md", "usr/share/doc/governd/SECURITY.md", Role::Document),
    ("deploy/exporters.toml", "usr/share/doc/governd/examples/exporters.toml", Role::Document),
];
/// Folders of the workspace whose files are all documents.
const FOLDERS: &[(&str, &str)] = &[
    ("docs", "usr/share/doc/governd"),
    ("docs/concepts", "usr/share/doc/governd/concepts"),
    ("docs/performance", "usr/share/doc/governd/performance"),
    ("docs/reference", "usr/share/doc/governd/reference"),
    ("deploy/audit", "usr/share/doc/governd/examples/audit"),
    ("deploy/grafana", "usr/share/doc/governd/examples/grafana"),
    ("deploy/policies", "usr/share/doc/governd/examples/policies"),
];
/// What only builds the documentation's site.
const BOOK: &str = "book.toml";

/// What a package manager has to know of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Plain,
    /// Kept as an administrator changed it.
    Configuration,
    Document,
}

/// A file on a host.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Relative to the root.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) role: Role,
    pub(super) bytes: Vec<u8>,
}

/// All files, sorted by path.
#[derive(Clone, Debug)]
pub(super) struct Contents(pub(super) Vec<Entry>);

impl Contents {
    pub(super) fn collect(
        release: &Release,
        program: &Path,
        manual: &Manual,
        sbom: &[u8],
    ) -> Result<Self> {
        let root = place::root()?;
        let mut entries = vec![Entry {
            path: PROGRAM.to_owned(),
            mode: PROGRAM_MODE,
            role: Role::Plain,
            bytes: read(program)?,
        }];
        let mut file = |path: String, role, bytes| {
            entries.push(Entry { path, mode: FILE_MODE, role, bytes });
        };
        for (from, to, role) in FILES {
            file((*to).to_owned(), *role, read(&root.join(from))?);
        }
        for (from, to) in FOLDERS {
            for name in names(&root.join(from))? {
                let bytes = read(&root.join(from).join(&name))?;
                file(format!("{to}/{name}"), Role::Document, bytes);
            }
        }
        for (name, bytes) in manual {
            let path = place_of(name)?;
            let bytes = if path.ends_with(".gz") { archive::gzip(bytes)? } else { bytes.clone() };
            file(path, Role::Plain, bytes);
        }
        if !sbom.is_empty() {
            let path = format!("{DOCUMENTS}/{}", release.file("", ".cdx.json"));
            file(path, Role::Document, sbom.to_vec());
        }
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(Self(entries))
    }

    /// The program's bytes.
    pub(super) fn program(&self) -> Result<&[u8]> {
        let program = self.0.iter().find(|entry| entry.path == PROGRAM);
        Ok(&program.context("no program among the contents")?.bytes)
    }
}

/// Where a generated file belongs.
fn place_of(name: &str) -> Result<String> {
    Ok(match name.rsplit_once('.') {
        Some((_, "1")) => format!("usr/share/man/man1/{name}.gz"),
        Some((stem, "bash")) => format!("usr/share/bash-completion/completions/{stem}"),
        Some((_, "json")) => format!("usr/share/governd/{name}"),
        Some((_, "fish")) => format!("usr/share/fish/vendor_completions.d/{name}"),
        None if name.starts_with('_') => format!("{ZSH_DEBIAN}/{name}"),
        _ => bail!("no place for {name}"),
    })
}

/// The names of the files in a folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != BOOK {
            names.push(entry.file_name().into_string().ok().context("a name is not text")?);
        }
    }
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Contents around a program that only says its name.
#[cfg(test)]
pub(super) fn sample() -> Contents {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "#!/bin/sh\necho governd\n").unwrap();
    let manual = [
        "_governd",
        "governd.1",
        "governd.bash",
        "governd.fish",
        "governd-run.1",
        "policy.schema.json",
    ];
    let manual = manual.map(|name| (name.to_owned(), name.as_bytes().to_vec())).to_vec();
    Contents::collect(&super::release::sample(), &program, &manual, b"{}").unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_place_and_its_role() {
        let contents = sample();
        for (path, mode, role) in [
            ("usr/bin/governd", 0o755, Role::Plain),
            ("usr/lib/systemd/system/governd.service", 0o644, Role::Plain),
            ("etc/governd/policies/default.yaml", 0o644, Role::Configuration),
            ("usr/share/man/man1/governd-run.1.gz", 0o644, Role::Plain),
            ("usr/share/bash-completion/completions/governd", 0o644, Role::Plain),
            ("usr/share/zsh/vendor-completions/_governd", 0o644, Role::Plain),
            ("usr/share/governd/policy.schema.json", 0o644, Role::Plain),
            ("usr/share/doc/governd/operations.md", 0o644, Role::Document),
            ("usr/share/doc/governd/governd-1.2.3.cdx.json", 0o644, Role::Document),
        ] {
            let entry = contents.0.iter().find(|entry| entry.path == path);
            let found = entry.map(|entry| (entry.mode, entry.role));
            assert_eq!(found, Some((mode, role)), "{path}");
        }
        assert!(contents.0.is_sorted_by(|left, right| left.path < right.path), "a path twice");
        assert!(place_of("governd.txt").is_err());
    }

    /// Of links that stay among the pages.
    #[test]
    fn links_of_the_pages_lead_to_what_is_in_the_package() {
        let contents = sample();
        let has = |path: &str| contents.0.iter().any(|entry| entry.path == path);
        let mut links = 0;
        for entry in contents.0.iter().filter(|entry| entry.path.ends_with(".md")) {
            let text = str::from_utf8(&entry.bytes).unwrap();
            for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = link.split('#').next().unwrap_or_default();
                let is_page = file.ends_with(".md") || file.ends_with(".svg");
                if !is_page || file.contains("://") {
                    continue;
                }
                links += 1;
                let mut path: Vec<&str> = entry.path.split('/').collect();
                path.pop();
                for part in file.split('/') {
                    if part == ".." {
                        path.pop();
                    } else {
                        path.push(part);
                    }
                }
                assert!(has(&path.join("/")), "{}: {link}", entry.path);
            }
        }
        assert!(links > 50, "only {links} links are found");
    }

    /// A host that installs the package must not lose a connection by it.
    #[test]
    fn the_default_policy_stops_nothing() {
        let contents = sample();
        let policy = contents.0.iter().find(|entry| entry.role == Role::Configuration).unwrap();
        let text = str::from_utf8(&policy.bytes).unwrap();
        let modes: Vec<_> =
            text.lines().map(str::trim).filter(|l| l.starts_with("mode:")).collect();
        assert_eq!(modes, ["mode: monitor"]);
        assert!(!text.contains("kind: Agent"));
    }
}
