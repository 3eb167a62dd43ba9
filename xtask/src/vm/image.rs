//! Kernel images: Debian's packages, downloaded and unpacked once per release, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::release::Release;
use crate::{place, run, say, setup::apt::PrivateApt};

/// The package that depends on a suite's current kernel.
const META_PACKAGE: &str = "linux-image-amd64";
/// What must be built in, as the initramfs has no modules but [`INSERTED`]. Kernels without one of
/// these cannot run governd either.
const BUILT_IN: &[&str] = &[
    "CONFIG_BPF_JIT",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_CGROUP_BPF",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_DEVTMPFS",
    "CONFIG_IPV6",
    "CONFIG_NET_NS",
    "CONFIG_SERIAL_8250_CONSOLE",
    "CONFIG_TMPFS",
];

/// Of a tree of modules: the network's, what these use, and what is built in.
const MODULES: &[&str] = &[
    "kernel/arch",
    "kernel/crypto",
    "kernel/drivers/net/dummy.ko",
    "kernel/drivers/net/dummy.ko.xz",
    "kernel/drivers/net/macvlan.ko",
    "kernel/drivers/net/macvlan.ko.xz",
    "kernel/drivers/net/tun.ko",
    "kernel/drivers/net/tun.ko.xz",
    "kernel/drivers/net/veth.ko",
    "kernel/drivers/net/veth.ko.xz",
    "kernel/drivers/net/vxlan",
    "kernel/drivers/net/vxlan.ko",
    "kernel/lib",
    "kernel/net",
    "modules.builtin",
    "modules.builtin.modinfo",
    "modules.order",
];

/// What hosts load by themselves when governd asks for it, on kernels that need it: later ones have
/// these compressed.
const INSERTED: [&str; 2] = ["kernel/net/sched/sch_ingress.ko", "kernel/net/sched/cls_bpf.ko"];

/// A kernel that can be booted.
pub(super) struct Image {
    /// The compressed kernel.
    pub(super) vmlinuz: PathBuf,
    /// Where logs of its machine go.
    pub(super) folder: PathBuf,
    /// The modules of its network, as the package has them: a folder with the kernel's name.
    pub(super) modules: PathBuf,
    /// Version of the package.
    pub(super) version: String,
}

impl Image {
    /// The modules that PID 1 inserts, as far as the kernel has them.
    pub(super) fn inserted(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for tree in fs::read_dir(&self.modules)? {
            let tree = tree?.path();
            found.extend(
                INSERTED.map(|module| tree.join(module)).into_iter().filter(|it| it.exists()),
            );
        }
        Ok(found)
    }
}

/// The kernel of a release: what was fetched before, unless `is_fresh` asks for the suite's current
/// one.
pub(super) fn provide(release: &Release, is_fresh: bool) -> Result<Image> {
    let folder = place::target()?.join("vm").join(release.name);
    if is_fresh || stored(&folder).is_none() {
        fetch(release, &folder)
            .with_context(|| format!("cannot get Linux {} from Debian", release.name))?;
    }
    let image = stored(&folder).context("the kernel was not stored")?;
    check(&folder.join("config"))?;
    Ok(image)
}

fn stored(folder: &Path) -> Option<Image> {
    let version = fs::read_to_string(folder.join("version")).ok()?.trim().to_owned();
    let (vmlinuz, modules) = (folder.join("vmlinuz"), folder.join("modules"));
    let is_whole = vmlinuz.is_file() && modules.is_dir();
    is_whole.then(|| Image { vmlinuz, folder: folder.to_path_buf(), modules, version })
}

fn fetch(release: &Release, folder: &Path) -> Result<()> {
    let apt = PrivateApt::of(release.suite)?;
    let package = match release.series {
        None => current(&apt),
        Some(series) => {
            let names = run::read(apt.command("apt-cache")?.args(["pkgnames", "linux-image-"]))?;
            Ok(newest(&names, series).map(str::to_owned))
        }
    };
    let package = package?.with_context(|| format!("there is no such kernel in {}", release.suite));
    let package = package?;
    let package = package.as_str();
    let about = run::read(apt.command("apt-cache")?.args(["show", "--no-all-versions", package]))?;
    let version = field(&about, "Version").context("the package tells no version")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot write {}", folder.display()))?;
    let scratch = tempfile::tempdir_in(folder)?;
    // Later kernels are split: the image is a shell around the binary and what goes with it.
    let parts = ["linux-binary-", "linux-base-", "linux-modules-"];
    let parts = parts.map(|part| dependency(&about, part));
    for part in std::iter::once(package).chain(parts.into_iter().flatten()) {
        say::note(format_args!("downloading {part} {version}"));
        let archive = match apt.download(part) {
            Ok(archive) => archive,
            // Of older kernels the archive may not keep every part; what is needed is looked for
            // below.
            Err(error) if part != package => {
                say::warn(format_args!("cannot get {part}: {error:#}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        run::read(run::command("dpkg")?.arg("-x").arg(archive).arg(scratch.path()))?;
    }
    let kernel = package.strip_prefix("linux-image-").unwrap_or(package);
    for (file, places) in [
        ("config", [format!("boot/config-{kernel}"), modules(kernel, "config")]),
        ("vmlinuz", [format!("boot/vmlinuz-{kernel}"), modules(kernel, "vmlinuz")]),
    ] {
        let mut places = places.iter().map(|place| scratch.path().join(place));
        let found = places.find(|place| place.is_file());
        let found = found.with_context(|| format!("{package} holds no {file}"))?;
        fs::rename(found, folder.join(file))?;
    }
    let trees = ["lib/modules", "usr/lib/modules"].map(|tree| scratch.path().join(tree));
    let tree = trees.iter().map(|tree| tree.join(kernel)).find(|tree| tree.join("kernel").is_dir());
    let kept = folder.join("modules").join(kernel);
    match tree {
        Some(tree) => keep_modules(&tree, &kept)
            .with_context(|| format!("cannot keep the modules of {package}"))?,
        // Only a lab needs them.
        None => {
            say::warn(format_args!("{package} holds no modules: `--bypass` has no network there"));
            fs::create_dir_all(&kept)?;
        }
    }
    fs::write(folder.join("version"), version)?;
    Ok(())
}

/// Moves what a lab's namespaces may need of a kernel's modules, which is a tenth of them.
fn keep_modules(tree: &Path, to: &Path) -> Result<()> {
    if let Some(modules) = to.parent().filter(|modules| modules.exists()) {
        fs::remove_dir_all(modules)?;
    }
    for part in MODULES {
        let (from, to) = (tree.join(part), to.join(part));
        if from.exists() {
            fs::create_dir_all(to.parent().context("a path without a folder")?)?;
            fs::rename(from, to)?;
        }
    }
    Ok(())
}

/// The package of a suite's current kernel.
fn current(apt: &PrivateApt) -> Result<Option<String>> {
    let meta =
        run::read(apt.command("apt-cache")?.args(["show", "--no-all-versions", META_PACKAGE]))?;
    Ok(dependency(&meta, "linux-image-").map(str::to_owned))
}

/// The latest kernel of a series among package names, such as
/// `linux-image-6.18.15+deb13-amd64`; not its variants for clouds or real time, or unsigned ones.
fn newest<'a>(names: &'a str, series: &str) -> Option<&'a str> {
    let patch = |name: &str| -> Option<u32> {
        let rest = name.strip_prefix("linux-image-")?.strip_prefix(series)?.strip_prefix('.')?;
        let (version, kind) = rest.split_once('-')?;
        let number = version.split_once('+').map_or(version, |(number, _)| number);
        if kind == "amd64" { number.parse().ok() } else { None }
    };
    names.lines().filter_map(|name| Some((patch(name)?, name))).max().map(|(_, name)| name)
}

fn modules(kernel: &str, file: &str) -> String {
    format!("usr/lib/modules/{kernel}/{file}")
}

/// The value of a field in what `apt-cache show` prints.
fn field<'a>(about: &'a str, name: &str) -> Option<&'a str> {
    about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The first package with a version in its name that a package depends on, of a family.
fn dependency<'a>(about: &'a str, family: &str) -> Option<&'a str> {
    let depends = field(about, "Depends")?.split([',', '|']).map(str::trim);
    let names = depends.map(|depend| depend.split(' ').next().unwrap_or(depend));
    names.into_iter().find(|name| {
        let rest = name.strip_prefix(family);
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })
}

fn check(config: &Path) -> Result<()> {
    let text =
        fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let missing = missing(&text);
    if !missing.is_empty() {
        bail!("{} does not build in {}", config.display(), missing.join(", "));
    }
    Ok(())
}

fn missing(config: &str) -> Vec<&'static str> {
    let is_built_in = |option: &str| {
        config.lines().any(|line| line.strip_prefix(option).is_some_and(|value| value == "=y"))
    };
    BUILT_IN.iter().copied().filter(|option| !is_built_in(option)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &str = "Package: linux-image-9.1.2-amd64\nVersion: 9.1.2-1\n\
         Depends: dracut | tool (>= 1), linux-base-9.1.2-amd64 (= 9.1.2-1), \
         linux-base (>= 4), linux-binary-9.1.2-amd64 (= 9.1.2-1)\n";

    #[test]
    fn the_parts_of_a_kernel_are_followed() {
        assert_eq!(field(ABOUT, "Version"), Some("9.1.2-1"));
        assert_eq!(dependency(ABOUT, "linux-base-"), Some("linux-base-9.1.2-amd64"));
        assert_eq!(dependency(ABOUT, "linux-binary-"), Some("linux-binary-9.1.2-amd64"));
        assert_eq!(dependency(ABOUT, "linux-image-"), None);
        let meta = "Depends: linux-base-amd64, linux-image-9.1.2+deb14-amd64 (= 9.1.2-1)\n";
        assert_eq!(dependency(meta, "linux-image-"), Some("linux-image-9.1.2+deb14-amd64"));
        assert_eq!(dependency(meta, "linux-base-"), None, "a name without a version");
    }

    #[test]
    fn the_latest_kernel_of_a_series_is_chosen() {
        let names = "linux-image-6.18.9+deb13-amd64\nlinux-image-6.18.15+deb13-amd64\n\
             linux-image-6.18.99+deb13-rt-amd64\nlinux-image-6.18.98+deb13-amd64-unsigned\n\
             linux-image-6.180.99+deb13-amd64\nlinux-image-amd64\n";
        assert_eq!(newest(names, "6.18"), Some("linux-image-6.18.15+deb13-amd64"));
        assert_eq!(newest(names, "6.17"), None);
    }

    #[test]
    fn what_is_a_module_or_off_is_not_built_in() {
        let all: String = BUILT_IN.iter().map(|option| format!("{option}=y\n")).collect();
        assert_eq!(missing(&all), [""; 0]);
        let config = all.replace("CONFIG_TMPFS=y", "# CONFIG_TMPFS is not set");
        let config = config.replace("CONFIG_IPV6=y", "CONFIG_IPV6=m\nCONFIG_IPV6_SIT=y");
        assert_eq!(missing(&config), ["CONFIG_IPV6", "CONFIG_TMPFS"]);
    }

    #[test]
    fn a_kernel_is_stored_only_when_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert!(stored(folder.path()).is_none());
        fs::write(folder.path().join("vmlinuz"), "").unwrap();
        assert!(stored(folder.path()).is_none(), "the version comes last");
        fs::write(folder.path().join("version"), "1-2\n").unwrap();
        assert!(stored(folder.path()).is_none(), "without modules");
        fs::create_dir(folder.path().join("modules")).unwrap();
        assert_eq!(stored(folder.path()).unwrap().version, "1-2");
    }
}
