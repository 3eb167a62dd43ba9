//! Set-up, builds, tests and checks of governd: `cargo xtask <verb>`, one file or folder per verb.
//!
//! Nothing here is part of the product. What a developer or a CI machine needs to do more than once
//! is a verb, so that there is one way to do it.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod dist;
mod docs;
mod pinned;
mod place;
mod run;
mod say;
mod setup;
mod test;
mod tidy;
mod up;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, builds, tests and checks of governd")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install what building and testing need
    Setup(setup::Arguments),
    /// Set up, build, and run `governd up` on this host
    Up(up::Arguments),
    /// Set up and run every test
    Test(test::Arguments),
    /// Check the rules of the house that neither rustfmt nor clippy knows
    Tidy,
    /// Make what is handed out: program, packages, image, checksums
    Dist(dist::Arguments),
    /// Build the documentation as a site
    Docs,
    /// Everything that must pass before a change lands
    Ci,
    /// Try the eBPF programs on Debian's kernels, in emulated machines
    Vm(vm::Arguments),
    /// Be PID 1 of such a machine
    #[command(hide = true)]
    VmInit,
    /// Run the steps in such a machine, where a service manager is PID 1
    #[command(hide = true)]
    VmSteps,
    /// Measure what governd costs, beside nothing and beside what people use instead
    Bench(bench::Arguments),
    /// Be a measured process
    #[command(hide = true)]
    BenchWork(bench::WorkArguments),
    /// Be the far end of measured connections
    #[command(hide = true)]
    BenchServe(bench::ServeArguments),
    /// Remove what a bench leaves
    #[command(hide = true)]
    BenchJanitor(bench::JanitorArguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Up(arguments) => up::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Tidy => tidy::run(),
        Verb::Dist(arguments) => dist::run(&arguments),
        Verb::Docs => docs::run(),
        Verb::Ci => ci::run(),
        Verb::Vm(arguments) => vm::run(&arguments),
        Verb::VmInit => vm::init(),
        Verb::VmSteps => vm::steps(),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::BenchWork(arguments) => bench::work(&arguments),
        Verb::BenchServe(arguments) => bench::serve(&arguments),
        Verb::BenchJanitor(arguments) => bench::janitor(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}
