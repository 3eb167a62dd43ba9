//! What governd knows of agents: the catalogue that it is extended with, and the inventory.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    command::run,
    daemon::Place,
    site::{self, PORT_ECHO},
    wait,
};
use serde_json::Value;

use crate::{Test, client, measured, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("agents::the_catalogue_is_extended_while_it_runs", the_catalogue_is_extended_while_it_runs),
    ("agents::an_agent_from_shadow_to_approved", an_agent_from_shadow_to_approved),
    ("agents::contacts_around_the_gateway_are_findings", contacts_around_the_gateway),
    ("agents::names_asked_for_out_of_sight_are_findings", names_out_of_sight),
    ("agents::names_a_shadow_agent_hides_are_findings", names_a_shadow_agent_hides),
    ("agents::short_lived_processes_are_attributed", short_lived_processes_are_attributed),
    ("agents::the_inventory_survives_a_kill", the_inventory_survives_a_kill),
    ("agents::a_damaged_inventory_stops_nothing", a_damaged_inventory_stops_nothing),
    ("agents::bytes_of_open_connections_are_shown", bytes_of_open_connections_are_shown),
    ("agents::what_a_shadow_agent_has_open_is_known", what_a_shadow_agent_has_open_is_known),
    ("agents::another_script_is_drift", another_script_is_drift),
    (
        "agents::libraries_are_evidence_after_the_start_too",
        libraries_are_evidence_after_the_start_too,
    ),
];

const EXIT_INVALID: i32 = 3;

const ADDED: &str = "\
domain,match,provider,kind,use,source
llm.acme.example,exact,acme,model-api,dedicated,written by hand
";

fn the_catalogue_is_extended_while_it_runs(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "catalog")?;
    place.write_policy(&policy::host("monitor"))?;
    let file = place.catalog().join("acme.csv");
    fs::write(&file, ADDED.replace("exact", "exactly"))?;
    let finished = run(&mut place.command(place.arguments("run")))?;
    ensure!(finished.code == Some(EXIT_INVALID), "it started: {finished}");
    ensure!(finished.stderr.contains(&format!("{}:2", file.display())), "{finished}");
    fs::remove_file(&file)?;

    let daemon = place.start()?;
    let endpoints = |what: &str, wanted: u64| {
        wait::until(what, wait::PATIENCE, || {
            let status = daemon.status()?;
            Ok((record::number(&status, "/catalog/endpoints") == Some(wanted)).then_some(status))
        })
    };
    let before = record::number(&daemon.status()?, "/catalog/endpoints").unwrap_or(0);
    fs::write(&file, ADDED)?;
    endpoints("the added endpoint", before + 1)?;
    fs::write(&file, ADDED.replace("exact", "exactly"))?;
    let finding = place.record("the refused addition", |each| {
        record::text(each, "/unmapped/governd/kind") == "catalog-refused"
    })?;
    ensure!(finding.to_string().contains("acme.csv:2"), "{finding}");
    let status = endpoints("the catalogue as it was", before + 1)?;
    ensure!(record::text(&status, "/catalog/rejected").contains("acme.csv:2"), "{status}");
    fs::remove_file(&file)?;
    endpoints("the catalogue without the addition", before)?;
    daemon.stop()?;
    Ok(())
}

fn is_finding(record: &Value, kind: &str) -> bool {
    record::number(record, "/class_uid") == Some(2004)
        && record::text(record, "/unmapped/governd/kind") == kind
}

fn known_agents(status: &Value) -> Option<u64> {
    record::number(status, "/inventory/agents")
}

fn the_inventory_survives_a_kill(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "inventory")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let before = known_agents(&daemon.status()?).unwrap_or(0);
    let finished =
        client::python(lab, Family::V4, "openai_chat.py").arg(site::OPENAI.name).run()?;
    client::answer(&finished)?;
    wait::until("the script in the inventory", wait::PATIENCE, || {
        Ok((known_agents(&daemon.status()?) == Some(before + 1)).then_some(()))
    })?;
    let found = place.record("the agent", |each| {
        is_finding(each, "shadow-agent") && each.to_string().contains("openai_chat.py")
    })?;
    let uid = record::text(&found, "/finding_info/uid").to_owned();
    // What was found a moment ago may not be in the file yet.
    wait::until("the script in the file", wait::PATIENCE, || {
        let file = fs::read(place.state().join("inventory.db-wal"))?;
        Ok(file.windows(14).any(|bytes| bytes == b"openai_chat.py").then_some(()))
    })?;
    daemon.kill()?;

    let daemon = place.start()?;
    let after = daemon.status()?;
    ensure!(known_agents(&after) >= Some(before + 1), "after the kill: {after}");
    daemon.stop()?;
    let again = place.records()?;
    let times = again.iter().filter(|each| record::text(each, "/finding_info/uid") == uid).count();
    // The log may have lost what was not yet committed; the inventory knows it, so it is no news.
    ensure!(times <= 1, "found {times} times: {found}");
    Ok(())
}

fn a_damaged_inventory_stops_nothing(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "damaged")?;
    place.write_policy(&policy::both_agents(lab, "enforce", &["allow: [left.example]"]))?;
    let file = place.state().join("inventory.db");
    fs::write(&file, "no database at all, though longer than the header of one: ".repeat(9))?;
    let daemon = place.start()?;
    let finding = place.record("the damage", |each| is_finding(each, "inventory-damaged"))?;
    ensure!(finding.to_string().contains("inventory.db.damaged"), "{finding}");
    let refused = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    let allowed = client::flow(lab, Family::V4, "tcp", site::LEFT.name, 1)?;
    ensure!(allowed.reached == 1, "{allowed:?}");
    daemon.stop()?;

    // One that cannot be used at all: enforcement goes on with what is in memory.
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    let daemon = place.start()?;
    place.record("the unusable file", |each| is_finding(each, "inventory-unusable"))?;
    let status = daemon.status()?;
    ensure!(status.pointer("/inventory/file") == Some(&Value::Null), "{status}");
    let refused = client::flow(lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    daemon.stop()?;
    Ok(())
}

/// Sends so many bytes and gets them back, and keeps the connection until its input ends.
const TALKS: &str = "\
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
    sock.sendall(bytes(3000))
    left = 3000
    while left:
        left -= len(sock.recv(left))
    print('ready', flush=True)
    sys.stdin.read()
";

fn bytes_of_open_connections_are_shown(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "bytes")?;
    place.write_policy(&policy::both_agents(lab, "monitor", &[]))?;
    let daemon = place.start()?;
    let (address, port) = (site::LEFT.address(Family::V4).to_string(), PORT_ECHO.to_string());
    let mut talks = lab
        .client(Family::V4, lab.tools().agent())
        .args(["-c", TALKS, address.as_str(), port.as_str()])
        .start()?;
    talks.line(wait::PATIENCE, |line| line == "ready")?;
    let bytes = || -> Result<Option<[u64; 2]>> {
        for agent in listed(&place, &["--candidates"])? {
            let shown = show(&place, record::text(&agent, "/id"))?;
            let endpoints = shown.pointer("/endpoints").and_then(Value::as_array);
            let here = endpoints.into_iter().flatten().find(|seen| {
                record::text(seen, "/host") == address && record::number(seen, "/port") == Some(7)
            });
            if let Some(seen) = here {
                let number = |place: &str| record::number(seen, place).unwrap_or(0);
                return Ok(Some([number("/sent_bytes"), number("/received_bytes")]));
            }
        }
        Ok(None)
    };
    // A SYN takes a place in the sequence, and so does a FIN.
    let is_right =
        |[sent, received]: [u64; 2]| (3_000..=3_002).contains(&sent) && received / 10 == 300;
    let open = wait::until("bytes of an open connection", wait::PATIENCE, || {
        Ok(bytes()?.filter(|bytes| bytes[0] > 0))
    })?;
    ensure!(is_right(open), "open: {open:?}");
    talks.close_input();
    talks.finish(wait::PATIENCE)?;
    // Twice as long as it is between two looks: then the connection is none that is open.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let now = bytes()?.context("no such destination any more")?;
        ensure!(is_right(now), "ended: {now:?}, and {open:?} before");
    }
    daemon.stop()?;
    Ok(())
}

/// Contacts a model's API, and then talks to itself where DNS over TLS would be spoken. What
/// [`TALKS`] does comes after it.
const SHADOW: &str = "\
import socket, sys
socket.create_connection((sys.argv[3], 443)).close()
own = socket.create_server(('127.0.0.1', 853))
hidden = socket.create_connection(('127.0.0.1', 853))
accepted, _ = own.accept()
accepted.sendall(bytes(70))
hidden.recv(70)
";

fn what_a_shadow_agent_has_open_is_known(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "shadow-open")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let (address, port) = (site::LEFT.address(Family::V4).to_string(), PORT_ECHO.to_string());
    let script = format!("{SHADOW}{TALKS}");
    let mut talks = lab
        .client(Family::V4, lab.tools().agent())
        .args(["-c", script.as_str(), address.as_str(), port.as_str(), site::OPENAI.name])
        .start()?;
    talks.line(wait::PATIENCE, |line| line == "ready")?;
    let hidden = place.record("DNS out of sight", |each| {
        let title = record::text(each, "/finding_info/title");
        is_finding(each, "hidden-dns") && title.contains("127.0.0.1") && title.contains("TLS")
    })?;
    let bytes = |port: u64| -> Result<Option<[u64; 2]>> {
        for agent in listed(&place, &[])? {
            let shown = show(&place, record::text(&agent, "/id"))?;
            let endpoints = shown.pointer("/endpoints").and_then(Value::as_array);
            let mut endpoints = endpoints.into_iter().flatten();
            let is_ours = |seen: &&Value| {
                let host = record::text(seen, "/host");
                record::number(seen, "/port") == Some(port)
                    && (host == address || host == "127.0.0.1")
            };
            if let Some(seen) = endpoints.find(is_ours) {
                ensure!(record::text(&shown, "/summary/state") == "shadow", "{shown}");
                let number = |place: &str| record::number(seen, place).unwrap_or(0);
                return Ok(Some([number("/sent_bytes"), number("/received_bytes")]));
            }
        }
        Ok(None)
    };
    let is_right =
        |[sent, received]: [u64; 2]| (3_000..=3_002).contains(&sent) && received == 3_000;
    let open = wait::until("bytes of an open connection", wait::PATIENCE, || {
        Ok(bytes(7)?.filter(|bytes| bytes[0] > 0))
    })?;
    ensure!(is_right(open), "open: {open:?} {hidden}");
    let resolver = bytes(853)?.context("not contacted")?;
    ensure!(resolver[1] == 70, "of one that it made itself, not of both ends: {resolver:?}");
    talks.close_input();
    talks.finish(wait::PATIENCE)?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let now = bytes(7)?.context("no such destination any more")?;
        ensure!(is_right(now), "ended: {now:?}, and {open:?} before");
    }
    ensure!(bytes(443)?.is_none(), "the call to the model counts by its name");
    daemon.stop()?;
    Ok(())
}

/// Lines of JSON that `governd agents` prints.
fn listed(place: &Place, filters: &[&str]) -> Result<Vec<Value>> {
    let finished = place.ask(&[&["agents", "--json"], filters].concat())?;
    ensure!(matches!(finished.code, Some(0 | 1)), "{finished}");
    finished.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Waits until the agent of this name is in a state.
fn in_state(place: &Place, name: &str, state: &str) -> Result<Value> {
    wait::until(&format!("{name} to be {state}"), wait::PATIENCE, || {
        let agents = listed(place, &["--state", state])?;
        Ok(agents.into_iter().find(|agent| record::text(agent, "/name") == name))
    })
    .with_context(|| {
        listed(place, &["--candidates"]).map_or_else(|e| e.to_string(), |all| format!("{all:?}"))
    })
}

fn show(place: &Place, id: &str) -> Result<Value> {
    Ok(serde_json::from_str(&place.ask(&["agents", "show", id, "--json"])?.success()?)?)
}

const SCRIPT: &str = "openai_chat.py";

fn an_agent_from_shadow_to_approved(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "agents")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let call = |host: &str| client::python(lab, Family::V4, SCRIPT).arg(host).run();
    client::answer(&call(site::OPENAI.name)?)?;
    let found = in_state(&place, SCRIPT, "shadow")?;
    let id = record::text(&found, "/id").to_owned();
    ensure!(record::text(&found, "/providers/0") == "openai", "{found}");
    ensure!(listed(&place, &["--owner", "Dana"])?.is_empty(), "somebody owns it");

    let shown = show(&place, &id)?;
    let signals: Vec<&str> = rows(&shown, "/evidence", "signal");
    ensure!(signals.contains(&"contact") && signals.contains(&"key-name"), "{shown}");
    ensure!(record::number(&shown, "/endpoints/0/count") == Some(1), "{shown}");
    ensure!(rows(&shown, "/latest/lineage", "name").len() > 1, "{shown}");
    let words = place.ask(&["agents", "show", SCRIPT])?.success()?;
    for word in ["LINEAGE", "EVIDENCE", "OBSERVED", "api.openai.com:443", "└─ python3["] {
        let is_there = words.contains(word) || word == "LINEAGE" && words.contains("LAST PROCESS");
        ensure!(is_there, "{word} is not in {words}");
    }

    wait::until("the digest", wait::PATIENCE, || {
        Ok((!record::text(&show(&place, &id)?, "/sha256").is_empty()).then_some(()))
    })?;

    // Registered by the document that governd writes, which is checked as it stands.
    let file = place.policies().join("draft.yaml");
    let path = file.display().to_string();
    let owner = "Dana Smith <dana@acme.example>";
    let name = ["--name", "chat-bot", "--owner", owner, "--output", &path];
    place.ask(&[&["agents", "register", &id], &name[..]].concat())?.success()?;
    let again = place.ask(&[&["agents", "register", &id], &name[..]].concat())?;
    ensure!(again.code == Some(4), "it wrote over a file: {again}");
    run(&mut place.command(["policy", "check", &path]))?.success()?;
    daemon.reload()?;
    wait::until("the document in force", wait::PATIENCE, || {
        let status = daemon.status()?;
        Ok(status.to_string().contains("chat-bot").then_some(()))
    })?;
    // It leads a session of its own: one that nobody began, as below an init that begins none, has
    // the number 0 and is unknown.
    let (agent, script) = (lab.tools().agent(), lab.tools().script(SCRIPT));
    let leader = lab.client(Family::V4, "setsid").arg(agent).arg(script);
    client::answer(&leader.arg(site::OPENAI.name).run()?)?;
    let approved = in_state(&place, SCRIPT, "approved")?;
    ensure!(record::text(&approved, "/id") == id, "another agent: {approved}");
    ensure!(record::text(&approved, "/owner") == owner, "{approved}");
    let summed = run(Command::new("sha256sum").arg(lab.tools().agent()))?.success()?;
    place.record("an exec with its digest and session", |each| {
        let digest = record::text(each, "/process/file/hashes/0/value");
        let session = record::text(each, "/process/session/uid");
        record::number(each, "/class_uid") == Some(1007)
            && digest.len() == 64
            && summed.starts_with(digest)
            && session
                .parse()
                .is_ok_and(|session| record::number(each, "/process/pid") == Some(session))
    })?;
    let counts = || {
        let coverage = place.ask(&["agents", "--coverage", "--json"])?.success()?;
        let coverage: Value = serde_json::from_str(&coverage)?;
        // Whatever else this host runs counts, too.
        let counts = ["/agents", "/registered", "/approved", "/enforced"]
            .map(|count| record::number(&coverage, count));
        anyhow::Ok((counts, coverage))
    };
    // A document is not yet an approval.
    let ([_, registered, approved, enforced], coverage) = counts()?;
    ensure!(registered > Some(0) && (approved, enforced) == (Some(0), Some(0)), "{coverage}");
    let text = fs::read_to_string(&file)?;
    let approval = "approval: {by: {name: Lee, mail: lee@acme.example}, on: 2026-10-01}";
    fs::write(&file, text.replacen("spec:\n", &format!("spec:\n  {approval}\n"), 1))?;
    daemon.reload()?;
    let (agents, approved, coverage) = wait::until("the approval", wait::PATIENCE, || {
        let ([agents, registered, approved, _], coverage) = counts()?;
        let is_same = approved == registered && approved > Some(0);
        Ok(is_same.then_some((agents, approved, coverage)))
    })?;
    let percent = coverage.pointer("/approved_percent").and_then(Value::as_f64).unwrap_or(-1.0);
    let expected = 100.0 * approved.unwrap_or(0) as f64 / agents.unwrap_or(0) as f64;
    ensure!((percent - expected).abs() < 0.1, "not {expected}%: {coverage}");

    // Another executable than the approved one.
    let text = fs::read_to_string(&file)?;
    let shown = show(&place, &id)?;
    let digest = record::text(&shown, "/sha256");
    ensure!(summed.starts_with(digest) && digest.len() == 64, "{summed} {shown}");
    ensure!(text.contains(digest), "{text}");
    fs::write(&file, text.replace(digest, &"0".repeat(64)))?;
    daemon.reload()?;
    in_state(&place, SCRIPT, "drifted")?;
    fs::write(&file, text)?;
    daemon.reload()?;
    in_state(&place, SCRIPT, "approved")?;

    // What the document does not allow, side by side with what it says.
    let outside = wait::until("a contact outside of it", wait::PATIENCE, || {
        // On a busy machine a script may connect before it is recognised.
        client::answer(&call(site::EXFIL.name)?)?;
        let agents = listed(&place, &["--state", "out-of-scope"])?;
        Ok(agents.into_iter().find(|agent| record::text(agent, "/name") == SCRIPT))
    })?;
    ensure!(record::text(&outside, "/reason").contains(site::EXFIL.name), "{outside}");
    place.record("the change of state", |each| {
        is_finding(each, "agent-state") && each.to_string().contains("was approved and is out-of")
    })?;
    let shown = show(&place, "chat-bot")?;
    ensure!(shown.pointer("/policy/rules/0").is_some(), "{shown}");
    let text = fs::read_to_string(&file)?;
    let allowed = format!("allow: [\"{}\", ", site::EXFIL.name);
    fs::write(&file, text.replacen("allow: [", &allowed, 1))?;
    daemon.reload()?;
    in_state(&place, SCRIPT, "approved")?;

    // A document that does not allow any more what was reached before it.
    let text = fs::read_to_string(&file)?;
    let is_outside = || -> Result<bool> {
        let shown = show(&place, &id)?;
        let endpoints = shown.pointer("/endpoints").and_then(Value::as_array);
        let mut openai = endpoints
            .into_iter()
            .flatten()
            .filter(|seen| record::text(seen, "/host") == site::OPENAI.name);
        let seen = openai.next().with_context(|| format!("it was not there: {shown}"))?;
        Ok(seen.pointer("/outside") == Some(&Value::Bool(true)))
    };
    ensure!(!is_outside()?, "its document allows it");
    fs::write(&file, text.replace(site::OPENAI.name, "other.example"))?;
    daemon.reload()?;
    wait::until("the narrower document", wait::PATIENCE, || Ok(is_outside()?.then_some(())))?;

    // A last day that is over, and then no document any more.
    let (before, after) = text.split_once("review_by: ").context("no last day")?;
    let after = after.split_once('\n').context("no line")?.1;
    fs::write(&file, format!("{before}review_by: 2020-02-29\n{after}"))?;
    daemon.reload()?;
    in_state(&place, SCRIPT, "expired")?;
    fs::remove_file(&file)?;
    daemon.reload()?;
    in_state(&place, SCRIPT, "ownerless")?;
    daemon.kill()?;
    // All of it is remembered.
    let daemon = place.start()?;
    let kept = in_state(&place, SCRIPT, "ownerless")?;
    ensure!(record::text(&kept, "/id") == id, "{kept}");
    ensure!(record::number(&kept, "/first_ms") == record::number(&found, "/first_ms"), "{kept}");
    daemon.stop()?;
    Ok(())
}

/// A script that is approved runs, and then another in its place; the interpreter is the same.
fn another_script_is_drift(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "script")?;
    let script = lab.directory("drifting-script")?.join("drifting.py");
    let text = "import sys, urllib.request\nsys.stdin.read()\n";
    fs::write(&script, text)?;
    let digest = || -> Result<String> {
        let summed = run(Command::new("sha256sum").arg(&script))?.success()?;
        Ok(summed.split(' ').next().unwrap_or_default().to_owned())
    };
    let (python, approved) = (lab.tools().agent(), digest()?);
    let selector = format!("{{exe: {}}}", python.display());
    let document = policy::agent("drifting-bot", &selector, &[]);
    let provenance = format!("  provenance: {{scripts: [{approved}]}}\n  egress:\n");
    let document = document.replacen("  egress:\n", &provenance, 1);
    place.write_policy(&format!("{}{document}", policy::host("monitor")))?;
    let daemon = place.start()?;
    // A file that is as new as the process may be another than it runs.
    std::thread::sleep(Duration::from_millis(100));
    let start = || lab.client(Family::V4, &python).arg(&script).start();
    let is_known = |expected: &str, state: &str| {
        wait::until("the script's digest", wait::PATIENCE, || {
            let Some(found) = listed(&place, &["--candidates"])?
                .into_iter()
                .find(|agent| record::text(agent, "/name") == "drifting.py")
            else {
                return Ok(None);
            };
            let shown = show(&place, record::text(&found, "/id"))?;
            let is_it = record::text(&shown, "/script_sha256") == expected
                && record::text(&shown, "/script") == script.display().to_string()
                && record::text(&shown, "/summary/state") == state;
            Ok(is_it.then_some(()))
        })
    };
    let mut running = start()?;
    is_known(&approved, "approved")?;
    running.close_input();
    running.finish(wait::PATIENCE)?;
    fs::write(&script, format!("{text}# more\n"))?;
    std::thread::sleep(Duration::from_millis(100));
    let mut running = start()?;
    is_known(&digest()?, "drifted")?;
    running.close_input();
    running.finish(wait::PATIENCE)?;
    daemon.stop()?;
    Ok(())
}

/// Has a package's library in its memory a moment after it began, and contacts nobody.
const LOADS: &str = "\
import mmap, sys, time
time.sleep(0.3)
with open(sys.argv[1], 'rb') as library:
    loaded = mmap.mmap(library.fileno(), 0, prot=mmap.PROT_READ)
    print('ready', flush=True)
    sys.stdin.read()
";

fn libraries_are_evidence_after_the_start_too(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "library")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let packages = lab.directory("library-site-packages")?.join("site-packages/crewai");
    fs::create_dir_all(&packages)?;
    let library = packages.join("native.so");
    fs::write(&library, [0; 4_096])?;
    let (script, python) = (packages.with_file_name("loads.py"), lab.tools().agent());
    fs::write(&script, LOADS)?;
    let mut running = lab.client(Family::V4, &python).arg(&script).arg(&library).start()?;
    running.line(wait::PATIENCE, |line| line == "ready")?;
    wait::until("the library as evidence", wait::PATIENCE, || {
        for agent in listed(&place, &["--candidates"])? {
            if record::text(&agent, "/name") == "loads.py" {
                let shown = show(&place, record::text(&agent, "/id"))?;
                if rows(&shown, "/evidence", "signal").contains(&"library") {
                    return Ok(Some(()));
                }
            }
        }
        Ok(None)
    })?;
    running.close_input();
    running.finish(wait::PATIENCE)?;
    daemon.stop()?;
    Ok(())
}

/// A field of every row of a list.
fn rows<'a>(value: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    let rows = value.pointer(list).and_then(Value::as_array).into_iter().flatten();
    rows.filter_map(|row| row.get(field)?.as_str()).collect()
}

fn contacts_around_the_gateway(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "gateway")?;
    let text = policy::both_agents(lab, "monitor", &[]);
    let via = "  egress:\n    via: [llm-gateway.acme.example]\n";
    place.write_policy(&text.replace("  egress:\n", via))?;
    let daemon = place.start()?;
    let finished = client::python(lab, Family::V4, SCRIPT).arg(site::OPENAI.name).run()?;
    client::answer(&finished)?;
    let bypass = place.record("the bypass", |each| is_finding(each, "gateway-bypass"))?;
    ensure!(bypass.to_string().contains(site::OPENAI.name), "{bypass}");
    ensure!(record::text(&bypass, "/unmapped/governd/agent/name") == policy::PYTHON, "{bypass}");
    // Another way to the same provider is the gateway's, which is what it is there for.
    ensure!(is_one_of_its_kind(&place, "gateway-bypass")?, "told twice");
    daemon.stop()?;
    Ok(())
}

fn is_one_of_its_kind(place: &Place, kind: &str) -> Result<bool> {
    Ok(place.records()?.iter().filter(|each| is_finding(each, kind)).count() == 1)
}

/// DNS over TLS and over HTTPS, and a hello that hides another: each is a finding of its own.
fn names_out_of_sight(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "hidden")?;
    // Hellos are read where a name is to be proved.
    let rule = format!("allow: [{}, {}]", site::OPENAI.name, site::MISTRAL.name);
    place.write_policy(&policy::both_agents(lab, "monitor", &[&rule]))?;
    let daemon = place.start()?;
    let finding = |kind: &str, words: [&str; 2]| {
        let found = place.record(kind, |each| {
            let title = record::text(each, "/finding_info/title");
            is_finding(each, kind) && words.iter().all(|word| title.contains(word))
        })?;
        ensure!(record::text(&found, "/unmapped/governd/agent/name") == policy::PYTHON, "{found}");
        Ok(())
    };
    let flow = |host: &str, port: &str| {
        client::python(lab, Family::V4, "flows.py").args(["tcp", host, port, "1"]).run()
    };
    // Nobody listens there; that it was tried is what counts.
    flow(site::LEFT.name, "853")?;
    finding("hidden-dns", [site::LEFT.name, "TLS"])?;
    flow(site::DOH.name, "443")?;
    finding("hidden-dns", [site::DOH.name, "HTTPS"])?;
    // A resolver that is known by its address needs no name first.
    flow("1.1.1.1", "443")?;
    finding("hidden-dns", ["1.1.1.1", "HTTPS"])?;

    let finished = client::python(lab, Family::V4, "ech.py").arg(site::OPENAI.name).run()?;
    let said = client::report(&finished)?;
    ensure!(record::number(&said, "/record") == Some(RECORD_HANDSHAKE), "{finished}");
    finding("encrypted-hello", [site::OPENAI.name, "ECH"])?;
    // A hello of another client of the same agent has nothing to hide.
    client::answer(&client::python(lab, Family::V4, SCRIPT).arg(site::MISTRAL.name).run()?)?;
    place.record("the plain call", |each| {
        record::is_flow(each, policy::PYTHON, &site::MISTRAL.v4().to_string())
    })?;
    ensure!(is_one_of_its_kind(&place, "encrypted-hello")?, "told of a plain hello, too");
    daemon.stop()?;
    Ok(())
}

/// Contacts a model's API, and then, until its input ends, says hello to a resolver again and again
/// and has a child say one that hides another. No connection is open for long.
const HIDES: &str = "\
import select, socket, ssl, subprocess, sys
model, resolver, child = sys.argv[1:]
socket.create_connection((model, 443)).close()
print('ready', flush=True)
while not select.select([sys.stdin], [], [], 0.2)[0]:
    with socket.create_connection((resolver, 443)) as plain:
        try: ssl.create_default_context().wrap_socket(plain, server_hostname=resolver)
        except OSError: pass
    subprocess.run([sys.executable, child, model], check=True, stdout=subprocess.DEVNULL)
";

/// The same of an agent that nobody registered, whose hellos prove nothing; and who is no agent may
/// hide what he likes.
fn names_a_shadow_agent_hides(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "shadow-hidden")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let finished = client::python(lab, Family::V4, "ech.py").arg(site::LEFT.name).run()?;
    ensure!(record::number(&client::report(&finished)?, "/record").is_some(), "{finished}");
    let script = lab.tools().script("ech.py");
    let mut hides = lab
        .client(Family::V4, lab.tools().agent())
        .args(["-c", HIDES, site::OPENAI.name, site::DOH.name])
        .arg(&script)
        .start()?;
    hides.line(wait::PATIENCE, |line| line == "ready")?;
    for (kind, host) in [("hidden-dns", site::DOH.name), ("encrypted-hello", site::OPENAI.name)] {
        place.record(kind, |each| {
            is_finding(each, kind) && record::text(each, "/finding_info/title").contains(host)
        })?;
        ensure!(is_one_of_its_kind(&place, kind)?, "{kind} of others, or twice");
    }
    hides.close_input();
    hides.finish(wait::PATIENCE)?;
    daemon.stop()?;
    Ok(())
}

/// A TLS record of a handshake (RFC 8446 section 5.1).
const RECORD_HANDSHAKE: u64 = 22;

/// Processes of one connection each; `BURST` in the environment takes its place.
const BURST: u64 = 1_000;
/// Of them at once.
const BURST_PARALLEL: &str = "4";

fn short_lived_processes_are_attributed(lab: &Lab) -> Result<()> {
    let count = std::env::var("BURST").ok().and_then(|text| text.parse().ok()).unwrap_or(BURST);
    let place = Place::new(lab, "burst")?;
    let directory = lab.directory("burst-programs")?;
    let [spawner, short] = ["burst", "short-lived"].map(|name| directory.join(name));
    let source = lab.tools().script("burst.c");
    run(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&spawner).arg(source))?.success()?;
    fs::copy(&spawner, &short)?;
    let selector = format!("{{exe: {}}}", short.display());
    let agent = policy::agent("burst-bot", &selector, &[]);
    place.write_policy(&format!("{}{agent}", policy::host("monitor")))?;
    let daemon = place.start()?;

    let spawn = |count: u64| -> Result<Value> {
        let finished = lab
            .client(Family::V4, &spawner)
            .args([&count.to_string(), BURST_PARALLEL])
            .args([&short.display().to_string(), "9"])
            .run_within(BURST_PATIENCE)?;
        let said = client::report(&finished)?;
        ensure!(record::number(&said, "/failed") == Some(0), "{finished}");
        Ok(said)
    };
    // All execute one file, whose digest is known a moment after the first of them.
    let digest = |each: &Value| record::text(each, "/actor/process/file/hashes/0/value").to_owned();
    let path = short.display().to_string();
    let is_short = |each: &Value| record::text(each, "/actor/process/file/path") == path;
    let mut before = 0;
    wait::until("the digest of the program", wait::PATIENCE, || {
        spawn(1)?;
        before += 1;
        let is_known = |each: &Value| is_short(each) && !digest(each).is_empty();
        Ok(place.records()?.iter().any(is_known).then_some(()))
    })?;
    let said = spawn(count)?;
    let spawned_by = record::number(&said, "/pid");
    let is_ours = |each: &Value| {
        record::number(each, "/class_uid") == Some(4001)
            && is_short(each)
            && record::number(each, "/actor/process/parent_process/pid") == spawned_by
            && record::lineage(each).first() == Some(&"burst")
    };
    wait::until("every connection's decision", BURST_PATIENCE, || {
        let status = daemon.status()?;
        let all = Some(before + count);
        Ok((record::number(&status, "/decisions/would_deny") == all).then_some(()))
    })?;
    let status = daemon.status()?;
    daemon.stop_within(BURST_PATIENCE)?;
    let records = place.records()?;
    let attributed: std::collections::BTreeSet<Option<u64>> = records
        .iter()
        .filter(|each| is_ours(each))
        .map(|each| record::number(each, "/actor/process/pid"))
        .collect();
    ensure!(attributed.len() as u64 == count, "{} of {count} attributed", attributed.len());
    let summed = run(Command::new("sha256sum").arg(&short))?.success()?;
    let digests: Vec<String> = records.iter().filter(|each| is_ours(each)).map(digest).collect();
    let another = digests.iter().find(|digest| !summed.starts_with(*digest) || digest.is_empty());
    ensure!(another.is_none(), "{another:?} is not the digest in {summed}");
    let lost = status.pointer("/lost").and_then(Value::as_object).context("no counters")?;
    ensure!(lost.is_empty(), "lost: {status}");
    ensure!(record::number(&status, "/log/lost_records") == Some(0), "lost: {status}");
    measured(format!(
        "{count} processes of one connection each: all attributed, with a digest; {said}"
    ));
    Ok(())
}

/// How long a burst and what follows from it may take.
const BURST_PATIENCE: Duration = Duration::from_secs(120);
