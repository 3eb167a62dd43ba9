//! `cargo xtask up`: from a clone to a running daemon.
//!
//! It builds the development profile: the eBPF programs, which take the verdicts, are optimised in
//! every profile, and the daemon then is up minutes earlier, from the same files that tests use.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    place, run, say,
    setup::{self, Part},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to `governd up`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::provide(&[Part::Build])?;
    run::loud(run::cargo()?.args(["build", "--package", "governd"]))?;
    let mut governd = Command::new(place::programs()?.join("governd"));
    governd.arg("up").args(&arguments.rest);
    if !run::is_root() {
        bail!(
            "loading eBPF programs needs root; hint: sudo {} up {}",
            governd.get_program().display(),
            arguments.rest.join(" ")
        );
    }
    say::note(run::text(&governd));
    // The daemon takes xtask's place, so that Ctrl-C and the exit code are its own.
    let error = governd.exec();
    Err(error).with_context(|| format!("cannot run {}", governd.get_program().display()))
}
