//! `cargo xtask vm --packages`: governd's Debian package in real systems.
//!
//! Debian itself, made by debootstrap and booted with systemd in an emulated machine, goes
//! through a package's life: install, enforce, hang, upgrade to another build with other tables
//! and back under load, remove, purge; and then comes up once more as its disk was in between.
//! Each step is a shell script in `steps/` that says what must hold. The packages hold
//! development builds: what is tried here is the packing and the service. It takes many minutes
//! and is not part of `cargo xtask ci`.

mod again;
mod next;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    cpio::Archive,
    image::{self, Image},
    machine,
    outcome::Outcome,
    release::{self, Release},
    step::{self, Step},
    system,
};
use crate::{
    dist, place, run, say,
    setup::{self, Part},
};

/// A system to try: what `--packages` calls it, Debian's name for it, and its kernel.
struct System {
    name: &'static str,
    suite: &'static str,
    kernel: &'static str,
}

const SYSTEMS: &[System] = &[
    System { name: "debian-12", suite: "bookworm", kernel: "6.1" },
    System { name: "debian-13", suite: "trixie", kernel: "6.12" },
];

/// A step: its name, and what the shell runs after the library.
type Script = (&'static str, &'static str);

/// What every step begins with.
const LIBRARY: &str = include_str!("steps/library.sh");
/// The life of a package.
const STEPS: &[Script] = &[
    ("install", include_str!("steps/install.sh")),
    ("unit", include_str!("steps/unit.sh")),
    ("shadow", include_str!("steps/shadow.sh")),
    ("enforce", include_str!("steps/enforce.sh")),
    ("crash", include_str!("steps/crash.sh")),
    ("hang", include_str!("steps/hang.sh")),
    ("keep", include_str!("steps/keep.sh")),
    ("load", LOAD),
    ("upgrade", include_str!("steps/upgrade.sh")),
    ("counted", COUNTED),
    ("load-again", LOAD),
    ("back", include_str!("steps/back.sh")),
    ("counted-again", COUNTED),
    ("remove", include_str!("steps/remove.sh")),
    ("purge", include_str!("steps/purge.sh")),
];
const LOAD: &str = include_str!("steps/load.sh");
const COUNTED: &str = include_str!("steps/counted.sh");

/// A service manager, and what the steps use.
const CONTENTS: &str = "iproute2,python3-minimal,systemd,systemd-sysv";
/// A whole system is unpacked into memory.
const MEMORY: &str = "3072M";
/// The service manager is what the kernel starts.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=4 panic=-1 no_timer_check \
                                rdinit=/usr/lib/systemd/systemd systemd.show_status=0";
/// Runs the steps when the system is up.
const UNIT: &str = "[Unit]\nDescription=Steps of a test\n\
     [Service]\nType=exec\nExecStart=/governd-vm vm-steps\nStandardOutput=journal+console\n\
     [Install]\nWantedBy=multi-user.target\n";

/// An emulator takes a hundred times as long to give a program to its verifier.
const DROP_IN: &str = "[Service]\nTimeoutStartSec=1800s\n";
const DROP_IN_FILE: &str = "etc/systemd/system/governd.service.d/emulator.conf";
const UNIT_FILE: &str = "etc/systemd/system/governd-vm.service";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/governd-vm.service";

/// Tries the systems of these names; all if there are none.
pub(super) fn run(names: &[String], is_fresh: bool, limit: Duration) -> Result<()> {
    let known = SYSTEMS.iter().map(|system| system.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| SYSTEMS.iter().all(|system| system.name != **name))
    {
        bail!("no system {name}; hint: there are {known}");
    }
    if !run::is_root() {
        bail!("debootstrap needs root; hint: run it as root");
    }
    setup::provide(&[Part::Build, Part::Dist, Part::Vm])?;
    let folder = place::target()?.join("vm").join("packages");
    fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
    let packages = Packages::make(&folder)?;
    let mut failed = Vec::new();
    for system in SYSTEMS {
        if !names.is_empty() && names.iter().all(|name| name != system.name) {
            continue;
        }
        let faults = try_on(system, &packages, &folder, is_fresh, limit)
            .unwrap_or_else(|error| vec![format!("{error:#}")]);
        for fault in &faults {
            say::warn(format_args!("{}: {fault}", system.name));
        }
        let verdict = if faults.is_empty() { "every step passed" } else { "failed" };
        say::line(format_args!("{}: {verdict}", system.name));
        if !faults.is_empty() {
            failed.push(system.name);
        }
    }
    if !failed.is_empty() {
        bail!(
            "governd's package does not pass on {}; hint: steps.log below {} has what was said",
            failed.join(", "),
            folder.display()
        );
    }
    Ok(())
}

/// What failed; a step that did not run failed, too.
fn faults(outcome: &Outcome, steps: &[Script]) -> Vec<String> {
    let mut faults = outcome.step_faults();
    let missing = steps.iter().filter(|(name, _)| outcome.step(name).is_none());
    faults.extend(missing.map(|(name, _)| format!("{name}: did not run")));
    faults
}

/// Packages of this workspace, and of another build of it, which is to be newer.
struct Packages {
    old: PathBuf,
    new: PathBuf,
}

impl Packages {
    fn make(folder: &Path) -> Result<Self> {
        let release = dist::Release::of_workspace(&place::root()?)?;
        let (next, next_program) = next::build(&release, folder)?;
        run::loud(run::cargo()?.args(["build", "--package", "governd"]))?;
        let program = folder.join("governd");
        run::stripped(&place::programs()?.join("governd"), &program)?;
        Ok(Self {
            old: dist::debian_package(&release, &program, folder)?,
            new: dist::debian_package(&next, &next_program, folder)?,
        })
    }
}

/// Boots a system, and again with what its disk keeps; gives what failed.
fn try_on(
    system: &System,
    packages: &Packages,
    folder: &Path,
    is_fresh: bool,
    limit: Duration,
) -> Result<Vec<String>> {
    let release = release::chosen(&[system.kernel.to_owned()])?;
    let release = release.first().context("no kernel")?;
    let image = image::provide(release, is_fresh)?;
    let folder = folder.join(system.name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
    let mut archive = system::archive(system.suite, CONTENTS, &folder, is_fresh)?;
    for (path, package) in
        [("packages/old.deb", &packages.old), ("packages/new.deb", &packages.new)]
    {
        archive.file(path, 0o644, &fs::read(package)?)?;
    }
    say::note(format_args!("booting {} on Linux {}", system.name, image.version));
    let kept = folder.join(again::KEPT);
    let machine = |logs, kept| Machine { release, image: &image, logs, kept, limit };
    let first = machine(&folder, Some(&kept)).run(archive, STEPS)?;
    let faults = faults(&first, STEPS);
    if !faults.is_empty() {
        return Ok(faults);
    }
    say::note(format_args!("booting {} again", system.name));
    let archive = again::archive(system.suite, &folder, &packages.old)?;
    let logs = folder.join("again");
    fs::create_dir_all(&logs).with_context(|| format!("cannot write {}", logs.display()))?;
    let second = machine(&logs, None).run(archive, again::STEPS)?;
    Ok(self::faults(&second, again::STEPS))
}

/// A machine that boots a system and runs steps in it.
struct Machine<'a> {
    release: &'a Release,
    image: &'a Image,
    logs: &'a Path,
    kept: Option<&'a Path>,
    limit: Duration,
}

impl Machine<'_> {
    fn run(&self, mut archive: Archive, scripts: &[Script]) -> Result<Outcome> {
        let mut steps = Vec::new();
        for (name, script) in scripts {
            let path = format!("governd-vm.d/{name}.sh");
            archive.file(&path, 0o644, format!("{LIBRARY}\n{script}").as_bytes())?;
            steps.push(Step::new(name, &["sh", &format!("/{path}")]));
        }
        archive.file(step::LIST, 0o644, step::write(&steps).as_bytes())?;
        let runner = self.logs.join("runner");
        run::stripped(&std::env::current_exe()?, &runner)?;
        archive.file("governd-vm", 0o755, &fs::read(runner)?)?;
        archive.file(UNIT_FILE, 0o644, UNIT.as_bytes())?;
        archive.file(DROP_IN_FILE, 0o644, DROP_IN.as_bytes())?;
        archive.link(WANTED, &format!("/{UNIT_FILE}"))?;
        let initramfs = self.logs.join("initramfs.cpio");
        fs::write(&initramfs, archive.finish()?)?;
        let boot = machine::Boot {
            kernel: &self.image.vmlinuz,
            initramfs: &initramfs,
            logs: self.logs,
            cpu: self.release.cpu,
            memory: MEMORY,
            arguments: KERNEL_ARGUMENTS,
            kept: self.kept,
        };
        Ok(Outcome::of(&machine::boot(&boot, self.limit)?, self.limit))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::vm::{machine::Run, step::Message};

    #[test]
    fn steps_are_shell_and_have_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = std::collections::BTreeSet::new();
        for (name, script) in STEPS.iter().chain(again::STEPS) {
            assert!(names.insert(name), "{name} twice");
            let file = folder.path().join(name);
            fs::write(&file, format!("{LIBRARY}\n{script}")).unwrap();
            run::read(Command::new("sh").arg("-n").arg(&file)).unwrap();
        }
    }

    #[test]
    fn a_step_that_did_not_run_is_a_fault() {
        let lines = [Message::Begin("install".to_owned()), Message::Pass("install".to_owned())];
        let lines = lines
            .iter()
            .map(|message| machine::Line { text: message.line(), after: Duration::ZERO });
        let run = Run { lines: lines.collect(), is_in_time: true };
        let faults = faults(&Outcome::of(&run, Duration::ZERO), STEPS);
        assert!(faults.contains(&"purge: did not run".to_owned()), "{faults:?}");
        assert!(!faults.iter().any(|fault| fault.starts_with("install")), "{faults:?}");
    }
}
