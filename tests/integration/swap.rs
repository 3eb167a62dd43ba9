//! The policy changes under load: no connect sees anything but one policy or the other.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use governd_tests::{
    Lab,
    client::Family,
    daemon::{Daemon, Place},
    site, wait,
};
use serde_json::Value;

use crate::{Test, client, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[("swap::no_connect_sees_a_mixture", no_connect_sees_a_mixture)];

const SWAPS: usize = 100;
const CONNECTS_MIN: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(120);

/// Whether a connect must, may or must not succeed, whichever of both policies is in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Always,
    Sometimes,
    Never,
}

const HOSTS: &[(site::Site, Expected)] = &[
    (site::BOTH, Expected::Always),
    (site::LEFT, Expected::Sometimes),
    (site::RIGHT, Expected::Sometimes),
    (site::EXFIL, Expected::Never),
];

fn no_connect_sees_a_mixture(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "swap")?;
    // Addresses, so that no name has to be asked for; the left and the right policy differ in what
    // they allow, and in the number and order of their rules.
    let rule = |site: site::Site| format!("allow: [\"{}\", \"{}\"]", site.v4(), site.v6());
    let (left, right, both) = (rule(site::LEFT), rule(site::RIGHT), rule(site::BOTH));
    let policies = [
        policy::both_agents(lab, "enforce", &[&left, &both]),
        policy::both_agents(lab, "enforce", &[&both, "deny: [\"10.77.0.200\"]", &right]),
    ];
    let [first, _] = &policies;
    place.write_policy(first)?;
    let daemon = place.start()?;

    let addresses: Vec<(IpAddr, Expected)> = HOSTS
        .iter()
        .flat_map(|(site, expected)| site.addresses().map(|address| (address, *expected)))
        .collect();
    let before: Vec<u64> = connections(lab, &addresses)?;
    let mut flood = client::python(lab, Family::Any, "flood.py")
        .arg(CONNECTS_MIN.to_string())
        .args(addresses.iter().map(|(address, _)| address.to_string()))
        .start()?;
    flood.line(wait::PATIENCE, |line| line == "going")?;
    let started = std::time::Instant::now();
    let mut digest = digest(&daemon.status()?)?;
    for text in policies.iter().rev().cycle().take(SWAPS) {
        place.write_policy(text)?;
        daemon.reload()?;
        digest = wait::until("the other policy in force", wait::PATIENCE, || {
            let now = self::digest(&daemon.status()?)?;
            Ok((now != digest).then_some(now))
        })?;
    }
    let took = started.elapsed();
    flood.close_input();
    let finished = flood.finish(LIMIT)?;
    let said = finished.json()?;
    let made = record::number(&said, "/connects").context("no count of connects")?;
    ensure!(made >= CONNECTS_MIN, "only {made} connects");
    measured(format!("{made} connects during {SWAPS} swaps in {took:?}"));
    for ((address, expected), before) in addresses.iter().zip(before) {
        judge(lab, &said, *address, *expected, before)?;
    }
    account(&daemon, made)?;
    daemon.stop()?;
    Ok(())
}

/// Every connect was reported or counted as lost.
fn account(daemon: &Daemon<'_>, made: u64) -> Result<()> {
    let status = wait::until("an account of every connect", LIMIT, || {
        let status = daemon.status()?;
        let decisions = status.pointer("/decisions").and_then(Value::as_object);
        let lost = status.pointer("/lost").and_then(Value::as_object);
        let counts = decisions.into_iter().chain(lost).flat_map(|counts| counts.values());
        let known: u64 = counts.filter_map(Value::as_u64).sum();
        Ok((known >= made).then_some(status))
    })?;
    let value = |pointer| status.pointer(pointer).unwrap_or(&Value::Null);
    measured(format!("decisions: {}, lost: {}", value("/decisions"), value("/lost")));
    Ok(())
}

fn judge(lab: &Lab, said: &Value, address: IpAddr, expected: Expected, before: u64) -> Result<()> {
    let outcomes = said.pointer(&format!("/outcomes/{address}")).and_then(Value::as_object);
    let outcomes = outcomes.with_context(|| format!("no outcomes for {address}"))?;
    let (mut connected, mut refused, mut between) = (0, 0, 0);
    for (outcome, count) in outcomes {
        let count = count.as_u64().unwrap_or_default();
        match outcome.as_str() {
            "connected" => connected += count,
            other if other.starts_with("PermissionError") => refused += count,
            // Connected under one policy, and refused at its first packet by the next.
            other if other.starts_with("ConnectionAbortedError") => between += count,
            other => bail!("{address}: {count} times {other}"),
        }
    }
    // Where the policies differ, a swap may also refuse the packet that completes a handshake: the
    // client is connected, and the server never knows. That is once for each swap at the most.
    let unsure = if expected == Expected::Sometimes { SWAPS as u64 } else { 0 };
    ensure!(between <= unsure, "{address}, {expected:?}: {between} ended between two policies");
    let counted = wait::until("accepting", wait::PATIENCE, || {
        let counted = lab.seen(address)?.connections - before;
        Ok((counted + unsure >= connected).then_some(counted))
    })?;
    ensure!(counted <= connected + between, "{address}: {connected} connected, {counted} counted");
    let refused = refused + between;
    let fits = match expected {
        Expected::Always => refused == 0 && connected > 0,
        Expected::Sometimes => refused > 0 && connected > 0,
        Expected::Never => connected == 0 && refused > 0,
    };
    ensure!(fits, "{address}, {expected:?}: {connected} connected, {refused} refused");
    measured(format!("{address}, {expected:?}: {connected} connected, {refused} refused"));
    Ok(())
}

fn connections(lab: &Lab, addresses: &[(IpAddr, Expected)]) -> Result<Vec<u64>> {
    addresses.iter().map(|(address, _)| Ok(lab.seen(*address)?.connections)).collect()
}

fn digest(status: &Value) -> Result<String> {
    let digest = record::text(status, "/policy/digest");
    ensure!(digest.starts_with("sha256:"), "no digest in {status}");
    Ok(digest.to_owned())
}
