//! `governd policy show --counts`: how often each rule decided.

use std::path::Path;

use super::{Exit, Failure, Outcome, Printer, unwritable};
use crate::{
    app::clock,
    cli::{
        agents::ago,
        printer::{Table, Tone},
        status::failure,
    },
    control::{client, protocol::Request, rules::RuleCount},
};

/// The name of everything that is no agent, whose decisions the kernel does not count.
const NO_AGENT: &str = "unregistered";

pub(super) fn show(socket: &Path, agent: Option<&str>, printer: &Printer) -> Outcome {
    if agent == Some(NO_AGENT) {
        let error =
            anyhow::anyhow!("what decides about processes that are no agent is not counted");
        let hint = "`governd policy show --effective --agent unregistered` shows these rules";
        return Err(Failure::new(Exit::Usage, error, hint));
    }
    let value = client::call(socket, &Request::RuleCounts).map_err(failure)?;
    let counts: Vec<RuleCount> =
        serde_json::from_value(value).map_err(|error| Failure::plain(Exit::Internal, error))?;
    let is_meant = |count: &RuleCount| agent.is_none_or(|agent| count.agent == agent);
    let counts: Vec<RuleCount> = counts.into_iter().filter(is_meant).collect();
    if let (Some(agent), true) = (agent, counts.is_empty()) {
        let error = anyhow::anyhow!("no agent is called {agent}");
        return Err(Failure::new(Exit::No, error, "`governd status` lists the agents"));
    }
    if printer.is_json() {
        printer.value(&counts).map_err(unwritable)?;
        return Ok(Exit::Yes);
    }
    for line in table(&counts, clock::now_ms()).lines(printer) {
        printer.line(line).map_err(unwritable)?;
    }
    Ok(Exit::Yes)
}

fn table(counts: &[RuleCount], now_ms: u64) -> Table {
    let mut table = Table::default();
    if !counts.is_empty() {
        table.row(["HITS", "LAST", "RULE", "TEXT", "AT"].map(|word| (Tone::Dim, word.to_owned())));
    }
    for RuleCount { rule, text, source, hits, last_ms, .. } in counts {
        let last = last_ms.map_or_else(|| "never".to_owned(), |last_ms| ago(last_ms, now_ms));
        let tone = if last_ms.is_some() { Tone::Plain } else { Tone::Warn };
        table.row([
            (Tone::Plain, hits.to_string()),
            (tone, last),
            (Tone::Plain, rule.clone()),
            (Tone::Plain, text.clone()),
            (Tone::Dim, source.clone().unwrap_or_default()),
        ]);
    }
    table
}
