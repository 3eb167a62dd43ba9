//! What the log says afterwards: questions about it, and proofs for people who trust nobody here.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{Finished, run},
    daemon::Place,
    site, wait,
};
use serde_json::Value;

use crate::{
    Test, client,
    crash::{self, Tally},
    measured, policy, record,
};

pub(crate) const TESTS: &[Test] = &[
    ("audit::a_record_is_proven_to_an_outsider", a_record_is_proven_to_an_outsider),
    ("audit::the_key_is_replaced_while_the_daemon_runs", the_key_is_replaced),
    ("audit::questions_find_their_records", questions_find_their_records),
    ("audit::without_a_log_ai_is_denied", without_a_log_ai_is_denied),
    ("audit::what_a_full_disk_refused_is_counted", what_a_full_disk_refused_is_counted),
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

/// A small file system over a directory, gone when this is.
pub(crate) struct Small(PathBuf);

impl Small {
    /// Of so many MiB.
    pub(crate) fn over(directory: PathBuf, size_mib: u32) -> Result<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size_mib}m"), "tmpfs"]).arg(&directory);
        run(&mut mount)?.success()?;
        Ok(Self(directory))
    }

    fn filling(&self) -> PathBuf {
        self.0.join("filling")
    }

    /// Makes room again.
    pub(crate) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filling())?)
    }

    /// Leaves no room for another page.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.filling())?;
        loop {
            match file.write(&[0; 4_096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

fn without_a_log_ai_is_denied(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "full")?;
    let small = Small::over(place.state(), 4)?;
    let rule = format!("allow: [{}, {}]", site::LEFT.name, site::OPENAI.name);
    let documents = policy::both_agents(lab, "enforce", &[&rule]);
    place.write_policy(&documents.replacen("  mode:", "  on_log_failure: deny-ai\n  mode:", 1))?;
    let daemon = place.start()?;
    let reaches = |host: &str| -> Result<bool> {
        Ok(client::flow(lab, Family::V4, "tcp", host, 1)?.reached == 1)
    };
    let becomes = |what: &str, wanted: bool| {
        wait::until(what, wait::PATIENCE * 3, || {
            Ok((reaches(site::OPENAI.name)? == wanted).then_some(()))
        })
    };
    ensure!(reaches(site::OPENAI.name)?, "it is allowed");
    small.fill()?;
    becomes("AI is denied without a log", false)?;
    ensure!(reaches(site::LEFT.name)?, "what is no AI endpoint is as ever");
    ensure!(!reaches(site::EXFIL.name)?, "what is denied stays so");
    let unregistered = client::curl(lab, Family::V4, site::OPENAI.name).run()?;
    ensure!(unregistered.code != Some(0), "who is not registered reaches it: {unregistered}");
    ensure!(!record::text(&daemon.status()?, "/log/failing").is_empty(), "no word of it");
    small.free()?;
    becomes("AI is allowed again", true)?;
    for message in ["AI endpoints are denied", "AI endpoints are as the policy has them"] {
        place.record(message, |each| {
            record::text(each, "/api/operation") == "log.failure"
                && record::text(each, "/message").starts_with(message)
        })?;
    }
    daemon.stop()?;
    audit(&place, &["verify"])?.success()?;
    Ok(())
}

fn what_a_full_disk_refused_is_counted(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "refused")?;
    // Room for what waits in memory meanwhile, and for what a client tries that a slow machine lets
    // go on for a minute: a disk that is full to the end tells nothing.
    let small = Small::over(place.state(), 256)?;
    crash::policy_of(lab, &place)?;
    let daemon = place.start()?;
    small.fill()?;
    let client = crash::tries(lab, "40")?;
    wait::until("records that the disk refuses", wait::PATIENCE * 9, || {
        let lost = record::number(&daemon.status()?, "/log/lost_records");
        Ok(lost.filter(|lost| *lost > 1_000))
    })?;
    ensure!(!record::text(&daemon.status()?, "/log/failing").is_empty(), "no word of it");
    small.free()?;
    let told = place.record("the loss", |each| {
        record::text(each, "/unmapped/governd/loss/reason") == "log-unwritable"
    })?;
    let tried = crash::tried(client)?;
    // A daemon that ends and leaves its programs leaves to the next what it has not read yet.
    place.detach()?;
    daemon.stop_within(3 * wait::PATIENCE)?;
    let Tally { seen, missing, lost } = crash::tally(&place.records()?, tried)?;
    measured(format!("a full disk: {tried} tries, {seen} recorded, {lost} told as lost"));
    ensure!(missing > 0 && missing <= lost, "{missing} of {tried} missing, {lost} told: {told}");
    audit(&place, &["verify"])?.success()?;
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
