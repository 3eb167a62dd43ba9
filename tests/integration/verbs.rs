//! The verbs that answer questions: what they print, in words and in JSON, and their exit codes.

use std::{fs, process};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::{Finished, run},
    daemon::Place,
    residue::Residue,
    site, wait,
};
use serde_json::Value;

use crate::{Test, client, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("verbs::status_says_what_is_in_force", status_says_what_is_in_force),
    ("verbs::watch_shows_what_passes_its_filters", watch_shows_what_passes_its_filters),
    ("verbs::explain_says_why_and_whom_to_ask", explain_says_why_and_whom_to_ask),
    ("verbs::questions_without_a_daemon", questions_without_a_daemon),
    ("verbs::policy_check_judges_files", policy_check_judges_files),
    ("verbs::doctor_finds_this_host_fit", doctor_finds_this_host_fit),
    (
        "verbs::doctor_sees_the_whole_tree_from_a_cgroup_namespace",
        doctor_sees_the_whole_tree_from_a_cgroup_namespace,
    ),
    ("verbs::wrong_usage_is_exit_code_2", wrong_usage_is_exit_code_2),
];

const APPROVED: &str = "allow: [left.example]";
/// Programs that are attached to no cgroup or tracepoint: seven that others call, and the two that
/// are put at interfaces.
const ELSEWHERE: usize = 9;
const EXIT_NO: i32 = 1;
const EXIT_USAGE: i32 = 2;
const EXIT_INVALID: i32 = 3;
const EXIT_ENVIRONMENT: i32 = 4;

fn status_says_what_is_in_force(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "status")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[APPROVED]))?;
    let daemon = place.start()?;
    client::flow(lab, Family::V4, "tcp", site::LEFT.name, 1)?;
    client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 2)?;
    let counted = wait::until("the decisions", wait::PATIENCE, || {
        let status = daemon.status()?;
        let denied = record::number(&status, "/decisions/denied");
        Ok((denied == Some(2)).then_some(status))
    })?;
    ensure!(record::number(&counted, "/decisions/allowed") == Some(1), "{counted}");
    ensure!(record::number(&counted, "/pid") == Some(u64::from(daemon.pid())), "{counted}");
    let cgroup = lab.cgroup().path().display().to_string();
    ensure!(record::text(&counted, "/cgroup") == cgroup, "{counted}");

    // What it says of the kernel is what the kernel says.
    let programs = counted.pointer("/programs").and_then(Value::as_array);
    let programs = programs.with_context(|| format!("no programs in {counted}"))?;
    ensure!(
        programs.iter().all(|program| program.get("attached") == Some(&Value::Bool(true))),
        "{counted}"
    );
    let (held, _, _) = Residue::held_by(daemon.pid())?.counts();
    let named = programs.len() + ELSEWHERE;
    ensure!(named == held, "it holds {held} programs and names {}", programs.len());

    ensure!(counted.pointer("/privileges/is_filtered") == Some(&Value::Bool(true)), "{counted}");
    every_thread_is_confined(daemon.pid())?;
    let words = place.ask(&["status"])?.success()?;
    for word in [policy::PYTHON, policy::NODE, policy::OWNER, "enforce", &cgroup] {
        ensure!(words.contains(word), "{word} is not in {words}");
    }
    ensure!(!words.contains('\u{1b}'), "colours without a terminal: {words}");
    daemon.stop()?;
    Ok(())
}

/// As the kernel tells of each thread, not governd.
fn every_thread_is_confined(pid: u32) -> Result<()> {
    // CAP_DAC_READ_SEARCH, CAP_KILL, CAP_NET_ADMIN, CAP_SYS_PTRACE and CAP_SYS_ADMIN
    // (include/uapi/linux/capability.h).
    let kept: u64 = [2, 5, 12, 19, 21].iter().map(|number| 1 << number).sum();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).with_context(|| format!("no {name} in {status}"))
        };
        for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "CapInh:"] {
            let has = u64::from_str_radix(value(set)?, 16)?;
            ensure!(has & !kept == 0, "{set} has more than is kept: {status}");
        }
        ensure!(value("NoNewPrivs:")? == "1" && value("Seccomp:")? == "2", "{status}");
    }
    Ok(())
}

fn watch_shows_what_passes_its_filters(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "watch")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[APPROVED]))?;
    let daemon = place.start()?;
    let mut all = place.follow(&["watch"])?;
    let mut denied =
        place.follow(&["watch", "--json", "--agent", policy::PYTHON, "--verdict", "deny"])?;
    let mut left = place.follow(&["watch", "--json", "--host", site::LEFT.name])?;
    let mut others = place.follow(&["watch", "--json", "--agent", policy::NODE])?;
    for watch in [&mut all, &mut denied, &mut left, &mut others] {
        ensure!(watch.is_running()?, "a watch ended at once");
    }
    // A watch shows what comes after it is connected; repeat until each has shown something.
    wait::until("a line in every watch", wait::PATIENCE, || {
        client::flow(lab, Family::V4, "tcp", site::LEFT.name, 1)?;
        client::flow(lab, Family::V6, "tcp", site::EXFIL.name, 1)?;
        let quick = std::time::Duration::from_millis(500);
        let shown = all.line(quick, |line| line.contains("DENY")).is_ok()
            && denied.line(quick, |line| line.starts_with('{')).is_ok()
            && left.line(quick, |line| line.starts_with('{')).is_ok();
        Ok(shown.then_some(()))
    })?;
    daemon.stop()?;

    let all = all.finish(wait::PATIENCE)?;
    ensure!(all.code == Some(0), "{all}");
    let line = all.stdout.lines().find(|line| line.contains("DENY")).context("no denial")?;
    for word in [policy::PYTHON, "python3[", site::EXFIL.name, "fd77::42"] {
        ensure!(line.contains(word), "{word} is not in {line}");
    }
    ensure!(!all.stdout.contains('\u{1b}'), "colours without a terminal: {all}");
    for record in records(&denied.finish(wait::PATIENCE)?)? {
        let exfil = site::EXFIL.v6().to_string();
        ensure!(record::is_flow(&record, policy::PYTHON, &exfil), "{record}");
        ensure!(record::verdict(&record) == "deny", "{record}");
    }
    for record in records(&left.finish(wait::PATIENCE)?)? {
        ensure!(record.to_string().contains(site::LEFT.name), "{record}");
    }
    let others = others.finish(wait::PATIENCE)?;
    ensure!(others.code == Some(0) && others.stdout.is_empty(), "another agent's: {others}");
    Ok(())
}

fn records(finished: &Finished) -> Result<Vec<Value>> {
    ensure!(finished.code == Some(0) && !finished.stdout.is_empty(), "{finished}");
    let lines = finished.stdout.lines();
    lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn explain_says_why_and_whom_to_ask(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "explain")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &[APPROVED]))?;
    let daemon = place.start()?;
    let nothing = place.ask(&["explain", "--last"])?;
    ensure!(nothing.code == Some(EXIT_NO), "before anything was decided: {nothing}");

    client::flow(lab, Family::V4, "tcp", site::LEFT.name, 1)?;
    client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    let exfil = site::EXFIL.v4().to_string();
    place.record("the denial", |each| record::is_flow(each, policy::PYTHON, &exfil))?;
    let last = place.ask(&["explain", "--last"])?;
    ensure!(last.code == Some(EXIT_NO), "{last}");
    for word in [policy::PYTHON, policy::OWNER, &exfil] {
        ensure!(last.stdout.contains(word), "{word} is not in {last}");
    }
    let json = place.ask(&["explain", "--last", "--json"])?.json()?;
    ensure!(json.get("allowed") == Some(&Value::Bool(false)), "{json}");
    ensure!(record::text(&json, "/agent") == policy::PYTHON, "{json}");
    ensure!(record::text(&json, "/reason") == "no-rule", "{json}");

    // A process that lives while it is asked about.
    let agent = lab.client(Family::V4, lab.tools().agent()).args(["-c", "input()"]).start()?;
    let pid = agent.pid().to_string();
    wait::until("the agent's exec", wait::PATIENCE, || {
        let exe = fs::read_link(format!("/proc/{pid}/exe"))?;
        Ok((exe == lab.tools().agent()).then_some(()))
    })?;
    let approved = wait::until("the agent being known", wait::PATIENCE, || {
        let said = place.ask(&["explain", &pid, &format!("{}:443", site::LEFT.name), "--json"])?;
        let agent = said.json()?;
        Ok((record::text(&agent, "/agent") == policy::PYTHON).then_some(said))
    })?;
    ensure!(approved.code == Some(0), "{approved}");
    let refused = place.ask(&["explain", &pid, &format!("{exfil}:443")])?;
    ensure!(refused.code == Some(EXIT_NO), "{refused}");
    for word in [policy::PYTHON, policy::OWNER, &exfil] {
        ensure!(refused.stdout.contains(word), "{word} is not in {refused}");
    }
    let outside = place.ask(&["explain", &process::id().to_string(), &exfil])?;
    ensure!(outside.code == Some(0), "not an agent: {outside}");
    daemon.stop()?;
    Ok(())
}

fn questions_without_a_daemon(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "nobody")?;
    for verb in [&["status"][..], &["watch"], &["explain", "--last"]] {
        let finished = place.ask(verb)?;
        ensure!(finished.code == Some(EXIT_ENVIRONMENT), "{verb:?}: {finished}");
        let last = finished.stderr.lines().last().unwrap_or_default();
        ensure!(last.starts_with("hint:"), "{verb:?}: {finished}");
    }
    Ok(())
}

fn policy_check_judges_files(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "check")?;
    let good = place.write_policy(&policy::both_agents(lab, "enforce", &[APPROVED]))?;
    let check =
        |arguments: &[&std::ffi::OsStr]| run(place.command(["policy", "check"]).args(arguments));
    let finished = check(&[good.as_os_str()])?;
    ensure!(finished.code == Some(0), "{finished}");
    let finished = check(&[place.policies().as_os_str()])?;
    ensure!(finished.code == Some(0), "a directory: {finished}");

    let bad = place.write_policy(&policy::host("sometimes"))?;
    let finished = check(&[bad.as_os_str()])?;
    ensure!(finished.code == Some(EXIT_INVALID), "{finished}");
    let position = format!("{}:5:9", bad.display());
    ensure!(finished.stderr.contains(&position), "{position} is not in {finished}");
    ensure!(finished.stderr.contains("hint:"), "{finished}");
    let missing = check(&["/nonexistent.yaml".as_ref()])?;
    ensure!(missing.code == Some(EXIT_ENVIRONMENT), "{missing}");
    Ok(())
}

fn doctor_finds_this_host_fit(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "doctor")?;
    let finished = run(&mut place.command(["doctor"]))?;
    ensure!(finished.code == Some(0), "{finished}");
    for word in [
        "kernel",
        "btf",
        "cgroup v2",
        "bpffs",
        "memlock",
        "descriptors",
        "lockdown",
        "can run governd",
    ] {
        ensure!(finished.stdout.contains(word), "{word} is not in {finished}");
    }
    let programs = run(&mut place.command(["doctor", "--programs"]))?.success()?;
    for program in ["connect4", "connect6", "sendmsg4", "sendmsg6", "sock_create", "skb_ingress"] {
        let line = programs.lines().find(|line| line.contains(&format!(" {program} ")));
        let line = line.with_context(|| format!("{program} is not in {programs}"))?;
        ensure!(line.starts_with("ok") && line.contains("instructions"), "{line}");
        measured(format!("doctor: {line}"));
    }
    let json = run(&mut place.command(["doctor", "--json"]))?.success()?;
    let json: Value = serde_json::from_str(&json).context(json)?;
    ensure!(json.is_object() || json.is_array(), "{json}");
    Ok(())
}

/// As in a pod: what the kernel shows of the tree begins at the process's own cgroup.
fn doctor_sees_the_whole_tree_from_a_cgroup_namespace(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "pod")?;
    let direct = tree(&run(&mut place.command(["doctor", "--json"]))?.success()?)?;
    let inside = "echo $$ > \"$0/cgroup.procs\" && exec unshare --cgroup \"$1\" doctor --json";
    let mut pod = process::Command::new("sh");
    pod.args(["-c", inside]).arg(lab.cgroup().path()).arg(lab.tools().governd()?);
    ensure!(tree(&run(&mut pod)?.success()?)? == direct, "another tree than {direct}");
    Ok(())
}

/// Where doctor finds the cgroup tree.
fn tree(report: &str) -> Result<Value> {
    let report: Value = serde_json::from_str(report).with_context(|| report.to_owned())?;
    let mut probes = report.pointer("/probes").and_then(Value::as_array).into_iter().flatten();
    let found = probes.find(|probe| record::text(probe, "/name") == "cgroup v2");
    found.cloned().with_context(|| format!("no cgroup v2 in {report}"))
}

fn wrong_usage_is_exit_code_2(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "usage")?;
    for arguments in [
        &[][..],
        &["no-such-verb"],
        &["status", "--no-such-flag"],
        &["explain", "1"],
        &["explain", "not-a-pid", "api.openai.com"],
        &["watch", "--verdict", "perhaps"],
        &["policy", "check"],
    ] {
        let finished = run(&mut place.command(arguments))?;
        ensure!(finished.code == Some(EXIT_USAGE), "{arguments:?}: {finished}");
        ensure!(finished.stdout.is_empty(), "{arguments:?}: {finished}");
    }
    Ok(())
}
