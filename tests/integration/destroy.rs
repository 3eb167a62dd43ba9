//! A connection that a new policy refuses ends with an error, and nothing of it gets out.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    daemon::Place,
    site::{self, PORT_ECHO},
    wait,
};

use crate::{Test, client, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[(
    "destroy::connections_that_a_new_policy_refuses_end_at_once",
    connections_that_a_new_policy_refuses_end_at_once,
)];

const SECONDS_MAX: f64 = 1.0;
const LIMIT: Duration = Duration::from_secs(20);

fn connections_that_a_new_policy_refuses_end_at_once(lab: &Lab) -> Result<()> {
    let kinds: &[(&str, &[Family])] =
        &[("tcp", Family::EACH), ("tcp-mapped", &[Family::V4]), ("udp", Family::EACH)];
    let rule = |site: site::Site| format!("allow: [\"{}\", \"{}\"]", site.v4(), site.v6());
    let (left, right) = (rule(site::LEFT), rule(site::RIGHT));
    let place = Place::new(lab, "destroy")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[&left, &right]))?;
    let daemon = place.start()?;
    let mut held = Vec::new();
    for (kind, families) in kinds {
        for family in *families {
            for site in [site::LEFT, site::RIGHT] {
                let address = site.address(*family).to_string();
                let mut client = client::python(lab, *family, "hold.py")
                    .args([kind, address.as_str(), PORT_ECHO.to_string().as_str()])
                    .start()?;
                client.line(wait::PATIENCE, |line| line == "ready")?;
                held.push((format!("{kind} to {address}"), kind, site == site::LEFT, client));
            }
        }
    }
    let before = record::text(&daemon.status()?, "/policy/digest").to_owned();
    place.write_policy(&policy::both_agents(lab, "enforce", &[&right]))?;
    daemon.reload()?;
    wait::until("the new policy in force", wait::PATIENCE, || {
        let status = daemon.status()?;
        Ok((record::text(&status, "/policy/digest") != before).then_some(()))
    })?;
    for (case, kind, is_refused, mut client) in held {
        client.close_input();
        let said = client.finish(LIMIT).with_context(|| case.clone())?.json()?;
        let outcomes = (record::text(&said, "/sent"), record::text(&said, "/received"));
        let refused_send = if *kind == "udp" { "PermissionError 1" } else { "ok" };
        let expected =
            if is_refused { (refused_send, "ConnectionAbortedError 103") } else { ("ok", "ok") };
        ensure!(outcomes == expected, "{case}: {said}");
        let seconds = said.get("seconds").and_then(serde_json::Value::as_f64);
        let seconds = seconds.with_context(|| format!("no time: {said}"))?;
        ensure!(seconds < SECONDS_MAX, "{case}: {said}");
        if is_refused {
            measured(format!("{case}: an error after {:.1} ms", seconds * 1_000.0));
        }
    }
    let lost = daemon.status()?.pointer("/lost/sockets-not-destroyed").cloned();
    ensure!(lost.is_none(), "not destroyed: {lost:?}");
    daemon.stop()?;
    Ok(())
}
