//! `governd policy`: documents before they are put into force. Needs neither rights nor a daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    Outcome,
    exit::{Exit, Failure},
    flags::{AboutHost, Additions},
    printer::Printer,
    unwritable,
};
use crate::{
    app::{
        catalogue,
        rulebook::Known,
        sources::{self, SourceError},
    },
    audit::log::ReadError,
    policy::{compile::Surroundings, crd, diagnostic::Diagnostics, document},
    workload::{
        cgroup,
        host::{HostFacts, HostPaths},
    },
};

mod check;
mod counts;
mod diff;
mod learn;
mod show;
mod sign;
mod test;

/// Where cgroup v2 is mounted on most hosts.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// Verbs of `governd policy`.
#[derive(Args, Debug)]
pub(super) struct Policy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check documents and say what is wrong with them; exit status 3 if something is.
    Check(check::Check),
    /// Run the test cases of documents; exit status 1 if one fails.
    Test(test::Test),
    /// Say who gains or loses what between two policies; exit status 1 if somebody does.
    Diff(diff::Diff),
    /// Write documents from what the log has seen, for review.
    Learn(learn::Learn),
    /// Say what is in force for each agent.
    Show(show::Show),
    /// Sign documents, for hosts that require it.
    Sign(sign::Sign),
    /// Say whether documents are as they were signed; exit status 1 if not.
    Verify(sign::Verify),
    /// Print the JSON Schema of the documents, for editors.
    Schema,
    /// Print the documents' definitions as custom resources of Kubernetes.
    Crds,
}

impl Policy {
    pub(super) fn run(self) -> Outcome {
        match self.verb {
            Verb::Check(check) => check.run(),
            Verb::Test(test) => test.run(),
            Verb::Diff(diff) => diff.run(),
            Verb::Learn(learn) => learn.run(),
            Verb::Show(show) => show.run(),
            Verb::Sign(sign) => sign.run(),
            Verb::Verify(verify) => verify.run(),
            Verb::Crds => {
                Printer::new(false).text(crd::text()).map_err(unwritable)?;
                Ok(Exit::Yes)
            }
            Verb::Schema => {
                let printer = Printer::new(true);
                printer.value(&document::schema()).map_err(unwritable)?;
                Ok(Exit::Yes)
            }
        }
    }
}

/// Which host documents are looked at for.
#[derive(Args, Debug)]
struct Which {
    #[command(flatten)]
    host: AboutHost,
    /// As on a host of this name; this one's, if absent.
    #[arg(long = "host", value_name = "NAME")]
    name: Option<String>,
}

/// What a policy is compiled with on this host.
struct Here {
    host: HostFacts,
    known: Known,
}

impl Here {
    fn read(additions: &Additions, about: &Which) -> Result<Self, Failure> {
        // Without cgroup v2 no cgroup is recognised, which is no document's fault.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let cgroup = cgroup::mount_point(&mounts).unwrap_or_else(|| PathBuf::from(CGROUP_MOUNT));
        let host = HostFacts::read(&HostPaths::of_machine(cgroup, &about.host.host_file));
        let host = match &about.name {
            Some(name) => host.named(name.clone()),
            None => host,
        };
        Ok(Self { host, known: catalogue::known(&additions.load()?) })
    }

    fn around(&self) -> Surroundings<'_> {
        let Known { endpoints, model_ports } = &self.known;
        Surroundings { host: &self.host, endpoints, model_ports, mode: None }
    }
}

/// The documents cannot be put into force.
fn invalid(diagnostics: Diagnostics) -> Failure {
    let hint = "`governd policy check` says this and what else there is to say";
    Failure::new(Exit::Invalid, diagnostics, hint)
}

/// The log cannot be read.
fn unreadable(error: ReadError) -> Failure {
    let hint = "run it as root on the host of the log, or name its --state-dir";
    Failure::new(Exit::Environment, error, hint)
}

/// All files: path and content, of which only as much is read as a policy file may have.
fn read(paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let unreadable = |error: SourceError| {
        let hint = match &error {
            SourceError::Read { .. } => "name a readable file",
            other => other.hint(),
        };
        Failure::new(Exit::Environment, error, hint)
    };
    let mut all = Vec::new();
    for path in paths {
        all.extend(sources::files(path).map_err(unreadable)?);
    }
    if all.is_empty() {
        let error = anyhow::anyhow!("there is no .yaml or .yml file in what was named");
        return Err(Failure::new(Exit::Environment, error, "name a policy file or its directory"));
    }
    sources::read_all(&all).map_err(unreadable)
}
