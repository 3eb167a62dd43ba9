//! `governd mode`: monitor or enforce, at run time.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Outcome,
    controls::{ask, say},
    exit::Exit,
    flags::Socket,
    printer::{Printer, Table, Tone},
    unwritable,
};
use crate::{
    control::protocol,
    core::modes::{ModeSet, SetMode},
};

/// `governd mode`.
#[derive(Args, Debug)]
pub(super) struct Mode {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set it until it is set again; a restart does not change it.
    Set(Set),
    /// Show what is set in the place of what documents say.
    Show(Show),
}

#[derive(Args, Debug)]
struct Set {
    /// The mode.
    #[arg(value_name = "MODE")]
    mode: Word,
    /// For this agent only.
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Args, Debug)]
struct Show {
    /// Print JSON: one object for each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// Nothing is stopped; what would be is recorded.
    Monitor,
    /// Denials are carried out.
    Enforce,
    /// What the documents say.
    Document,
}

impl Mode {
    pub(super) fn run(self) -> Outcome {
        match self.verb {
            Verb::Set(set) => set.run(),
            Verb::Show(show) => show.run(),
        }
    }
}

impl Set {
    fn run(self) -> Outcome {
        let Self { mode, agent, socket } = self;
        let (set, word) = match mode {
            Word::Monitor => (Some(SetMode::Monitor), "monitor"),
            Word::Enforce => (Some(SetMode::Enforce), "enforce"),
            Word::Document => (None, "as its documents say"),
        };
        let of = agent.clone().unwrap_or_else(|| "everything".to_owned());
        let _: Vec<ModeSet> = ask(&socket, &protocol::Request::SetMode { mode: set, agent })?;
        say(&format!("{of}: {word}"))
    }
}

impl Show {
    fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let all: Vec<ModeSet> = ask(&self.socket, &protocol::Request::Modes)?;
        if printer.is_json() {
            all.iter().try_for_each(|one| printer.value(one)).map_err(unwritable)?;
        } else if all.is_empty() {
            printer.note("nothing is set: the documents say the mode");
        } else {
            let mut table = Table::default();
            table.row(["WHAT", "MODE", "BY"].map(|word| (Tone::Dim, word.to_owned())));
            for ModeSet { agent, mode, by, since_ms: _ } in all {
                let mode = match mode {
                    SetMode::Monitor => "monitor",
                    SetMode::Enforce => "enforce",
                };
                let what = agent.unwrap_or_else(|| "everything".to_owned());
                table.row([what, mode.to_owned(), by].map(|text| (Tone::Plain, text)));
            }
            table
                .lines(&printer)
                .iter()
                .try_for_each(|line| printer.line(line))
                .map_err(unwritable)?;
        }
        Ok(Exit::Yes)
    }
}
