//! `governd selftest`: does the kernel decide about each agent as its policy says?

use clap::Args;

use super::{
    Outcome,
    controls::ask,
    exit::Exit,
    flags::Socket,
    printer::{Printer, Table, Tone},
    unwritable,
};
use crate::control::protocol::{Request, SelfTest, Tried};

/// Flags of `governd selftest`.
#[derive(Args, Debug)]
pub(super) struct SelfTests {
    /// Only this agent.
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Print JSON: one object for each agent.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl SelfTests {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let all: Vec<SelfTest> = ask(&self.socket, &Request::SelfTest { agent: self.agent })?;
        let exit = if all.iter().all(|test| test.passed) { Exit::Yes } else { Exit::No };
        if printer.is_json() {
            all.iter().try_for_each(|test| printer.value(test)).map_err(unwritable)?;
            return Ok(exit);
        }
        if all.is_empty() {
            printer.note("no agent is enforced, so nothing is tested");
        }
        let mut table = Table::default();
        if !all.is_empty() {
            let head = ["AGENT", "OUTCOME", "MUST PASS", "MUST BE REFUSED"];
            table.row(head.map(|word| (Tone::Dim, word.to_owned())));
        }
        for SelfTest { agent, passed, allowed, refused } in all {
            let (tone, outcome) = if passed { (Tone::Good, "ok") } else { (Tone::Bad, "FAILED") };
            table.row([
                (Tone::Plain, agent),
                (tone, outcome.to_owned()),
                cell(allowed, "is refused"),
                cell(refused, "passes"),
            ]);
        }
        table.lines(&printer).iter().try_for_each(|line| printer.line(line)).map_err(unwritable)?;
        Ok(exit)
    }
}

fn cell(tried: Option<Tried>, wrong: &str) -> (Tone, String) {
    match tried {
        None => (Tone::Dim, "nothing to try".to_owned()),
        Some(Tried { to, is_right: true, .. }) => (Tone::Plain, to),
        Some(Tried { to, error: Some(error), .. }) => (Tone::Bad, format!("{to}: {error}")),
        Some(Tried { to, .. }) => (Tone::Bad, format!("{to} {wrong}")),
    }
}
