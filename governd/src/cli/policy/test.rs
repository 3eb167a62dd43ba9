//! `governd policy test`.

use std::path::PathBuf;

use clap::Args;

use super::{Additions, Exit, Failure, Outcome, Printer, catalogue, invalid, read, unwritable};
use crate::{
    cli::printer::Tone,
    policy::{self, testing},
};

#[derive(Args, Debug)]
pub(super) struct Test {
    /// Files, or directories whose .yaml and .yml files are taken together.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    additions: Additions,
    /// Print one JSON object per case.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let documents = policy::load(&read(&self.paths)?).map_err(invalid)?;
        let endpoints = catalogue::known(&self.additions.load()?).endpoints;
        let outcomes = testing::run(&documents, &endpoints).map_err(invalid)?;
        if outcomes.is_empty() {
            let error = anyhow::anyhow!("there is no test case in what was named");
            let hint = "write a document of kind PolicyTest; deploy/policies has some to copy";
            return Err(Failure::new(Exit::No, error, hint));
        }
        for outcome in &outcomes {
            if printer.is_json() {
                printer.value(outcome).map_err(unwritable)?;
                continue;
            }
            let (tone, word) = match outcome.passed {
                true => (Tone::Good, "ok    "),
                false => (Tone::Bad, "FAILED"),
            };
            let words = outcome.words().join("\n");
            printer.line(format!("{} {words}", printer.paint(tone, word))).map_err(unwritable)?;
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
        if !printer.is_json() {
            let passed = outcomes.len() - failed;
            printer.line(format!("{passed} passed, {failed} failed")).map_err(unwritable)?;
        }
        Ok(if failed == 0 { Exit::Yes } else { Exit::No })
    }
}
