//! What a person decides at run time: grants that end by themselves, and quarantine.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, daemon::Place, site, wait};
use serde_json::Value;

use crate::{Test, client, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("controls::a_grant_holds_for_one_destination", a_grant_holds),
    ("controls::a_quarantine_ends_by_a_release_only", a_quarantine_ends_by_a_release_only),
    ("controls::a_quarantine_stops_what_waits_and_what_connects", a_quarantine_stops_all),
    ("controls::no_agent_decides", no_agent_decides),
];

const ASK: &str = "approve: [\"*.example\"]\n        verify: dns";
const LIMIT: Duration = Duration::from_secs(20);

fn a_grant_holds(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "grant")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[ASK]))?;
    let daemon = place.start()?;
    ensure!(!reaches(lab, site::LEFT)?, "nobody granted it");
    let id = request(&place)?;
    let asked = place.record("the request", |each| {
        each.pointer("/api/operation") == Some(&Value::from("approval.ask"))
    })?;
    ensure!(asked.pointer("/disposition_id") == Some(&Value::from(14)), "{asked}");
    let correlation = record::text(&asked, "/metadata/correlation_uid").to_owned();

    place.ask(&["approve", &id, "--for", "1h"])?.success()?;
    ensure!(reaches(lab, site::LEFT)?, "it was granted");
    ensure!(!reaches(lab, site::RIGHT)?, "another name was granted, too");
    let granted = place
        .record("the grant", |each| each.pointer("/disposition_id") == Some(&Value::from(8)))?;
    ensure!(record::text(&granted, "/metadata/correlation_uid") == correlation, "{granted}");
    ensure!(record::text(&granted, "/actor/user/uid") == "0", "{granted}");
    place.ask(&["revoke", &id])?.success()?;
    ensure!(!reaches(lab, site::LEFT)?, "it was revoked");
    daemon.stop()?;
    Ok(())
}

fn a_quarantine_ends_by_a_release_only(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "quarantine")?;
    let rule = format!("allow: [\"{}\"]", site::LEFT.v4());
    place.write_policy(&policy::both_agents(lab, "monitor", &[&rule]))?;
    let daemon = place.start()?;
    let address = site::LEFT.v4().to_string();
    let mut held = client::python(lab, Family::V4, "hold.py")
        .args(["tcp", address.as_str(), site::PORT_ECHO.to_string().as_str()])
        .start()?;
    held.line(wait::PATIENCE, |line| line == "ready")?;
    place.ask(&["quarantine", policy::PYTHON])?.success()?;
    held.close_input();
    let said = held.finish(LIMIT)?.json()?;
    // Whichever call comes first gets the error of a connection that was ended.
    let went_on = ["/sent", "/received"].iter().all(|call| record::text(&said, call) == "ok");
    ensure!(!went_on, "the live connection went on: {said}");
    ensure!(!reaches(lab, site::LEFT)?, "a quarantined agent connects");
    daemon.terminate()?;
    ensure!(!reaches(lab, site::LEFT)?, "it ended with the daemon");
    place.detach()?;
    let daemon = place.start()?;
    ensure!(!reaches(lab, site::LEFT)?, "it ended with the programs");
    let list = place.ask(&["quarantine"])?.success()?;
    ensure!(list.contains(policy::PYTHON), "{list}");
    place.ask(&["release", policy::PYTHON])?.success()?;
    ensure!(reaches(lab, site::LEFT)?, "it was released");
    daemon.stop()?;
    Ok(())
}

/// One connection that only waits, and new ones as fast as they come. Says when the first one
/// ended, and when the last new one was made, in milliseconds since the epoch.
const BUSY: &str = r#"
import socket, sys, threading, time
host, port = sys.argv[1], int(sys.argv[2])
def now():
    return time.time_ns() // 1_000_000
def wait(idle):
    try:
        idle.recv(1)
        print("ended 0", flush=True)
    except OSError:
        print("ended", now(), flush=True)
idle = socket.create_connection((host, port))
thread = threading.Thread(target=wait, args=[idle])
thread.start()
print("ready", flush=True)
last = now()
while True:
    try:
        socket.create_connection((host, port)).close()
        last = now()
    except PermissionError:
        break
    except OSError:
        pass
print("last", last, flush=True)
thread.join()
"#;
/// How long a quarantine may take on a machine with much else to do.
const STOPPED_WITHIN_MS: i64 = 20_000;

fn a_quarantine_stops_all(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "stops")?;
    let rule = format!("allow: [\"{}\"]", site::LEFT.v4());
    place.write_policy(&policy::both_agents(lab, "enforce", &[&rule]))?;
    let daemon = place.start()?;
    let address = site::LEFT.v4().to_string();
    let mut client = lab
        .client(Family::V4, lab.tools().agent())
        .args(["-c", BUSY, &address, &site::PORT_ECHO.to_string()])
        .start()?;
    client.line(wait::PATIENCE, |line| line == "ready")?;
    let began_ms = now_ms()?;
    place.ask(&["quarantine", "--all"])?.success()?;
    let said = client.finish(wait::PATIENCE)?;
    let at = |word: &str| -> Result<i64> {
        let line = said.stdout.lines().find_map(|line| line.strip_prefix(word));
        let text = line.with_context(|| format!("no {word} in {said}"))?;
        Ok(text.trim().parse()?)
    };
    let (ended, last) = (at("ended")?, at("last")?);
    let recorded = place.record("the quarantine", |each| {
        each.pointer("/api/operation") == Some(&Value::from("quarantine.set"))
    })?;
    let recorded = record::number(&recorded, "/time").context("no time")?.try_into()?;
    let after = |moment: i64, from: i64| moment - from;
    measured(format!(
        "quarantine: after the command was started, the last new connection {} ms, the end of one \
         that waited {} ms; after it was recorded, {} ms and {} ms",
        after(last, began_ms),
        after(ended, began_ms),
        after(last, recorded),
        after(ended, recorded)
    ));
    for moment in [ended, last] {
        ensure!(after(moment, began_ms) < STOPPED_WITHIN_MS, "not stopped: {said}");
    }
    daemon.stop()?;
    Ok(())
}

/// Becomes another program, and stays who it is.
const BECOMES: &str = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])";

fn no_agent_decides(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "askers")?;
    place.write_policy(&policy::both_agents(lab, "monitor", &[]))?;
    let daemon = place.start()?;
    let socket = place.socket().display().to_string();
    let ask = |verb: &[&str]| {
        let client = lab.client(Family::V4, lab.tools().agent()).args(["-c", BECOMES]);
        client.arg(place.program()).args(verb).args(["--socket", &socket]).run()
    };
    for verb in [&["quarantine", "--all"][..], &["mode", "set", "enforce"], &["stop"]] {
        let said = ask(verb)?;
        ensure!(said.code == Some(2), "{verb:?}: {said}");
        ensure!(said.stderr.contains("is not for agents"), "{verb:?}: {said}");
    }
    // To look is no change.
    ask(&["agents", "--candidates"])?.success()?;
    let finding = place
        .record("who asked", |each| record::text(each, "/unmapped/governd/kind") == "agent-asks")?;
    ensure!(record::text(&finding, "/unmapped/governd/agent/name") == policy::PYTHON, "{finding}");
    let quarantined = place.ask(&["quarantine"])?;
    ensure!(!quarantined.stdout.contains(policy::PYTHON), "{quarantined}");
    place.ask(&["mode", "set", "enforce"])?.success()?;
    daemon.stop()?;
    Ok(())
}

fn now_ms() -> Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(now.as_millis().try_into()?)
}

fn reaches(lab: &Lab, site: site::Site) -> Result<bool> {
    Ok(client::flow(lab, Family::V4, "tcp", site.name, 1)?.reached == 1)
}

/// Requests that wait.
fn waiting(place: &Place) -> Result<Vec<Value>> {
    let said = place.ask(&["approvals", "--json"])?;
    said.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The number of the first one.
fn request(place: &Place) -> Result<String> {
    let first =
        wait::until("a request", wait::PATIENCE, || Ok(waiting(place)?.into_iter().next()))?;
    Ok(first.pointer("/id").context("no number")?.to_string())
}
