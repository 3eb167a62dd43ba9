//! Whether it enforces is tried, and what does not is told.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::run,
    daemon::{Daemon, Place},
    site, wait,
};
use serde_json::Value;

use crate::{Test, client, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("proof::what_does_not_enforce_says_so", what_does_not_enforce_says_so),
    ("proof::a_mode_and_self_tests_at_run_time", a_mode_and_self_tests_at_run_time),
];

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

fn a_mode_and_self_tests_at_run_time(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "mode")?;
    let rule = format!("allow: [{}]", site::LEFT.name);
    let documents = policy::both_agents(lab, "enforce", &[&rule]);
    place.write_policy(&documents.replacen("  mode:", "  selftest: {every: 1s}\n  mode:", 1))?;
    let daemon = place.start()?;
    let tested = place.ask(&["selftest", "--json", "--agent", policy::PYTHON])?.success()?;
    let tested: Value = serde_json::from_str(&tested)?;
    for path in ["/passed", "/allowed/is_right", "/refused/is_right"] {
        ensure!(tested.pointer(path) == Some(&Value::Bool(true)), "{path}: {tested}");
    }
    let operation = |each: &Value, name| record::text(each, "/api/operation") == name;
    place.record("the self-test", |each| {
        operation(each, "selftest.run") && record::text(each, "/actor/user/uid") == "0"
    })?;
    place.record("a self-test by itself", |each| {
        operation(each, "selftest.run") && record::text(each, "/actor/app_name") == "governd"
    })?;

    ensure!(!reaches(lab)?, "it is denied");
    place.ask(&["mode", "set", "monitor", "--agent", policy::PYTHON])?.success()?;
    ensure!(reaches(lab)?, "it is only monitored");
    let set = place.record("the mode", |each| operation(each, "mode.set"))?;
    ensure!(record::text(&set, "/actor/user/uid") == "0", "{set}");
    daemon.terminate()?;
    let daemon = place.start()?;
    ensure!(reaches(lab)?, "the mode ended with the daemon");
    let status = place.ask(&["status"])?.success()?;
    ensure!(status.contains("monitor, set by root"), "{status}");
    let unknown = place.ask(&["mode", "set", "enforce", "--agent", "nobody"])?;
    ensure!(unknown.code == Some(1) && unknown.stderr.contains("hint:"), "{unknown}");
    place.ask(&["mode", "set", "document", "--agent", policy::PYTHON])?.success()?;
    ensure!(!reaches(lab)?, "the documents say to enforce");
    // None of what was tried is anybody's connection.
    let is_trial = |each: &Value| {
        record::number(each, "/class_uid") == Some(4001)
            && record::text(each, "/dst_endpoint/ip").starts_with("198.51.100.")
    };
    ensure!(!place.records()?.iter().any(is_trial), "a trial is recorded as a connection");
    daemon.stop()?;
    Ok(())
}

fn reaches(lab: &Lab) -> Result<bool> {
    Ok(client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?.reached == 1)
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
