//! The same system when its host was switched off and on again: what was on its disk is there, and
//! nothing of what was in its kernel. The machine has no disk: before it ends, it hands over what a
//! disk would keep.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context, Result};

use super::{CONTENTS, Script};
use crate::{
    run,
    vm::{cpio::Archive, system},
};

/// What the system says before anything is asked of it, and after a person let the agent go.
pub(super) const STEPS: &[Script] = &[
    ("rebooted", include_str!("steps/rebooted.sh")),
    ("released", include_str!("steps/released.sh")),
];
/// Where the machine's third serial line goes to.
pub(super) const KEPT: &str = "kept.tar.gz";

/// An agent that asks as soon as there may be a network, and says what became of it.
const EARLY: &str = include_str!("steps/early.py");
const EARLY_FILE: &str = "governd-vm.d/early.py";
const EARLY_UNIT: &str = "[Unit]\nDescription=An agent that does not wait for the system\n\
     DefaultDependencies=no\nAfter=network-pre.target\n\
     [Service]\nType=oneshot\nExecStart=/opt/agents/aider /governd-vm.d/early.py\n\
     StandardOutput=file:/run/early.txt\n";
const EARLY_UNIT_FILE: &str = "etc/systemd/system/early.service";
const EARLY_WANTED: &str = "etc/systemd/system/sysinit.target.wants/early.service";
/// As `library.sh` has it.
const AGENT: &str = "opt/agents/aider";
const PYTHON: &str = "usr/bin/python3";

/// The system of `folder` with a package's files and what was kept.
pub(super) fn archive(suite: &str, folder: &Path, package: &Path) -> Result<Archive> {
    let disk = folder.join("disk");
    if disk.exists() {
        fs::remove_dir_all(&disk).with_context(|| format!("cannot remove {}", disk.display()))?;
    }
    fs::create_dir_all(&disk).with_context(|| format!("cannot write {}", disk.display()))?;
    run::read(run::command("dpkg-deb")?.arg("--extract").arg(package).arg(&disk))?;
    run::read(run::command("tar")?.arg("-xzf").arg(folder.join(KEPT)).arg("-C").arg(&disk))?;
    let mut archive = system::archive(suite, CONTENTS, folder, false)?;
    system::add(&mut archive, &disk, "")?;
    let python = fs::canonicalize(folder.join("root").join(PYTHON)).context("no Python")?;
    let mode = fs::metadata(&python)?.permissions().mode() & system::MODE;
    archive.file(AGENT, mode, &fs::read(&python)?)?;
    archive.file(EARLY_FILE, 0o644, EARLY.as_bytes())?;
    archive.file(EARLY_UNIT_FILE, 0o644, EARLY_UNIT.as_bytes())?;
    archive.link(EARLY_WANTED, &format!("/{EARLY_UNIT_FILE}"))?;
    Ok(archive)
}
