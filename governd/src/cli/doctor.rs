//! `governd doctor`: whether this host can run governd, and what is degraded.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{
    Outcome,
    exit::Exit,
    printer::{Printer, Table, Tone},
    unwritable,
};
use crate::{
    app::{clock, confinement, uplink},
    confine,
    kernel::probe::{self, Outcome as Found, Probe},
    settings,
    sink::{
        authority,
        validity::{End, Whose},
    },
};

/// How the probe of a program is called, before the program's name.
const PROGRAM: &str = "program ";

/// Flags of `governd doctor`.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Also list the programs that the kernel accepts, with their instruction counts.
    #[arg(long)]
    programs: bool,
    /// Directory of the daemon's state, where it is kept what a sink gave this host.
    #[arg(long, env = "GOVERND_STATE_DIR", value_name = "DIR", default_value = settings::STATE_DIR)]
    state_dir: PathBuf,
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
        probes.extend(sink(&self.state_dir, clock::now_s()));
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

/// The way to the sink, where this host is enrolled: when the certificates end that it needs.
fn sink(state_dir: &Path, now_s: u64) -> Vec<Probe> {
    match uplink::ends(state_dir) {
        Ok(ends) => ends.into_iter().flatten().map(|end| certificate(end, now_s)).collect(),
        Err(error) => vec![Probe {
            name: "sink".to_owned(),
            outcome: Found::Degraded,
            hint: Some(error.hint().to_owned()),
            detail: format!("this host's log goes to no sink: {:#}", anyhow::Error::from(error)),
        }],
    }
}

fn certificate(end: End, now_s: u64) -> Probe {
    let name = format!("sink certificate of the {}", end.whose.word());
    let at = i64::try_from(end.at_s).ok().and_then(|at| Timestamp::from_second(at).ok());
    let until = at.map_or_else(|| "no time".to_owned(), |at| at.to_string());
    let (outcome, detail, hint) = match end.warning(now_s) {
        Some(warning) => {
            let hint = "`governd status` says whether the sink is reached, and why it is not";
            (Found::Degraded, warning, Some(hint))
        }
        None if end.whose == Whose::Host && authority::is_overdue(end.left_s(now_s)) => {
            let detail = format!("valid until {until}, and not renewed although it is time");
            let hint = "`governd status` says whether the sink is reached; the log says why not";
            (Found::Degraded, detail, Some(hint))
        }
        None => (Found::Ok, format!("valid until {until}"), None),
    };
    Probe { name, outcome, detail, hint: hint.map(ToOwned::to_owned) }
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

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    #[test]
    fn doctor_says_until_when_a_certificate_is_valid_and_that_it_is_not_renewed() {
        let at_s = 1_798_070_400;
        let rows = [
            (Whose::Host, 180, Found::Ok, "valid until 2026-12-24T00:00:00Z"),
            (Whose::Host, 114, Found::Ok, "valid until"),
            (Whose::Host, 112, Found::Degraded, "not renewed although it is time"),
            (Whose::Host, 20, Found::Degraded, "ends in 20 days"),
            (Whose::Host, 0, Found::Degraded, "has ended"),
            (Whose::Authority, 112, Found::Ok, "valid until"),
            (Whose::Authority, 20, Found::Degraded, "governd sink rotate-keys"),
        ];
        for (whose, days, outcome, said) in rows {
            let probe = certificate(End { whose, at_s }, at_s - days * DAY_S);
            assert_eq!(probe.outcome, outcome, "{probe:?}");
            assert!(probe.detail.contains(said), "{probe:?}");
            assert_eq!(probe.hint.is_some(), outcome == Found::Degraded, "{probe:?}");
        }
        let state = tempfile::tempdir().unwrap();
        assert_eq!(sink(state.path(), at_s).len(), 0);
        std::fs::create_dir(state.path().join("sink")).unwrap();
        std::fs::write(state.path().join("sink/address"), "sink.acme.example:7443").unwrap();
        let damaged = sink(state.path(), at_s);
        assert!(damaged[0].detail.contains("witness.pub"), "{damaged:?}");
    }
}
