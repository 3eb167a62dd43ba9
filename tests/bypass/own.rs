//! Attempts that meet a governd of their own: those against it, and those whose connection is
//! older than it or than its policy.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use governd_tests::{
    Lab,
    command::must,
    daemon::{Daemon, Place},
    wait,
};

use crate::{
    attempt::{Attempt, Outcome, Stage},
    evidence,
    fields::Fields,
};

/// How long governd may write what an attempt made it record.
const BACKLOG_LIMIT: Duration = Duration::from_secs(180);
/// Where governd pins what outlives it.
const PINS: &str = "/sys/fs/bpf/governd";
/// What the policy allows before it changes.
const WIDE: &str = "      - allow: [10.99.0.66]\n        ports: [8000]\n";

/// Runs one attempt under its own governd; its outcome says whether the log has a finding of the
/// kind that `reason` names.
pub(crate) fn run(lab: &Lab, fields: &Fields, attempt: &Attempt, reason: &str) -> Result<Outcome> {
    let place = Place::new(lab, &attempt.id)?;
    let spool = match attempt.stage {
        Stage::Spool => Some(Small::mount(&place.state())?),
        _ => None,
    };
    let wide = if attempt.stage == Stage::PolicyChange { WIDE } else { "" };
    let attempts = std::slice::from_ref(attempt);
    place.write_policy(&fields.policy(attempts, wide))?;
    let outcome = match attempt.stage {
        Stage::PolicyChange | Stage::LateDaemon => connected(fields, &place, attempt)?,
        _ => {
            let daemon = place.start()?;
            let outcome = fields.first()?.attempt(attempt, &environment(&daemon, &place))?;
            if let Some(spool) = &spool {
                spool.empty()?;
            }
            stop(daemon)?;
            outcome
        }
    };
    evidence::judge(outcome.counted(), &place, reason)
}

/// What an attempt is told about governd.
pub(crate) fn environment(daemon: &Daemon<'_>, place: &Place) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("GOVERND_PID", daemon.pid().to_string()),
        ("GOVERND_SPOOL", place.state().display().to_string()),
    ];
    if Path::new(PINS).exists() {
        environment.push(("GOVERND_PINS", PINS.to_owned()));
    }
    environment
}

/// Lets an attempt connect, then changes the policy or starts governd, and lets it go on.
fn connected(fields: &Fields, place: &Place, attempt: &Attempt) -> Result<Outcome> {
    let first = fields.first()?;
    let flag = first.flag();
    let further = [("BP_POLICY_FLAG", flag.display().to_string())];
    let is_late = attempt.stage == Stage::LateDaemon;
    let earlier = if is_late { None } else { Some(place.start()?) };
    let mut underway = first.start(attempt, &further)?;
    underway.await_connected();
    let daemon = match earlier {
        Some(daemon) => {
            let before = generation(&daemon)?;
            place.write_policy(&fields.policy(std::slice::from_ref(attempt), ""))?;
            daemon.reload()?;
            wait::until("the new policy", wait::PATIENCE, || {
                Ok((generation(&daemon)? > before).then_some(()))
            })?;
            daemon
        }
        None => place.start()?,
    };
    underway.count_from_here()?;
    fs::write(&flag, "go")?;
    let outcome = underway.finish()?;
    fs::remove_file(&flag)?;
    stop(daemon)?;
    Ok(outcome)
}

fn generation(daemon: &Daemon<'_>) -> Result<u64> {
    let status = daemon.status()?;
    let generation = status.pointer("/policy/generation");
    generation
        .and_then(serde_json::Value::as_u64)
        .with_context(|| format!("no generation: {status}"))
}

/// Stops governd where the attempt left it alive.
fn stop(mut daemon: Daemon<'_>) -> Result<()> {
    if daemon.is_running()? {
        // The attempt may have stopped it.
        must("kill", &["-CONT", &daemon.pid().to_string()])?;
        daemon.stop_within(BACKLOG_LIMIT)?;
    }
    Ok(())
}

/// A small file system; unmounted when dropped.
#[derive(Debug)]
struct Small(std::path::PathBuf);

impl Small {
    fn mount(path: &Path) -> Result<Self> {
        let text = path.display().to_string();
        must("mount", &["-t", "tmpfs", "-o", "size=4m,mode=0755", "governd-lab", &text])?;
        Ok(Self(path.to_owned()))
    }

    /// Removes what the attempt filled it with, so that governd can end well.
    fn empty(&self) -> Result<()> {
        let fill = self.0.join("fill");
        if fill.exists() {
            fs::remove_file(fill)?;
        }
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Err(error) = must("umount", &["--lazy", &self.0.display().to_string()]) {
            eprintln!("bypass: {error:#}");
        }
    }
}
