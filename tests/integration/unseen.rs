//! Sockets and devices whose traffic no program sees are found within two seconds, once each.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, command::Running, daemon::Place, wait};
use serde_json::Value;

use crate::{Test, client, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("unseen::what_no_program_sees_is_found", what_no_program_sees_is_found),
    ("unseen::who_is_in_quarantine_sends_no_frame", who_is_in_quarantine_sends_no_frame),
    ("unseen::an_interface_that_takes_no_program_is_told", one_that_takes_no_program_is_told),
    ("unseen::interfaces_of_who_is_no_agent_are_no_finding", interfaces_of_others_are_no_finding),
];

const LIMIT: Duration = Duration::from_secs(2);

fn what_no_program_sees_is_found(lab: &Lab) -> Result<()> {
    for mode in ["enforce", "monitor"] {
        let place = Place::new(lab, &format!("unseen-{mode}"))?;
        place.write_policy(&policy::both_agents(lab, mode, &[]))?;
        let daemon = place.start()?;
        let other = || Running::start(Command::new("sleep").arg("600"));
        let (written, traced) = (other()?, other()?);
        // Kernels before 6.14 do not tell who writes another's memory.
        let is_told = !daemon.status()?.to_string().contains("foreign-memory");
        let mut client = client::python(lab, Family::Any, "unseen.py");
        if is_told {
            client = client.arg(written.pid().to_string()).arg(traced.pid().to_string());
        }
        let mut client = client.start()?;
        let said = client.line(wait::PATIENCE, |line| line.starts_with('{'))?;
        let began = Instant::now();
        let said: Value = serde_json::from_str(&said)?;
        let pid = record::number(&said, "/pid").context("no pid")?;
        let held = said.get("held").and_then(Value::as_array).context("nothing held")?;
        ensure!(held.iter().any(|kind| kind == "packet-socket"), "no packet socket: {said}");
        let has_both =
            ["foreign-memory", "traced-process"].iter().all(|kind| held.contains(&(*kind).into()));
        ensure!(has_both || !is_told, "no other process: {said}");
        let kinds: Vec<&str> = held.iter().filter_map(Value::as_str).collect();
        for kind in &kinds {
            let found =
                place.record(&format!("the finding of a {kind}"), |each| is_finding(each, kind))?;
            ensure!(began.elapsed() < LIMIT, "{mode}: {kind} after {:?}", began.elapsed());
            ensure!(record::text(&found, "/unmapped/governd/agent/name") == policy::PYTHON);
            let process = record::number(&found, "/evidences/0/actor/process/pid");
            ensure!(process.is_some_and(|found| found >= pid), "{found}");
            measured(format!("{mode}: {kind} found after {:?}", began.elapsed()));
        }
        // Two looks later there is still one finding of each.
        std::thread::sleep(LIMIT);
        let records = place.records()?;
        for kind in &kinds {
            let count = records.iter().filter(|each| is_finding(each, kind)).count();
            ensure!(count == 1, "{mode}: {count} findings of one {kind}");
        }
        client.close_input();
        let said = client.finish(wait::PATIENCE)?;
        let sent = said.stdout.lines().last().unwrap_or_default();
        if mode == "enforce" {
            // ENOBUFS, as from an interface that drops what it is given.
            ensure!(sent.contains("OSError 105"), "the frame: {sent}");
            place.record("the refusal of the frame", |each| {
                record::text(each, "/unmapped/governd/decision/hook") == "frame"
                    && record::verdict(each) == "deny"
            })?;
        } else {
            ensure!(sent.contains("60"), "the frame: {sent}");
        }
        daemon.stop()?;
    }
    Ok(())
}

/// Also where its mode, and everybody else's, is to monitor.
fn who_is_in_quarantine_sends_no_frame(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "unseen-quarantine")?;
    place.write_policy(&policy::both_agents(lab, "monitor", &[]))?;
    let daemon = place.start()?;
    let mut client = client::python(lab, Family::Any, "unseen.py").start()?;
    client.line(wait::PATIENCE, |line| line.contains("packet-socket"))?;
    place.ask(&["quarantine", policy::PYTHON])?.success()?;
    client.close_input();
    let said = client.finish(wait::PATIENCE)?;
    let sent = said.stdout.lines().last().unwrap_or_default();
    ensure!(sent.contains("OSError 105"), "the frame: {sent}");
    daemon.stop()?;
    place.detach()?;
    Ok(())
}

/// Before Linux 6.6, where somebody has the qdisc `ingress` in the place of `clsact`.
fn one_that_takes_no_program_is_told(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "unseen-uncovered")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let script =
        "ip link add made type veth && tc qdisc add dev made ingress && echo made && read _";
    let mut other = Running::start(Command::new("unshare").args(["--net", "sh", "-c", script]))?;
    other.line(wait::PATIENCE, |line| line == "made")?;
    let daemon = place.start()?;
    let kind = "uncovered-interface";
    let status = || daemon.status().map(|status| status.to_string());
    if status()?.contains("interface-links") {
        let told = place.record("the interface", |each| is_told(each, kind))?;
        ensure!(told.to_string().contains("made in net:["), "{told}");
        ensure!(status()?.contains("made in net:["), "{}", status()?);
        other.close_input();
        other.finish(wait::PATIENCE)?;
        wait::until("that it is gone", wait::PATIENCE, || {
            Ok((!status()?.contains(kind)).then_some(()))
        })?;
        ensure!(place.records()?.iter().filter(|each| is_told(each, kind)).count() == 1);
    } else {
        ensure!(!status()?.contains(kind), "{}", status()?);
    }
    daemon.stop()?;
    place.detach()?;
    Ok(())
}

fn is_told(record: &Value, kind: &str) -> bool {
    record::text(record, "/unmapped/governd/kind") == kind
}

/// Whoever may change a network makes interfaces: containers come with some.
fn interfaces_of_others_are_no_finding(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "unseen-others")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let daemon = place.start()?;
    let script = "ip link add made type veth && ip link add tunnel type vxlan id 7 dstport 0 && \
                  echo made && read _";
    let mut other = Running::start(Command::new("unshare").args(["--net", "sh", "-c", script]))?;
    other.line(wait::PATIENCE, |line| line == "made")?;
    // What was found until its end is recorded.
    daemon.stop()?;
    other.close_input();
    other.finish(wait::PATIENCE)?;
    let records = place.records()?;
    for kind in ["virtual-interface", "tunnel-interface"] {
        let told = records.iter().find(|each| is_finding(each, kind));
        ensure!(told.is_none(), "a finding of who is no agent: {told:?}");
    }
    Ok(())
}

fn is_finding(each: &Value, kind: &str) -> bool {
    record::number(each, "/class_uid") == Some(2004)
        && record::text(each, "/unmapped/governd/kind") == kind
}
