//! Agents that others start: what both may do, and no more, whatever becomes of the process.

use std::{fs, os::unix::net::UnixListener, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use governd_tests::{
    Lab,
    client::Family,
    daemon::{Daemon, Place},
    site, wait,
};
use serde_json::Value;

use crate::{Test, policy, record};

pub(crate) const TESTS: &[Test] = &[
    ("delegation::what_an_agent_starts_may_do_what_both_may", what_both_may),
    ("delegation::processes_that_run_already_are_told_apart", processes_that_run_already),
    ("delegation::a_document_that_goes_away_leaves_the_other", a_document_goes_away),
    ("delegation::own_rights_are_those_of_the_one_that_is_started", own_rights),
    ("delegation::quarantine_and_limits_hold_for_what_is_started", quarantine_and_limits),
    ("delegation::questions_sockets_and_quic_are_what_both_may", questions_sockets_and_quic),
    ("delegation::bytes_are_counted_for_each", bytes_are_counted),
];

const CODER: &str = "coder";
const TOOL: &str = "tool";
/// Only the coder may, both may, only the tool may, nobody may.
const NAMES: [&str; 4] = [site::LEFT.name, site::BOTH.name, site::RIGHT.name, site::EXFIL.name];
const CODERS: &str = "reached reached Permission denied Permission denied";
const TOOLS: &str = "Permission denied reached reached Permission denied";
const OF_BOTH: &str = "Permission denied reached Permission denied Permission denied";

/// Two interpreters that are agents, and one that is not.
struct Agents {
    coder: PathBuf,
    tool: PathBuf,
    other: PathBuf,
}

impl Agents {
    fn new(lab: &Lab) -> Result<Self> {
        let directory = lab.directory("delegation")?;
        let copy = |name: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            fs::copy(fs::canonicalize(lab.tools().agent())?, &path).context("copying Python")?;
            Ok(path)
        };
        Ok(Self { coder: copy("coder")?, tool: copy("tool")?, other: directory.join("other") })
    }

    /// The policy; `more` is further fields of both agents, and `parent` the tool's.
    fn policy(&self, more: &str, parent: Option<&str>, mode: &str) -> String {
        let agents = [
            (CODER, &self.coder, None, [site::LEFT, site::BOTH]),
            (TOOL, &self.tool, parent, [site::RIGHT, site::BOTH]),
        ];
        let agents = agents.map(|(name, exe, parent, sites)| {
            let parent = parent.map(|parent| format!(", parent: {parent}")).unwrap_or_default();
            let selector = format!("{{exe: {}{parent}}}", exe.display());
            let [one, two] = sites.map(|site| site.name);
            let rule = format!("allow: [{one}, {two}]\n        verify: dns");
            policy::agent(name, &selector, &[&rule]).replace("spec:\n", &format!("spec:\n{more}"))
        });
        policy::host(mode) + &agents.concat()
    }

    /// What the names come to for who goes through steps; `coder`, `tool` and `other` in them stand
    /// for the files.
    fn run(&self, lab: &Lab, first: &PathBuf, steps: &str) -> Result<String> {
        let said = self.client(lab, first, steps).run()?.success()?;
        in_words(&said)
    }

    fn client(&self, lab: &Lab, first: &PathBuf, steps: &str) -> governd_tests::client::Client {
        let mut steps = steps.to_owned();
        let files = [("=coder", &self.coder), ("=tool", &self.tool), ("=other", &self.other)];
        for (word, file) in files {
            steps = steps.replace(word, &format!("={}", file.display()));
        }
        let script = lab.tools().script("starting.py");
        lab.client(Family::V4, first).arg(script).arg(steps).args(NAMES)
    }
}

/// The outcomes, in the order of the names.
fn in_words(said: &str) -> Result<String> {
    let line = said.lines().last().with_context(|| format!("nothing was said: {said}"))?;
    let said: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    let words: Vec<&str> =
        NAMES.iter().filter_map(|name| said.get(name).and_then(Value::as_str)).collect();
    Ok(words.join(" "))
}

fn what_both_may(lab: &Lab) -> Result<()> {
    let (place, agents) = (Place::new(lab, "delegation")?, Agents::new(lab)?);
    for parent in [None, Some(CODER)] {
        place.write_policy(&agents.policy("", parent, "enforce"))?;
        let daemon = place.start()?;
        let rows = [
            (&agents.coder, "", CODERS),
            (&agents.coder, "start=coder", CODERS),
            (&agents.coder, "start=tool", OF_BOTH),
            (&agents.coder, "exec=tool", OF_BOTH),
            (&agents.coder, "orphan=tool", OF_BOTH),
            // What it starts in turn is it, too, also where it is the coder again.
            (&agents.coder, "start=tool,start=coder", OF_BOTH),
            (&agents.coder, "start=tool,orphan=coder,start=tool", OF_BOTH),
            (&agents.coder, "start=tool,copy=other,exec=other", OF_BOTH),
            // A copy is nobody's document: it is what started it.
            (&agents.coder, "copy=other,start=other", CODERS),
        ];
        for (first, steps, expected) in rows {
            let found = agents.run(lab, first, steps)?;
            ensure!(found == expected, "{steps}, parent {parent:?}: {found}");
        }
        let alone = agents.run(lab, &agents.tool, "")?;
        let expected = if parent.is_none() { TOOLS } else { "reached reached reached reached" };
        ensure!(alone == expected, "the tool alone, parent {parent:?}: {alone}");
        if parent.is_none() {
            let found = agents.run(lab, &agents.tool, "start=coder")?;
            ensure!(found == OF_BOTH, "the coder below the tool: {found}");
        }
        let flow = place.record("a denial of both", |each| {
            record::is_flow(each, TOOL, &site::LEFT.v4().to_string())
                && record::text(each, "/unmapped/governd/agent/started_by") == CODER
        })?;
        ensure!(record::verdict(&flow) == "deny", "{flow}");
        let said = place.ask(&["explain", "--last", "--agent", TOOL])?.stdout;
        if parent.is_some() {
            ensure!(said.contains("is the agent tool, started by coder"), "{said}");
            ensure!(said.contains("it is the policy of the agent"), "{said}");
        }
        daemon.stop()?;
    }
    Ok(())
}

/// Writes a policy and waits until it is in force, and processes are looked at.
fn put_in_force(place: &Place, daemon: &Daemon<'_>, text: &str) -> Result<()> {
    let generation = |status: &Value| record::number(status, "/policy/generation");
    let before = generation(&daemon.status()?);
    place.write_policy(text)?;
    daemon.reload()?;
    wait::until("the next policy", wait::PATIENCE, || {
        Ok((generation(&daemon.status()?) > before).then_some(()))
    })
}

fn processes_that_run_already(lab: &Lab) -> Result<()> {
    let (place, agents) = (Place::new(lab, "delegation-sweep")?, Agents::new(lab)?);
    place.write_policy(&agents.policy("", Some(CODER), "enforce"))?;
    let mut early = agents.client(lab, &agents.coder, "start=tool,wait,").start()?;
    early.line(wait::PATIENCE, |line| line == "ready")?;
    let daemon = place.start()?;
    early.close_input();
    let found = in_words(&early.finish(wait::PATIENCE)?.success()?)?;
    ensure!(found == OF_BOTH, "it ran before the daemon: {found}");

    // One that was the coder's when there was no document of its own.
    let alone = agents.policy("", None, "enforce");
    let (alone, _) = alone
        .split_once("---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {name: tool}")
        .context("no tool in the policy")?;
    put_in_force(&place, &daemon, alone)?;
    let mut early = agents.client(lab, &agents.coder, "start=tool,wait,").start()?;
    early.line(wait::PATIENCE, |line| line == "ready")?;
    put_in_force(&place, &daemon, &agents.policy("", Some(CODER), "enforce"))?;
    early.close_input();
    let found = in_words(&early.finish(wait::PATIENCE)?.success()?)?;
    ensure!(found == OF_BOTH, "it ran before its document: {found}");
    daemon.stop()?;
    Ok(())
}

fn a_document_goes_away(lab: &Lab) -> Result<()> {
    let (place, agents) = (Place::new(lab, "delegation-left")?, Agents::new(lab)?);
    let whole = agents.policy("", None, "enforce");
    let begin = |name: &str| {
        whole.find(&format!(
            "---\napiVersion: governd.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}"
        ))
    };
    let (coder, tool) = (begin(CODER).context("no coder")?, begin(TOOL).context("no tool")?);
    let (without_tool, without_coder) =
        (whole[..tool].to_owned(), whole[..coder].to_owned() + &whole[tool..]);
    for (left, expected) in [(without_tool, CODERS), (without_coder, TOOLS)] {
        place.write_policy(&whole)?;
        let daemon = place.start()?;
        let mut early = agents.client(lab, &agents.coder, "start=tool,wait,").start()?;
        early.line(wait::PATIENCE, |line| line == "ready")?;
        put_in_force(&place, &daemon, &left)?;
        early.close_input();
        let found = in_words(&early.finish(wait::PATIENCE)?.success()?)?;
        ensure!(found == expected, "{left}: {found}");
        daemon.stop()?;
    }
    Ok(())
}

const OWN: &str =
    "  delegation: own\n  approval: {by: {name: Lee, mail: lee@acme.example}, on: 2026-01-02}\n";

fn own_rights(lab: &Lab) -> Result<()> {
    let (place, agents) = (Place::new(lab, "delegation-own")?, Agents::new(lab)?);
    place.write_policy(&agents.policy(OWN, None, "enforce"))?;
    let daemon = place.start()?;
    let rows = [("start=tool", TOOLS), ("start=tool,start=coder", CODERS), ("", CODERS)];
    for (steps, expected) in rows {
        let found = agents.run(lab, &agents.coder, steps)?;
        ensure!(found == expected, "{steps}: {found}");
    }
    daemon.stop()?;
    Ok(())
}

fn quarantine_and_limits(lab: &Lab) -> Result<()> {
    let (place, agents) = (Place::new(lab, "delegation-controls")?, Agents::new(lab)?);
    place.write_policy(&agents.policy("", None, "enforce"))?;
    let daemon = place.start()?;
    for quarantined in [CODER, TOOL] {
        place.ask(&["quarantine", quarantined])?.success()?;
        let found = agents.run(lab, &agents.coder, "start=tool")?;
        ensure!(!found.contains("reached"), "{quarantined} is quarantined: {found}");
        place.ask(&["release", quarantined])?.success()?;
        let found = agents.run(lab, &agents.coder, "start=tool")?;
        ensure!(found == OF_BOTH, "{quarantined} was released: {found}");
    }
    daemon.stop()?;

    // Connections of what the coder starts are the coder's: the fourth is one too many.
    let limit = "  limits: {halt: {connections_per_minute: 3}}\n";
    let text = agents.policy(limit, None, "enforce");
    place.write_policy(
        &text
            .replacen(limit, "", 1)
            .replacen(
                &format!("name: {CODER}}}\nspec:\n"),
                &format!("name: {CODER}}}\nspec:\n{limit}"),
                1,
            )
            .replace(
                &format!("name: {TOOL}}}\nspec:\n{limit}"),
                &format!("name: {TOOL}}}\nspec:\n"),
            ),
    )?;
    let daemon = place.start()?;
    for _ in 0..3 {
        agents.run(lab, &agents.coder, "start=tool")?;
    }
    let found = agents.run(lab, &agents.coder, "start=tool")?;
    ensure!(!found.contains("reached"), "the limit of who started it: {found}");
    let found = agents.run(lab, &agents.coder, "")?;
    ensure!(!found.contains("reached"), "the coder is quarantined by what it started: {found}");
    let found = agents.run(lab, &agents.tool, "")?;
    ensure!(found == TOOLS, "the tool is not: {found}");
    let list = place.ask(&["quarantine"])?.success()?;
    ensure!(list.contains(CODER) && !list.contains(TOOL), "{list}");
    daemon.stop()?;
    Ok(())
}

/// What is asked: a name, a local socket, or a QUIC server of a name.
const ASKING: &str = r#"
import os, socket, sys
def ask(what):
    kind, _, to = what.partition("=")
    if kind == "name":
        socket.getaddrinfo(to, 9, socket.AF_INET)
    elif kind == "unix":
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(to)
    elif kind == "quic":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect((to, 443))
    elif kind == "bytes":
        host, count = to.split(":")
        with socket.create_connection((host, 7), 10) as one:
            one.sendall(b"x" * int(count))
            left = int(count)
            while left:
                left -= len(one.recv(65536))
words = []
for what in sys.argv[1:]:
    try:
        ask(what)
        words.append("yes")
    # Of a question that was refused, the resolver only says that there is no answer.
    except (PermissionError, socket.gaierror):
        words.append("no")
    except OSError as error:
        words.append(os.strerror(error.errno) if error.errno else str(error))
print(" ".join(words))
"#;
/// Has its first argument run the rest of them.
const STARTING: &str = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)";

impl Agents {
    /// What comes of questions of the coder, or of the tool that it starts.
    fn ask(&self, lab: &Lab, is_started: bool, what: &[&str]) -> Result<String> {
        let mut client = lab.client(Family::V4, &self.coder);
        if is_started {
            client = client.args(["-c", STARTING]).arg(&self.tool);
        }
        let said = client.args(["-c", ASKING]).args(what).run()?.success()?;
        Ok(said.trim().to_owned())
    }

    /// A policy of both with fields of their `egress` and rules of each.
    fn differing(&self, egress: [&str; 2], rules: [&str; 2]) -> String {
        let agents = [(CODER, &self.coder), (TOOL, &self.tool)];
        let of = |((name, exe), (egress, rule)): ((&str, &PathBuf), (&str, &str))| {
            let selector = format!("{{exe: {}}}", exe.display());
            policy::agent(name, &selector, &[rule])
                .replace("    dns: any\n", &format!("    {egress}\n"))
        };
        let rows = agents.into_iter().zip(egress.into_iter().zip(rules));
        policy::host("enforce") + &rows.map(of).collect::<String>()
    }
}

/// The `egress` and the rules of both, what is asked, and what comes of it for the coder and for
/// the tool that it starts.
type AskingRow<'a> = ([&'a str; 2], [&'a str; 2], &'a [&'a str], &'a str, &'a str);

fn questions_sockets_and_quic(lab: &Lab) -> Result<()> {
    let (place, agents) = (Place::new(lab, "delegation-asking")?, Agents::new(lab)?);
    let sockets = ["one", "two", "three"].map(|name| place.state().with_file_name(name));
    let _listening: Vec<UnixListener> =
        sockets.iter().map(UnixListener::bind).collect::<Result<_, _>>()?;
    let [one, two, three] = sockets.map(|path| path.display().to_string());
    let names = NAMES.map(|name| format!("name={name}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let unix = [&one, &two, &three].map(|path| format!("unix={path}"));
    let unix: Vec<&str> = unix.iter().map(String::as_str).collect();
    let [named, quic] = ["name", "quic"].map(|kind| format!("{kind}={}", site::BOTH.name));
    let allow = |one: site::Site| {
        let (one, two) = (one.name, site::BOTH.name);
        format!("allow: [{one}, {two}]\n        verify: dns")
    };
    let (left, right) = (allow(site::LEFT), allow(site::RIGHT));
    let with_quic = |rule: &str| format!("{rule}\n        quic: allow");
    let (left_quic, right_quic) = (with_quic(&left), with_quic(&right));
    let (restrict, any) = ("dns: restrict", "dns: any");
    let listed = |list: &str| format!("dns: any\n    unix: [{list}]");
    let (ones, twos) = (listed(&format!("{one}, {two}")), listed(&format!("{two}, {three}")));
    let rows: [AskingRow<'_>; 6] = [
        ([restrict, restrict], [&left, &right], &names, "yes yes no no", "no yes no no"),
        ([restrict, any], [&left, &right], &names, "yes yes no no", "yes yes no no"),
        ([any, restrict], [&left, &right], &names, "yes yes yes yes", "no yes yes no"),
        ([&ones, &twos], [&left, &right], &unix, "yes yes no", "no yes no"),
        ([any, any], [&left_quic, &right], &[&named, &quic], "yes yes", "yes no"),
        ([any, any], [&left_quic, &right_quic], &[&named, &quic], "yes yes", "yes yes"),
    ];
    for (egress, rules, what, of_coder, of_both) in rows {
        place.write_policy(&agents.differing(egress, rules))?;
        let daemon = place.start()?;
        let found = [false, true].map(|is_started| agents.ask(lab, is_started, what));
        let [alone, both] = found;
        let (alone, both) = (alone?, both?);
        ensure!(alone == of_coder, "{egress:?} {rules:?}, the coder: {alone}");
        ensure!(both == of_both, "{egress:?} {rules:?}, the tool that it starts: {both}");
        daemon.stop()?;
    }
    Ok(())
}

/// Bytes that the coder and what it starts may send and receive, and a part of them.
const BYTES: usize = 400_000;
const SOME: usize = 150_000;

fn bytes_are_counted(lab: &Lab) -> Result<()> {
    let (place, agents) = (Place::new(lab, "delegation-bytes")?, Agents::new(lab)?);
    let rule = format!("allow: [\"{}\"]", site::LEFT.v4());
    let text = agents.differing(["dns: any", "dns: any"], [&rule, &rule]);
    let head = format!("name: {CODER}}}\nspec:\n");
    let limits = format!("{head}  limits: {{halt: {{bytes_per_hour: {BYTES}}}}}\n");
    place.write_policy(&text.replacen(&head, &limits, 1))?;
    let daemon = place.start()?;
    let some = format!("bytes={}:{SOME}", site::LEFT.v4());
    // Each goes out and comes back.
    ensure!(agents.ask(lab, true, &[&some])? == "yes", "it is within the limit");
    let used = |daemon: &Daemon<'_>| -> Result<u64> {
        let status = daemon.status()?;
        let agents = status.pointer("/agents").and_then(Value::as_array).context("no agents")?;
        let coder = agents.iter().find(|one| record::text(one, "/name") == CODER);
        let used = coder.and_then(|one| one.pointer("/limits/0/used")?.as_u64());
        used.with_context(|| format!("no limit of the coder in {status}"))
    };
    let counted = used(&daemon)?;
    ensure!(counted >= 2 * SOME as u64, "the coder's limit has {counted} bytes of what it started");
    wait::until("the end of both", wait::PATIENCE, || {
        Ok((agents.ask(lab, true, &[&some])? == "no").then_some(()))
    })?;
    ensure!(agents.ask(lab, false, &[&some])? == "no", "the coder goes on");
    let list = place.ask(&["quarantine"])?.success()?;
    ensure!(list.contains(CODER) && !list.contains(TOOL), "{list}");
    daemon.stop()?;
    Ok(())
}
