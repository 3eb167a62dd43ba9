//! The way from monitor to enforce, with the commands of the README and in their order.

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{Finished, run},
    daemon::Place,
    http::ANSWER,
    site, wait,
};
use serde_json::Value;

use crate::{
    Test,
    client::{self, OFFICIAL},
    policy, record,
};

pub(crate) const TESTS: &[Test] =
    &[("newcomer::the_way_from_monitor_to_enforce", the_way_from_monitor_to_enforce)];

const EXIT_NO: i32 = 1;
/// What a reviewer adds: a place that a person has to allow each time.
const ASK: &str = "      - approve: [left.example]\n        verify: dns\n";
/// For how many seconds the agent and ordinary programs work before somebody learns from them: an
/// hour with 3600.
const MONITORED: &str = "GOVERND_TEST_MONITORED_S";
const MONITORED_DEFAULT_S: u64 = 10;
/// How long the agent rests between two of its calls.
const REST: Duration = Duration::from_secs(2);
/// How long the grant is to hold.
const GRANTED: Duration = Duration::from_secs(60);
/// How long a grant may take to end for who looks at it on a busy machine.
const LAPSE_LIMIT: Duration = Duration::from_secs(120);

fn the_way_from_monitor_to_enforce(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "newcomer")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let client = OFFICIAL.first().context("the lab has no client")?;
    let agent = || (client.start)(lab, Family::V4, site::OPENAI.name).run();
    monitor(lab, agent)?;
    place.record("the contact", |each| {
        record::text(each, "/dst_endpoint/hostname") == site::OPENAI.name
    })?;

    let state = place.state().display().to_string();
    let learn = ["policy", "learn", "--since", "1h", "--state-dir", &state];
    let learned = run(&mut place.command(learn))?.success()?;
    ensure!(learned.contains(site::OPENAI.name), "{learned}");
    ensure!(!learned.contains(site::RIGHT.name), "no agent reached it: {learned}");
    let name = learned.lines().find_map(|line| line.strip_prefix("  name: "));
    let name = name.with_context(|| format!("no name in {learned}"))?.to_owned();

    // The review: somebody answers for it, and one more place is for a person to decide.
    let reviewed = learned
        .replace("\"To be named\"", &format!("\"{}\"", policy::OWNER))
        .replace("nobody@example.invalid", "dana@acme.example");
    let reviewed = format!("{}{ASK}", reviewed.trim_end_matches('\n').to_owned() + "\n");
    let draft = place.state().join("reviewed");
    fs::create_dir(&draft)?;
    let documents = format!("{}---\n{reviewed}", policy::host("monitor"));
    fs::write(draft.join("lab.yaml"), &documents)?;
    let draft = draft.display().to_string();
    run(&mut place.command(["policy", "check", &draft]))?.success()?;
    let policies = place.policies().display().to_string();
    let diff = ["policy", "diff", &policies, &draft, "--since", "1h", "--state-dir", &state];
    let diff = run(&mut place.command(diff))?;
    let is_new = diff.stdout.contains(&format!("{name} ({}", policy::OWNER));
    ensure!(diff.code == Some(EXIT_NO) && is_new, "{diff}");

    place.write_policy(&documents)?;
    wait::until("the agent in the status", wait::PATIENCE, || {
        Ok(place.ask(&["status"])?.stdout.contains(&name).then_some(()))
    })?;
    // Now that it is registered, what is no AI endpoint is on record, too.
    let more = client::flow(lab, Family::V4, "tcp", site::RIGHT.name, 1)?;
    ensure!(more.reached == 1, "monitor mode stops nothing: {more:?}");
    wait::until("what else it needs", wait::PATIENCE, || {
        let again = ["policy", "learn", "--agent", &name, "--state-dir", &state];
        let learned = run(&mut place.command(again))?;
        Ok(learned.stdout.contains(site::RIGHT.name).then_some(()))
    })?;
    place.ask(&["mode", "set", "enforce", "--agent", &name])?.success()?;
    place.ask(&["selftest", "--agent", &name])?.success()?;
    ensure!(client::answer(&agent()?)? == ANSWER, "it is allowed");
    ensure!(!reaches(lab)?, "nobody has approved it");
    let explained = wait::until("an explanation", wait::PATIENCE, || {
        let said = place.ask(&["explain", "--last", "--agent", &name])?;
        Ok(said.stdout.contains(site::LEFT.name).then_some(said))
    })?;
    let names_owner = explained.stdout.contains(policy::OWNER);
    ensure!(explained.code == Some(EXIT_NO) && names_owner, "{explained}");

    let waiting = wait::until("the request", wait::PATIENCE, || {
        Ok(place.ask(&["approvals", "--json"])?.stdout.lines().next().map(str::to_owned))
    })?;
    let waiting: Value = serde_json::from_str(&waiting)?;
    let id = waiting.pointer("/id").context("no number")?.to_string();
    let approved = Instant::now();
    place.ask(&["approve", &id, "--for", "1m"])?.success()?;
    ensure!(reaches(lab)?, "it was approved");
    // The kernel ends the grant, whether the daemon runs or not.
    daemon.terminate()?;
    wait::until("the end of the grant", LAPSE_LIMIT, || Ok((!reaches(lab)?).then_some(())))?;
    let held = approved.elapsed();
    ensure!(held >= GRANTED, "it ended early, after {held:?}");
    place.detach()?;
    Ok(())
}

/// Lets the agent and an ordinary program work for as long as somebody looks on.
fn monitor(lab: &Lab, agent: impl Fn() -> Result<Finished>) -> Result<()> {
    let monitored_s = match env::var(MONITORED) {
        Ok(text) => text.parse().with_context(|| format!("{MONITORED}={text}: no seconds"))?,
        Err(_) => MONITORED_DEFAULT_S,
    };
    let ends = Instant::now() + Duration::from_secs(monitored_s);
    while Instant::now() < ends {
        ensure!(client::answer(&agent()?)? == ANSWER, "monitor mode stops nothing");
        let plain = client::flow(lab, Family::V4, "tcp", site::RIGHT.name, 1)?;
        ensure!(plain.reached == 1, "monitor mode stops nothing: {plain:?}");
        thread::sleep(REST);
    }
    Ok(())
}

fn reaches(lab: &Lab) -> Result<bool> {
    Ok(client::flow(lab, Family::V4, "tcp", site::LEFT.name, 1)?.reached == 1)
}
