//! Running other programs. A failure names the command, so that it can be repeated by hand.

use std::{
    env,
    ffi::OsStr,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{place, say};

/// A command that finds programs where [`place::search_path`] looks.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Result<Command> {
    let path = env::join_paths(place::search_path()).context("PATH holds an unusable folder")?;
    let mut command = Command::new(program);
    command.env("PATH", path);
    Ok(command)
}

/// A cargo command in the workspace, by the cargo that runs xtask.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))?;
    command.current_dir(place::root()?);
    // What cargo tells xtask about xtask is not for other packages.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// The command as one would type it.
pub(crate) fn text(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Says and runs a command; its output goes to the terminal.
pub(crate) fn loud(command: &mut Command) -> Result<()> {
    say::note(text(command));
    let status = command.status().with_context(|| format!("cannot run {}", text(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", text(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed on stdout.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", text(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", text(command), output.status, complaint(&output));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no text", text(command)))
}

/// Copies a program without its debug information, which is most of it and which a machine with
/// little memory has no use for.
pub(crate) fn stripped(program: &Path, copy: &Path) -> Result<()> {
    read(command("strip")?.arg("--strip-debug").arg("-o").arg(copy).arg(program))?;
    Ok(())
}

/// Runs a command that may hang where the network swallows packets; kills it after `limit`.
pub(crate) fn within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", text(command)))?;
    let started = Instant::now();
    while started.elapsed() < limit {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{} ended with {status}", text(command)),
            None => thread::sleep(Duration::from_millis(100)),
        }
    }
    child.kill()?;
    child.wait()?;
    bail!("{} did not end within {} s", text(command), limit.as_secs());
}

/// The last line that a failed command wrote on stderr.
fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").to_owned()
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a CI machine runs this: `CI` is set and says something else than no.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(["-o", "Dir::Cache=/tmp/a b", "it's", ""]);
        assert_eq!(text(&command), r"apt-get -o 'Dir::Cache=/tmp/a b' 'it'\''s' ''");
    }

    #[test]
    fn a_failure_carries_the_last_words() {
        let error = read(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("exit status: 3: why"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let error =
            within(Command::new("sleep").arg("60"), Duration::from_millis(150)).unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
    }
}
