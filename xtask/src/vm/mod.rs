//! `cargo xtask vm`: tries governd's core on Debian's kernels.
//!
//! Each kernel boots in an emulated machine whose only file system is an initramfs that is written
//! here. PID 1 runs `governd doctor --programs`, which loads every program, and the tests of the
//! room `kernel`, then the machine ends. Not for: what needs a network or a distribution around it;
//! the lab does that on the host's own kernel.

mod bypass;
mod cpio;
mod image;
mod init;
mod initramfs;
mod machine;
mod outcome;
mod packages;
mod page;
mod release;
mod step;
mod system;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use self::{
    image::Image,
    initramfs::Program,
    outcome::{DOCTOR, Outcome, TESTS},
    page::Table,
    release::Release,
    step::Step,
};
use crate::{
    place, run as command, say,
    setup::{self, Part},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this kernel: 5.10, 6.1, 6.12, 6.18 or newest; may be given again [default: all]
    #[arg(long = "kernel", value_name = "RELEASE")]
    kernels: Vec<String>,
    /// Which tests run after the programs were loaded
    #[arg(long, value_enum, default_value_t = Tests::Few)]
    tests: Tests,
    /// Look for newer packages instead of using those that were downloaded before
    #[arg(long)]
    fresh: bool,
    /// Seconds that one machine may take [default: 3600, with `--packages` or `--bypass` 7200]
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// Try techniques of the bypass table instead
    #[arg(long, conflicts_with = "tests")]
    bypass: bool,
    /// Only techniques with this prefix; may be given again [default: one of each kind]
    #[arg(long, value_name = "PREFIX", requires = "bypass")]
    only: Vec<String>,
    /// Try the Debian package in whole systems instead
    #[arg(long, conflicts_with_all = ["kernels", "tests", "bypass"])]
    packages: bool,
    /// Only this system: debian-12 or debian-13; may be given again [default: all]
    #[arg(long = "system", value_name = "NAME", requires = "packages")]
    systems: Vec<String>,
}

/// How much runs in each machine. Every test that loads the programs takes an emulator as long as
/// the doctor does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Tests {
    /// None: minutes less, and the page stays as it is
    None,
    /// Those that differ between kernels
    Few,
    /// All of the room `kernel`, and what it does not read itself
    All,
}

/// What a daemon relies on that looks for network namespaces.
const NAMESPACES: &str = "workload::netns::tests::nobody_makes_a_network_namespace_unannounced";
/// The few: what reads this kernel's own data, and one test of each way to be stopped. Each that
/// loads the programs costs an emulator minutes.
const FEW: &[&str] = &[
    "kernel::btf::tests::members_are_found",
    "kernel::cgroup::",
    "kernel::layout::",
    "kernel::tests::dns::an_answer_of_the_resolver_opens_the_address_to_a_name_rule",
    "kernel::tests::dns_tcp::answers_over_tcp_teach_however_they_are_cut",
    "kernel::tests::egress::allowed_connections_and_servers_of_an_agent_work",
    "kernel::tests::egress::ip_options_of_a_governed_process_do_not_go_out",
    "kernel::tests::filter::",
    "kernel::tests::frames::",
    "kernel::tests::lack::tables_that_tracepoint_programs_read",
    "kernel::tests::lack::what_the_doctor_calls_degraded_here",
    "kernel::tests::lsm::",
    "kernel::tests::lineage::an_exec_is_reported_with_path_and_arguments",
    "kernel::tests::lineage::descendants_stay_the_agent_whatever_they_do",
    "kernel::tests::repeated::",
    "kernel::tests::verdicts::every_hook_permits_what_a_rule_allows",
    "kernel::tests::verdicts::sockets_that_no_later_hook_sees_are_refused",
    NAMESPACES,
];

/// What one machine may take.
const LIMIT: Duration = Duration::from_secs(3_600);
/// The same for one that boots a whole system.
const SYSTEM_LIMIT: Duration = Duration::from_secs(7_200);
const MEMORY: &str = "1536M";
/// Warnings are for the log, and a panic ends the machine at once. On a busy host an emulated timer
/// comes too late for the kernel's look whether there is one. Of the security modules, BPF is
/// one that distributions leave out. What follows `--` are the
/// arguments of PID 1.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=5 panic=-1 no_timer_check \
                                lsm=landlock,lockdown,yama,apparmor,bpf -- vm-init";

/// Runs as PID 1 of a machine.
pub(crate) fn init() -> Result<()> {
    init::run()
}

/// Runs the steps in a machine that somebody else started.
pub(crate) fn steps() -> Result<()> {
    init::run_steps()
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let limit = arguments.limit.map(Duration::from_secs);
    if arguments.packages {
        let limit = limit.unwrap_or(SYSTEM_LIMIT);
        return packages::run(&arguments.systems, arguments.fresh, limit);
    }
    let releases = release::chosen(&arguments.kernels)?;
    if arguments.bypass {
        setup::provide(&[Part::Build, Part::Test, Part::Vm])?;
        let limit = limit.unwrap_or(SYSTEM_LIMIT);
        return bypass::run(&releases, &arguments.only, arguments.fresh, limit);
    }
    let limit = limit.unwrap_or(LIMIT);
    setup::provide(&[Part::Build, Part::Vm])?;
    let folder = place::target()?.join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
    let initramfs = folder.join("initramfs.cpio");
    fs::write(&initramfs, archive(arguments.tests)?)?;
    let mut table = Table::default();
    let mut failed = Vec::new();
    for release in releases {
        let (version, outcome) = try_on(release, arguments.fresh, &initramfs, limit);
        table.add(release.name, &version, &outcome);
        let faults = outcome.faults();
        complain(release, &faults);
        if !faults.is_empty() && release.is_required {
            failed.push(release.name);
        }
    }
    say::line(table.text().trim_end());
    if arguments.tests != Tests::None {
        write(table)?;
    }
    if !failed.is_empty() {
        bail!("governd does not pass on Linux {}", failed.join(", "));
    }
    Ok(())
}

/// Puts what was found out into the pages that tell it.
fn write(table: Table) -> Result<()> {
    let root = place::root()?;
    let read = |name: &'static str| fs::read_to_string(root.join(name)).context(name);
    let (readme, page) = page::written(&read(page::README)?, &read(page::PAGE)?, table)?;
    fs::write(root.join(page::README), readme).context(page::README)?;
    fs::write(root.join(page::PAGE), page).context(page::PAGE)
}

/// Builds what runs in the machine.
fn archive(tests: Tests) -> Result<Vec<u8>> {
    command::loud(command::cargo()?.args(["build", "--package", "governd"]))?;
    let mut programs = vec![
        Program { host: std::env::current_exe()?, guest: "init".to_owned() },
        Program { host: place::programs()?.join("governd"), guest: "bin/governd".to_owned() },
    ];
    let mut steps = vec![Step::new(DOCTOR, &["governd", "doctor", "--programs", "--json"])];
    let filters = match tests {
        Tests::None => &[],
        Tests::Few => FEW,
        Tests::All => &["kernel::", NAMESPACES],
    };
    if !filters.is_empty() {
        let host = test_program(&["--package", "governd", "--lib"])?;
        programs.push(Program { host, guest: "bin/governd-tests".to_owned() });
        // One after another: the machine has one processor.
        let arguments = ["governd-tests", "--include-ignored", "--test-threads=1"];
        steps.push(Step::new(TESTS, &[&arguments, filters].concat()));
    }
    initramfs::build(&programs, &steps)
}

/// Builds the tests that cargo's arguments choose, and returns their program.
fn test_program(chosen: &[&str]) -> Result<PathBuf> {
    let mut cargo = command::cargo()?;
    cargo.arg("test").args(chosen).args(["--no-run", "--message-format=json"]);
    say::note(command::text(&cargo));
    let messages = command::read(&mut cargo)?;
    test_program_of(&messages).context("cargo built no test program")
}

/// The test program that cargo's messages name.
fn test_program_of(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| {
        let is_test = message.pointer("/profile/test")?.as_bool()?;
        let program = message.get("executable")?.as_str()?.to_owned();
        is_test.then(|| PathBuf::from(program))
    });
    programs.next_back()
}

/// Boots one kernel; what stops that is part of the outcome, so that the other kernels are tried.
fn try_on(
    release: &Release,
    is_fresh: bool,
    initramfs: &Path,
    limit: Duration,
) -> (String, Outcome) {
    let fault =
        |error: anyhow::Error| Outcome { fault: Some(format!("{error:#}")), ..Outcome::default() };
    let image = match image::provide(release, is_fresh) {
        Ok(image) => image,
        Err(error) => return ("none".to_owned(), fault(error)),
    };
    let initramfs = match with_modules(initramfs, &image) {
        Ok(initramfs) => initramfs,
        Err(error) => return (image.version, fault(error)),
    };
    say::note(format_args!("booting Linux {} ({})", release.name, image.version));
    let boot = machine::Boot {
        kernel: &image.vmlinuz,
        initramfs: &initramfs,
        logs: &image.folder,
        cpu: release.cpu,
        memory: MEMORY,
        arguments: KERNEL_ARGUMENTS,
        kept: None,
    };
    let outcome = machine::boot(&boot, limit);
    let outcome = outcome.map(|run| Outcome::of(&run, limit));
    (image.version, outcome.unwrap_or_else(fault))
}

/// The archive with a kernel's own modules behind it.
fn with_modules(initramfs: &Path, image: &Image) -> Result<PathBuf> {
    let path = image.folder.join("initramfs.cpio");
    let whole = [fs::read(initramfs)?, initramfs::modules(&image.inserted()?)?].concat();
    fs::write(&path, whole).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Says what failed on a kernel and where more is to be read.
fn complain(release: &Release, faults: &[String]) {
    for fault in faults {
        say::warn(format_args!("Linux {}: {fault}", release.name));
    }
    if !faults.is_empty() {
        say::note(format_args!(
            "hint: target/vm/{0}/steps.log has what the programs said, target/vm/{0}/console.log \
             what the kernel said",
            release.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/a"}
{"reason":"compiler-artifact","profile":{"test":true},"executable":null}
{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/governd-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(test_program_of(messages), Some(PathBuf::from("/t/governd-1")));
        assert_eq!(test_program_of("warning: x"), None);
    }
}
