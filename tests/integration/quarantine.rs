//! Quarantine of an agent that is named in other ways, and after the host was started anew.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, command::Running, daemon::Place, site, wait};
use serde_json::Value;

use crate::{Test, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("quarantine::it_outlives_the_host", it_outlives_the_host),
    ("quarantine::by_a_process_of_it_and_with_an_end_to_all", by_process_and_to_the_end),
    ("quarantine::an_agent_that_nobody_registered", an_agent_that_nobody_registered),
];

/// Connects until it is refused, and then goes on for as many times. Says so once it connected; in
/// the end how often it was connected before and after.
const TRYING: &str = r#"
import socket, sys, time
host, port, times = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
before = after = refused = 0
while refused < times:
    try:
        socket.create_connection((host, port), 10).close()
        if refused:
            after += 1
        else:
            before += 1
            if before == 1:
                print("connected", flush=True)
    except PermissionError:
        refused += 1
    # One that was on its way is ended, neither made nor refused.
    except ConnectionAbortedError:
        pass
    # Ports come to an end, too.
    time.sleep(0.001)
print(f"before {before} after {after}", flush=True)
"#;
/// Tries after the first refusal.
const TRIES: &str = "300";
/// It only ends if it is ended.
const FOR_EVER: &str = "inf";

fn place(lab: &Lab, name: &str) -> Result<Place> {
    let place = Place::new(lab, name)?;
    let rule = format!("allow: [\"{}\"]", site::LEFT.v4());
    place.write_policy(&policy::both_agents(lab, "enforce", &[&rule]))?;
    Ok(place)
}

/// The agent, once it connected.
fn trying(lab: &Lab, tries: &str) -> Result<Running> {
    let address = site::LEFT.v4().to_string();
    let mut client = lab
        .client(Family::V4, lab.tools().agent())
        .args(["-c", TRYING, &address, &site::PORT_ECHO.to_string(), tries])
        .start()?;
    client.line(wait::PATIENCE, |line| line == "connected")?;
    Ok(client)
}

/// It was refused, and from then on always.
fn must_be_refused(client: Running) -> Result<String> {
    let said = client.finish(wait::PATIENCE)?.success()?;
    let last = said.lines().last().context("nothing was said")?;
    ensure!(last.starts_with("before "), "it was not refused: {said}");
    ensure!(last.ends_with(" after 0"), "it got through after it was refused: {said}");
    Ok(last.to_owned())
}

fn it_outlives_the_host(lab: &Lab) -> Result<()> {
    let place = place(lab, "reboot")?;
    let daemon = place.start()?;
    // Until it is quarantined it is let through.
    let client = trying(lab, TRIES)?;
    place.ask(&["quarantine", policy::PYTHON])?.success()?;
    must_be_refused(client)?;
    daemon.terminate()?;
    // What a reboot leaves: files, and nothing in the kernel.
    place.forget_kernel()?;
    // It runs and connects before there is a daemon: nothing is left that would stop it.
    let client = trying(lab, TRIES)?;
    let pid = client.pid();
    let before = place.records()?.len();
    let daemon = place.start()?;
    measured(format!("quarantine over a reboot: {}", must_be_refused(client)?));
    let is_its = |each: &Value| {
        record::number(each, "/class_uid") == Some(4001)
            && record::text(each, "/unmapped/governd/agent/name") == policy::PYTHON
            && record::number(each, "/actor/process/pid") == Some(u64::from(pid))
    };
    place.record("the refusal after the new start", |each| is_its(each))?;
    for flow in place.records()?.iter().skip(before).filter(|each| is_its(each)) {
        ensure!(record::verdict(flow) == "deny", "it was let through: {flow}");
        let reason = record::text(flow, "/unmapped/governd/decision/reason");
        ensure!(reason == "quarantine", "not as a quarantined agent: {flow}");
    }
    let list = place.ask(&["quarantine"])?.success()?;
    ensure!(list.contains(policy::PYTHON), "{list}");
    place.ask(&["release", policy::PYTHON])?.success()?;
    drop(trying(lab, FOR_EVER)?);
    daemon.stop()?;
    Ok(())
}

fn by_process_and_to_the_end(lab: &Lab) -> Result<()> {
    let place = place(lab, "kill")?;
    let daemon = place.start()?;
    let client = trying(lab, TRIES)?;
    place.ask(&["quarantine", &client.pid().to_string()])?.success()?;
    must_be_refused(client)?;
    let listed = |all: bool| -> Result<()> {
        let list = place.ask(&["quarantine"])?.success()?;
        ensure!(list.contains(policy::PYTHON), "{list}");
        ensure!(list.contains(policy::NODE) == all, "{list}");
        Ok(())
    };
    listed(false)?;
    place.ask(&["release", policy::PYTHON])?.success()?;

    for whom in [Some(policy::PYTHON), None, Some("--all")] {
        let client = trying(lab, FOR_EVER)?;
        let pid = client.pid().to_string();
        let whom = whom.unwrap_or(&pid);
        place.ask(&["quarantine", whom, "--kill"])?.success()?;
        let said = client.finish(wait::PATIENCE).with_context(|| format!("killing {whom}"))?;
        ensure!(said.code.is_none(), "{whom}: it ended by itself: {said}");
        let words = format!("of {}", policy::PYTHON);
        place.record("who was ended", |each| {
            record::text(each, "/api/operation") == "quarantine.kill"
                && record::text(each, "/message").ends_with(&words)
        })?;
        listed(whom == "--all")?;
        place.ask(&["release", policy::PYTHON])?.success()?;
    }
    daemon.stop()?;
    Ok(())
}

/// A coding agent by the name of its file.
const SHADOW: &str = "aider";

fn an_agent_that_nobody_registered(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "shadow")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let file = lab.directory("shadow")?.join(SHADOW);
    fs::copy(fs::canonicalize(lab.tools().agent())?, &file)?;
    let address = site::LEFT.v4().to_string();
    let start = |tries: &str| {
        let arguments = ["-c", TRYING, &address, &site::PORT_ECHO.to_string(), tries];
        lab.client(Family::V4, &file).args(arguments).start()
    };
    let mut client = start(TRIES)?;
    client.line(wait::PATIENCE, |line| line == "connected")?;
    let found = wait::until("the shadow agent", wait::PATIENCE, || {
        let said = place.ask(&["agents", "--state", "shadow", "--json"])?.stdout;
        let line = said.lines().find(|line| line.contains(&format!("\"name\":\"{SHADOW}\"")));
        Ok(line.map(serde_json::from_str::<Value>).transpose()?)
    })?;
    let id = record::text(&found, "/id").to_owned();
    place.ask(&["quarantine", &id])?.success()?;
    must_be_refused(client)?;
    let set = place.record("the quarantine", |each| {
        record::text(each, "/api/operation") == "quarantine.set"
    })?;
    ensure!(record::text(&set, "/unmapped/governd/agent") == id, "{set}");

    // Another one, now and under the next daemon.
    must_be_refused(start(TRIES)?)?;
    daemon.terminate()?;
    let daemon = place.start()?;
    must_be_refused(start(TRIES)?)?;
    let list = place.ask(&["quarantine"])?.success()?;
    ensure!(list.contains(&id), "{list}");
    let shown = place.ask(&["agents", "--state", "shadow"])?.success()?;
    ensure!(shown.contains(SHADOW), "it is none any more: {shown}");

    place.ask(&["release", SHADOW])?.success()?;
    let mut client = start(FOR_EVER)?;
    client.line(wait::PATIENCE, |line| line == "connected")?;
    let pid = client.pid().to_string();
    place.ask(&["quarantine", &pid, "--kill"])?.success()?;
    let said = client.finish(wait::PATIENCE)?;
    ensure!(said.code.is_none(), "it ended by itself: {said}");
    daemon.stop()?;
    Ok(())
}
