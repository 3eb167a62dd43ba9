//! From start to end: `up` in front of a person, Ctrl-C, SIGKILL, and a start after either.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{Running, must, run},
    daemon::Place,
    leftover,
    residue::Residue,
    site, wait,
};
use serde_json::Value;

use crate::{
    Test,
    audit::audit,
    client::{self, OFFICIAL},
    measured, policy, record,
};

pub(crate) const TESTS: &[Test] = &[
    ("lifecycle::up_shows_a_connection_within_a_second", up_shows_a_connection_within_a_second),
    ("lifecycle::a_stop_leaves_nothing", a_stop_leaves_nothing),
    ("lifecycle::a_killed_daemon_is_followed_by_another", a_killed_daemon_is_followed),
    ("lifecycle::a_daemon_that_was_stopped_says_so", a_daemon_that_was_stopped_says_so),
    ("lifecycle::a_stop_waits_for_start_and_end", a_stop_waits_for_start_and_end),
    ("lifecycle::descriptors_are_raised_and_told", descriptors_are_raised_and_told),
    ("lifecycle::agents_that_run_already_are_governed", agents_that_run_already_are_governed),
    ("lifecycle::what_is_installed_runs_and_is_removed", what_is_installed_runs_and_is_removed),
];

/// Shorter than what a busy host explains.
fn a_daemon_that_was_stopped_says_so(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "stopped")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let pid = daemon.pid().to_string();
    must("kill", &["-STOP", &pid])?;
    std::thread::sleep(Duration::from_secs(2));
    must("kill", &["-CONT", &pid])?;
    let finding = place.record("that it was stopped", |each| {
        record::text(each, "/unmapped/governd/kind") == "tampering"
    })?;
    ensure!(finding.to_string().contains("somebody stopped the daemon for "), "{finding}");
    daemon.stop()?;
    Ok(())
}

/// Who asks a daemon that begins is answered when it has begun, and who asks one that ends already
/// when it has ended.
fn a_stop_waits_for_start_and_end(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "stop-waits")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    for verb in ["run", "up"] {
        let mut daemon = Running::start(&mut place.command(place.arguments(verb)))?;
        wait::until("the socket", wait::PATIENCE, || {
            Ok((!daemon.is_running()? || place.socket().exists()).then_some(()))
        })?;
        let (_, _, links) = Residue::held_by(daemon.pid())?.counts();
        ensure!(links == 0, "{verb}: {links} links are there before it can be asked");
        let stops: Vec<_> = (0..8).map(|_| stop(&place)).collect::<Result<_>>()?;
        for stop in stops {
            let said = stop.finish(wait::PATIENCE)?;
            ensure!(said.code == Some(0) && said.stderr.contains("has stopped"), "{verb}: {said}");
        }
        let ended = daemon.finish(wait::PATIENCE)?;
        ensure!(ended.code == Some(0), "{verb}: {ended}");
    }
    Ok(())
}

fn stop(place: &Place) -> Result<Running> {
    let pins = place.arguments("stop").pop().unwrap_or_default();
    place.follow(&["stop", "--detach", "--pins", &pins.to_string_lossy()])
}

/// What systemd begins with is too few on a host with many network namespaces.
fn descriptors_are_raised_and_told(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "descriptors")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let within = |most: u64| -> Result<Place> {
        let program = place.state().join(format!("within-{most}"));
        let governd = place.program().display();
        let script = format!("#!/bin/sh\nexec prlimit --nofile=256:{most} {governd} \"$@\"\n");
        fs::write(&program, script)?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        Ok(place.of_build(program))
    };
    let few = run(&mut within(511)?.command(place.arguments("run")))?;
    ensure!(few.code == Some(EXIT_ENVIRONMENT), "{few}");
    ensure!(few.stderr.contains("may have 511 file descriptors, which is too few"), "{few}");
    ensure!(few.stderr.contains("hint: allow 512 or more"), "{few}");

    let place = within(512)?;
    let daemon = place.start()?;
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let limit = limits.lines().find(|line| line.starts_with("Max open files"));
    let limit: Vec<_> = limit.unwrap_or_default().split_whitespace().skip(3).collect();
    ensure!(limit == ["512", "512", "files"], "{limits}");

    let used = fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count();
    let pid = daemon.pid().to_string();
    must("prlimit", &["--pid", &pid, &format!("--nofile={}:512", used + 8)])?;
    let finding = place.record("that hardly any are left", |each| {
        record::text(each, "/unmapped/governd/kind") == "descriptors"
    })?;
    ensure!(finding.to_string().contains(&format!(" of {} are in use", used + 8)), "{finding}");
    // What it does not find for that is not taken for gone.
    let held = daemon.held().counts();
    place.record("that namespaces are not found", |each| {
        record::text(each, "/unmapped/governd/kind") == UNCOVERED
            && each.to_string().contains("network namespaces that are not found: Too many open")
    })?;
    ensure!(daemon.status()?.to_string().contains(UNCOVERED), "nothing in the status");
    ensure!(Residue::held_by(daemon.pid())?.counts() == held, "{held:?} is not what it holds");
    must("prlimit", &["--pid", &pid, "--nofile=512:512"])?;
    wait::until("that all are found again", wait::PATIENCE, || {
        Ok((!daemon.status()?.to_string().contains(UNCOVERED)).then_some(()))
    })?;
    daemon.stop()?;
    place.detach()?;
    Ok(())
}

const EXIT_ENVIRONMENT: i32 = 4;
const UNCOVERED: &str = "uncovered-interface";
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

fn up_shows_a_connection_within_a_second(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "up")?;
    place.write_policy(&policy::host("monitor"))?;
    let mut daemon = place.start_as("up", &[])?;
    for (official, site) in OFFICIAL.iter().zip([site::OPENAI, site::ANTHROPIC, site::OPENAI]) {
        let finished = (official.start)(lab, Family::V4, site.name).run()?;
        let ended = Instant::now();
        client::answer(&finished)?;
        let pid = record::number(&client::report(&finished)?, "/pid").unwrap_or_default();
        let shown = daemon.line(SHOWN_WITHIN, |line| {
            line.contains(&format!("{}:443/tcp", site.name)) && line.contains(&format!("[{pid}]"))
        })?;
        measured(format!(
            "up, {}: shown {:?} after it ended: {shown}",
            official.name,
            ended.elapsed()
        ));
    }
    its_own_sink_has_it(&place)?;
    let held = daemon.held().counts();
    daemon.stop()?;
    measured(format!("up: {held:?} programs, maps and links while it ran, none after Ctrl-C"));
    Ok(())
}

/// A trial brings a sink along, which takes the log like any other.
fn its_own_sink_has_it(place: &Place) -> Result<()> {
    let directory = place.state().join("trial-sink");
    let ask = |verb: &str| run(place.command(["sink", verb, "--dir"]).arg(&directory));
    wait::until("records in the sink", wait::PATIENCE, || {
        let records = place.records()?.len() as u64;
        let host: Value = serde_json::from_str(
            &run(place.command(["sink", "hosts", "--json", "--dir"]).arg(&directory))?.success()?,
        )?;
        Ok((record::number(&host, "/records") == Some(records)).then_some(()))
    })?;
    ask("verify")?.success()?;
    audit(place, &["verify", "--against", "sink"])?.success().map(drop)
}

fn a_stop_leaves_nothing(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "stop")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let daemon = place.start()?;
    let refused = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    daemon.stop()?;
    ensure!(!place.socket().exists(), "the socket is left");
    let free = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(free.reached == 1, "after the stop: {free:?}");
    let records = place.records()?;
    let phases: Vec<&str> = records
        .iter()
        .filter(|each| record::number(each, "/class_uid") == Some(6002))
        .map(|each| record::text(each, "/message"))
        .collect();
    ensure!(phases.len() == 2, "not a start and a stop: {phases:?}");
    let last = records.last().and_then(|each| record::number(each, "/class_uid"));
    ensure!(last == Some(6002), "something is recorded after the stop: {records:?}");
    Ok(())
}

fn a_killed_daemon_is_followed(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "killed")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let daemon = place.start()?;
    let refused = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    let exfil = site::EXFIL.v4().to_string();
    place.record("the denial", |each| record::is_flow(each, policy::PYTHON, &exfil))?;
    daemon.kill()?;
    let unwatched = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(unwatched.reached == 0, "while no daemon runs: {unwatched:?}");
    ensure!(UnixStream::connect(place.socket()).is_err(), "somebody answers on the socket");

    let daemon = place.start()?;
    let refused = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "after the new start: {refused:?}");
    // What was not yet durable when it was killed may be cut, but not without saying so.
    for (what, pid) in [("while no daemon ran", unwatched.pid), ("after the start", refused.pid)] {
        place.record(&format!("the denial {what}"), |each| {
            record::is_flow(each, policy::PYTHON, &exfil)
                && record::number(each, "/actor/process/pid") == Some(pid)
        })?;
    }
    let records = place.records()?;
    let denials = records.iter().filter(|each| record::is_flow(each, policy::PYTHON, &exfil));
    let losses = records.iter().filter(|each| record::number(each, "/class_uid") == Some(6008));
    let (denials, losses) = (denials.count(), losses.count());
    ensure!(denials == 3 || losses > 0, "{denials} of 3 denials, {losses} records of a loss");
    daemon.stop()?;
    Ok(())
}

fn agents_that_run_already_are_governed(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "before")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [left.example]"]))?;
    // It connects only when its standard input ends.
    let script = "import socket, sys\nsys.stdin.read()\nfor host in sys.argv[1:]:\n    \
                  try: socket.create_connection((host, 9), 3); print(host, 'reached')\n    \
                  except OSError as error: print(host, type(error).__name__)\n";
    let mut agent = lab
        .client(Family::V4, lab.tools().agent())
        .args(["-c", script, site::LEFT.name, site::EXFIL.name])
        .start()?;
    let daemon = place.start()?;
    agent.close_input();
    let finished = agent.finish(wait::PATIENCE)?;
    let expected = format!("{} reached\n{} PermissionError\n", site::LEFT.name, site::EXFIL.name);
    ensure!(finished.stdout == expected, "{finished}");
    let finished = daemon.stop()?;
    ensure!(!finished.stderr.contains("panicked"), "{finished}");
    Ok(())
}

/// A host without a package of governd and without systemd: what this one has is out of sight.
const HOST: &str = r#"set -eu
for directory in /etc /run /usr/local /var/lib; do mount -t tmpfs host "$directory"; done
"$PROGRAM" install
governd run 2>/run/said &
daemon=$!
until governd status; do
    kill -0 "$daemon" || { cat /run/said; exit 1; }
    sleep 0.1
done
governd policy check /etc/governd/policies
governd uninstall --purge
wait "$daemon"
echo "left:" $(find /etc /run /usr/local /var/lib -name '*governd*')
"#;

fn what_is_installed_runs_and_is_removed(lab: &Lab) -> Result<()> {
    let pins = leftover::pins("installed");
    let mut host = Command::new("unshare");
    host.args(["--mount", "sh", "-c", HOST])
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PROGRAM", lab.tools().governd()?)
        .env("GOVERND_CGROUP", lab.cgroup().path())
        .env("GOVERND_PINS", &pins);
    let said = run(&mut host)?.success()?;
    ensure!(said.contains("monitoring") && said.ends_with("left:\n"), "{said}");
    ensure!(!pins.exists(), "{} is left", pins.display());
    Ok(())
}
