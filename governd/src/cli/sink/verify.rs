//! `governd sink verify`: whether what is stored of every host is what it signed.

use clap::Args;
use serde_json::{Value, json};

use super::{Place, failed};
use crate::{
    app::sinking,
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
        let own = sinking::keys(&self.place.dir);
        if let Err(error) = &own
            && hosts.iter().any(|host| host.deleted > 0)
        {
            printer.note(format_args!("what the sink deleted its log does not say: {error}"));
        }
        let (own, mut exit) = (own.ok(), Exit::Yes);
        for host in hosts {
            let witnesses = authority.cosigners().witnesses();
            let report = store.verify(&host, &witnesses, own.as_ref()).map_err(failed)?;
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
            if report.deleted > 0 && report.wrong.is_none() {
                printer.line(deleted(&report)).map_err(unwritable)?;
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
        "deleted": integer(report.deleted),
        "first": integer(*first),
        "host": name,
        "records": integer(size.saturating_sub(report.deleted.max(*first))),
        "unchanged": wrong.is_none(),
        "wrong": wrong,
    })
}

fn deleted(report: &Report) -> String {
    let (first, last) = (report.first, report.deleted - 1);
    format!(
        "  its records {first} to {last} are deleted, as the sink's own log says; their hashes are \
         what it signed"
    )
}

fn line(host: &Host, report: &Report, printer: &Printer) -> String {
    let Host { name, first, size, .. } = host;
    match report.wrong {
        None => {
            let word = printer.paint(Tone::Good, "unchanged:");
            let records = size.saturating_sub(report.deleted.max(*first));
            format!("{word} {records} records of {name} are what it signed")
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
