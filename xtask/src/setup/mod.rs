//! `cargo xtask setup`: finds or installs what is missing and says what it does. Run twice, the
//! second time only looks.
//!
//! Every part first looks, in milliseconds; `up`, `test` and `ci` therefore always call it.

pub(crate) mod apt;
mod cargo_tool;
mod core_sources;
pub(crate) mod debian;
mod lab;
mod packages;

use anyhow::Result;
use clap::ValueEnum;

use crate::{pinned, run as command, say};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only what this needs
    #[arg(long)]
    only: Option<Part>,
}

/// What something is needed for.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub(crate) enum Part {
    /// Building the daemon and its eBPF programs
    Build,
    /// Running every test
    Test,
    /// Checking the dependencies
    Check,
    /// Trying other kernels; only when it is asked for
    Vm,
    /// Making packages; only when it is asked for
    Dist,
    /// Making a site of the documentation; only when it is asked for
    Docs,
    /// Measuring; only when it is asked for
    Bench,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.only {
        Some(part) => provide(&[part]),
        None => provide(&[Part::Build, Part::Test, Part::Check]),
    }
}

/// Provides what the parts need.
pub(crate) fn provide(parts: &[Part]) -> Result<()> {
    let mut installed = 0;
    for part in parts {
        installed += match part {
            Part::Build => core_sources::provide()? + cargo_tool::provide(&pinned::BPF_LINKER)?,
            Part::Test => {
                let is_root = command::is_root();
                packages::provide(is_root)? + lab::provide(is_root)?
            }
            Part::Check => cargo_tool::provide(&pinned::CARGO_DENY)?,
            Part::Vm => packages::provide_emulator(command::is_root())?,
            Part::Docs => cargo_tool::provide(&pinned::MDBOOK)?,
            Part::Bench => packages::provide_bench(command::is_root())?,
            Part::Dist => packages::provide_packers(command::is_root())?,
        };
    }
    if installed == 0 {
        say::note("setup: nothing to install");
    }
    Ok(())
}
