//! `governd install` and `governd uninstall`: the program as a service, on hosts without a package
//! of it. Both may be run again at any time.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags,
    printer::Printer,
    stop,
};
use crate::{app::sources, control::server::Server, settings};

/// The unit, as packages have it.
const UNIT: &str = include_str!("../../../deploy/systemd/governd.service");
/// Where packages have the program.
const PACKAGED: &str = "/usr/bin/governd";
const PROGRAM: &str = "/usr/local/bin/governd";
const UNIT_FILE: &str = "/etc/systemd/system/governd.service";
const CONFIGURATION: &str = "/etc/governd";
/// What packages begin with: everything is watched, nothing is stopped.
const POLICY: &str = include_str!("../../../deploy/policies/default.yaml");
const POLICY_FILE: &str = "default.yaml";
const POLICY_MODE: u32 = 0o644;
const RUN_DIR: &str = "/run/governd";
/// There where systemd is the service manager (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
const SERVICE: &str = "governd.service";
/// Of the shadow suite (groupadd(8)); busybox calls them otherwise.
const ADD_GROUP: &str = "groupadd";
const REMOVE_GROUP: &str = "groupdel";
const UNIT_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;
const PUBLIC: u32 = 0o755;
const PRIVATE: u32 = 0o700;

/// Directories of the service, with their modes.
const DIRECTORIES: [(&str, u32); 3] =
    [(CONFIGURATION, PUBLIC), (settings::POLICY_DIR, PUBLIC), (settings::STATE_DIR, PRIVATE)];

/// Flags of `governd install`.
#[derive(Args, Debug)]
pub(super) struct Install {
    /// Install below this directory, and tell no service manager.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Flags of `governd uninstall`.
#[derive(Args, Debug)]
pub(super) struct Uninstall {
    /// Remove the policies and the log, too.
    #[arg(long)]
    purge: bool,
    /// Remove from below this directory, and tell no service manager.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    pins: flags::Pins,
    #[command(flatten)]
    socket: flags::Socket,
}

impl Install {
    pub(super) fn run(self) -> Outcome {
        self.install().map_err(failure)?;
        let printer = Printer::new(false);
        if is_host(&self.root) {
            printer.note("governd is installed; start it with `systemctl enable --now governd`");
        } else {
            printer.note(format_args!("governd is installed in {}", self.root.display()));
        }
        Ok(Exit::Yes)
    }

    fn install(&self) -> Result<()> {
        add_group(&self.root)?;
        for (directory, mode) in DIRECTORIES {
            let path = within(&self.root, directory);
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
            set_mode(&path, mode)?;
        }
        let policies = within(&self.root, settings::POLICY_DIR);
        // Without one the daemon does not start; a second one for the host would be an error.
        if sources::files(&policies)?.is_empty() {
            replace(&policies.join(POLICY_FILE), POLICY.as_bytes(), POLICY_MODE)?;
        }
        let own = std::env::current_exe().context("finding this program")?;
        let program = fs::read(&own).with_context(|| format!("reading {}", own.display()))?;
        replace(&within(&self.root, PROGRAM), &program, PROGRAM_MODE)?;
        let unit = UNIT.replace(PACKAGED, PROGRAM);
        replace(&within(&self.root, UNIT_FILE), unit.as_bytes(), UNIT_MODE)?;
        if is_host(&self.root) {
            run("systemctl", &["daemon-reload"])?;
        }
        Ok(())
    }
}

impl Uninstall {
    pub(super) fn run(self) -> Outcome {
        if self.root == Path::new("/") {
            end_service().map_err(failure)?;
            stop::detach(&self.socket, &self.pins, None)?;
        }
        self.remove().map_err(failure)?;
        let kept: Vec<String> = [CONFIGURATION, settings::STATE_DIR]
            .map(|directory| within(&self.root, directory))
            .into_iter()
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        Printer::new(false).note(if kept.is_empty() {
            "nothing of governd is left".to_owned()
        } else {
            format!("governd is removed; {} stay, --purge removes them", kept.join(" and "))
        });
        Ok(Exit::Yes)
    }

    fn remove(&self) -> Result<()> {
        for file in [UNIT_FILE, PROGRAM].map(|file| within(&self.root, file)) {
            gone(fs::remove_file(&file)).with_context(|| format!("removing {}", file.display()))?;
        }
        if is_host(&self.root) {
            run("systemctl", &["daemon-reload"])?;
        }
        remove_group(&self.root)?;
        // A daemon that no service manager started leaves its socket's directory.
        fs::remove_dir(within(&self.root, RUN_DIR)).ok();
        if self.purge {
            for directory in [CONFIGURATION, settings::STATE_DIR] {
                let path = within(&self.root, directory);
                gone(fs::remove_dir_all(&path))
                    .with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn failure(error: anyhow::Error) -> Failure {
    let hint = match error.downcast_ref::<NoProgram>().map(|missing| missing.0) {
        Some(ADD_GROUP) => "add the system group `governd` (`addgroup -S governd`), and try again",
        Some(REMOVE_GROUP) => "remove the group `governd` (`delgroup governd`), and try again",
        _ => "run it as root, on a file system that can be written",
    };
    Failure::new(Exit::Environment, error, hint)
}

/// The host has no such program.
#[derive(Debug, thiserror::Error)]
#[error("there is no `{0}` here")]
struct NoProgram(&'static str);

/// No service manager starts it again.
fn end_service() -> Result<()> {
    if is_host(Path::new("/")) && Path::new(UNIT_FILE).exists() {
        run("systemctl", &["disable", "--now", SERVICE])?;
    }
    Ok(())
}

/// Whether a service manager runs what is installed there.
fn is_host(root: &Path) -> bool {
    root == Path::new("/") && Path::new(SYSTEMD).exists()
}

fn within(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Writes a file in one step: what runs of an older one goes on running.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let written = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut next = path.as_os_str().to_owned();
        next.push(".new");
        let next = PathBuf::from(next);
        fs::write(&next, bytes)?;
        fs::set_permissions(&next, fs::Permissions::from_mode(mode))?;
        fs::rename(&next, path)
    };
    written().with_context(|| format!("writing {}", path.display()))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}

/// Removing what is not there is done already.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn has_group(root: &Path) -> bool {
    let groups = fs::read_to_string(within(root, "/etc/group")).unwrap_or_default();
    groups.lines().any(|line| line.split(':').next() == Some(Server::group()))
}

fn add_group(root: &Path) -> Result<()> {
    if has_group(root) {
        return Ok(());
    }
    let etc = within(root, "/etc");
    fs::create_dir_all(&etc).with_context(|| format!("making {}", etc.display()))?;
    let root = root.to_string_lossy();
    run(ADD_GROUP, &["--system", "--prefix", &root, Server::group()])
}

fn remove_group(root: &Path) -> Result<()> {
    if !has_group(root) {
        return Ok(());
    }
    run(REMOVE_GROUP, &["--prefix", &root.to_string_lossy(), Server::group()])
}

fn run(program: &'static str, arguments: &[&str]) -> Result<()> {
    let output = match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(NoProgram(program)),
        output => output.with_context(|| format!("running {program}"))?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
