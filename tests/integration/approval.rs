//! What stands behind a policy: the key that has signed it, and a review that was not forgotten.

use anyhow::{Context as _, Result, ensure};
use governd_tests::{Lab, client::Family, command::run, daemon::Place, site, wait};
use serde_json::Value;

use crate::{Test, client, policy};

pub(crate) const TESTS: &[Test] =
    &[("approval::a_policy_is_signed_and_an_agent_reviewed", signed_and_reviewed)];

const EXIT_INVALID: i32 = 3;

/// The agent with its last day of approval, after which a person has to grant what it may reach.
fn documents(lab: &Lab, review_by: &str) -> String {
    let exe = format!("{{exe: {}}}", lab.tools().agent().display());
    let rule = format!("allow: [\"{}\"]", site::LEFT.v4());
    let agent = policy::agent(policy::PYTHON, &exe, &[&rule]);
    let approval = format!("  review_by: {review_by}\n  on_expired: approve\n");
    format!("{}{agent}{approval}", policy::host("enforce"))
}

fn signed_and_reviewed(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "approval")?;
    place.write_policy(&documents(lab, "2020-12-31"))?;
    let key = place.policies().with_file_name("policy.key").display().to_string();
    let policies = place.policies().display().to_string();
    let sign = ["policy", "sign", &policies, "--key", &key];
    run(place.command(sign).args(["--new-key", "acme/policy"]))?.success()?;
    let signature = place.policies().join("policy.sig");
    let signed = std::fs::read(&signature)?;
    std::fs::remove_file(&signature)?;
    let public = format!("{key}.pub");
    let required = ["--policy-key", &*public];
    let refused = run(place.command(place.arguments("run")).args(required))?;
    ensure!(refused.code == Some(EXIT_INVALID), "what nobody signed is refused: {refused}");

    std::fs::write(&signature, signed)?;
    let daemon = place.start_as("run", &required)?;
    ensure!(!reaches(lab)?, "its approval has ended");
    place.record("the end of the approval", |each| {
        let title = each.pointer("/finding_info/title").and_then(Value::as_str);
        title.is_some_and(|title| title.starts_with(policy::PYTHON) && title.contains("`approve`"))
    })?;

    // Somebody reviews the agent, and nobody has signed that yet.
    place.write_policy(&documents(lab, "2999-12-31"))?;
    let rejected = || -> Result<Option<String>> {
        let status = daemon.status()?;
        let reason = status.pointer("/policy/rejected").context("no policy")?;
        Ok(reason.as_str().map(str::to_owned))
    };
    wait::until("the refusal of what is not signed", wait::PATIENCE, || {
        rejected().map(|reason| reason.map(|_| ()))
    })?;
    ensure!(!reaches(lab)?, "a policy that nobody signed is in force");
    run(&mut place.command(sign))?.success()?;
    wait::until("what is signed", wait::PATIENCE, || {
        rejected().map(|reason| reason.is_none().then_some(()))
    })?;
    ensure!(reaches(lab)?, "it was reviewed, and that is signed");
    daemon.stop()?;
    Ok(())
}

fn reaches(lab: &Lab) -> Result<bool> {
    let address = site::LEFT.v4().to_string();
    Ok(client::flow(lab, Family::V4, "tcp", &address, 1)?.reached == 1)
}
