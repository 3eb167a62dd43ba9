//! What owners are told: one notice for many connections, and when an agent is not what was
//! approved any more.

use std::{fs, io::Write as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, command::run, daemon::Place, site, wait};
use serde_json::Value;

use crate::{Test, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("notices::an_owner_is_told_once_of_many_connections", told_once),
    ("notices::an_agent_that_drifted_falls_as_its_document_says", drifted),
];

/// Connects so many times, and says how often it did.
const CONNECTING: &str = r#"
import socket, sys
host, port, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
reached = 0
for _ in range(times):
    try:
        socket.create_connection((host, port), 10).close()
        reached += 1
    except OSError:
        pass
print(reached)
"#;
const MORE: usize = 20;

fn connect(lab: &Lab, exe: &Path, times: usize) -> Result<usize> {
    let address = site::LEFT.v4().to_string();
    let client = lab.client(Family::V4, exe);
    let client = client.args(["-c", CONNECTING, &address, &site::PORT_ECHO.to_string()]);
    let said = client.arg(times.to_string()).run()?.success()?;
    said.trim().parse().with_context(|| format!("no number: {said}"))
}

fn notices(place: &Place) -> Result<Vec<Value>> {
    let is_one = |each: &Value| record::text(each, "/unmapped/governd/kind") == "owner-notice";
    Ok(place.records()?.into_iter().filter(is_one).collect())
}

fn told_once(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "notices")?;
    let rule = format!("notify: [\"{}\"]", site::LEFT.v4());
    place.write_policy(&policy::both_agents(lab, "enforce", &[&rule]))?;
    let daemon = place.start()?;
    let exe = lab.tools().agent().to_owned();
    ensure!(connect(lab, &exe, 1)? == 1, "it is allowed");
    let first = wait::until("the first notice", wait::PATIENCE, || {
        Ok(notices(&place)?.into_iter().next())
    })?;
    let title = record::text(&first, "/finding_info/title");
    ensure!(title.starts_with("python-bot reached") && title.contains(" once:"), "{first}");
    let owner = record::text(&first, "/unmapped/governd/agent/owner");
    ensure!(owner.contains(policy::OWNER), "{first}");
    ensure!(connect(lab, &exe, MORE)? == MORE, "it is allowed");
    place.record("the last connection", |_| {
        place.records().is_ok_and(|all| {
            let is_one =
                |each: &&Value| record::is_flow(each, policy::PYTHON, &site::LEFT.v4().to_string());
            all.iter().filter(is_one).count() > MORE
        })
    })?;
    ensure!(notices(&place)?.len() == 1, "{:?}", notices(&place)?);
    // What is put together is told at the end, too.
    daemon.stop()?;
    let all = notices(&place)?;
    let last = all.last().context("no notice")?;
    let title = record::text(last, "/finding_info/title");
    ensure!(all.len() == 2 && title.contains(&format!(" {MORE} times:")), "{all:?}");
    let uid = "/finding_info/uid";
    ensure!(record::text(last, uid) == record::text(&first, uid), "{all:?}");
    Ok(())
}

fn drifted(lab: &Lab) -> Result<()> {
    let (place, directory) = (Place::new(lab, "drift")?, lab.directory("drifting")?);
    let exe = directory.join("bot");
    let original = fs::canonicalize(lab.tools().agent())?;
    let put = |more: &[u8]| -> Result<()> {
        let draft = directory.join("draft");
        fs::copy(&original, &draft).context("copying Python")?;
        fs::OpenOptions::new().append(true).open(&draft)?.write_all(more)?;
        fs::rename(&draft, &exe).context("replacing the agent")
    };
    put(b"")?;
    let sum = run(Command::new("sha256sum").arg(&exe))?.success()?;
    let digest = sum.split_whitespace().next().context("no digest")?;
    let rule = format!("allow: [\"{}\"]", site::LEFT.v4());
    let agent = policy::agent("bot", &format!("{{exe: {}}}", exe.display()), &[&rule]);
    let approved = format!("  provenance: {{sha256: [{digest}]}}\n  on_drift: approve\n");
    place.write_policy(&format!("{}{agent}{approved}", policy::host("enforce")))?;
    let daemon = place.start()?;
    ensure!(connect(lab, &exe, 1)? == 1, "it is what was approved");

    put(b"another")?;
    wait::until("a refusal of what nobody approved", wait::PATIENCE, || {
        Ok((connect(lab, &exe, 1)? == 0).then_some(()))
    })?;
    let finding = place.record("the end of the approval", |each| {
        record::text(each, "/unmapped/governd/kind") == "approval-lapsed"
    })?;
    let title = record::text(&finding, "/finding_info/title");
    ensure!(title.starts_with("bot: ") && title.contains("`approve`"), "{finding}");
    let denied = place.record("the refusal", |each| {
        record::text(each, "/unmapped/governd/decision/reason") == "approval"
    })?;
    ensure!(record::text(&denied, "/unmapped/governd/agent/name") == "bot", "{denied}");

    put(b"")?;
    wait::until("what was approved runs again", wait::PATIENCE, || {
        Ok((connect(lab, &exe, 1)? == 1).then_some(()))
    })?;
    daemon.stop()?;
    Ok(())
}
