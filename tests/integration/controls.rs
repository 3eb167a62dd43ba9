//! What a person decides at run time: grants that end by themselves, and quarantine.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, daemon::Place, site, wait};
use serde_json::Value;

use crate::{Test, client, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("controls::a_grant_holds_for_one_destination_and_ends", a_grant_holds_and_ends),
    ("controls::a_quarantine_ends_by_a_release_only", a_quarantine_ends_by_a_release_only),
];

const ASK: &str = "approve: [\"*.example\"]\n        verify: dns";
const LIMIT: Duration = Duration::from_secs(20);
/// How long a grant of 20 s may take to end for who looks at it on a busy machine.
const LAPSE_LIMIT: Duration = Duration::from_secs(120);

fn a_grant_holds_and_ends(lab: &Lab) -> Result<()> {
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

    // The kernel ends a grant, whether the daemon runs or not.
    let id = wait::until("the request once more", wait::PATIENCE, || {
        Ok(waiting(&place)?.into_iter().find(|each| names(each, site::LEFT)))
    })?;
    let id = id.pointer("/id").context("no number")?.to_string();
    place.ask(&["approve", &id, "--for", "20s"])?.success()?;
    ensure!(reaches(lab, site::LEFT)?, "it was granted once more");
    daemon.terminate()?;
    wait::until("the end of the grant", LAPSE_LIMIT, || {
        Ok((!reaches(lab, site::LEFT)?).then_some(()))
    })?;
    place.detach()?;
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
    ensure!(record::text(&said, "/received") != "ok", "the live connection went on: {said}");
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

fn reaches(lab: &Lab, site: site::Site) -> Result<bool> {
    Ok(client::flow(lab, Family::V4, "tcp", site.name, 1)?.reached == 1)
}

/// Requests that wait.
fn waiting(place: &Place) -> Result<Vec<Value>> {
    let said = place.ask(&["approvals", "--json"])?;
    said.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn names(request: &Value, site: site::Site) -> bool {
    request.pointer("/destination") == Some(&Value::from(site.name))
}

/// The number of the first one.
fn request(place: &Place) -> Result<String> {
    let first =
        wait::until("a request", wait::PATIENCE, || Ok(waiting(place)?.into_iter().next()))?;
    Ok(first.pointer("/id").context("no number")?.to_string())
}
