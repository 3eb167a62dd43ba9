//! What is compiled into the program: packages of the registry, and what they bring in other
//! languages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use super::release::{NAME, Release};
use crate::place;

/// The eBPF programs, which the daemon carries without naming their crate.
const CARRIED: &str = "governd-ebpf";
/// Bundles SQLite's source, whose version its header tells.
const SQLITE_CRATE: &str = "libsqlite3-sys";
const SQLITE_HEADER: &str = "sqlite3/sqlite3.h";
const SQLITE_VERSION: &str = "#define SQLITE_VERSION";

/// Name and version, which tell two packages apart.
pub(super) type Key = (String, String);

/// One package.
#[derive(Clone, Debug, Default)]
pub(super) struct Dependency {
    /// As SPDX writes it.
    pub(super) licence: Option<String>,
    pub(super) description: Option<String>,
    /// Whether it comes from the registry; else it is of this workspace, or not of Rust.
    pub(super) is_registered: bool,
    pub(super) needs: BTreeSet<Key>,
}

/// All of them, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Dependencies(pub(super) BTreeMap<Key, Dependency>);

impl Dependencies {
    /// Asks cargo.
    pub(super) fn of_program(release: &Release) -> Result<Self> {
        let mut command = MetadataCommand::new();
        command.current_dir(place::root()?);
        command.other_options(vec![
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            release.target(),
        ]);
        Self::of(&command.exec().context("cargo tells no dependencies")?)
    }

    /// Everything that the roots need at run time; what only builds or tests them is left out.
    fn of(metadata: &Metadata) -> Result<Self> {
        let packages: BTreeMap<&PackageId, &Package> =
            metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
        let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
        let is_root = |id: &&PackageId| {
            let name = packages.get(*id).map(|package| package.name.as_str());
            metadata.workspace_members.contains(id)
                && name.is_some_and(|name| name == NAME || name == CARRIED)
        };
        let mut open: Vec<&PackageId> = nodes.keys().copied().filter(is_root).collect();
        let mut all = Self::default();
        while let Some(id) = open.pop() {
            let package = packages.get(id).context("a package that is not listed")?;
            if all.0.contains_key(&key(package)) {
                continue;
            }
            let mut dependency = Dependency {
                licence: package.license.clone(),
                description: package.description.clone(),
                is_registered: package.source.is_some(),
                needs: BTreeSet::new(),
            };
            for needed in nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default() {
                if !needed.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                    continue;
                }
                let needed = &needed.pkg;
                dependency.needs.extend(packages.get(needed).map(|package| key(package)));
                open.push(needed);
            }
            if package.name.as_str() == SQLITE_CRATE {
                let sqlite = all.add_sqlite(package.manifest_path.as_std_path())?;
                dependency.needs.insert(sqlite);
            }
            all.0.insert(key(package), dependency);
        }
        let carried = all.0.keys().find(|(name, _)| name == CARRIED).cloned();
        let program = all.0.iter_mut().find(|((name, _), _)| name == NAME);
        let (_, program) = program.context("cargo knows nothing of the program")?;
        program.needs.extend(carried);
        Ok(all)
    }

    /// Adds what the compiler links in beside packages.
    pub(super) fn add_toolchain(&mut self, parts: Vec<(Key, Dependency)>) {
        if let Some((_, program)) = self.0.iter_mut().find(|((name, _), _)| name == NAME) {
            program.needs.extend(parts.iter().map(|(key, _)| key.clone()));
        }
        self.0.extend(parts);
    }

    fn add_sqlite(&mut self, manifest: &Path) -> Result<Key> {
        let header = manifest.with_file_name(SQLITE_HEADER);
        let text = fs::read_to_string(&header)
            .with_context(|| format!("cannot read {}", header.display()))?;
        let version = sqlite_version(&text).context("SQLite's header tells no version")?;
        let key = ("sqlite3".to_owned(), version);
        let sqlite = Dependency {
            licence: Some("blessing".to_owned()),
            description: Some("SQLite, compiled in".to_owned()),
            ..Dependency::default()
        };
        self.0.insert(key.clone(), sqlite);
        Ok(key)
    }
}

fn key(package: &Package) -> Key {
    (package.name.to_string(), package.version.to_string())
}

fn sqlite_version(header: &str) -> Option<String> {
    let line = header.lines().find_map(|line| line.strip_prefix(SQLITE_VERSION))?;
    Some(line.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::release;

    #[test]
    fn what_the_program_has_is_listed_and_what_tests_it_is_not() {
        let all = Dependencies::of_program(&release::sample()).unwrap();
        let has = |name: &str| all.0.keys().any(|(known, _)| known == name);
        for name in ["governd", "governd-ebpf", "governd-common", "aya-ebpf", "ring", "sqlite3"] {
            assert!(has(name), "{name}");
        }
        for name in ["xtask", "governd-tests", "proptest", "clap_mangen", "cc"] {
            assert!(!has(name), "{name}");
        }
        let needs = all.0.values().flat_map(|dependency| &dependency.needs);
        assert!(needs.into_iter().all(|key| all.0.contains_key(key)));
    }

    #[test]
    fn sqlite_tells_its_version() {
        let header = "/* x */\n#define SQLITE_VERSION        \"3.50.4\"\n";
        assert_eq!(sqlite_version(header).as_deref(), Some("3.50.4"));
        assert_eq!(sqlite_version("#define SQLITE_OK 0\n"), None);
    }
}
