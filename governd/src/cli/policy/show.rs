//! `governd policy show`: what is in force.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{
    Additions, Exit, Failure, Here, Outcome, Printer, Which, counts, invalid, read, unwritable,
};
use crate::{
    app::clock,
    cli::{
        flags::Socket,
        printer::{Table, Tone},
    },
    policy::{
        self,
        compile::Under,
        effective::{Effective, effective},
        ids::Ids,
        image::Compiled,
        lifecycle,
    },
    settings,
};

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Show {
    /// What each agent may reach, once groups, denials, tiers and approvals that have ended are
    /// taken in.
    #[arg(long, group = "what")]
    effective: bool,
    /// How often each rule of the policy in force decided, and when it did last; the daemon is
    /// asked.
    #[arg(long, group = "what", conflicts_with = "paths")]
    counts: bool,
    /// Only this agent; `unregistered` is everything that is none, and has no counts.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Files, or directories whose .yaml and .yml files belong together.
    #[arg(env = "GOVERND_POLICY", value_name = "PATH", default_value = settings::POLICY_DIR)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    additions: Additions,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON list.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        if self.counts {
            return counts::show(&self.socket.socket, self.agent.as_deref(), &printer);
        }
        let here = Here::read(&self.additions, &self.which)?;
        let documents = policy::load(&read(&self.paths)?).map_err(invalid)?;
        // What has drifted is for the daemon to see; `governd agents` shows it.
        let lapses = lifecycle::lapses(&documents.policy, clock::now_ms(), &|_| false);
        let under = Under { lapses: &lapses, ..Under::default() };
        let compiled = documents.compile_under(&here.around(), &mut Ids::default(), &under);
        let compiled = compiled.map_err(invalid)?;
        let all = self.meant(&compiled)?;
        if printer.is_json() {
            printer.value(&all).map_err(unwritable)?;
            return Ok(Exit::Yes);
        }
        printer.line(compiled.host_policy.words()).map_err(unwritable)?;
        for line in all.iter().flat_map(|one| lines(one, &printer)) {
            printer.line(line).map_err(unwritable)?;
        }
        Ok(Exit::Yes)
    }

    fn meant(&self, compiled: &Compiled) -> Result<Vec<Effective>, Failure> {
        let is_meant = |name: &str| match &self.agent {
            Some(agent) => agent == name,
            None => name != "unregistered",
        };
        let meant = compiled.agents.iter().filter(|facts| is_meant(&facts.name));
        let all: Vec<Effective> = meant.map(|facts| effective(compiled, facts)).collect();
        if let (Some(agent), true) = (&self.agent, all.is_empty()) {
            let names: Vec<&str> = compiled.agents.iter().map(|facts| &*facts.name).collect();
            let error = anyhow::anyhow!("no agent is called {agent}");
            let hint = format!("the policy has: {}", names.join(", "));
            return Err(Failure::new(Exit::No, error, hint));
        }
        Ok(all)
    }
}

/// Agents that are named as those that may start one.
const BELOW_MAX: usize = 4;

fn lines(one: &Effective, printer: &Printer) -> Vec<String> {
    let Effective { agent, host_policy: _, owner, mode, lapse, below, destinations } = one;
    let owner = owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default();
    let mut lines = vec![format!("{agent}{owner}, {mode}")];
    lines.extend(lapse.as_ref().map(|lapse| format!("  {}", printer.paint(Tone::Warn, lapse))));
    if !below.is_empty() {
        let named = below.iter().take(BELOW_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = below.len().saturating_sub(BELOW_MAX);
        let more = if more > 0 { format!(" or {more} more") } else { String::new() };
        lines.push(format!("  started by {named}{more}: only what that agent allows, too"));
    }
    let mut table = Table::default();
    for row in destinations {
        let tone = if row.tier == "allow" { Tone::Good } else { Tone::Plain };
        table.row([(tone, row.tier.to_owned()), (Tone::Plain, row.reach.to_string())]);
    }
    lines.extend(table.lines(printer).into_iter().map(|line| format!("  {line}")));
    lines
}
