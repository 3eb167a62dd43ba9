//! The commands that README and docs show, run as they stand and in the order of a host's first
//! day. Only the service's directories are the lab's, and what stands for something has a value.
//!
//! A command of a page is run here, or where its row says. Blocks that are marked `sh test` are
//! run by `cargo xtask test`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
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
    &[("pages::what_the_pages_show_works", what_the_pages_show_works)];

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What the README calls its agent.
const AGENT: &str = "invoice-bot";
/// What a person makes of a draft: a name, somebody who answers for it, and two places that a
/// person has to allow each time.
const EDITOR: &str = r#"#!/bin/sh
sed -i -e 's/^  name: .*/  name: invoice-bot/' -e 's/To be named/Dana Smith/' \
    -e 's/nobody@example.invalid/dana@acme.example/' "$1"
printf '      - approve: [left.example, exfil.example]\n        verify: dns\n' >>"$1"
"#;

/// A command of a page and what it ends with.
struct Row {
    command: &'static str,
    code: i32,
    /// What has to happen before.
    before: fn(&Tour<'_>) -> Result<()>,
}

const fn row(command: &'static str, code: i32) -> Row {
    Row { command, code, before: nothing }
}

const fn after(before: fn(&Tour<'_>) -> Result<()>, command: &'static str, code: i32) -> Row {
    Row { command, code, before }
}

const YES: i32 = 0;
const NO: i32 = 1;

const ROWS: &[Row] = &[
    row("governd doctor", YES),
    row("governd status", YES),
    after(an_agent_calls, "governd agents", YES),
    row("governd agents --json", YES),
    row(
        "governd agents register python3 --owner 'Dana Smith <dana@acme.example>' \
         -o invoice-bot.yaml",
        YES,
    ),
    row("governd policy learn --since 1h > learned.yaml", YES),
    row("\"${EDITOR:-vi}\" learned.yaml", YES),
    row("governd policy check learned.yaml", YES),
    row("governd policy diff /etc/governd/policies learned.yaml --since 1h", NO),
    row("cp learned.yaml /etc/governd/policies/", YES),
    after(it_does_more, "governd policy learn --since 1d --agent invoice-bot", YES),
    row("governd audit query --verdict would-deny", YES),
    row("governd mode set enforce --agent invoice-bot", YES),
    row("governd selftest --agent invoice-bot", YES),
    after(it_is_refused, "governd explain --last --agent invoice-bot", NO),
    row("governd explain PID api.example.com:443", YES),
    row("governd explain 4711 files.openai.com", YES),
    row("governd approvals", YES),
    row("governd approve 1 --for 1m", YES),
    after(another_is_refused, "governd approve ID --for 2h", YES),
    row("governd policy check /etc/governd/policies", YES),
    after(
        documents_are_elsewhere,
        "governd policy sign ./policies --key policy.key --new-key acme/policy",
        YES,
    ),
    row("governd policy verify ./policies --key policy.key.pub", YES),
    row("governd policy diff /etc/governd/policies ./policies --since 7d", NO),
    row("governd audit verify", YES),
    row("governd audit query --agent invoice-bot --format csv", YES),
    row("governd audit export march.extract --from 2026-03-01 --to 2026-04-01", YES),
    row("governd audit prove ID", YES),
    // There is no such user here, and nothing as old.
    row("governd audit erase --user dana", NO),
    row("governd audit erase --before 4320h", NO),
    row("governd audit rotate-key", YES),
    row("governd quarantine invoice-bot", YES),
    row("cp invoice-bot.yaml /etc/governd/policies/", YES),
];

/// How a command begins that is run elsewhere, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cargo xtask", "xtask/src/main.rs"),
    ("git clone", "docs/release.md"),
    ("diff -r", "docs/release.md"),
    ("governd up", "tests/integration/lifecycle.rs"),
    ("governd watch", "tests/integration/verbs.rs"),
    ("governd install", "governd/tests/install.rs"),
    ("./governd install", "governd/tests/install.rs"),
    ("governd uninstall", "governd/tests/install.rs"),
    ("systemctl", "xtask/src/vm/packages/steps/keep.sh"),
    ("tar -C /var/lib", "xtask/src/vm/packages/steps/keep.sh"),
    ("apt install", "xtask/src/vm/packages/steps/install.sh"),
    ("dnf install", "xtask/src/dist/rpm.rs"),
    ("kubectl", "governd/tests/kubernetes.rs"),
    ("helm", "governd/tests/kubernetes.rs"),
    ("node=", "governd/tests/kubernetes.rs"),
    ("pod=", "governd/tests/kubernetes.rs"),
    ("token=", "governd/tests/kubernetes.rs"),
    ("governd sink", "tests/integration/crash.rs"),
    ("governd enroll", "tests/integration/crash.rs"),
    ("governd audit verify --against sink", "tests/integration/crash.rs"),
    ("check-log.py --mirror", "governd/src/sink/tiles.rs"),
];

fn what_the_pages_show_works(lab: &Lab) -> Result<()> {
    let shown = shown()?;
    for (page, command) in &shown {
        let is_run = ROWS.iter().any(|row| row.command == command);
        let elsewhere = ELSEWHERE.iter().find(|(begin, _)| command.starts_with(begin));
        ensure!(is_run || elsewhere.is_some(), "{page}: `{command}` is run by no test");
    }
    for row in ROWS {
        ensure!(shown.iter().any(|(_, it)| it == row.command), "no page has `{}`", row.command);
    }
    for (begin, file) in ELSEWHERE {
        ensure!(Path::new(ROOT).join(file).exists(), "{begin}: there is no {file}");
        ensure!(shown.iter().any(|(_, it)| it.starts_with(begin)), "no page has `{begin}`");
    }
    let place = Place::new(lab, "pages")?;
    place.write_policy(&policy::host("monitor"))?;
    let daemon = place.start()?;
    let desk = lab.directory("desk")?;
    let editor = desk.join("editor");
    fs::write(&editor, EDITOR)?;
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755))?;
    let tour = Tour { lab, place: &place, desk };
    for row in ROWS {
        (row.before)(&tour).with_context(|| format!("before `{}`", row.command))?;
        let finished = tour.run(row.command).with_context(|| format!("`{}`", row.command))?;
        ensure!(finished.code == Some(row.code), "`{}`: {finished}", row.command);
    }
    daemon.stop()?;
    Ok(())
}

/// Every command of the pages, with its place.
fn shown() -> Result<Vec<(String, String)>> {
    let mut shown = Vec::new();
    let mut pages = vec![PathBuf::from(ROOT).join("README.md")];
    for folder in ["docs", "docs/concepts"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder))? {
            let path = entry?.path();
            pages.extend(path.extension().is_some_and(|it| it == "md").then_some(path));
        }
    }
    for page in pages {
        let text = fs::read_to_string(&page)?;
        let name = page.file_name().context("a page has no name")?.to_string_lossy().into_owned();
        shown.extend(commands(&text).into_iter().map(|command| (name.clone(), command)));
    }
    Ok(shown)
}

/// The commands in a page's blocks: each line of shell, and what stands behind a prompt.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut block: Option<&str> = None;
    let mut begun = String::new();
    for line in page.lines() {
        if let Some(info) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(info) };
            continue;
        }
        let line = match block {
            Some("sh") => line,
            Some("console") => match line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) {
                Some(line) => line,
                None => continue,
            },
            _ => continue,
        };
        let line = line.split(" # ").next().unwrap_or_default().trim_end();
        begun.push_str(line.strip_suffix('\\').unwrap_or(line));
        // What is quoted may go on in the next line.
        if !line.ends_with('\\') && begun.matches('\'').count().is_multiple_of(2) {
            commands.push(std::mem::take(&mut begun).trim().to_owned());
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// A host on its first day.
struct Tour<'a> {
    lab: &'a Lab,
    place: &'a Place,
    /// Where the person works.
    desk: PathBuf,
}

impl Tour<'_> {
    /// The command with values for what stands for one, in a shell that finds the lab's daemon.
    fn command(&self, text: &str) -> Result<Command> {
        let policies = self.place.policies().display().to_string();
        let mut text = text.replace("/etc/governd/policies", &policies);
        // The month that is asked for is the one in which this runs.
        text =
            text.replace("--from 2026-03-01 --to 2026-04-01", "--from 2026-03-01 --to 2126-04-01");
        let this = std::process::id().to_string();
        for stands in ["PID", "4711"] {
            text = text.replace(&format!(" {stands} "), &format!(" {this} "));
        }
        if text.contains("approve ID") {
            text = text.replace("ID", &self.waiting()?.context("nothing waits for a person")?);
        } else if text.ends_with(" ID") {
            let records = self.place.records()?;
            let first = records.first().context("nothing is recorded")?;
            text = text.replace("ID", record::text(first, "/metadata/uid"));
        } else if text.contains("register python3") {
            text = text.replace("python3", "openai_chat.py");
        }
        let programs = self.place.program().parent().context("governd is nowhere")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "bash", "-euo", "pipefail", "-c", &text]);
        command.current_dir(&self.desk);
        command.env("PATH", format!("{}:{path}", programs.display()));
        command.env("EDITOR", self.desk.join("editor")).env("NO_COLOR", "1");
        command.env("GOVERND_SOCKET", self.place.socket());
        command.env("GOVERND_STATE_DIR", self.place.state());
        command.env("GOVERND_CATALOG", self.place.catalog());
        Ok(command)
    }

    /// Number of a request that waits for a person.
    fn waiting(&self) -> Result<Option<String>> {
        let waiting = self.run("governd approvals --json")?.stdout;
        let Some(line) = waiting.lines().next() else { return Ok(None) };
        let waiting: Value = serde_json::from_str(line)?;
        Ok(waiting.get("id").map(Value::to_string))
    }

    fn run(&self, text: &str) -> Result<Finished> {
        run(&mut self.command(text)?)
    }
}

fn nothing(_: &Tour<'_>) -> Result<()> {
    Ok(())
}

fn an_agent_calls(tour: &Tour<'_>) -> Result<()> {
    let client = OFFICIAL.first().context("the lab has no client")?;
    let answer = (client.start)(tour.lab, Family::V4, site::OPENAI.name).run()?;
    ensure!(client::answer(&answer)? == ANSWER, "monitor mode stops nothing");
    tour.place.record("the contact", |each| {
        record::text(each, "/dst_endpoint/hostname") == site::OPENAI.name
    })?;
    wait::until("the agent", wait::PATIENCE, || {
        Ok(tour.run("governd agents")?.stdout.contains("openai_chat.py").then_some(()))
    })
}

/// In monitor mode, and registered.
fn it_does_more(tour: &Tour<'_>) -> Result<()> {
    wait::until("the agent in the status", wait::PATIENCE, || {
        Ok(tour.run("governd status")?.stdout.contains(AGENT).then_some(()))
    })?;
    let more = client::flow(tour.lab, Family::V4, "tcp", site::RIGHT.name, 1)?;
    ensure!(more.reached == 1, "monitor mode stops nothing: {more:?}");
    wait::until("what else it needs", wait::PATIENCE, || {
        let learned = tour.run("governd policy learn --agent invoice-bot")?;
        Ok(learned.stdout.contains(site::RIGHT.name).then_some(()))
    })
}

/// Nobody has approved it.
fn it_is_refused(tour: &Tour<'_>) -> Result<()> {
    let refused = client::flow(tour.lab, Family::V4, "tcp", site::LEFT.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    wait::until("an explanation", wait::PATIENCE, || {
        let said = tour.run("governd explain --last --agent invoice-bot")?;
        Ok(said.stdout.contains(site::LEFT.name).then_some(()))
    })
}

fn another_is_refused(tour: &Tour<'_>) -> Result<()> {
    let refused = client::flow(tour.lab, Family::V4, "tcp", site::EXFIL.name, 1)?;
    ensure!(refused.reached == 0, "{refused:?}");
    wait::until("another request", wait::PATIENCE, || Ok(tour.waiting()?.map(|_| ())))
}

/// As in a repository of policies, with one agent less.
fn documents_are_elsewhere(tour: &Tour<'_>) -> Result<()> {
    let policies = tour.desk.join("policies");
    fs::create_dir(&policies)?;
    fs::write(policies.join("host.yaml"), policy::host("monitor"))?;
    Ok(())
}
