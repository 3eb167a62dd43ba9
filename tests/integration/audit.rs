//! What the log says afterwards: questions about it, and proofs for people who trust nobody here.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{Finished, run},
    daemon::Place,
    site,
};
use serde_json::Value;

use crate::{Test, client, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("audit::a_record_is_proven_to_an_outsider", a_record_is_proven_to_an_outsider),
    ("audit::the_key_is_replaced_while_the_daemon_runs", the_key_is_replaced),
    ("audit::questions_find_their_records", questions_find_their_records),
];

const EXIT_NO: i32 = 1;
const EXIT_USAGE: i32 = 2;
const EXIT_ENVIRONMENT: i32 = 4;
const LOG_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/check-log.py");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/audit/check-proof.py");

/// Runs a verb of `governd audit` on a place's log.
pub(crate) fn audit(place: &Place, arguments: &[&str]) -> Result<Finished> {
    let state = place.state();
    let mut command = place.command(["audit"]);
    run(command.args(arguments).arg("--state-dir").arg(state))
}

/// Two programs that share no line check a proof: governd and a script.
fn checked(place: &Place, proof: &Path, key: &Path) -> Result<(Finished, Finished)> {
    let mut governd = place.command(["audit", "check-proof", "--json", "--key"]);
    let governd = run(governd.arg(key).arg(proof))?;
    let script = run(Command::new("python3").arg(SCRIPT).arg(proof).arg(key))?;
    Ok((governd, script))
}

fn the_key_is_replaced(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "rotated")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [left.example]"]))?;
    let daemon = place.start()?;
    let log = place.state().join("log");
    let first = fs::read_to_string(log.join("key.pub"))?;
    let socket = place.socket().display().to_string();
    let said = audit(&place, &["rotate-key", "--socket", &socket])?.success()?;
    let second = fs::read_to_string(log.join("key.pub"))?;
    ensure!(said == second && first != second, "{said} and {first}");
    client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    let record = place.record("the rotation", |each| {
        record::text(each, "/api/operation") == "audit.rotate-key"
    })?;
    let to = record::text(&record, "/unmapped/governd/rotation/to");
    ensure!(to == second.trim() && record::text(&record, "/actor/user/uid") == "0", "{record}");
    daemon.kill()?;
    let daemon = place.start()?;
    daemon.stop()?;
    // Without a daemon it is the same.
    let said = audit(&place, &["rotate-key", "--socket", &socket])?.success()?;
    ensure!(said == fs::read_to_string(log.join("key.pub"))? && said != second, "{said}");

    let (proof, rotations) = (place.state().join("proof"), log.join("rotations"));
    let index = record::number(&record, "/metadata/sequence").context("no sequence")?.to_string();
    let name = proof.display().to_string();
    audit(&place, &["prove", &index, "--output", &name])?.success()?;
    for key in [&first, &second, &said] {
        let key = key.trim();
        audit(&place, &["verify", "--key", key])?.success()?;
        run(Command::new("python3").arg(LOG_SCRIPT).arg(&log).arg(key))?.success()?;
        let mut script = Command::new("python3");
        run(script.arg(SCRIPT).arg(&proof).arg(key).arg(&rotations))?.success()?;
        let mut check = place.command(["audit", "check-proof", "--key", key, "--rotations"]);
        run(check.arg(&rotations).arg(&proof))?.success()?;
    }
    let mut check = place.command(["audit", "check-proof", "--key", first.trim()]);
    let alone = run(check.arg(&proof))?;
    ensure!(alone.code == Some(EXIT_NO), "proven without what leads to the key: {alone}");
    Ok(())
}

fn a_record_is_proven_to_an_outsider(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "proof")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [left.example]"]))?;
    let daemon = place.start()?;
    client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    let address = site::EXFIL.address(Family::V4).to_string();
    let denied = place.record("the denial", |each| {
        record::text(each, "/dst_endpoint/ip") == address && record::verdict(each) == "deny"
    })?;
    daemon.stop()?;

    let key = place.state().join("log/key.pub");
    let uid = record::text(&denied, "/metadata/uid");
    let index = record::number(&denied, "/metadata/sequence").context("no sequence")?.to_string();
    let by_index = audit(&place, &["prove", &index])?.success()?;
    ensure!(by_index == audit(&place, &["prove", uid])?.success()?, "two proofs of one record");
    let proof = place.state().join("denial.tlog-proof");
    let name = proof.display().to_string();
    audit(&place, &["prove", uid, "--output", &name])?.success()?;
    ensure!(fs::read_to_string(&proof)? == by_index, "the file differs from what is printed");
    let again = audit(&place, &["prove", uid, "--output", &name])?;
    ensure!(again.code == Some(EXIT_ENVIRONMENT), "it wrote over a file: {again}");

    let (governd, script) = checked(&place, &proof, &key)?;
    ensure!(governd.json()?.pointer("/record") == Some(&denied), "{governd}");
    let printed: Value = serde_json::from_str(&script.success()?)?;
    ensure!(printed == denied, "the script proves {printed}");

    extract(&place, &index, &key)?;

    // What somebody changed proves nothing, whichever part it was, to either of them.
    let whole = by_index.as_bytes();
    for place_of_change in (0..whole.len()).step_by(whole.len() / 24) {
        let mut bytes = whole.to_vec();
        let byte = bytes.get_mut(place_of_change).context("behind the end")?;
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        let changed = place.state().join("changed.tlog-proof");
        fs::write(&changed, bytes)?;
        let (governd, script) = checked(&place, &changed, &key)?;
        let refused = [Some(EXIT_NO), Some(EXIT_USAGE)].contains(&governd.code);
        ensure!(refused, "byte {place_of_change}: {governd}");
        ensure!(script.code == Some(EXIT_NO), "byte {place_of_change}: {script}");
    }
    let nothing = audit(&place, &["prove", "1000000"])?;
    ensure!(nothing.code == Some(EXIT_ENVIRONMENT), "{nothing}");
    ensure!(nothing.stderr.contains("hint: "), "{nothing}");
    Ok(())
}

/// A range of records proves the same to both, and nothing once it is changed.
fn extract(place: &Place, last: &str, key: &Path) -> Result<()> {
    let file = place.state().join("records.extract");
    let name = file.display().to_string();
    audit(place, &["export", &name, "--first", "1", "--last", last])?.success()?;
    let whole = fs::read_to_string(&file)?;
    let script = |file: &Path| run(Command::new("python3").arg(LOG_SCRIPT).arg(file).arg(key));
    let (governd, _) = checked(place, &file, key)?;
    ensure!(governd.json()?.pointer("/proven") == Some(&Value::Bool(true)), "{governd}");
    let said = script(&file)?.success()?;
    ensure!(said.starts_with(&format!("records 1 to {last} of ")), "{said}");
    let changed = place.state().join("changed.extract");
    fs::write(&changed, whole.replacen("\"time\":", "\"time\":1", 1))?;
    let (governd, _) = checked(place, &changed, key)?;
    ensure!(governd.code == Some(EXIT_NO), "{governd}");
    ensure!(script(&changed)?.code == Some(EXIT_NO), "the script takes it");
    let all = place.state().join("all.extract").display().to_string();
    audit(place, &["export", &all, "--from", "1h"])?.success()?;
    let nothing = audit(place, &["export", "/dev/null/none", "--to", "2001-01-01"])?;
    ensure!(nothing.code == Some(EXIT_NO), "{nothing}");
    Ok(())
}

fn questions_find_their_records(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "query")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [left.example]"]))?;
    let daemon = place.start()?;
    client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    let address = site::EXFIL.address(Family::V4).to_string();
    place.record("the denial", |each| {
        record::text(each, "/dst_endpoint/ip") == address && record::verdict(each) == "deny"
    })?;
    daemon.stop()?;

    let denied = ["query", "--verdict", "deny", "--host", &address, "--from", "1h"];
    let lines = audit(&place, &[denied.as_slice(), &["--json"]].concat())?.success()?;
    let found: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(!found.is_empty(), "nothing found");
    for each in &found {
        ensure!(record::verdict(each) == "deny", "{each}");
        ensure!(record::text(each, "/dst_endpoint/ip") == address, "{each}");
    }
    let table = audit(&place, &denied)?.success()?;
    ensure!(table.lines().count() == found.len() && table.contains("DENY"), "{table}");
    let sheet = audit(&place, &[denied.as_slice(), &["--format", "csv"]].concat())?.success()?;
    ensure!(sheet.lines().count() == found.len() + 1, "{sheet}");
    ensure!(sheet.starts_with("time,uid,") && sheet.contains(policy::OWNER), "{sheet}");

    let owner = audit(&place, &["query", "--owner", policy::OWNER, "--limit", "1"])?.success()?;
    ensure!(owner.lines().count() == 1, "{owner}");
    for nothing in [["--owner", "nobody"], ["--to", "2001-01-01"], ["--agent", "nobody"]] {
        let finished = audit(&place, &[&["query"], nothing.as_slice()].concat())?;
        ensure!(finished.code == Some(EXIT_NO) && finished.stdout.is_empty(), "{finished}");
    }
    let soon = audit(&place, &["query", "--from", "soon"])?;
    ensure!(soon.code == Some(EXIT_USAGE), "{soon}");
    Ok(())
}
