//! What Debian's package tools can do for us.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{place, run};

/// The keyring that signs Debian's archive.
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Whether this is Debian itself, with its package tools.
pub(super) fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian") && place::program("apt-get").is_some()
}

/// A command that asks nothing.
pub(super) fn apt(program: &str) -> Result<Command> {
    let mut command = run::command(program)?;
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    Ok(command)
}

/// The address of the Debian archive that this machine uses, as its own apt sources give it.
pub(crate) fn archive() -> Result<String> {
    let targets = run::read(apt("apt-get")?.args([
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Identifier: Packages",
    ]))?;
    if let Some(archive) = archive_of_targets(&targets) {
        return Ok(archive);
    }
    // Nothing was ever updated here: the sources name the archive, its lists are not there yet.
    let updates = run::read(apt("apt-get")?.args(["update", "--print-uris"]))?;
    archive_of_updates(&updates).context(
        "apt's sources name no Debian archive; hint: add one, or put core's sources in place with \
         `rustup component add rust-src`",
    )
}

/// Picks the archive among lines of label and address; the security archive has another label.
fn archive_of_targets(targets: &str) -> Option<String> {
    let addresses = targets.lines().filter_map(|line| line.strip_prefix("Debian "));
    addresses.map(|address| address.trim_end_matches('/').to_owned()).next()
}

/// Picks the archive among lines such as `'<archive>/dists/<suite>/InRelease' <file> 0`.
fn archive_of_updates(updates: &str) -> Option<String> {
    let addresses =
        updates.lines().filter_map(|line| line.strip_prefix('\'')?.split_once("/dists/"));
    addresses.map(|(archive, _)| archive.to_owned()).find(|archive| archive.ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_the_one_with_debians_own_label() {
        let targets = "Debian-Security http://mirror.example/debian-security/\n\
                       Vendor http://vendor.example/debian/\n\
                       Debian http://mirror.example/debian/\n";
        assert_eq!(archive_of_targets(targets).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(archive_of_targets("Vendor http://vendor.example/debian/\n"), None);
    }

    #[test]
    fn without_lists_the_archive_is_read_from_what_an_update_would_fetch() {
        let updates = "'http://m.example/debian-security/dists/b-security/InRelease' m_b 0 \n\
                       'http://m.example/debian/dists/b/InRelease' m_b 0 \n";
        assert_eq!(archive_of_updates(updates).as_deref(), Some("http://m.example/debian"));
        assert_eq!(archive_of_updates(""), None);
    }
}
