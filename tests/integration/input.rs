//! Bad input and bad surroundings: one clear error, a hint, and the exit code that says which.

use std::{fs, os::unix::fs::chown, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{Finished, run},
    daemon::{Daemon, Place},
    site, wait,
};

use crate::{Test, client, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("input::a_broken_policy_does_not_start", a_broken_policy_does_not_start),
    ("input::a_broken_policy_leaves_the_running_one", a_broken_policy_leaves_the_running_one),
    ("input::an_unreadable_log_directory", an_unreadable_log_directory),
    ("input::a_missing_cgroup_mount", a_missing_cgroup_mount),
    ("input::a_missing_capability", a_missing_capability),
];

const EXIT_INVALID: i32 = 3;
const EXIT_ENVIRONMENT: i32 = 4;
const UID_NOBODY: u32 = 65_534;

/// A policy with an unknown field, and the line and column at which it stands.
fn broken() -> (String, &'static str) {
    let text = policy::host("enforce");
    assert!(text.lines().nth(4) == Some("  mode: enforce"));
    (text.replace("  mode: enforce", "  moode: enforce"), "5:3")
}

fn a_broken_policy_does_not_start(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "broken")?;
    let (text, position) = broken();
    let path = place.write_policy(&text)?;
    let finished = run(&mut place.command(place.arguments("run")))?;
    must_fail(&finished, EXIT_INVALID, &[&format!("{}:{position}", path.display()), "moode"])?;
    ensure!(!place.socket().exists(), "a socket is left");
    Ok(())
}

fn a_broken_policy_leaves_the_running_one(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "kept")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [left.example]"]))?;
    let daemon = place.start()?;
    decides_as_before(lab, "before")?;
    let before = daemon.status()?;

    let (text, position) = broken();
    let path = place.write_policy(&text)?;
    daemon.reload()?;
    let position = format!("{}:{position}", path.display());
    let rejected = wait_for_rejection(&daemon)?;
    ensure!(rejected.contains(&position), "{position} is not in {rejected}");
    let after = daemon.status()?;
    ensure!(after.pointer("/policy/digest") == before.pointer("/policy/digest"), "{after}");
    let refused = place.record("the refused policy", |each| {
        record::number(each, "/class_uid") == Some(6003)
            && record::text(each, "/unmapped/governd/outcome") == "refused"
    })?;
    ensure!(refused.to_string().contains(&position), "{refused}");
    decides_as_before(lab, "with a broken policy on disk")?;

    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [right.example]"]))?;
    daemon.reload()?;
    wait::until("the mended policy in force", wait::PATIENCE, || {
        let status = daemon.status()?;
        let is_mended = status.pointer("/policy/digest") != before.pointer("/policy/digest")
            && record::text(&status, "/policy/rejected").is_empty();
        Ok(is_mended.then_some(()))
    })?;
    let right = client::flow(lab, Family::V4, "tcp", site::RIGHT.name, 1)?;
    ensure!(right.reached == 1, "after mending: {right:?}");
    daemon.stop()?;
    Ok(())
}

fn decides_as_before(lab: &Lab, when: &str) -> Result<()> {
    for family in Family::EACH {
        let left = client::flow(lab, *family, "tcp", site::LEFT.name, 1)?;
        ensure!(left.reached == 1, "{when}, to what is approved: {left:?}");
        let exfil = client::flow(lab, *family, "tcp", site::EXFIL.name, 1)?;
        ensure!(exfil.reached == 0, "{when}, to what is not: {exfil:?}");
    }
    Ok(())
}

fn wait_for_rejection(daemon: &Daemon<'_>) -> Result<String> {
    wait::until("the policy's rejection", wait::PATIENCE, || {
        let status = daemon.status()?;
        let reason = record::text(&status, "/policy/rejected");
        Ok((!reason.is_empty()).then(|| reason.to_owned()))
    })
}

fn an_unreadable_log_directory(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "log")?;
    place.write_policy(&policy::host("monitor"))?;
    fs::set_permissions(place.state(), std::os::unix::fs::PermissionsExt::from_mode(0o000))?;
    chown(place.state(), Some(UID_NOBODY), None)?;
    // Root without these two is held by the permissions like everybody else.
    let finished = without(&place, "-dac_override,-dac_read_search")?;
    must_fail(&finished, EXIT_ENVIRONMENT, &[&place.state().display().to_string()])?;

    let file = Place::new(lab, "file")?;
    file.write_policy(&policy::host("monitor"))?;
    fs::remove_dir(file.state())?;
    fs::write(file.state(), "a file where a directory should be")?;
    let finished = run(&mut file.command(file.arguments("run")))?;
    must_fail(&finished, EXIT_ENVIRONMENT, &[&file.state().display().to_string()])
}

fn a_missing_cgroup_mount(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "cgroup")?;
    place.write_policy(&policy::host("monitor"))?;
    // Every mount of it goes, and nothing outside this mount namespace.
    let unmounted = r#"
        awk '/ - cgroup2 / { print $5 }' /proc/self/mountinfo | xargs --no-run-if-empty umount --lazy
        exec "$@"
    "#;
    let arguments = place.arguments("run");
    // Without --cgroup, so that governd must find the mount itself.
    let rest = arguments.iter().skip_while(|argument| argument.as_os_str() != "--policy");
    let finished = run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", unmounted, "sh"])
        .arg(place.program())
        .arg("run")
        .args(rest))?;
    must_fail(&finished, EXIT_ENVIRONMENT, &["cgroup"])?;

    let elsewhere = PathBuf::from("/nonexistent/cgroup");
    let arguments = arguments
        .iter()
        .map(|argument| if argument == lab.cgroup().path() { &elsewhere } else { argument });
    let finished = run(&mut place.command(arguments))?;
    must_fail(&finished, EXIT_ENVIRONMENT, &["/nonexistent/cgroup"])
}

fn a_missing_capability(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "capability")?;
    place.write_policy(&policy::host("monitor"))?;
    let finished = without(&place, "-bpf,-sys_admin")?;
    must_fail(&finished, EXIT_ENVIRONMENT, &["CAP_BPF"])
}

fn without(place: &Place, capabilities: &str) -> Result<Finished> {
    let argument = |option: &str| format!("--{option}={capabilities}");
    run(Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .args([argument("inh-caps"), argument("bounding-set")])
        .arg(place.program())
        .args(place.arguments("run"))
        .env("NO_COLOR", "1"))
}

/// One error, which says each of `words`, and ends with what to do.
fn must_fail(finished: &Finished, code: i32, words: &[&str]) -> Result<()> {
    ensure!(finished.code == Some(code), "not exit code {code}: {finished}");
    for word in words {
        ensure!(finished.stderr.contains(word), "{word} is not in {finished}");
    }
    let errors = finished.stderr.lines().filter(|line| line.starts_with("error:"));
    ensure!(errors.count() == 1, "not one error: {finished}");
    let last = finished.stderr.lines().last().context("no error at all")?;
    ensure!(last.starts_with("hint:"), "it does not end with a hint: {finished}");
    ensure!(!finished.stderr.contains("panicked"), "{finished}");
    Ok(())
}
