//! `governd doctor`: whether this host can run governd, and what is degraded.

use clap::Args;
use serde_json::json;

use super::{
    Outcome,
    exit::Exit,
    printer::{Printer, Table, Tone},
    unwritable,
};
use crate::{
    app::confinement,
    confine,
    kernel::probe::{self, Outcome as Found, Probe},
};

/// How the probe of a program is called, before the program's name.
const PROGRAM: &str = "program ";

/// Flags of `governd doctor`.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Also list the programs that the kernel accepts, with their instruction counts.
    #[arg(long)]
    programs: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        confinement::see_whole_tree();
        let mut probes = probe::probe();
        probes.push(landlock());
        let count = |found| probes.iter().filter(|probe| probe.outcome == found).count();
        let (degraded, missing) = (count(Found::Degraded), count(Found::Missing));
        if printer.is_json() {
            let all: Vec<_> = probes.iter().map(value).collect();
            let report = json!({"can_run": missing == 0, "degraded": degraded, "probes": all});
            printer.value(&report).map_err(unwritable)?;
        } else {
            for line in self.lines(&probes, &printer) {
                printer.line(line).map_err(unwritable)?;
            }
            printer.line(summary(degraded, missing)).map_err(unwritable)?;
        }
        Ok(if missing == 0 { Exit::Yes } else { Exit::Environment })
    }

    fn lines(&self, probes: &[Probe], printer: &Printer) -> Vec<String> {
        let mut table = Table::default();
        for probe in probes {
            let well = probe.outcome == Found::Ok;
            if well && probe.name.starts_with(PROGRAM) && !self.programs {
                continue;
            }
            let (tone, word) = match probe.outcome {
                Found::Ok => (Tone::Good, "ok"),
                Found::Degraded => (Tone::Warn, "degraded"),
                Found::Missing => (Tone::Bad, "missing"),
            };
            table.row([
                (tone, word.to_owned()),
                (Tone::Plain, probe.name.clone()),
                (Tone::Plain, probe.detail.clone()),
            ]);
            if let Some(hint) = &probe.hint {
                let cells = [String::new(), String::new(), format!("hint: {hint}")];
                table.row(cells.map(|text| (Tone::Dim, text)));
            }
        }
        table.lines(printer)
    }
}

/// Landlock, by which threads that talk to other hosts are kept from files.
fn landlock() -> Probe {
    let name = "landlock".to_owned();
    match confine::landlock() {
        Some(detail) => Probe { name, outcome: Found::Ok, detail, hint: None },
        None => Probe {
            name,
            outcome: Found::Degraded,
            detail: "none: exporters and a sink may write where their user may".to_owned(),
            hint: Some("use Linux 5.13 or later, with `landlock` in the boot option lsm=".into()),
        },
    }
}

fn summary(degraded: usize, missing: usize) -> String {
    match (degraded, missing) {
        (0, 0) => "this host can run governd".to_owned(),
        (degraded, 0) => format!("this host can run governd; {degraded} findings are degraded"),
        (_, missing) => format!("this host cannot run governd: {missing} findings say why"),
    }
}

fn value(probe: &Probe) -> serde_json::Value {
    let outcome = match probe.outcome {
        Found::Ok => "ok",
        Found::Degraded => "degraded",
        Found::Missing => "missing",
    };
    json!({
        "name": probe.name,
        "outcome": outcome,
        "detail": probe.detail,
        "hint": probe.hint,
    })
}
