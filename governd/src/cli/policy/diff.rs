//! `governd policy diff`.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Additions, Exit, Here, Outcome, Printer, Which, invalid, read, unwritable};
use crate::{
    app::flows,
    cli::{audit::moment, printer::Tone},
    policy::{
        self, Documents,
        compile::Surroundings,
        effective::effective,
        ids::Ids,
        image::Compiled,
        reach::{self, AgentChange, FlowChange, Reach, Shift},
        recalled::RecalledHost,
        said::{self, Setting},
    },
    settings,
};

#[derive(Args, Debug)]
pub(super) struct Diff {
    /// The policy as it is: a file or a directory.
    old: PathBuf,
    /// The policy as it would be.
    new: PathBuf,
    /// Also say which connections in the log, from this time on, would be decided otherwise:
    /// `2026-03-01`, or that long ago: `36h`, `30d`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Directory of the daemon's state; the log is in `log` below it.
    #[arg(
        long,
        env = "GOVERND_STATE_DIR",
        value_name = "DIR",
        default_value = settings::STATE_DIR
    )]
    state_dir: PathBuf,
    #[command(flatten)]
    additions: Additions,
    #[command(flatten)]
    which: Which,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    /// What holds otherwise for the host as a whole.
    host: Vec<Setting>,
    agents: Vec<AgentChange>,
    flows: Vec<FlowChange>,
}

impl Diff {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let here = Here::read(&self.additions, &self.which)?;
        let mut ids = Ids::default();
        let past = RecalledHost::new(&here.host);
        let around = Surroundings { host: &past, ..here.around() };
        let mut compile = |path: &Path| -> Result<(Documents, Compiled), _> {
            let documents = policy::load(&read(&[path.to_owned()])?).map_err(invalid)?;
            let compiled = documents.compile(&around, &mut ids).map_err(invalid)?;
            Ok((documents, compiled))
        };
        let ((before, old), (after, new)) = (compile(&self.old)?, compile(&self.new)?);
        let (before, after) = (&before.policy, &after.policy);
        let agents = reach::changes(&old, &new, &said::changes(before, after));
        let names = (&*old.host_policy.name, &*new.host_policy.name);
        let host = said::host_changes((before, names.0), (after, names.1));
        let flows = match self.since {
            None => Vec::new(),
            Some(since) => {
                let seen = flows::read(&self.state_dir.join("log"), since.as_millisecond())
                    .map_err(super::unreadable)?;
                if seen.left_out > 0 {
                    printer.note(format!("{} kinds of flows were left out", seen.left_out));
                }
                reach::flow_changes(&old, &new, &seen.flows, &past)
            }
        };
        let report = Report { host, agents, flows };
        let is_same = report.host.is_empty() && report.agents.is_empty() && report.flows.is_empty();
        if printer.is_json() {
            printer.value(&report).map_err(unwritable)?;
        } else {
            for line in lines(&report, (&old, &new), &printer) {
                printer.line(line).map_err(unwritable)?;
            }
        }
        Ok(if is_same { Exit::Yes } else { Exit::No })
    }
}

fn lines(report: &Report, sides: (&Compiled, &Compiled), printer: &Printer) -> Vec<String> {
    let Report { host, agents, flows } = report;
    let mut lines = Vec::new();
    if !host.is_empty() {
        lines.push("this host".to_owned());
        lines.extend(host.iter().map(setting));
    }
    for change in agents {
        lines.extend(of_agent(change, sides, printer));
    }
    for FlowChange { agent, recognised, started_by, destination, verdict, rule, count, last_ms } in
        flows
    {
        let others = started_by_words(started_by);
        let now = recognised.as_ref().map(|name| format!(", now {name},")).unwrap_or_default();
        let last = Timestamp::from_millisecond(i64::try_from(*last_ms).unwrap_or(i64::MAX));
        let last = last.unwrap_or_default();
        lines.push(format!(
            "seen {count} times, last {last:.0}: {agent}{others}{now} to {destination} becomes \
             {verdict}, by {rule}"
        ));
    }
    if lines.is_empty() {
        lines.push("nobody gains or loses anything".to_owned());
    }
    lines
}

fn of_agent(change: &AgentChange, sides: (&Compiled, &Compiled), printer: &Printer) -> Vec<String> {
    let AgentChange {
        agent,
        started_by,
        subjects,
        owner,
        presence,
        mode,
        gains,
        loses,
        changes,
        settings,
    } = change;
    let owner = owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default();
    let others = started_by_words(started_by);
    let word = match *presence {
        "new" => format!("is new, in mode {}", mode.1),
        "gone" => "is gone: its processes are no agent's any more".to_owned(),
        _ => String::new(),
    };
    let mut lines = vec![format!("{agent}{owner}{others} {word}").trim_end().to_owned()];
    let whole = match *presence {
        "new" => Some((sides.1, subjects.1, Tone::Warn, "may reach")),
        "gone" => Some((sides.0, subjects.0, Tone::Good, "reached")),
        _ => None,
    };
    if let Some((compiled, subject, tone, word)) = whole {
        lines.extend(opened(compiled, subject, printer.paint(tone, word)));
        return lines;
    }
    if mode.0 != mode.1 {
        lines.push(format!("  mode {} becomes {}", mode.0, mode.1));
    }
    lines.extend(settings.iter().map(setting));
    let reached = |tone, word, reach: &Reach| format!("  {} {reach}", printer.paint(tone, word));
    lines.extend(gains.iter().map(|one| reached(Tone::Warn, "gains", one)));
    lines.extend(loses.iter().map(|one| reached(Tone::Good, "loses", one)));
    lines.extend(changes.iter().map(|Shift { reach, old, new }| {
        let shift = reached(Tone::Warn, "changes", reach);
        format!("{shift}: {old} becomes {new}")
    }));
    lines
}

fn setting(setting: &Setting) -> String {
    let Setting { field, old, new } = setting;
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("  {field}: {} becomes {}", said(old), said(new))
}

fn started_by_words(agents: &[String]) -> String {
    if agents.is_empty() { String::new() } else { format!(", started by {}", agents.join(" and ")) }
}

/// What an agent may reach by a policy, with or without a person. What a comparison with processes
/// that are no agent would say is longer than the catalogue.
fn opened(compiled: &Compiled, subject: u32, word: impl Display) -> Vec<String> {
    let facts = compiled.agent(subject);
    let rows = facts.map_or_else(Vec::new, |facts| effective(compiled, facts).destinations);
    let open = rows.iter().filter(|row| !matches!(row.tier, "deny" | "halt"));
    let lines: Vec<String> = open
        .map(|row| match row.tier {
            "allow" => format!("  {word} {}", row.reach),
            tier => format!("  {word} {} ({tier})", row.reach),
        })
        .collect();
    if lines.is_empty() { vec![format!("  {word} nothing")] } else { lines }
}
