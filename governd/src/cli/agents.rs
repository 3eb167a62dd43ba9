//! `governd agents`: which agents run on this host, who owns them, and which did nobody approve.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::Socket,
    printer::{Printer, Table, Tone, printable},
    status::failure,
    unwritable,
};
use crate::{
    app::clock,
    catalog::RuntimeKind,
    control::{
        client,
        inventory::{AgentDetail, AgentSummary, AgentsReport, Coverage},
        protocol::Request,
    },
    core::inventory::AgentState,
};

mod register;
mod show;

/// `governd agents`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Verb {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show all that is known of one agent.
    Show(Show),
    /// Write a document that registers an agent, to be reviewed.
    Register(Register),
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    socket: Socket,
    /// Only agents in this state; may be given several times.
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<AgentState>,
    /// Only agents of this kind, such as coding-agent; may be given several times.
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<RuntimeKind>,
    /// Only agents whose owner's name or mail address contains this; `none` for those without.
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Also what may be an agent, and lacks evidence.
    #[arg(long)]
    candidates: bool,
    /// How many agents there are, and how many of them somebody answers for.
    #[arg(long, conflicts_with_all = ["state", "kind", "owner", "candidates"])]
    coverage: bool,
    /// Print JSON: one object for each agent, or one for the coverage.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Show {
    /// Its id, the beginning of it, or a name that no other has.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    socket: Socket,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Register {
    /// Its id, the beginning of it, or a name that no other has.
    #[arg(value_name = "ID")]
    id: String,
    /// Name of the document; made of the agent's if absent.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Who runs it, such as "Dana Smith <dana@acme.example>".
    #[arg(long, value_name = "PERSON", value_parser = person)]
    owner: Option<(String, String)>,
    /// File to write, which must not exist yet; stdout if absent.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

impl Verb {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            None => self.list.run(),
            Some(Action::Show(show)) => show.run(),
            Some(Action::Register(register)) => register.run(),
        }
    }
}

impl List {
    fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let AgentsReport { coverage, agents } = ask(&self.socket, &Request::Agents)?;
        if self.coverage {
            if printer.is_json() {
                printer.value(&coverage).map_err(unwritable)?;
            } else {
                print(&printer, covered(&coverage, &printer))?;
            }
            return Ok(Exit::Yes);
        }
        let wanted: Vec<&AgentSummary> = agents.iter().filter(|one| self.wants(one)).collect();
        if printer.is_json() {
            wanted.iter().try_for_each(|one| printer.value(one)).map_err(unwritable)?;
        } else if wanted.is_empty() {
            printer.note("no agent was seen that fits");
        } else {
            print(&printer, table(&wanted, clock::now_ms()).lines(&printer))?;
        }
        Ok(if wanted.is_empty() { Exit::No } else { Exit::Yes })
    }

    fn wants(&self, agent: &AgentSummary) -> bool {
        let is_kind = |kind: &RuntimeKind| agent.kind.as_deref() == Some(kind.word());
        let is_owner = |text: &str| match agent.owner.as_deref() {
            None => text == "none",
            Some(owner) => owner.to_lowercase().contains(&text.to_lowercase()),
        };
        (self.candidates || agent.standing == "agent")
            && (self.state.is_empty() || self.state.iter().any(|state| agent.state == state.word()))
            && (self.kind.is_empty() || self.kind.iter().any(is_kind))
            && self.owner.as_deref().is_none_or(is_owner)
    }
}

impl Show {
    fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let detail: AgentDetail = ask(&self.socket, &Request::Agent { id: self.id })?;
        if printer.is_json() {
            printer.value(&detail).map_err(unwritable)?;
        } else {
            print(&printer, show::lines(&detail, clock::now_ms(), &printer))?;
        }
        Ok(Exit::Yes)
    }
}

fn ask<T: DeserializeOwned>(socket: &Socket, request: &Request) -> Result<T, Failure> {
    let value = client::call(&socket.socket, request).map_err(failure)?;
    serde_json::from_value(value).map_err(|error| Failure::plain(Exit::Internal, error))
}

fn print(printer: &Printer, lines: Vec<String>) -> Result<(), Failure> {
    lines.iter().try_for_each(|line| printer.line(line)).map_err(unwritable)
}

fn table(agents: &[&AgentSummary], now_ms: u64) -> Table {
    let mut table = Table::default();
    let head = ["ID", "AGENT", "KIND", "STATE", "OWNER", "USER", "PROCESSES", "SEEN", "PROVIDERS"];
    table.row(head.map(|word| (Tone::Dim, word.to_string())));
    for agent in agents {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let seen = match agent.processes {
            0 => ago(agent.last_ms, now_ms),
            _ => "runs".into(),
        };
        let providers = match &agent.providers[..] {
            [] => "-".into(),
            providers => providers.join(","),
        };
        let state = match agent.standing.as_str() {
            "agent" => agent.state.clone(),
            _ => format!("candidate, {}%", agent.confidence),
        };
        table.row([
            (Tone::Plain, agent.id.clone()),
            (Tone::Plain, printable(&agent.name)),
            (Tone::Plain, or_dash(&agent.kind)),
            (tone(agent), state),
            (Tone::Plain, agent.owner.clone().unwrap_or_else(|| "nobody".into())),
            (Tone::Plain, printable(&or_dash(&agent.user))),
            (Tone::Plain, agent.processes.to_string()),
            (Tone::Dim, seen),
            (Tone::Plain, providers),
        ]);
    }
    table
}

fn tone(agent: &AgentSummary) -> Tone {
    match AgentState::from_word(&agent.state) {
        _ if agent.standing != "agent" => Tone::Dim,
        Some(AgentState::Approved) => Tone::Good,
        Some(AgentState::Stale) | None => Tone::Dim,
        Some(AgentState::Expired | AgentState::Ownerless) => Tone::Warn,
        Some(AgentState::Shadow | AgentState::Drifted | AgentState::OutOfScope) => Tone::Bad,
    }
}

fn covered(coverage: &Coverage, printer: &Printer) -> Vec<String> {
    let mut table = Table::default();
    let mut row = |name: &str, count: u64, percent: Option<f64>| {
        let percent = percent.map(|percent| format!("{percent}%")).unwrap_or_default();
        table.row([
            (Tone::Dim, name.to_string()),
            (Tone::Plain, count.to_string()),
            (Tone::Plain, percent),
        ]);
    };
    row("agents", coverage.agents, None);
    row("registered by a document", coverage.registered, coverage.registered_percent);
    row("as they were approved", coverage.approved, coverage.approved_percent);
    row("enforced", coverage.enforced, coverage.enforced_percent);
    for (state, count) in &coverage.states {
        row(&format!("  {state}"), *count, None);
    }
    row("candidates", coverage.candidates, None);
    row("documents without a process", coverage.unseen.len() as u64, None);
    let mut lines = table.lines(printer);
    if !coverage.unseen.is_empty() {
        lines.push(format!("never seen: {}", coverage.unseen.join(", ")));
    }
    lines
}

/// How long ago, in words.
pub(super) fn ago(at_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn state(word: &str) -> Result<AgentState, String> {
    let words: Vec<&str> = AgentState::ALL.iter().map(|state| state.word()).collect();
    AgentState::from_word(word).ok_or_else(|| format!("the states are: {}", words.join(", ")))
}

fn kind(word: &str) -> Result<RuntimeKind, String> {
    let agentic = RuntimeKind::ALL.iter().filter(|kind| kind.is_agentic());
    let words: Vec<&str> = agentic.map(|kind| kind.word()).collect();
    RuntimeKind::from_word(word).ok_or_else(|| format!("the kinds are: {}", words.join(", ")))
}

fn person(text: &str) -> Result<(String, String), String> {
    let parts = text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<'));
    let parts = parts.map(|(name, mail)| (name.trim().to_owned(), mail.trim().to_owned()));
    let is_whole = |(name, mail): &(String, String)| {
        !name.is_empty() && crate::policy::value::Mail::parse(mail).is_ok()
    };
    parts.filter(is_whole).ok_or_else(|| "write \"Dana Smith <dana@acme.example>\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_a_name_and_a_mail_address() {
        let dana = ("Dana Smith".to_owned(), "dana@acme.example".to_owned());
        assert_eq!(person("Dana Smith <dana@acme.example>"), Ok(dana));
        for text in ["", "Dana", "<dana@acme.example>", "Dana <dana>", "dana@acme.example"] {
            assert!(person(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_told_as_people_do() {
        let rows = [(0, "0 s ago"), (61, "1 min ago"), (7_300, "2 h ago"), (400_000, "4 days ago")];
        for (seconds, words) in rows {
            assert_eq!(ago(5, 5 + seconds * 1_000), words);
        }
        assert_eq!(ago(9, 5), "0 s ago");
    }
}
