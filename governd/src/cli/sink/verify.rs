//! `governd sink verify`: whether what is stored of every host is what it signed.

use clap::Args;
use serde_json::{Value, json};

use super::{Place, failed};
use crate::{
    audit::{
        canonical::integer,
        verify::{Report, Wrong},
    },
    cli::{
        Outcome,
        exit::Exit,
        printer::{Printer, Tone},
        unwritable,
    },
    sink::store::Host,
};

/// Flags of `governd sink verify`.
#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object a host.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let (authority, store) = (self.place.authority()?, self.place.store()?);
        let hosts = store.hosts().map_err(failed)?;
        if hosts.is_empty() {
            printer.note("no host has enrolled yet, so there is nothing to verify");
        }
        let mut exit = Exit::Yes;
        for host in hosts {
            let report = store.verify(&host, &authority.cosigners().witnesses()).map_err(failed)?;
            if report.wrong.is_some() {
                exit = Exit::No;
            }
            if printer.is_json() {
                printer.value(&value(&host, &report)).map_err(unwritable)?;
                continue;
            }
            printer.line(line(&host, &report, &printer)).map_err(unwritable)?;
            if host.first > 0 && report.wrong.is_none() {
                let first = host.first;
                let before = format!("  its log began with record {first} when it came");
                printer.line(before).map_err(unwritable)?;
            }
        }
        Ok(exit)
    }
}

fn value(host: &Host, report: &Report) -> Value {
    let Host { name, first, size, .. } = host;
    let wrong = report.wrong.map(|Wrong { first, last, fault }| {
        json!({"first": integer(first), "last": integer(last), "what": fault.to_string()})
    });
    json!({
        "checkpoints": integer(report.checkpoints),
        "first": integer(*first),
        "host": name,
        "records": integer(size - first),
        "unchanged": wrong.is_none(),
        "wrong": wrong,
    })
}

fn line(host: &Host, report: &Report, printer: &Printer) -> String {
    let Host { name, first, size, .. } = host;
    match report.wrong {
        None => {
            let word = printer.paint(Tone::Good, "unchanged:");
            format!("{word} {} records of {name} are what it signed", size - first)
        }
        Some(Wrong { first, last, fault }) => {
            let word = printer.paint(Tone::Bad, "changed:");
            let which = if first == last {
                format!("record {first} of {name} is the first that is")
            } else {
                format!("one of the records {first} to {last} of {name} is the first that is")
            };
            format!("{word} {which} {fault}")
        }
    }
}
