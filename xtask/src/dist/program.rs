//! The program as it is handed out: one file without anything of the host in it but the kernel.
//!
//! It is linked with musl, statically and position-independent. rustup's ready-made standard
//! library for that target is not asked for: the library is built from the compiler's own sources,
//! with the unwinder beside it, and musl is Debian's.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{
    dependencies::{Dependency, Key},
    release::{NAME, Release},
    unwinder,
};
use crate::{place, run};

/// cargo's profile, in the workspace's manifest.
const PROFILE: &str = "dist";
/// Compiles C for musl.
const COMPILER: &str = "musl-gcc";
/// Links: musl-gcc itself knows no static programs that are position-independent.
const LINKER: &str = "cc";

/// Builds it and says where it is.
pub(super) fn build(release: &Release) -> Result<PathBuf> {
    let sysroot =
        PathBuf::from(run::read(run::command("rustc")?.args(["--print", "sysroot"]))?.trim());
    let folder = place::target()?.join(release.target());
    let unwinder = unwinder::build(&sysroot, COMPILER, &folder.join("unwinder"))?;
    let musl = PathBuf::from(format!("/usr/lib/{}-linux-musl", release.arch()));
    let places = Places {
        sysroot,
        musl,
        unwinder,
        begin: startup("crtbeginS.o")?,
        end: startup("crtendS.o")?,
    };
    let maps = maps(&places.sysroot)?;
    let c_flags =
        maps.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
    let variable = release.target().replace('-', "_");
    run::loud(
        run::cargo()?
            .args(["build", "--locked", "--package", NAME, "--profile", PROFILE])
            .args(["--target", &release.target(), "-Z", "build-std=std,panic_unwind"])
            .arg("--target-dir")
            .arg(place::target()?)
            // The `-Z` flags are not stable; the compiler is, and pinned.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&places, &maps).join("\x1f"))
            .env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), LINKER)
            .env(format!("CC_{variable}"), COMPILER)
            .env(format!("CFLAGS_{variable}"), c_flags.collect::<Vec<_>>().join(" ")),
    )?;
    let program = folder.join(PROFILE).join(NAME);
    check(&program)?;
    Ok(program)
}

/// What the compiler links in beside packages.
pub(super) fn toolchain() -> Result<Vec<(Key, Dependency)>> {
    let rustc = run::read(run::command("rustc")?.arg("--version"))?;
    let rustc = rustc.split(' ').nth(1).context("rustc tells no version")?.to_owned();
    let musl = run::read(run::command("dpkg-query")?.args([
        "--show",
        "--showformat",
        "${Version}",
        "musl-dev",
    ]))?;
    let part = |name: &str, version: &str, licence: &str, description: &str| {
        let dependency = Dependency {
            licence: Some(licence.to_owned()),
            description: Some(description.to_owned()),
            ..Dependency::default()
        };
        ((name.to_owned(), version.to_owned()), dependency)
    };
    Ok(vec![
        part("rust-std", &rustc, "Apache-2.0 OR MIT", "Rust's standard library, linked in"),
        part("libunwind", &rustc, "Apache-2.0 WITH LLVM-exception", "LLVM's, as Rust has it"),
        part("musl", &musl, "MIT", "the C library, linked in"),
    ])
}

struct Places {
    sysroot: PathBuf,
    musl: PathBuf,
    unwinder: PathBuf,
    /// gcc's code before and after what is linked: without the latter the unwinder finds no end.
    begin: PathBuf,
    end: PathBuf,
}

fn startup(file: &str) -> Result<PathBuf> {
    let path = run::read(run::command(LINKER)?.arg(format!("-print-file-name={file}")))?;
    Ok(PathBuf::from(path.trim()))
}

/// Folders of this machine, and what the program says in their place.
fn maps(sysroot: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let cargo_home = place::cargo_bin().and_then(|bin| bin.parent().map(Path::to_path_buf));
    Ok(vec![
        (sysroot.join("lib/rustlib/src/rust"), "/rust"),
        (place::root()?, "/governd"),
        (cargo_home.context("no home of cargo; hint: set CARGO_HOME")?, "/cargo"),
    ])
}

fn rust_flags(places: &Places, maps: &[(PathBuf, &str)]) -> Vec<String> {
    let Places { sysroot: _, musl, unwinder, begin, end } = places;
    let mut flags: Vec<_> = maps
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    flags.extend(["-Ctarget-feature=+crt-static", "-Clink-self-contained=no"].map(str::to_owned));
    flags.push("-Zpre-link-args=-nostartfiles".to_owned());
    for object in [&musl.join("rcrt1.o"), &musl.join("crti.o"), begin] {
        flags.push(format!("-Zpre-link-args={}", object.display()));
    }
    for object in [end, &musl.join("crtn.o")] {
        flags.push(format!("-Clink-arg={}", object.display()));
    }
    for folder in [musl, unwinder] {
        flags.push(format!("-Lnative={}", folder.display()));
    }
    flags
}

/// That it needs no loader and no library: readelf names neither.
fn check(program: &Path) -> Result<()> {
    let mut readelf = run::command("readelf")?;
    readelf.args([OsString::from("--program-headers"), "--dynamic".into(), program.into()]);
    let headers = run::read(&mut readelf)?;
    if headers.contains("INTERP") || headers.contains("(NEEDED)") {
        bail!("{} is not static", program.display());
    }
    Ok(())
}
