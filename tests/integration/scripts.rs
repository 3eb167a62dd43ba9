//! Agents that one interpreter runs, told apart by their scripts.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Result, ensure};
use governd_tests::{Lab, client::Family, command::Running, daemon::Place, site, wait};

use crate::{Test, measured, policy, record};

pub(crate) const TESTS: &[Test] =
    &[("scripts::a_script_tells_agents_of_one_interpreter_apart", a_script_tells_agents_apart)];

const BOT: &str = "script-bot";

/// Says for itself and for a child whether an address lets itself be connected to, each time that
/// this changes, and after how many milliseconds, until its standard input ends. The child is made
/// at once.
const TRIES: &str = r#"
import os, select, socket, sys, time
began = time.monotonic()
who, last = ("one" if os.fork() else "child"), None
while not select.select([sys.stdin], [], [], 0.002)[0]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect((sys.argv[1], 9))
            said = "free"
        except PermissionError:
            said = "refused"
    if said != last:
        print(who, said, round(1000 * (time.monotonic() - began)), flush=True)
        last = said
"#;

fn a_script_tells_agents_apart(lab: &Lab) -> Result<()> {
    let place = Place::new(lab, "scripts")?;
    let directory = lab.directory("scripts-of-one-interpreter")?;
    let [bot, link, other] = ["bot.py", "link.py", "other.py"].map(|name| directory.join(name));
    fs::write(&bot, TRIES)?;
    fs::write(&other, TRIES)?;
    std::os::unix::fs::symlink(&bot, &link)?;
    let python = lab.tools().agent();
    let selector = format!("{{exe: {}, script: {}}}", python.display(), bot.display());
    let bot_alone = policy::agent(BOT, &selector, &[]);
    place.write_policy(&format!("{}{bot_alone}", policy::host("enforce")))?;
    let start = |script: &Path| {
        let exfil = site::EXFIL.v4().to_string();
        let mut running = lab.client(Family::V4, &python).arg(script).arg(exfil).start()?;
        says(&mut running, "one ")?;
        anyhow::Ok(running)
    };
    let mut older = start(&bot)?;
    let mut others = vec![start(&other)?];
    says(&mut older, "one free")?;

    let daemon = place.start()?;
    let mut newer = start(&link)?;
    others.push(start(&other)?);
    let mut after = Vec::new();
    for running in [&mut older, &mut newer] {
        let said = says(running, "one refused")?;
        after.push(said.rsplit(' ').next().unwrap_or_default().to_owned());
        says(running, "child refused")?;
    }
    let after = after.pop().unwrap_or_default();
    measured(format!("a script is refused {after} ms after its first line"));
    place.record("what it executes", |each| {
        record::number(each, "/class_uid") == Some(1007)
            && record::text(each, "/unmapped/governd/agent/name") == BOT
    })?;
    // The time in which the scripts of the agent were recognised is over for the others, too.
    thread::sleep(Duration::from_secs(1));
    for mut running in others {
        running.close_input();
        let finished = running.finish(wait::PATIENCE)?;
        ensure!(!finished.stdout.contains("refused"), "another script: {finished}");
    }
    // The file is another one from now on, and a process of it the same agent.
    fs::write(directory.join("next.py"), TRIES)?;
    fs::rename(directory.join("next.py"), &bot)?;
    let mut replaced = start(&bot)?;
    says(&mut replaced, "one refused")?;
    for mut running in [older, newer, replaced] {
        running.close_input();
        running.finish(wait::PATIENCE)?;
    }
    daemon.stop()?;
    let is_shadow = |each: &&serde_json::Value| {
        record::text(each, "/unmapped/governd/kind") == "shadow-agent"
            && each.to_string().contains("bot.py")
    };
    let records = place.records()?;
    let shadow = records.iter().find(is_shadow);
    ensure!(shadow.is_none(), "a registered agent is called a shadow: {shadow:?}");
    Ok(())
}

fn says(running: &mut Running, beginning: &str) -> Result<String> {
    running.line(wait::PATIENCE, |line| line.starts_with(beginning))
}
