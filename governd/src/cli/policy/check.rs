//! `governd policy check`.

use std::{io, path::PathBuf};

use clap::Args;

use super::{Additions, Exit, Here, Outcome, Printer, Which, read, unwritable};
use crate::{
    app::clock,
    cli::printer::Tone,
    policy::{self, Report, diagnostic::Severity},
};

#[derive(Args, Debug)]
pub(super) struct Check {
    /// Files, or directories whose .yaml and .yml files are checked together.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    additions: Additions,
    #[command(flatten)]
    which: Which,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let sources = read(&self.paths)?;
        let here = Here::read(&self.additions, &self.which)?;
        let report = policy::check(&sources, &here.around(), clock::now_ms());
        print(&report, &printer).map_err(unwritable)?;
        Ok(if report.valid { Exit::Yes } else { Exit::Invalid })
    }
}

fn print(report: &Report, printer: &Printer) -> io::Result<()> {
    if printer.is_json() {
        return printer.value(report);
    }
    for diagnostic in report.diagnostics.iter() {
        printer.note(diagnostic);
    }
    let worst = report.diagnostics.iter().map(|one| one.severity);
    let tone = match worst.min_by_key(|severity| *severity as u8) {
        Some(Severity::Error) => Tone::Bad,
        Some(Severity::Warning) => Tone::Warn,
        None => Tone::Good,
    };
    for (index, line) in report.summary().into_iter().enumerate() {
        let tone = if index == 0 { tone } else { Tone::Plain };
        printer.line(printer.paint(tone, line))?;
    }
    Ok(())
}
