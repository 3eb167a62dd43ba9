//! Limits: an agent that does too much is told of, or halts itself, and goes on after a release.
//! And how often its rule decided, also while no daemon ran.

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    daemon::Place,
    site::{self, Site},
};
use serde_json::Value;

use crate::{Test, client, policy, record};

pub(crate) const TESTS: &[Test] = &[("limits::too_much_halts_an_agent", too_much_halts)];

const LIMITS: &str = "  limits:
    notify: {new_destinations_per_hour: 1}
    halt: {new_destinations_per_hour: 2}
";

/// Third destination of the test: nobody has to be there.
const NOBODY: &str = "198.51.100.1";

fn too_much_halts(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "limits")?;
    let exe = format!("{{exe: {}}}", lab.tools().agent().display());
    let agent = policy::agent(policy::PYTHON, &exe, &["allow: [0.0.0.0/0]"]);
    place.write_policy(&format!("{}{agent}{LIMITS}", policy::host("enforce")))?;
    let daemon = place.start()?;
    for (site, used) in [(site::LEFT, 1), (site::LEFT, 1), (site::RIGHT, 2)] {
        ensure!(reaches(lab, site)?, "{} is within the limit", site.name);
        ensure!(counted(&daemon.status()?) == Some(used), "{used} destinations");
    }
    finding(&place, "does more than 1 new_destinations_per_hour: its owner")?;
    ensure!(client::flow(lab, Family::V4, "tcp", NOBODY, 1)?.reached == 0, "nobody is there");
    finding(&place, "does more than 2 new_destinations_per_hour: it is quarantined")?;
    let set = place.record("the quarantine", |each| {
        each.pointer("/api/operation") == Some(&Value::from("quarantine.set"))
    })?;
    ensure!(record::text(&set, "/message").ends_with("new_destinations_per_hour"), "{set}");
    ensure!(!reaches(lab, site::LEFT)?, "it goes on in quarantine");
    place.ask(&["release", policy::PYTHON])?.success()?;
    ensure!(reaches(lab, site::LEFT)?, "it was released");
    let before = hits(&place, "python-bot/egress/1")?;
    ensure!(before >= 4, "{before} times");
    ensure!(hits(&place, "python-bot/default")? == 0, "the default decided nothing");
    daemon.terminate()?;
    ensure!(reaches(lab, site::LEFT)?, "it is within its limits");
    let daemon = place.start()?;
    let after = hits(&place, "python-bot/egress/1")?;
    ensure!(after > before, "{before} and then {after} times");
    daemon.stop()?;
    Ok(())
}

/// How often a rule decided.
fn hits(place: &Place, rule: &str) -> Result<u64> {
    let said = place.ask(&["policy", "show", "--counts", "--json"])?.success()?;
    let rules: Vec<Value> = serde_json::from_str(&said)?;
    let found = rules.iter().find(|one| record::text(one, "/rule") == rule);
    let hits = found.and_then(|one| one.pointer("/hits")?.as_u64());
    hits.with_context(|| format!("no {rule} in {said}"))
}

fn reaches(lab: &Lab, site: Site) -> Result<bool> {
    Ok(client::flow(lab, Family::V4, "tcp", &site.v4().to_string(), 1)?.reached == 1)
}

fn counted(status: &Value) -> Option<u64> {
    status.pointer("/agents/0/limits/0/used")?.as_u64()
}

fn finding(place: &Place, words: &str) -> Result<Value> {
    place.record(words, |each| {
        let title = each.pointer("/finding_info/title").and_then(Value::as_str);
        title.is_some_and(|title| title.contains(words))
    })
}
