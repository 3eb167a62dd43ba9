//! Builds the eBPF programs with the compiler that builds the daemon, for the daemon to embed.
//!
//! `cargo build` of the daemon is all that is needed. To lint the programs for their own target:
//! `RUSTC_BOOTSTRAP=1 cargo clippy -p governd-ebpf --target bpfel-unknown-none -Z build-std=core
//! --release`.
//!
//! The object is built in a folder of its own (`target/ebpf`), because cargo locks the folder that
//! it runs in, and with an environment of its own, because the flags, wrappers and profile settings
//! of the outer cargo (clippy's, for one) are meant for the host's target.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "governd-ebpf";
/// What is built, and with which features: one object is for kernels that have the helper that
/// repeats, the other for those before.
const OBJECTS: [(&str, &[&str]); 2] =
    [("governd.bpf.o", &[]), ("governd-calls.bpf.o", &["--features", "calls"])];
const SETUP: &str = "run `cargo xtask setup`, which installs it";

fn main() -> Result<(), Box<dyn Error>> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().ok_or("the manifest has no parent folder")?;
    for part in [PACKAGE, "governd-common", "Cargo.lock", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", workspace.join(part).display());
    }
    println!("cargo:rerun-if-env-changed=PATH");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    require_linker()?;
    require_core_sources()?;
    for (name, features) in OBJECTS {
        let object = build(workspace, &out_dir, features)?;
        let bytes = fs::read(&object)
            .map_err(|error| format!("cannot read {}: {error}", object.display()))?;
        let small = without_debug(&bytes).ok_or("the object is not laid out as ELF says")?;
        fs::write(out_dir.join(name), small)?;
    }
    Ok(())
}

/// The object without what only debuggers read, which is most of it (elf(5), 64 bits and
/// little-endian). Sections keep their numbers; those that are left out are empty.
fn without_debug(object: &[u8]) -> Option<Vec<u8>> {
    const FILE_HEADER_BYTES: usize = 64;
    const SECTION_HEADER_BYTES: usize = 64;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let found = object.get(at..at + bytes)?.iter().rev();
        usize::try_from(found.fold(0_u64, |value, byte| value << 8 | u64::from(*byte))).ok()
    };
    let (table, count, names) = (number(0x28, 8)?, number(0x3c, 2)?, number(0x3e, 2)?);
    let header = |index: usize| table + index * SECTION_HEADER_BYTES;
    let names_at = number(header(names) + 0x18, 8)?;
    let mut small = object.get(..FILE_HEADER_BYTES)?.to_vec();
    let mut headers = Vec::new();
    for index in 0..count {
        let at = header(index);
        let mut kept = object.get(at..at + SECTION_HEADER_BYTES)?.to_vec();
        let name = object.get(names_at + number(at, 4)?..)?.split(|byte| *byte == 0).next()?;
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            kept.fill(0);
        } else {
            // Sections without bytes in the file (SHT_NULL, SHT_NOBITS) have a place all the same.
            let is_empty = matches!(number(at + 4, 4)?, 0 | 8);
            let (from, bytes) = (number(at + 0x18, 8)?, number(at + 0x20, 8)?);
            small.resize(small.len().next_multiple_of(number(at + 0x30, 8)?.max(1)), 0);
            kept.get_mut(0x18..0x20)?.copy_from_slice(&(small.len() as u64).to_le_bytes());
            if !is_empty {
                small.extend_from_slice(object.get(from..from + bytes)?);
            }
        }
        headers.extend(kept);
    }
    small.resize(small.len().next_multiple_of(8), 0);
    let table = (small.len() as u64).to_le_bytes();
    small.get_mut(0x28..0x30)?.copy_from_slice(&table);
    small.extend(headers);
    Some(small)
}

/// Builds an object and returns where it is.
fn build(workspace: &Path, out_dir: &Path, features: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target_dir = out_dir.ancestors().nth(4).ok_or("OUT_DIR is too short")?.join("ebpf");
    let mut cargo = Command::new(env::var("CARGO")?);
    for (name, _) in env::vars_os() {
        if is_outer_setting(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Clinker=bpf-linker".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // Otherwise each value that is made or compared is a loop over its bytes, which takes the
        // verifier and the programs many times as long.
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
        "-Cdebuginfo=2".to_owned(),
    ];
    // The object is the same wherever it is built.
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    for (from, to) in [
        (Some(sysroot()?.join("lib/rustlib/src/rust")), "/rust"),
        (Some(workspace.to_owned()), "/governd"),
        (cargo_home, "/cargo"),
    ] {
        flags.extend(from.map(|from| format!("--remap-path-prefix={}={to}", from.display())));
    }
    let status = cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--release", "--locked", "--package", PACKAGE])
        .args(features)
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        // The `-Z` flag and the target are not stable; the compiler is, and pinned.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .status()
        .map_err(|error| format!("cannot run cargo for {PACKAGE}: {error}"))?;
    if !status.success() {
        return Err(format!("building {PACKAGE} for {TARGET} failed, see above").into());
    }
    Ok(target_dir.join(TARGET).join("release").join(PACKAGE))
}

fn is_outer_setting(name: &str) -> bool {
    let prefixes = ["CARGO_BUILD_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PROFILE_"];
    let names = [
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "MAKEFLAGS",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "TARGET",
    ];
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn require_linker() -> Result<(), String> {
    match Command::new("bpf-linker").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "bpf-linker does not run ({}): {SETUP}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("bpf-linker is missing ({error}): {SETUP}")),
    }
}

fn require_core_sources() -> Result<(), Box<dyn Error>> {
    let sources = sysroot()?.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if sources.exists() {
        return Ok(());
    }
    Err(format!("core's sources are missing ({}): {SETUP}", sources.display()).into())
}

fn sysroot() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("RUSTC")?).args(["--print", "sysroot"]).output()?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
