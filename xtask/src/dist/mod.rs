//! `cargo xtask dist`: what is handed out of one version: the program, packages, a container image,
//! the list of what is in it, and checksums.
//!
//! Two calls from the same commit give the same bytes, wherever the workspace is: times are the
//! commit's, paths are mapped, archives are sorted. Not for: publishing and signing, which
//! `docs/release.md` describes.

mod archive;
mod checksums;
mod contents;
mod debian;
mod dependencies;
mod image;
mod manual;
mod program;
mod release;
mod rpm;
mod sbom;
mod unwinder;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

pub(crate) use self::release::Release;
use self::{contents::Contents, dependencies::Dependencies};
use crate::{
    place, say,
    setup::{self, Part},
};

/// Below the target folder: what is handed out.
const FOLDER: &str = "packages";
const PROGRAM_MODE: u32 = 0o755;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pack this program instead of building one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where to put the files [default: `packages` in the target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::provide(&[Part::Build, Part::Dist])?;
    let release = Release::of_workspace(&place::root()?)?;
    let mut dependencies = Dependencies::of_program(&release)?;
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => {
            dependencies.add_toolchain(program::toolchain()?);
            program::build(&release)?
        }
    };
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => place::target()?.join(FOLDER),
    };
    empty(&folder)?;
    let sbom = sbom::write(&release, &dependencies)?;
    let contents = Contents::collect(&release, &program, &manual::generate()?, &sbom)?;
    let mut files = vec![
        (release.file("", &format!("-{}-linux-musl", release.arch())), fs::read(&program)?),
        (release.file("", ".cdx.json"), sbom),
        (image::name(&release), image::pack(&release, contents.program()?)?),
        (rpm::name(&release), rpm::pack(&release, &contents)?),
    ];
    debian::pack(&release, &contents, &folder)?;
    let deb = debian::name(&release);
    files.push((deb.clone(), fs::read(folder.join(deb))?));
    let sums = checksums::write(&files);
    files.push((checksums::NAME.to_owned(), sums.into_bytes()));
    for (name, bytes) in &files {
        let file = folder.join(name);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        say::line(file.display());
    }
    Ok(())
}

/// Makes a Debian package of a program alone, for trying packages without a release build.
pub(crate) fn debian_package(release: &Release, program: &Path, folder: &Path) -> Result<PathBuf> {
    let contents = Contents::collect(release, program, &manual::generate()?, &[])?;
    debian::pack(release, &contents, folder)?;
    Ok(folder.join(debian::name(release)))
}

/// A folder with nothing of an earlier call in it.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot write {}", folder.display()))
}
