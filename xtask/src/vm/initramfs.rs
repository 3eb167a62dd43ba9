//! What the machine boots into: xtask as PID 1, the programs to run, what they are linked against,
//! and a shell.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{
    cpio::Archive,
    step::{self, Step},
};
use crate::{place, run};

/// Programs of the host that PID 1 and the tests call, and their packages.
const TOOLS: &[(&str, &str)] = &[
    ("cat", "coreutils"),
    ("ip", "iproute2"),
    ("rm", "coreutils"),
    ("setsid", "util-linux"),
    ("sh", "dash"),
    ("sleep", "coreutils"),
    ("tc", "iproute2"),
    ("true", "coreutils"),
    ("unshare", "util-linux"),
];
/// Makes Python name its own program and the files of the modules that scripts of tests import, and
/// of those that these import.
const MODULES: &str = "import ctypes, encodings.utf_8, os, socket, sys, threading, time
print(os.path.realpath(sys.executable))
for module in list(sys.modules.values()):
    if getattr(module, '__file__', None): print(module.__file__)";
/// Users that tests look up.
const USERS: &str = "root:x:0:0:root:/run:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";

/// Where the machine has the modules that PID 1 inserts.
pub(super) const INSERTED: &str = "modules";

/// A program of ours, and where the machine has it.
pub(super) struct Program {
    pub(super) host: PathBuf,
    /// Relative to the root.
    pub(super) guest: String,
}

/// Builds the archive.
pub(super) fn build(programs: &[Program], steps: &[Step]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut libraries = BTreeSet::new();
    let scratch = tempfile::tempdir()?;
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        archive.folder(folder)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.file("etc/passwd", 0o644, USERS.as_bytes())?;
    archive.file(step::LIST, 0o644, step::write(steps).as_bytes())?;
    for program in programs {
        let stripped = scratch.path().join("stripped");
        run::stripped(&program.host, &stripped)?;
        archive.file(&program.guest, 0o755, &read(&stripped)?)?;
        libraries.extend(linked(&program.host)?);
    }
    let mut files = BTreeSet::new();
    for (tool, package) in TOOLS {
        let path = place::program(tool)
            .with_context(|| format!("no program {tool}; hint: apt-get install {package}"))?;
        files.insert(path);
    }
    let (python, modules) = python()?;
    archive.file("usr/bin/python3", 0o755, &read(&python)?)?;
    libraries.extend(linked(&python)?);
    files.extend(modules);
    for file in &files {
        if file.extension().is_none_or(|extension| extension != "py") {
            libraries.extend(linked(file)?);
        }
    }
    files.append(&mut libraries);
    for file in files {
        let guest = file.strip_prefix("/").context("a program's path is relative")?;
        let guest = guest.to_str().context("a program's path is not text")?;
        archive.file(guest, 0o755, &read(&file)?)?;
    }
    archive.finish()
}

/// Builds what goes behind that archive for a kernel: the modules that PID 1 inserts.
pub(super) fn modules(files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder(INSERTED)?;
    for file in files {
        let name =
            file.file_name().and_then(|name| name.to_str()).context("a module has no name")?;
        archive.file(&format!("{INSERTED}/{name}"), 0o644, &read(file)?)?;
    }
    archive.finish()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Python and the files of its modules.
fn python() -> Result<(PathBuf, Vec<PathBuf>)> {
    // The distribution's Python, or else the one in PATH, which may be a script that chooses one.
    let own = Some(PathBuf::from("/usr/bin/python3")).filter(|path| path.exists());
    let python = own.or_else(|| place::program("python3"));
    let python = python.context("no program python3; hint: apt-get install python3")?;
    // Isolated: without the caller's folder and settings.
    let listing = run::read(run::command(python)?.args(["-I", "-c", MODULES]))?;
    let mut files = listing.lines().map(PathBuf::from);
    let program = files.next().context("python3 does not tell where it is")?;
    Ok((program, files.collect()))
}

/// What a program is linked against, the loader included.
fn linked(program: &Path) -> Result<Vec<PathBuf>> {
    let listing = run::read(run::command("ldd")?.arg(program))?;
    if listing.contains("not found") {
        bail!("{} lacks a library; hint: see `ldd`", program.display());
    }
    Ok(libraries(&listing))
}

/// The paths in lines such as `libc.so.6 => /lib/libc.so.6 (0x1)` and `/lib64/ld.so (0x1)`.
fn libraries(listing: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let line = line.split_once(" => ").map_or(line, |(_, path)| path).trim();
        let (path, _) = line.split_once(" (")?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    listing.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_the_kernels_own_is_not() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f44)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f45)\n";
        let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(listing), paths.map(PathBuf::from));
        assert_eq!(libraries("\tstatically linked\n"), [] as [PathBuf; 0]);
    }

    #[test]
    fn the_archive_holds_the_program_and_what_it_is_linked_against() {
        let host = std::env::current_exe().unwrap();
        let program = Program { host, guest: "init".to_owned() };
        let archive = build(&[program], &[Step::new("a", &["/bin/sh"])]).unwrap();
        let names = ["init\0", "/sh\0", "libc.so.6\0", "socket.py\0", "steps\0", "a\t/bin/sh\n"];
        for name in names {
            let holds = archive.windows(name.len()).any(|window| window == name.as_bytes());
            assert!(holds, "{name}");
        }
    }
}
