//! Packages of Python and npm, as they are installed.

use std::{path::Path, sync::Arc};

use super::root::{Found, Root};
use crate::workload::limits::{PACKAGE_FILE_BYTES_MAX, PACKAGE_LEVELS_MAX};

/// Longest version that is kept, in bytes.
const VERSION_BYTES_MAX: usize = 128;

/// What kind of package a file may belong to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'a> {
    /// Of Python, for the interpreter at this path.
    Python {
        /// As it was called.
        called: &'a str,
    },
    /// Of npm.
    Npm,
}

/// The file that `python -m` begins with. Python looks where it works first, and then in the
/// packages of its environment.
pub(super) fn module(root: &Root, called: &str, module: &str) -> Option<Found> {
    let inside = module.replace('.', "/");
    let directories = std::iter::once(".".to_owned()).chain(site_directories(root, called));
    let mut files = directories.flat_map(|directory| {
        ["/__main__.py", ".py", "/__init__.py"].map(|end| format!("{directory}/{inside}{end}"))
    });
    files.find_map(|file| root.find(&file))
}

/// The version of the package that a file belongs to.
pub(super) fn version(root: &Root, file: &str, kind: Kind<'_>) -> Option<Arc<str>> {
    let version = match kind {
        Kind::Npm => of_npm(root, file),
        Kind::Python { called } => of_python(root, file, called),
    }?;
    let is_fine =
        version.len() <= VERSION_BYTES_MAX && version.chars().all(|c| c.is_ascii_graphic());
    (is_fine && !version.is_empty()).then(|| version.into())
}

/// The nearest package.json above a file that says a version.
fn of_npm(root: &Root, file: &str) -> Option<String> {
    let above = Path::new(file).ancestors().skip(1).take(PACKAGE_LEVELS_MAX);
    let packages = above.take_while(|directory| !directory.ends_with("node_modules"));
    let mut texts = packages.filter_map(|directory| {
        let path = directory.join("package.json");
        root.text(path.to_str()?, PACKAGE_FILE_BYTES_MAX)
    });
    texts.find_map(|text| {
        let json: serde_json::Value = serde_json::from_str(&text).ok()?;
        json.get("name")?.as_str()?;
        Some(json.get("version")?.as_str()?.to_owned())
    })
}

fn of_python(root: &Root, file: &str, called: &str) -> Option<String> {
    let of_package = file.rsplit_once("-packages/").map(|(directory, inside)| {
        let top = inside.split('/').next().unwrap_or(inside);
        (format!("{directory}-packages"), top.trim_end_matches(".py"))
    });
    if let Some((directory, top)) = of_package {
        return of_distribution(root, &directory, |root, path, name| {
            normal(name) == normal(top)
                || has_line(root, &format!("{path}/top_level.txt"), |line| line == top)
        });
    }
    // What pip puts into `bin` begins what an entry point names.
    let (directory, name) = file.rsplit_once('/')?;
    if !directory.ends_with("/bin") {
        return None;
    }
    let begins = |line: &str| line.split_once('=').is_some_and(|(left, _)| left.trim() == name);
    site_directories(root, called).into_iter().find_map(|directory| {
        of_distribution(root, &directory, |root, path, _| {
            has_line(root, &format!("{path}/entry_points.txt"), begins)
        })
    })
}

/// The version of the first installed distribution that is meant, of those in a directory.
fn of_distribution(
    root: &Root,
    directory: &str,
    is_meant: impl Fn(&Root, &str, &str) -> bool,
) -> Option<String> {
    let names = root.names(directory);
    let installed = names.iter().filter_map(|name| {
        let (own, _) = name.strip_suffix(".dist-info")?.rsplit_once('-')?;
        Some((format!("{directory}/{name}"), own))
    });
    let mut meant = installed.filter(|(path, own)| is_meant(root, path, own));
    let (path, _) = meant.next()?;
    let text = root.text(&format!("{path}/METADATA"), PACKAGE_FILE_BYTES_MAX)?;
    // What follows the empty line is a description.
    let mut fields = text.lines().take_while(|line| !line.is_empty());
    fields.find_map(|line| Some(line.strip_prefix("Version:")?.trim().to_owned()))
}

fn has_line(root: &Root, path: &str, is_it: impl Fn(&str) -> bool) -> bool {
    let text = root.text(path, PACKAGE_FILE_BYTES_MAX).unwrap_or_default();
    text.lines().any(|line| is_it(line.trim()))
}

/// A name as indexes compare it (PEP 503).
fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}

/// Where the packages of an interpreter are: below the directory whose `bin` it is in.
fn site_directories(root: &Root, called: &str) -> Vec<String> {
    let Some(prefix) = Path::new(called).parent().and_then(Path::parent).and_then(Path::to_str)
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for prefix in [prefix.to_owned(), format!("{prefix}/local")] {
        let lib = format!("{prefix}/lib");
        let versions = root.names(&lib).into_iter().filter(|name| name.starts_with("python"));
        found.extend(versions.flat_map(|version| {
            ["site-packages", "dist-packages"].map(|name| format!("{lib}/{version}/{name}"))
        }));
    }
    found
}
