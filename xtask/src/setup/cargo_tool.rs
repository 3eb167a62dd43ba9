//! Programs that cargo builds from their crate, at the version that `pinned` names.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{pinned::CargoTool, place, run, say};

/// Installs the tool unless it is there; returns how many things were installed.
pub(super) fn provide(tool: &CargoTool) -> Result<usize> {
    let found = version(tool.name);
    if found.as_deref() == Some(tool.version) {
        return Ok(0);
    }
    let found = found.map_or_else(|| "missing".to_owned(), |version| format!("at {version}"));
    say::note(format_args!(
        "{} is {found}: building {}, which {}",
        tool.name, tool.version, tool.purpose
    ));
    run::loud(
        run::cargo()?
            // Its folders are not ours, and our compiler flags are not meant for it.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .args(["install", "--quiet", "--locked", "--force", "--profile", tool.profile])
            .args(["--version", tool.version, tool.name]),
    )
    .with_context(|| format!("cannot install {} {}", tool.name, tool.version))?;
    Ok(1)
}

/// The version of the program in the search path, if it is there and runs.
fn version(name: &str) -> Option<String> {
    let output = Command::new(place::program(name)?).arg("--version").output().ok()?;
    // `<name> <version>` is the form that clap gives to every program; some write `v` before it.
    let said = String::from_utf8(output.stdout).ok()?;
    said.split_whitespace().nth(1).map(|word| word.trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_program_is_its_second_word() {
        let version = version("cargo").expect("cargo runs this test");
        assert!(version.starts_with("1."), "{version}");
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version("no-such-program-anywhere"), None);
    }
}
