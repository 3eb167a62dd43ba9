//! Whether anything gets through while daemons are killed and others take over.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::run,
    daemon::{Daemon, Place},
    site, wait,
};

use crate::{Test, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("gap::nothing_gets_through_while_daemons_come_and_go", nothing_gets_through),
    ("gap::a_second_daemon_and_a_trial_leave_a_service_alone", a_second_daemon_is_refused),
    ("gap::detaching_needs_no_daemon", detaching_needs_no_daemon),
    ("gap::what_a_failed_start_attached_goes_with_it", a_failed_start_leaves_nothing),
];

/// Restarts and kills, each so many; more of them on request.
const CYCLES: &str = "GAP_CYCLES";
const CYCLES_DEFAULT: usize = 2;
/// The program of another build, to be upgraded to and gone back from; `cargo xtask vm --packages`
/// makes one whose tables are laid out anew. Without it the same program comes and goes.
const OTHER: &str = "GAP_OTHER";

fn nothing_gets_through(lab: &Lab) -> Result<()> {
    let cycles = match env::var(CYCLES) {
        Ok(text) => text.parse().with_context(|| format!("{CYCLES}={text}"))?,
        Err(_) => CYCLES_DEFAULT,
    };
    let place = Place::new(lab, "gap")?;
    // The client sends nothing that could name a server.
    let rule = format!("allow: [{}]\n        verify: dns", site::LEFT.name);
    let client = lab.directory("gap-client")?.join("gap");
    let source = lab.tools().script("gap.c");
    run(Command::new("cc").args(["-O2", "-o"]).arg(&client).arg(source))?.success()?;
    let agent = policy::agent("gap-bot", &format!("{{exe: {}}}", client.display()), &[&rule]);
    place.write_policy(&format!("{}{agent}", policy::host("enforce")))?;
    let other = env::var_os(OTHER).map(|program| place.of_build(PathBuf::from(program)));
    let next = other.as_ref().unwrap_or(&place);
    let mut daemon = place.start()?;
    let exfil = site::EXFIL.v4();
    let before = lab.seen(exfil.into())?.packets;
    let mut client =
        lab.client(Family::V4, &client).args([&exfil.to_string(), site::LEFT.name]).start()?;
    client.line(wait::PATIENCE, |line| line == "asked")?;
    for _ in 0..cycles {
        daemon.terminate()?;
        daemon = next.start()?;
        daemon.kill()?;
        daemon = place.start()?;
    }
    client.close_input();
    let finished = client.finish(wait::PATIENCE)?;
    let said = finished.json()?;
    let count = |of: &str| record::number(&said, of).with_context(|| format!("{of}: {finished}"));
    let (tried, passed, rate) = (count("/tried")?, count("/passed")?, count("/per_second")?);
    let (allowed, refused) = (count("/allowed")?, count("/refused")?);
    measured(format!(
        "{cycles} restarts and {cycles} kills: {passed} of {tried} connections to what is \
         forbidden, {rate} a second; {refused} of {allowed} to what is allowed refused"
    ));
    ensure!(tried > 0 && passed == 0, "{passed} of {tried} got through");
    // A build with other tables knows no name that was asked for before it.
    ensure!(allowed > 0, "nothing allowed was tried");
    ensure!(refused == 0 || other.is_some(), "{refused} of {allowed} were refused");
    let packets = lab.seen(exfil.into())?.packets - before;
    ensure!(packets == 0, "{packets} packets reached {exfil}");
    daemon.stop_within(3 * wait::PATIENCE)?;
    Ok(())
}

fn a_second_daemon_is_refused(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "first")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let daemon = place.start()?;
    let second = Place::beside(lab, "second", &place)?;
    second.write_policy(&policy::both_agents(lab, "monitor", &[]))?;
    for (verb, message) in [("run", "another governd governs"), ("up", "a governd service")] {
        let refused = second.run(verb)?;
        let is_clear = refused.code == Some(4) && refused.stderr.contains(message);
        ensure!(is_clear && refused.stderr.contains("hint:"), "{verb}: {refused}");
        ensure!(is_enforced(lab)?, "after {verb} enforcement has ended");
    }
    daemon.stop()?;
    Ok(())
}

fn detaching_needs_no_daemon(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "detach")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let held = place.start()?.terminate()?;
    ensure!(is_enforced(lab)?, "enforcement ended with the daemon");
    let stopped = place.ask(&["stop"])?;
    ensure!(stopped.code == Some(1), "a daemon that has ended was stopped: {stopped}");
    place.detach()?;
    held.must_vanish()?;
    ensure!(!is_enforced(lab)?, "enforcement goes on");
    stop_of_a_running_one(lab, &place)
}

fn a_failed_start_leaves_nothing(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "failed")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[]))?;
    let log = place.state().join("log");
    fs::write(&log, "")?;
    let failed = place.run("run")?;
    ensure!(failed.code == Some(4), "it starts without a log: {failed}");
    // Tables stay, which do nothing, and no links.
    let layout = place.link("")?.with_file_name("");
    let left: Vec<_> =
        fs::read_dir(&layout)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(left == ["maps"], "{left:?} in {}", layout.display());
    ensure!(!is_enforced(lab)?, "what failed enforces");
    fs::remove_file(&log)?;
    let daemon = place.start()?;
    ensure!(is_enforced(lab)?, "the next one does not enforce");
    daemon.stop()?;
    Ok(())
}

fn stop_of_a_running_one(lab: &Lab, place: &Place) -> Result<()> {
    let mut daemon: Daemon<'_> = place.start()?;
    let stopped = place.ask(&["stop"])?;
    ensure!(stopped.code == Some(0), "{stopped}");
    wait::until("the daemon's end", wait::PATIENCE, || Ok((!daemon.is_running()?).then_some(())))?;
    ensure!(is_enforced(lab)?, "enforcement ended with the daemon");
    place.detach()?;
    Ok(())
}

fn is_enforced(lab: &Lab) -> Result<bool> {
    Ok(crate::client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?.reached == 0)
}
