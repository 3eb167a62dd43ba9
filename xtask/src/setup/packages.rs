//! Debian packages of the programs that tests use as peers: servers, clients and tools.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::debian;
use crate::{place, run, say};

/// A program and the package that has it.
struct Peer {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

const fn peer(program: &'static str, package: &'static str, purpose: &'static str) -> Peer {
    Peer { program, package, purpose }
}

const PEERS: &[Peer] = &[
    peer("ip", "iproute2", "makes the lab's network namespaces"),
    // The base package has the program without the service.
    peer("dnsmasq", "dnsmasq-base", "answers the lab's DNS questions"),
    peer("nginx", "nginx", "is a server that is not ours"),
    peer("curl", "curl", "is a client in the lab"),
    peer("python3", "python3", "is a client in the lab"),
    peer("node", "nodejs", "is a client in the lab"),
    peer("npm", "npm", "fetches the lab's Node clients"),
    peer("tshark", "tshark", "dissects captures independently"),
    peer("bpftool", "bpftool", "shows which programs and maps are loaded"),
    peer("jq", "jq", "reads records as an outsider does"),
    peer("openssl", "openssl", "checks signatures as an outsider does"),
    peer("nft", "nftables", "counts packets in the lab"),
    peer("rsyslogd", "rsyslog", "receives records as syslog"),
    peer("nats-server", "nats-server", "receives records in a stream"),
    peer("busybox", "busybox", "is many programs in one file"),
    peer("systemd-analyze", "systemd", "measures what the service's unit allows"),
    peer("mkfs.ext4", "e2fsprogs", "makes disks that fail"),
    peer("groupadd", "passwd", "adds the service's group"),
    peer("make", "make", "builds the bypass attempts that are in C"),
    peer("setpriv", "util-linux", "takes privileges away from a client"),
    peer("chromium", "chromium", "visits a page in the lab"),
    peer("cron", "cron", "is a service that is no agent"),
    peer("sshd", "openssh-server", "is a service that is no agent"),
    peer("ssh", "openssh-client", "logs in at it"),
    peer("git", "git", "is a program that is no agent"),
    peer("perl", "perl-base", "is a program that is no agent"),
    peer("logger", "bsdutils", "writes to a log as a program that is no agent"),
    peer("rpm", "rpm", "reads packages as an outsider does"),
];

/// What `cargo xtask vm` runs its machines with.
const EMULATOR: &[Peer] = &[
    peer("qemu-system-x86_64", "qemu-system-x86", "boots the kernels that governd is tried on"),
    peer("debootstrap", "debootstrap", "makes the systems that packages are tried in"),
];

/// What `cargo xtask dist` builds the program and its packages with.
const PACKERS: &[Peer] = &[
    peer("musl-gcc", "musl-tools", "compiles C for a program without libraries"),
    peer("dpkg-deb", "dpkg", "builds the Debian package"),
    peer("git", "git", "tells the time of the commit"),
];

/// What `cargo xtask bench` measures with, and what it compares with.
const BENCH: &[Peer] = &[
    peer("ip", "iproute2", "makes the bench's network namespaces"),
    peer("nsenter", "util-linux", "starts the measured processes in them"),
    peer("nft", "nftables", "is what governd is compared with"),
    peer("openssl", "openssl", "makes the certificates of the bench's server"),
    peer("bpftool", "bpftool", "tells what programs take"),
];

/// Services that a package enables although only its program is wanted.
const SERVICES: &[&str] = &["nginx", "rsyslog", "nats-server", "cron", "ssh"];

/// What rsyslogd loads for TLS, below a library folder that has the architecture's name.
const RSYSLOG_TLS: &str = "rsyslog/lmnsd_ossl.so";
const LIBURING_HEADER: &str = "/usr/include/liburing.h";
const POLICY_RC_D: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing; returns how many packages that were. Without root the tests that need
/// the programs are skipped, so what is missing is only said.
pub(super) fn provide(is_root: bool) -> Result<usize> {
    let missing = missing(PEERS, |program| place::program(program).is_some());
    let mut missing = with_venv(missing, has_venv());
    if !Path::new(LIBURING_HEADER).is_file() {
        missing.push(("liburing-dev", "builds the bypass attempts that use io_uring"));
    }
    if !has_library(RSYSLOG_TLS) {
        missing.push(("rsyslog-openssl", "receives records as syslog over TLS"));
    }
    supply(&missing, is_root)
}

fn has_library(file: &str) -> bool {
    let mut folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.any(|folder| folder.path().join(file).is_file())
}

/// The same for what boots other kernels.
pub(super) fn provide_emulator(is_root: bool) -> Result<usize> {
    supply(&missing(EMULATOR, |program| place::program(program).is_some()), is_root)
}

/// The same for what makes packages.
pub(super) fn provide_packers(is_root: bool) -> Result<usize> {
    supply(&missing(PACKERS, |program| place::program(program).is_some()), is_root)
}

/// The same for what measures.
pub(super) fn provide_bench(is_root: bool) -> Result<usize> {
    supply(&missing(BENCH, |program| place::program(program).is_some()), is_root)
}

fn supply(missing: &Missing, is_root: bool) -> Result<usize> {
    if missing.is_empty() {
        return Ok(0);
    }
    for (package, purpose) in missing {
        say::note(format_args!("missing: {package}, which {purpose}"));
    }
    let packages: Vec<_> = missing.iter().map(|(package, _)| *package).collect();
    let hint = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    match (is_root, debian::is_debian()) {
        (true, true) => install(&packages)?,
        (true, false) => bail!("tests need these programs; hint: on Debian: {hint}"),
        (false, _) => {
            say::warn(format_args!("some tests cannot run without these; as root: {hint}"))
        }
    }
    Ok(packages.len())
}

type Missing = Vec<(&'static str, &'static str)>;

/// Packages of which a program is not there, each once.
fn missing(peers: &[Peer], is_there: impl Fn(&str) -> bool) -> Missing {
    let mut packages = Missing::new();
    for peer in peers {
        let is_listed = packages.iter().any(|(package, _)| *package == peer.package);
        if !is_listed && !is_there(peer.program) {
            packages.push((peer.package, peer.purpose));
        }
    }
    packages
}

fn with_venv(mut packages: Missing, has_venv: bool) -> Missing {
    if !has_venv {
        packages.push(("python3-venv", "isolates the lab's Python clients"));
    }
    packages
}

/// Debian splits `ensurepip` off; without it `python3 -m venv` fails.
fn has_venv() -> bool {
    // The distribution's Python, which the lab prefers, or else the one in PATH.
    let own = Path::new("/usr/bin/python3").to_path_buf();
    let found = Some(own).filter(|path| path.exists()).or_else(|| place::program("python3"));
    let Some(python) = found else { return false };
    let output = Command::new(python).args(["-c", "import ensurepip, venv"]).output();
    output.is_ok_and(|output| output.status.success())
}

fn install(packages: &[&str]) -> Result<()> {
    let services: Vec<_> = SERVICES.iter().filter(|service| !is_installed(service)).collect();
    let policy = NoStart::new(Path::new(POLICY_RC_D))?;
    say::note(format_args!("installing {}", packages.join(" ")));
    if let Err(error) = try_install(packages) {
        say::note(format_args!("{error:#}; reading the package lists again"));
        run::read(debian::apt("apt-get")?.args(["update", "--quiet"]))?;
        try_install(packages)?;
    }
    drop(policy);
    for service in services.into_iter().filter(|service| is_installed(service)) {
        // Only the program is wanted: without this the service would start at the next boot.
        run::read(run::command("update-rc.d")?.args([service, "disable"]))
            .with_context(|| format!("cannot disable {service}"))?;
    }
    Ok(())
}

fn try_install(packages: &[&str]) -> Result<()> {
    let options = ["-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0"];
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    run::read(debian::apt("apt-get")?.args(options).args(install).args(packages)).map(drop)
}

fn is_installed(service: &str) -> bool {
    Path::new("/etc/init.d").join(service).exists()
}

/// While this lives, packages start no service when they are installed (invoke-rc.d(8)). A policy
/// that is there already stays as it is.
struct NoStart {
    ours: Option<PathBuf>,
}

impl NoStart {
    fn new(path: &Path) -> Result<Self> {
        if path.exists() {
            return Ok(Self { ours: None });
        }
        fs::write(
            path,
            "#!/bin/sh\n# Left over by `cargo xtask setup` of governd? Remove it.\nexit 101\n",
        )
        .with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: Some(path.to_path_buf()) })
    }
}

impl Drop for NoStart {
    fn drop(&mut self) {
        if let Some(path) = &self.ours
            && let Err(error) = fs::remove_file(path)
        {
            say::warn(format_args!("cannot remove {}: {error}", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_missing_once_however_many_of_its_programs_are() {
        let packages = missing(PEERS, |program| program != "ip" && program != "jq");
        let names: Vec<_> = packages.iter().map(|(package, _)| *package).collect();
        assert_eq!(names, ["iproute2", "jq"]);
        assert_eq!(missing(PEERS, |_| true), []);
        assert_eq!(with_venv(missing(PEERS, |_| true), false).len(), 1);
    }

    #[test]
    fn services_do_not_start_and_the_policy_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let policy = NoStart::new(&path).unwrap();
        let status = Command::new(&path).status().unwrap();
        assert_eq!(status.code(), Some(101));
        drop(policy);
        assert!(!path.exists());
    }

    #[test]
    fn a_policy_of_the_host_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        fs::write(&path, "theirs").unwrap();
        drop(NoStart::new(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }
}
