//! `governd sink`: the central sink, and what it knows.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    Outcome,
    exit::{Exit, Failure},
    printer::{Printer, Table, Tone},
    unwritable,
};
use crate::{
    app::{
        clock, confinement,
        metrics::{self, Address, OfSink},
        sinking,
    },
    audit::canonical::integer,
    sink::{
        authority::{self, Authority, AuthorityError},
        counts::Counts,
        deleting, server,
        store::{Store, StoreError},
        tiles::{self, PublishError},
    },
    telemetry,
};

mod beside;
mod rotate;
mod token;
mod verify;

const DIRECTORY: &str = "/var/lib/governd-sink";
const LISTEN: &str = "[::]:7443";

/// Flags of `governd sink`.
#[derive(Args, Debug)]
pub(super) struct Sink {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new sink: its authority, its certificate and the key by which it cosigns.
    Init(Init),
    /// Give the sink another key and certificate, and the names in it; hosts need nothing.
    Certify(Certify),
    /// Replace the authority and the key by which the sink cosigns; hosts go on meanwhile.
    RotateKeys(rotate::RotateKeys),
    /// Run the sink.
    Run(Run),
    /// Print a token that lets one host in, once.
    #[command(visible_alias = "enroll-token")]
    Token(token::Token),
    /// Say which hosts there are, how much of their logs is here, and what is wrong with them.
    Hosts(Hosts),
    /// Print the last receipt of a host: the checkpoint that this sink cosigned.
    Receipt(Receipt),
    /// Print the records of a host, one a line.
    Show(beside::Show),
    /// Search the records of all hosts, or of one.
    Query(beside::Query),
    /// Erase user names and command lines, which stand beside the records; they still verify.
    Erase(beside::Erase),
    /// Say that what is wrong with a host is over, such as a rewind that somebody explained.
    Settle(beside::Settle),
    /// Check that what is stored of every host is what it signed.
    Verify(verify::Verify),
    /// Write every host's log as static files that anybody can mirror and audit (C2SP tlog-tiles).
    Publish(Publish),
}

/// Where the sink is.
#[derive(Args, Debug)]
struct Place {
    /// Directory of the sink.
    #[arg(long, env = "GOVERND_SINK_DIR", value_name = "DIR", default_value = DIRECTORY)]
    dir: PathBuf,
}

#[derive(Args, Debug)]
struct Init {
    #[command(flatten)]
    place: Place,
    /// A DNS name or address that hosts reach the sink by; the first names it in cosignatures.
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<String>,
    /// Do nothing, and do it well, if there is a sink already.
    #[arg(long)]
    if_absent: bool,
}

#[derive(Args, Debug)]
struct Certify {
    #[command(flatten)]
    place: Place,
    /// A DNS name or address that hosts reach the sink by.
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<String>,
}

#[derive(Args, Debug)]
struct Run {
    #[command(flatten)]
    place: Place,
    /// Address and port to listen on.
    #[arg(long, env = "GOVERND_SINK_LISTEN", value_name = "ADDRESS", default_value = LISTEN)]
    listen: SocketAddr,
    /// Serve metrics there: `unix:PATH`, or an address of this host such as `127.0.0.1:9465`.
    #[arg(long, env = "GOVERND_METRICS", value_name = "ADDRESS", value_delimiter = ',')]
    metrics: Vec<Address>,
    /// Delete records after so many days, the oldest of a host first, if each of those that go with
    /// them has been kept for as long as its `retention` says (six months, or two years); without
    /// it, none are.
    #[arg(long, env = "GOVERND_SINK_KEEP_DAYS", value_name = "DAYS")]
    keep_days: Option<u32>,
}

#[derive(Args, Debug)]
struct Hosts {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object a host.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Receipt {
    #[command(flatten)]
    place: Place,
    /// The host's name.
    host: String,
}

#[derive(Args, Debug)]
struct Publish {
    #[command(flatten)]
    place: Place,
    /// Directory to write to, such as that of a web server; each host has one in it.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Go on, and write what is new every so many seconds.
    #[arg(long, value_name = "SECONDS")]
    every: Option<NonZeroU32>,
}

impl Sink {
    pub(super) fn run(self) -> Outcome {
        match self.verb {
            Verb::Init(verb) => verb.run(),
            Verb::Certify(verb) => verb.run(),
            Verb::RotateKeys(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Token(verb) => verb.run(),
            Verb::Hosts(verb) => verb.run(),
            Verb::Receipt(verb) => verb.run(),
            Verb::Show(verb) => verb.run(),
            Verb::Query(verb) => verb.run(),
            Verb::Erase(verb) => verb.run(),
            Verb::Settle(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::Publish(verb) => verb.run(),
        }
    }
}

impl Init {
    fn run(self) -> Outcome {
        match authority::create(&self.place.dir, &self.name) {
            Err(AuthorityError::Exists(_)) if self.if_absent => return Ok(Exit::Yes),
            created => created.map_err(unusable)?,
        }
        self.place.store()?;
        Printer::new(false).note(format_args!(
            "a sink is in {}; `governd sink run` runs it, `governd sink token` lets hosts in",
            self.place.dir.display()
        ));
        Ok(Exit::Yes)
    }
}

impl Certify {
    fn run(self) -> Outcome {
        authority::replace_server(&self.place.dir, &self.name).map_err(unusable)?;
        Printer::new(false).note(format_args!("the sink shows its new certificate when it starts"));
        Ok(Exit::Yes)
    }
}

impl Run {
    fn run(self) -> Outcome {
        telemetry::start("info");
        confinement::sink(&self.place.dir);
        let authority = Arc::new(self.place.authority()?);
        let store = self.place.store()?;
        let journal = sinking::open_log(&self.place.dir).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Environment, error, hint)
        })?;
        let tell = sinking::tell(journal.recorder());
        if let Some(days) = self.keep_days {
            let (store, ledger) = (self.place.store()?, sinking::ledger(&journal));
            deleting::start(store, days, ledger, Arc::clone(&tell), clock::now_s)
                .map_err(|error| Failure::plain(Exit::Environment, error))?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::plain(Exit::Environment, error))?;
        runtime.block_on(async {
            let listener = TcpListener::bind(self.listen).await;
            let listener = listener.with_context(|| format!("cannot listen on {}", self.listen));
            let listener = listener.map_err(|error| {
                Failure::new(Exit::Environment, error, "name another address with --listen")
            })?;
            let address = listener.local_addr().map_err(unwritable)?;
            Printer::new(false).note(format_args!("the sink listens on {address}"));
            let mut terminate =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                    .map_err(|error| Failure::plain(Exit::Environment, error))?;
            let counts = Arc::<Counts>::default();
            let source = OfSink::new(self.place.dir.clone(), Arc::clone(&counts), authority.ends());
            for metrics in &self.metrics {
                let served = metrics::Server::bind(metrics).map_err(|error| {
                    let hint = "name another address or socket with --metrics";
                    Failure::new(Exit::Environment, error, hint)
                })?;
                tokio::spawn(served.serve(source.clone()));
            }
            tokio::select! {
                served = server::serve_counted(listener, authority, store, tell, counts) => {
                    served.map_err(|error| Failure::plain(Exit::Environment, error))?;
                }
                _ = tokio::signal::ctrl_c() => (),
                _ = terminate.recv() => (),
            }
            Ok(Exit::Yes)
        })
    }
}

impl Hosts {
    fn run(self) -> Outcome {
        let printer = Printer::new(self.json);
        let store = self.place.store()?;
        let (hosts, findings) = (store.hosts().map_err(failed)?, store.findings().map_err(failed)?);
        let now_s = clock::now_s();
        for warning in self.place.authority()?.ends().iter().filter_map(|end| end.warning(now_s)) {
            printer.note(format_args!("{warning}"));
        }
        let mut table = Table::default();
        for host in &hosts {
            let found: Vec<_> = findings.iter().filter(|found| found.host == host.name).collect();
            let silent_s = now_s.saturating_sub(host.seen_s);
            if printer.is_json() {
                let findings: Vec<_> = found
                    .iter()
                    .map(|found| {
                        json!({
                            "count": integer(found.count),
                            "detail": found.detail,
                            "time_s": integer(found.time_s),
                            "what": found.what,
                        })
                    })
                    .collect();
                let value = json!({
                    "deleted": integer(host.deleted),
                    "findings": findings,
                    "first": integer(host.first),
                    "host": host.name,
                    "key": host.keys.current().to_string(),
                    "records": integer(host.size.saturating_sub(host.kept_from())),
                    "seen_s": integer(host.seen_s),
                });
                printer.value(&value).map_err(unwritable)?;
                continue;
            }
            let wrong = found.iter().map(|found| found.detail.as_str()).collect::<Vec<_>>();
            let tone = if wrong.is_empty() { Tone::Good } else { Tone::Bad };
            let wrong = if wrong.is_empty() { "nothing".to_owned() } else { wrong.join("; ") };
            table.row([
                (Tone::Plain, host.name.clone()),
                (Tone::Plain, host.size.saturating_sub(host.kept_from()).to_string()),
                (Tone::Plain, format!("{silent_s} s ago")),
                (tone, wrong),
            ]);
        }
        for line in table.lines(&printer) {
            printer.line(line).map_err(unwritable)?;
        }
        Ok(if findings.is_empty() { Exit::Yes } else { Exit::No })
    }
}

impl Receipt {
    fn run(self) -> Outcome {
        let hosts = self.place.store()?.hosts().map_err(failed)?;
        let host = hosts.into_iter().find(|host| host.name == self.host);
        let receipt = host.and_then(|host| host.receipt).ok_or_else(|| {
            let error = anyhow!("there is no receipt of host {}", self.host);
            Failure::new(Exit::Environment, error, "`governd sink hosts` lists the hosts")
        })?;
        Printer::new(false).text(receipt).map_err(unwritable)?;
        Ok(Exit::Yes)
    }
}

impl Publish {
    fn run(self) -> Outcome {
        let printer = Printer::new(false);
        let store = self.place.store()?;
        loop {
            let mut exit = Exit::Yes;
            for host in store.hosts().map_err(failed)? {
                match tiles::publish(&store, &host, &self.to) {
                    Ok(size) => {
                        printer.note(format_args!("{}: {size} records are published", host.name));
                    }
                    Err(error @ PublishError::Late(..)) => {
                        exit = Exit::No;
                        printer.note(format_args!("{error}; its tree is not published"));
                    }
                    Err(error) => {
                        let hint = "run it as who runs the sink, and name a directory to write to";
                        return Err(Failure::new(Exit::Environment, error, hint));
                    }
                }
            }
            let Some(seconds) = self.every else {
                return Ok(exit);
            };
            std::thread::sleep(Duration::from_secs(u64::from(seconds.get())));
        }
    }
}

impl Place {
    fn authority(&self) -> Result<Authority, Failure> {
        Authority::open(&self.dir).map_err(unusable)
    }

    fn store(&self) -> Result<Store, Failure> {
        open(&self.dir)
    }
}

/// Opens what is there: a directory without a sink gets nothing by being looked at.
fn open(directory: &Path) -> Result<Store, Failure> {
    authority::exists(directory).map_err(unusable)?;
    Store::open(directory).map_err(failed)
}

fn unusable(error: AuthorityError) -> Failure {
    let hint = error.hint();
    Failure::new(Exit::Environment, error, hint)
}

fn failed(error: StoreError) -> Failure {
    let hint = "run it as who runs the sink, or name its directory with --dir";
    Failure::new(Exit::Environment, error, hint)
}
