//! `cargo xtask vm --bypass`: techniques of the bypass table on Debian's kernels, shadow agents
//! that are older and younger than the daemon, and what holds programs at interfaces of older
//! kernels.
//!
//! The machine boots a Debian that has what the lab needs: its programs, the modules of its
//! network, and the attempts where the table's own program looks for them. What that expects of
//! each is what holds on the kernel that the table was written on; what an older kernel does
//! otherwise is listed. One attempt takes an emulator seconds, so that one of each kind is tried
//! unless others are named.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    image::{self, Image},
    machine,
    outcome::{DISCOVERY, Outcome, TECHNIQUES},
    page::Table,
    release::Release,
    step::{self, Step},
    system,
};
use crate::{place, run, say};

/// The Debian that the attempts' packages and this host's programs run in.
const SUITE: &str = "bookworm";
/// What the lab calls, and what attempts do.
const CONTENTS: &str = "bpftool,busybox,curl,dnsmasq-base,gcc,iproute2,kmod,libc6-dev,\
                        liburing-dev,make,nftables,openssh-client,openssl,procps,python3";
/// A whole system is unpacked into memory.
const MEMORY: &str = "3072M";
/// As the core's, but that modules are loaded.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=4 panic=-1 no_timer_check -- vm-init";
/// Where the machine has the scripts: what looks for shadow agents, and what looks after filters.
const SCRIPT: &str = "opt/discovery.sh";
const FILTERS: &str = "opt/filters.sh";
/// What the lab waits for takes an emulator longer.
const SLOWNESS: &str = "GOVERND_TEST_SLOWNESS=20";

/// One technique of each kind, and some that must pass: prefixes of their names.
pub(super) const FEW: &[&str] = &[
    "a01",
    "a03",
    "a04",
    "a05",
    "a07",
    "a09",
    "a12",
    "a13",
    "a14",
    "a15_",
    "a17",
    "a19",
    "a50",
    "b01",
    "b02_",
    "b03",
    "b05_",
    "b11_",
    "b12_",
    "b13",
    "c02_",
    "c03",
    "c04",
    "c06_",
    "c08",
    "c10_exec_curl",
    "c16_",
    "c16b",
    "c16c",
    "d01",
    "d02",
    "d04",
    "d05_",
    "d06_",
    "d07_",
    "d10_",
    "d15_",
    "d20_",
    "d33_",
    "d33e",
    "d35b",
    "d37_",
    "e01",
    "e03",
    "e05",
    "f07",
    "k01",
    "k04",
    "k11",
    "k19",
    "k20",
    "k21",
];

/// Tries the techniques with these prefixes on each kernel.
pub(super) fn run(
    releases: &[&'static Release],
    prefixes: &[String],
    is_fresh: bool,
    limit: Duration,
) -> Result<()> {
    if !run::is_root() {
        bail!("debootstrap needs root; hint: run it as root");
    }
    let only = if prefixes.is_empty() { FEW.join(",") } else { prefixes.join(",") };
    let folder = place::target()?.join("vm").join("bypass");
    fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
    run::loud(run::cargo()?.args(["build", "--package", "governd"]))?;
    let program = super::test_program(&["--package", "governd-tests", "--test", "bypass"])?;
    let mut table = Table::default();
    let mut failed = Vec::new();
    for release in releases {
        let image = image::provide(release, is_fresh)?;
        let initramfs = folder.join("initramfs.cpio");
        fs::write(&initramfs, archive(&folder, &image, &program, &only)?)?;
        say::note(format_args!("booting Linux {} ({})", release.name, image.version));
        let logs = folder.join(release.name);
        fs::create_dir_all(&logs).with_context(|| format!("cannot write {}", logs.display()))?;
        let boot = machine::Boot {
            kernel: &image.vmlinuz,
            initramfs: &initramfs,
            logs: &logs,
            cpu: release.cpu,
            memory: MEMORY,
            arguments: KERNEL_ARGUMENTS,
            kept: None,
        };
        let outcome = Outcome::of(&machine::boot(&boot, limit)?, limit);
        table.add_attack(release.name, &outcome);
        if !is_as_expected(release, &outcome) {
            failed.push(release.name);
        }
    }
    say::line(table.text().trim_end());
    // The page tells of the same techniques on each kernel.
    if prefixes.is_empty() {
        super::write(table)?;
    }
    if !failed.is_empty() {
        let names = failed.join(", ");
        bail!(
            "techniques end otherwise on Linux {names}; hint: steps.log below {}",
            folder.display()
        );
    }
    Ok(())
}

/// Says what kept it from its end; what only ends otherwise is in the table.
fn is_as_expected(release: &Release, outcome: &Outcome) -> bool {
    let faults = outcome.step_faults();
    for fault in &faults {
        say::warn(format_args!("Linux {}: {fault}", release.name));
    }
    faults.is_empty()
}

/// The system with the table's program where it was built, and all that it looks for.
fn archive(folder: &Path, image: &Image, program: &Path, only: &str) -> Result<Vec<u8>> {
    let mut archive = system::archive(SUITE, CONTENTS, folder, false)?;
    let scratch = tempfile::tempdir_in(folder)?;
    let governd = place::programs()?.join("governd");
    let own = std::env::current_exe()?;
    for (host, guest) in
        [(&own, "init"), (&governd, guest(&governd)?), (&program.to_owned(), guest(program)?)]
    {
        let stripped = scratch.path().join("stripped");
        run::stripped(host, &stripped)?;
        archive.file(guest, 0o755, &fs::read(&stripped)?)?;
    }
    let (root, target) = (place::root()?, place::target()?);
    for tree in [root.join("tests/bypass"), root.join("tests/lab"), target.join("lab/bypass")] {
        let guest = format!("{}/", guest(&tree)?);
        system::add_tree(&mut archive, &tree, &guest)?;
    }
    system::add_tree(&mut archive, &image.modules, "usr/lib/modules/")?;
    let only = format!("BYPASS_ONLY={only}");
    let program = program.to_str().context("a path is not text")?;
    let daemon = governd.to_str().context("a path is not text")?;
    let steps = [
        Step::new("modules", &["depmod", "--all"]),
        Step::new(DISCOVERY, &["sh", &format!("/{SCRIPT}"), daemon]),
        Step::new("filters", &["sh", &format!("/{FILTERS}"), daemon]),
        Step::new(TECHNIQUES, &["env", SLOWNESS, &only, program, "--nocapture"]),
    ];
    archive.file(SCRIPT, 0o755, include_bytes!("discovery.sh"))?;
    archive.file(FILTERS, 0o755, include_bytes!("filters.sh"))?;
    archive.file(step::LIST, 0o644, step::write(&steps).as_bytes())?;
    archive.finish()
}

/// Where the machine has a file of this host.
fn guest(host: &Path) -> Result<&str> {
    let path = host.strip_prefix("/").context("a path is relative")?;
    path.to_str().context("a path is not text")
}
