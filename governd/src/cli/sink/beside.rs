//! `governd sink show`, `query`, `erase` and `settle`: records with what stands beside them, and
//! without, and what people say of findings.

use anyhow::anyhow;
use clap::Args;

use super::{Place, failed};
use crate::{
    app::clock,
    cli::{
        Outcome,
        audit::Question,
        exit::{Exit, Failure},
        flags::Beside,
        printer::Printer,
        unwritable,
    },
    sink::store::{Host, Store},
};

/// Records that are read at once.
const CHUNK: usize = 1_024;

/// Flags of `governd sink show`.
#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    place: Place,
    /// The host's name.
    host: String,
    /// From the record with this index.
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    first: u64,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Flags of `governd sink query`.
#[derive(Args, Debug)]
pub(super) struct Query {
    #[command(flatten)]
    place: Place,
    /// Only records of this host, by its name here; `--host` is about destinations.
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    #[command(flatten)]
    question: Question,
}

/// Flags of `governd sink erase`.
#[derive(Args, Debug)]
pub(super) struct Erase {
    #[command(flatten)]
    place: Place,
    /// Only beside the records of this host.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    #[command(flatten)]
    beside: Beside,
}

/// Flags of `governd sink settle`.
#[derive(Args, Debug)]
pub(super) struct Settle {
    #[command(flatten)]
    place: Place,
    /// The host's name.
    host: String,
    /// Only this kind, by its word: `rewind`, `fork`, `root`.
    #[arg(long, value_name = "WORD")]
    what: Option<String>,
}

impl Show {
    pub(super) fn run(self) -> Outcome {
        let printer = Printer::new(true);
        let store = self.place.store()?;
        let host = named(&store, &self.host)?;
        if self.first.max(host.first) < host.deleted {
            let Host { name, deleted, .. } = &host;
            printer.note(format_args!("the records of {name} before {deleted} are deleted"));
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let (mut next, mut left) = (self.first.max(host.kept_from()), limit);
        while next < host.size && left > 0 {
            let (lines, behind) = store.shown(&host, next, left.min(CHUNK)).map_err(failed)?;
            for line in &lines {
                printer.line(line).map_err(unwritable)?;
            }
            next = behind;
            left -= lines.len();
        }
        Ok(if left < limit { Exit::Yes } else { Exit::No })
    }
}

impl Query {
    pub(super) fn run(self) -> Outcome {
        let store = self.place.store()?;
        let hosts = match &self.of {
            Some(name) => vec![named(&store, name)?],
            None => store.hosts().map_err(failed)?,
        };
        let mut answers = self.question.begin()?;
        let deleted = hosts.iter().filter(|host| host.deleted > host.first).count();
        if deleted > 0 {
            let note = format_args!("of {deleted} hosts the oldest records are deleted");
            Printer::new(true).note(note);
        }
        for host in &hosts {
            let mut next = host.kept_from();
            while next < host.size && answers.go_on() {
                let (lines, behind) = store.shown(host, next, CHUNK).map_err(failed)?;
                next = behind;
                for line in lines.iter().map(String::as_bytes) {
                    if answers.go_on() {
                        answers.take(line)?;
                    }
                }
            }
        }
        Ok(answers.end())
    }
}

impl Erase {
    pub(super) fn run(self) -> Outcome {
        let mut store = self.place.store()?;
        let host = self.host.as_deref().map(|name| named(&store, name)).transpose()?;
        let which = self.beside.erasure();
        let count = store.erase(host.as_ref(), &which, &who()).map_err(failed)?;
        let printer = Printer::new(false);
        printer.line(format!("erased: {count} values")).map_err(unwritable)?;
        Ok(if count > 0 { Exit::Yes } else { Exit::No })
    }
}

impl Settle {
    pub(super) fn run(self) -> Outcome {
        let mut store = self.place.store()?;
        let host = named(&store, &self.host)?;
        let settled = store.settle(&host, self.what.as_deref(), &who(), clock::now_s());
        let count = settled.map_err(failed)?;
        let printer = Printer::new(false);
        printer.line(format!("settled: {count} findings")).map_err(unwritable)?;
        Ok(if count > 0 { Exit::Yes } else { Exit::No })
    }
}

/// Who asks, for the sink's log.
pub(super) fn who() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

fn named(store: &Store, name: &str) -> Result<Host, Failure> {
    let hosts = store.hosts().map_err(failed)?;
    hosts.into_iter().find(|host| host.name == name).ok_or_else(|| {
        let error = anyhow!("there is no host {name}");
        Failure::new(Exit::Environment, error, "`governd sink hosts` lists the hosts")
    })
}
