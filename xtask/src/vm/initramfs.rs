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

/// Programs of the host that PID 1 and the tests call.
const TOOLS: &[(&str, &str)] = &[("ip", "iproute2"), ("sh", "dash"), ("sleep", "coreutils")];
/// Users that tests look up.
const USERS: &str = "root:x:0:0:root:/run:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";

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
        strip(&program.host, &stripped)?;
        archive.file(&program.guest, 0o755, &read(&stripped)?)?;
        libraries.extend(linked(&program.host)?);
    }
    for (tool, package) in TOOLS {
        let path = place::program(tool)
            .with_context(|| format!("no program {tool}; hint: apt-get install {package}"))?;
        archive.file(&format!("bin/{tool}"), 0o755, &read(&path)?)?;
        libraries.extend(linked(&path)?);
    }
    for library in libraries {
        let guest = library.strip_prefix("/").context("a library's path is relative")?;
        let guest = guest.to_str().context("a library's path is not text")?;
        archive.file(guest, 0o755, &read(&library)?)?;
    }
    archive.finish()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Debug information is most of a program, and the machine has little memory.
fn strip(program: &Path, stripped: &Path) -> Result<()> {
    run::read(run::command("strip")?.arg("--strip-debug").arg("-o").arg(stripped).arg(program))?;
    Ok(())
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
        for name in ["init\0", "bin/sh\0", "libc.so.6\0", "governd-vm.steps\0", "a\t/bin/sh\n"] {
            let holds = archive.windows(name.len()).any(|window| window == name.as_bytes());
            assert!(holds, "{name}");
        }
    }
}
