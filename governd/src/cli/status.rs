//! `governd status`: what is in force and how the daemon fares.

use clap::Args;

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::Socket,
    limits,
    printer::{Printer, Table, Tone},
    unwritable,
};
use crate::control::{
    client::{self, ClientError},
    protocol::{
        AgentStatus, EnforcementStatus, ErrorKind, ExporterStatus, PrivilegeStatus, Request,
        StatusReport,
    },
};

/// Flags of `governd status`.
#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let value = client::call(&self.socket.socket, &Request::Status).map_err(failure)?;
        if printer.is_json() {
            printer.value(&value).map_err(unwritable)?;
            return Ok(Exit::Yes);
        }
        let report: StatusReport =
            serde_json::from_value(value).map_err(|error| Failure::plain(Exit::Internal, error))?;
        for line in lines(&report, &printer) {
            printer.line(line).map_err(unwritable)?;
        }
        Ok(Exit::Yes)
    }
}

/// What a failed call means for the exit status.
pub(super) fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::NotRunning { .. } => Failure::new(
            Exit::Environment,
            error,
            "start it with `governd run` or `governd up`, or name its socket with --socket; \
             root or members of the group governd may use it",
        ),
        ClientError::NoReply { .. } => {
            Failure::new(Exit::Environment, error, "look at the daemon's own log on its stderr")
        }
        ClientError::Refused { kind, ref hint, .. } => {
            let exit = match kind {
                ErrorKind::NotFound => Exit::No,
                ErrorKind::BadRequest => Exit::Usage,
                ErrorKind::InvalidPolicy => Exit::Invalid,
                ErrorKind::Internal => Exit::Internal,
            };
            Failure { exit, hint: hint.clone(), error: error.into() }
        }
    }
}

fn lines(report: &StatusReport, printer: &Printer) -> Vec<String> {
    let mut facts = Table::default();
    let mut fact = |name: &str, tone, value: String| {
        facts.row([(Tone::Dim, name.to_string()), (tone, value)]);
    };
    fact(
        "governd",
        Tone::Plain,
        format!("{}, pid {}, on {}", report.version, report.pid, report.host),
    );
    fact("running for", Tone::Plain, format!("{} s", report.uptime_ms / 1_000));
    fact("attached to", Tone::Plain, report.cgroup.clone());
    let (tone, text) = programs(report);
    fact("programs", tone, text);
    let (tone, text) = enforcement(&report.enforcement);
    fact("enforcement", tone, text);
    for (what, detail) in &report.degraded {
        fact("degraded", Tone::Warn, format!("{what}: {detail}"));
    }
    let (tone, text) = privileges(&report.privileges);
    fact("privileges", tone, text);
    let policy = &report.policy;
    fact("policy", Tone::Plain, format!("{}, generation {}", policy.source, policy.generation));
    fact("digest", Tone::Plain, policy.digest.clone());
    if let Some(reason) = &policy.rejected {
        fact("rejected", Tone::Bad, format!("the newest documents are not in force: {reason}"));
    }
    let catalog = &report.catalog;
    let text = format!("{} endpoints, {} runtimes", catalog.endpoints, catalog.runtimes);
    fact("catalogue", Tone::Plain, text);
    if let Some(reason) = &catalog.rejected {
        let text = format!("what was added in {} is not in use: {reason}", catalog.directory);
        fact("rejected", Tone::Bad, text);
    }
    let inventory = &report.inventory;
    let text = format!("{} agents, {} candidates", inventory.agents, inventory.candidates);
    fact("inventory", Tone::Plain, text);
    if inventory.file.is_none() {
        fact(
            "forgetful",
            Tone::Bad,
            "the inventory's file cannot be used; see the findings".into(),
        );
    }
    if let Some(reason) = &inventory.failing {
        fact("inventory fails", Tone::Bad, reason.clone());
    }
    let counts = &report.decisions;
    let text = format!(
        "{} allowed, {} denied, {} would be denied",
        counts.allowed, counts.denied, counts.would_deny
    );
    fact("decisions", Tone::Plain, text);
    fact("tracked", Tone::Plain, format!("{} processes", report.tracked_processes));
    for (name, tone, text) in losses_and_log(report) {
        fact(name, tone, text);
    }
    let mut lines = facts.lines(printer);
    lines.extend(agents(&report.agents).lines(printer));
    let rows = report.agents.iter();
    let rows = rows.flat_map(|agent| agent.limits.iter().map(|row| (&*agent.name, row)));
    lines.extend(limits::table(rows).lines(printer));
    lines
}

/// What was lost, how the log fares, and who gets it.
fn losses_and_log(report: &StatusReport) -> Vec<(&'static str, Tone, String)> {
    let lost: Vec<String> = report.lost.iter().map(|(why, n)| format!("{n} {why}")).collect();
    let mut facts = vec![if lost.is_empty() {
        ("lost", Tone::Good, "nothing".to_owned())
    } else {
        ("lost", Tone::Bad, lost.join(", "))
    }];
    let log = &report.log;
    facts.push(("log", Tone::Plain, format!("{}, {} records", log.directory, log.next_index)));
    if let Some(reason) = &log.failing {
        facts.push(("log fails", Tone::Bad, reason.clone()));
    }
    if log.lost_records > 0 {
        let text = format!("{} records did not get into the log", log.lost_records);
        facts.push(("log lost", Tone::Bad, text));
    }
    for exporter in &report.exporters {
        let (tone, text) = exporter_line(exporter);
        facts.push(("exporter", tone, text));
        let warnings = exporter.certificates.iter().filter_map(|each| each.warning.clone());
        facts.extend(warnings.map(|warning| ("certificate", Tone::Bad, warning)));
    }
    facts
}

fn exporter_line(exporter: &ExporterStatus) -> (Tone, String) {
    let ExporterStatus { name, kind, delivered, behind, missed, rejected, failing, .. } = exporter;
    let mut text = format!("{name} ({kind}): {delivered} delivered, {behind} behind");
    for (count, what) in [(missed, "missed"), (rejected, "rejected")] {
        if *count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    let Some(reason) = failing else {
        return (if missed + rejected > 0 { Tone::Warn } else { Tone::Plain }, text);
    };
    (Tone::Bad, format!("{text}; {reason}"))
}

fn enforcement(status: &EnforcementStatus) -> (Tone, String) {
    let tone = match status.state.as_str() {
        "enforcing" => Tone::Good,
        "monitoring" => Tone::Plain,
        _ => Tone::Bad,
    };
    let text = match status.state.as_str() {
        "enforcing" => "enforcing: the kernel refused what it has to, tried a moment ago".into(),
        "monitoring" => "monitoring: nothing is stopped".into(),
        // What cannot be ignored.
        other => format!("{}: {}", other.to_uppercase(), status.detail.join("; ")),
    };
    (tone, text)
}

fn programs(report: &StatusReport) -> (Tone, String) {
    let detached: Vec<&str> = report
        .programs
        .iter()
        .filter(|program| !program.attached)
        .map(|program| program.name.as_str())
        .collect();
    if detached.is_empty() {
        return (Tone::Good, format!("{} attached", report.programs.len()));
    }
    (Tone::Bad, format!("not attached: {}", detached.join(", ")))
}

fn privileges(privileges: &PrivilegeStatus) -> (Tone, String) {
    let mut text = privileges.capabilities.join(" ");
    if privileges.may_gain {
        text.push_str("; could get more");
    }
    text.push_str(if privileges.is_filtered { "; system calls filtered" } else { "; no filter" });
    let is_confined = privileges.is_filtered && !privileges.may_gain;
    (if is_confined { Tone::Plain } else { Tone::Warn }, text)
}

fn mode(agent: &AgentStatus) -> String {
    match &agent.mode_set_by {
        Some(by) => format!("{}, set by {by}", agent.mode),
        None => agent.mode.clone(),
    }
}

fn agents(agents: &[AgentStatus]) -> Table {
    let mut table = Table::default();
    if agents.is_empty() {
        return table;
    }
    let head = ["AGENT", "MODE", "PROCESSES", "OWNER"];
    table.row(head.map(|word| (Tone::Dim, word.to_string())));
    for agent in agents {
        let tone = if agent.mode == "enforce" { Tone::Good } else { Tone::Plain };
        table.row([
            (Tone::Plain, agent.name.clone()),
            (tone, mode(agent)),
            (Tone::Plain, agent.processes.to_string()),
            (Tone::Plain, agent.owner.clone().unwrap_or_else(|| "nobody".into())),
        ]);
    }
    table
}
