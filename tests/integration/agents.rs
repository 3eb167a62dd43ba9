//! What governd knows of agents: the catalogue that it is extended with, and the inventory.

use std::fs;

use anyhow::{Result, ensure};
use governd_tests::{Lab, client::Family, command::run, daemon::Place, site, wait};
use serde_json::Value;

use crate::{Test, client, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("agents::the_catalogue_is_extended_while_it_runs", the_catalogue_is_extended_while_it_runs),
    ("agents::the_inventory_survives_a_kill", the_inventory_survives_a_kill),
    ("agents::a_damaged_inventory_stops_nothing", a_damaged_inventory_stops_nothing),
];

const EXIT_INVALID: i32 = 3;

const ADDED: &str = "\
domain,match,provider,kind,use,source
llm.acme.example,exact,acme,model-api,dedicated,written by hand
";

fn the_catalogue_is_extended_while_it_runs(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "catalog")?;
    place.write_policy(&policy::host("monitor"))?;
    let file = place.catalog().join("acme.csv");
    fs::write(&file, ADDED.replace("exact", "exactly"))?;
    let finished = run(&mut place.command(place.arguments("run")))?;
    ensure!(finished.code == Some(EXIT_INVALID), "it started: {finished}");
    ensure!(finished.stderr.contains(&format!("{}:2", file.display())), "{finished}");
    fs::remove_file(&file)?;

    let daemon = place.start()?;
    let endpoints = |what: &str, wanted: u64| {
        wait::until(what, wait::PATIENCE, || {
            let status = daemon.status()?;
            Ok((record::number(&status, "/catalog/endpoints") == Some(wanted)).then_some(status))
        })
    };
    let before = record::number(&daemon.status()?, "/catalog/endpoints").unwrap_or(0);
    fs::write(&file, ADDED)?;
    endpoints("the added endpoint", before + 1)?;
    fs::write(&file, ADDED.replace("exact", "exactly"))?;
    let finding = place.record("the refused addition", |each| {
        record::text(each, "/unmapped/governd/kind") == "catalog-refused"
    })?;
    ensure!(finding.to_string().contains("acme.csv:2"), "{finding}");
    let status = endpoints("the catalogue as it was", before + 1)?;
    ensure!(record::text(&status, "/catalog/rejected").contains("acme.csv:2"), "{status}");
    fs::remove_file(&file)?;
    endpoints("the catalogue without the addition", before)?;
    daemon.stop()?;
    Ok(())
}

fn is_finding(record: &Value, kind: &str) -> bool {
    record::number(record, "/class_uid") == Some(2004)
        && record::text(record, "/unmapped/governd/kind") == kind
}

fn known_agents(status: &Value) -> Option<u64> {
    record::number(status, "/inventory/agents")
}

fn the_inventory_survives_a_kill(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "inventory")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let before = known_agents(&daemon.status()?).unwrap_or(0);
    let finished =
        client::python(lab, Family::V4, "openai_chat.py").arg(site::OPENAI.name).run()?;
    client::answer(&finished)?;
    wait::until("the script in the inventory", wait::PATIENCE, || {
        Ok((known_agents(&daemon.status()?) == Some(before + 1)).then_some(()))
    })?;
    let found = place.record("the agent", |each| {
        is_finding(each, "shadow-agent") && each.to_string().contains("openai_chat.py")
    })?;
    let uid = record::text(&found, "/finding_info/uid").to_owned();
    // What was found a moment ago may not be in the file yet.
    wait::until("the script in the file", wait::PATIENCE, || {
        let file = fs::read(place.state().join("inventory.db-wal"))?;
        Ok(file.windows(14).any(|bytes| bytes == b"openai_chat.py").then_some(()))
    })?;
    daemon.kill()?;

    let daemon = place.start()?;
    let after = daemon.status()?;
    ensure!(known_agents(&after) >= Some(before + 1), "after the kill: {after}");
    daemon.stop()?;
    let again = place.records()?;
    let times = again.iter().filter(|each| record::text(each, "/finding_info/uid") == uid).count();
    // The log may have lost what was not yet committed; the inventory knows it, so it is no news.
    ensure!(times <= 1, "found {times} times: {found}");
    Ok(())
}

fn a_damaged_inventory_stops_nothing(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "damaged")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [left.example]"]))?;
    let file = place.state().join("inventory.db");
    fs::write(&file, "no database at all, though longer than the header of one: ".repeat(9))?;
    let daemon = place.start()?;
    let finding = place.record("the damage", |each| is_finding(each, "inventory-damaged"))?;
    ensure!(finding.to_string().contains("inventory.db.damaged"), "{finding}");
    let refused = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    let allowed = client::flow(lab, Family::V4, "tcp", site::LEFT.name, 1)?;
    ensure!(allowed.reached == 1, "{allowed:?}");
    daemon.stop()?;

    // One that cannot be used at all: enforcement goes on with what is in memory.
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    let daemon = place.start()?;
    place.record("the unusable file", |each| is_finding(each, "inventory-unusable"))?;
    let status = daemon.status()?;
    ensure!(status.pointer("/inventory/file") == Some(&Value::Null), "{status}");
    let refused = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    daemon.stop()?;
    Ok(())
}
