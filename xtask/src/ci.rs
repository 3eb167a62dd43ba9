//! `cargo xtask ci`: what must pass before a change lands, cheapest first.

use std::{process::Command, time::Instant};

use anyhow::{Context, Result};

use crate::{
    docs, place, run, say,
    setup::{self, Part},
    test, tidy,
};

pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    let mut times = Vec::new();
    let mut step = |name: &str, work: &dyn Fn() -> Result<()>| -> Result<()> {
        say::note(format_args!("== {name}"));
        let started = Instant::now();
        work().with_context(|| format!("step `{name}`"))?;
        times.push((name.to_owned(), started.elapsed()));
        Ok(())
    };
    step("fmt", &|| run::loud(run::cargo()?.args(["fmt", "--check"])))?;
    step("tidy", &tidy::run)?;
    step("setup", &|| setup::provide(&[Part::Build, Part::Test, Part::Check]))?;
    step("deny", &|| run::loud(&mut deny()?))?;
    step("docs", &docs::run)?;
    step("clippy", &|| run::loud(&mut clippy()?))?;
    step("clippy of the eBPF programs", &|| {
        run::loud(&mut clippy_ebpf(&[])?)?;
        run::loud(&mut clippy_ebpf(&["--features", "calls"])?)
    })?;
    step("test", &|| test::run(&test::Arguments::all()))?;
    for (name, time) in &times {
        say::note(format_args!("{:>6.1} s  {name}", time.as_secs_f64()));
    }
    say::note(format_args!(
        "{:>6.1} s  in all; everything passed",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn clippy() -> Result<Command> {
    let mut command = run::cargo()?;
    command.args(["clippy", "--all-targets", "--locked", "--", "-D", "warnings"]);
    Ok(command)
}

/// The programs are linted for their own target, as `governd/build.rs` builds them, in a folder of
/// their own: clippy's results must not replace what the daemon embeds.
fn clippy_ebpf(features: &[&str]) -> Result<Command> {
    let arch = std::env::consts::ARCH;
    let mut command = run::cargo()?;
    command
        .args(["clippy", "--locked", "--release", "--package", "governd-ebpf"])
        .args(features)
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(place::target()?.join("ebpf-clippy"))
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{arch}\""));
    Ok(command)
}

/// Advisories are left out: their database is a repository at a code host, which closed networks do
/// not reach (`deny.toml` says how to ask for them).
fn deny() -> Result<Command> {
    let mut command = run::cargo()?;
    command.args(["deny", "--locked", "--all-features", "check", "bans", "licenses", "sources"]);
    Ok(command)
}
