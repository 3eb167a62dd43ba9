//! Whether it enforces is tried, and what does not is told.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    command::run,
    daemon::{Daemon, Place},
    wait,
};
use serde_json::Value;

use crate::{Test, policy, record};

pub(crate) const TESTS: &[Test] =
    &[("proof::what_does_not_enforce_says_so", what_does_not_enforce_says_so)];

fn what_does_not_enforce_says_so(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "proof")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let daemon = place.start()?;
    says(&daemon, "enforcing")?;
    let mut detach = Command::new("bpftool");
    run(detach.args(["link", "detach", "pinned"]).arg(place.link("connect4")?))?.success()?;
    let told = finding(&place, "not-enforcing")?;
    ensure!(record::number(&told, "/severity_id") == Some(6), "{told}");
    ensure!(
        told.pointer("/unmapped/governd/evidence")
            .is_some_and(|all| { all.to_string().contains("connect4") }),
        "{told}"
    );
    finding(&place, "enforcing-again")?;
    says(&daemon, "enforcing")?;
    let failures = record::number(&daemon.status()?, "/enforcement/failures");
    ensure!(failures > Some(0), "{failures:?}");
    // None of it is anybody's connection.
    let agents: BTreeSet<String> = place
        .records()?
        .iter()
        .filter(|each| record::number(each, "/class_uid") == Some(4001))
        .map(Value::to_string)
        .collect();
    ensure!(agents.is_empty(), "{agents:?}");
    place.write_policy(&policy::both_agents(lab, "monitor", &[]))?;
    daemon.reload()?;
    says(&daemon, "monitoring")?;
    daemon.stop()?;
    Ok(())
}

fn says(daemon: &Daemon<'_>, state: &str) -> Result<()> {
    wait::until(&format!("a status of {state}"), wait::PATIENCE, || {
        let status = daemon.status()?;
        Ok((record::text(&status, "/enforcement/state") == state).then_some(()))
    })
    .with_context(|| daemon.status().map_or_else(|e| e.to_string(), |all| all.to_string()))
}

fn finding(place: &Place, kind: &str) -> Result<Value> {
    place.record(kind, |each| record::text(each, "/unmapped/governd/kind") == kind)
}
