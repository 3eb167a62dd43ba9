//! Removes what is left of a run, however that ended: a process of its own, which waits until the
//! bench is gone. A signal at the bench's terminal does not reach it.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{field, programs};
use crate::{run, say};

/// Where network namespaces have names, and where BPF programs, maps and links have.
const NAMESPACES: &str = "/run/netns";
pub(super) const PINS: &str = "/sys/fs/bpf";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the names begin with that are removed
    prefix: String,
    /// The bench's directory
    files: PathBuf,
}

/// One that waits; it is done when this is dropped.
pub(super) struct Janitor(Child);

impl Janitor {
    /// Starts it for what this process makes.
    pub(super) fn start(files: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where xtask itself is")?;
        let mut command = Command::new(program);
        command.arg("bench-janitor").arg(field::name("")).arg(files);
        // A group of its own: Ctrl-C is for the bench.
        let child = command.stdin(Stdio::piped()).process_group(0).spawn();
        Ok(Self(child.context("starting the janitor")?))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

/// Waits for the end of its input, and then removes what there is.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    let Arguments { prefix, files } = arguments;
    programs::restore(files)?;
    let cgroups = named(&field::mount()?, prefix)?;
    for cgroup in &cgroups {
        field::end_all(cgroup);
    }
    for pins in named(Path::new(PINS), prefix)? {
        left(&pins);
        unpin(&pins)?;
    }
    for namespace in named(Path::new(NAMESPACES), prefix)? {
        left(&namespace);
        let name = namespace.file_name().unwrap_or_default();
        run::read(run::command("ip")?.args(["netns", "delete"]).arg(name))?;
    }
    for cgroup in cgroups {
        left(&cgroup);
        if !field::is_removed(&cgroup) {
            say::warn(format_args!("{} cannot be removed", cgroup.display()));
        }
    }
    if files.exists() {
        left(files);
        fs::remove_dir_all(files).with_context(|| format!("removing {}", files.display()))?;
    }
    Ok(())
}

fn left(path: &Path) {
    say::note(format_args!("removing {}, which the bench left", path.display()));
}

fn named(directory: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes what is pinned there; links first, or programs would miss their tables.
fn unpin(pins: &Path) -> Result<()> {
    for cgroup in fs::read_dir(pins)? {
        for layout in fs::read_dir(cgroup?.path()).into_iter().flatten() {
            let links = layout?.path().join("links");
            if links.exists() {
                fs::remove_dir_all(&links)
                    .with_context(|| format!("removing {}", links.display()))?;
            }
        }
    }
    fs::remove_dir_all(pins).with_context(|| format!("removing {}", pins.display()))
}
