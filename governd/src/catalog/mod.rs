//! What is known of AI endpoints and runtimes: data files and their index.
//!
//! The files of `data/` are compiled in; an administrator adds files of the same form, which the
//! caller reads. An entry says where the fact comes from, and how much it says by itself: names,
//! ports and hosts that ordinary software uses too are marked. Not for: what follows from a match
//! (`core::inventory`).

mod command;
mod entry;
mod glob;
mod hosts;
mod parse;
mod patterns;
mod runtimes;

pub use command::{Command, Target};
pub(crate) use entry::words;
pub use entry::{
    Ecosystem, Endpoint, EndpointKind, HostMatch, Origin, Runtime, RuntimeKind, RuntimeMatch,
    Weight,
};
pub use hosts::normal_host;
pub use parse::{ParseError, Source};
pub use patterns::EndpointPattern;

use hosts::Hosts;
use runtimes::Runtimes;

const BUILT_IN: [Source<'static>; 2] = [
    Source { path: "built-in endpoints.csv", text: include_str!("data/endpoints.csv") },
    Source { path: "built-in runtimes.csv", text: include_str!("data/runtimes.csv") },
];
const REGIONS: &str = include_str!("data/regions.csv");

/// The catalogue, indexed.
#[derive(Clone, Debug)]
pub struct Catalog {
    hosts: Hosts,
    runtimes: Runtimes,
}

impl Catalog {
    /// The catalogue that is compiled in.
    pub fn built_in() -> Self {
        // The built-in files are tested to have no errors.
        let (entries, _) = parse::files(&BUILT_IN);
        Self::index(entries)
    }

    /// The built-in catalogue with an administrator's files. A domain that is in both is what the
    /// file says.
    ///
    /// # Errors
    /// Every line that cannot be read, with its file.
    pub fn with_additions(additions: &[Source<'_>]) -> Result<Self, Vec<ParseError>> {
        let (mut entries, _) = parse::files(&BUILT_IN);
        let (added, errors) = parse::files(additions);
        if !errors.is_empty() {
            return Err(errors);
        }
        entries.endpoints.extend(added.endpoints);
        entries.runtimes.extend(added.runtimes);
        Ok(Self::index(entries))
    }

    fn index(entries: parse::Entries) -> Self {
        Self { hosts: Hosts::new(entries.endpoints), runtimes: Runtimes::new(entries.runtimes) }
    }

    /// The endpoint that a host name belongs to: exact before pattern before the longest suffix.
    pub fn lookup_host(&self, name: &str) -> Option<&Endpoint> {
        self.hosts.lookup(&normal_host(name)?)
    }

    /// Runtimes by executable: a path, or a file name.
    pub fn lookup_exe(&self, path: &str) -> Vec<&Runtime> {
        self.runtimes.exe(path)
    }

    /// Runtimes by command line: patterns, and the script, module or package that an interpreter
    /// or launcher was told to run.
    pub fn lookup_argv(&self, args: &[String]) -> Vec<&Runtime> {
        self.runtimes.argv(args)
    }

    /// Runtimes that listen on a TCP port by default.
    pub fn lookup_port(&self, port: u16) -> Vec<&Runtime> {
        self.runtimes.port(port)
    }

    /// Ports on which nothing but a local model server listens.
    pub fn model_ports(&self) -> Vec<u16> {
        self.runtimes.model_ports()
    }

    /// What an environment variable's name stands for.
    pub fn lookup_env(&self, name: &str) -> Vec<&Runtime> {
        self.runtimes.env(name)
    }

    /// Runtimes by package, with or without a version.
    pub fn lookup_package(&self, ecosystem: Ecosystem, name: &str) -> Vec<&Runtime> {
        self.runtimes.package(ecosystem, name)
    }

    /// Runtimes by a module of Python: its top level is the name of a package, or belongs to one.
    pub fn lookup_module(&self, module: &str) -> Vec<&Runtime> {
        self.runtimes.of_module(module)
    }

    /// Every endpoint.
    pub fn endpoints(&self) -> &[Endpoint] {
        self.hosts.entries()
    }

    /// Every runtime.
    pub fn runtimes(&self) -> &[Runtime] {
        self.runtimes.entries()
    }

    /// Name patterns of AI endpoints, each with its provider and kind: what a policy takes for
    /// hosts that it calls AI. Without shared hosts, telemetry and resolvers.
    pub fn endpoint_patterns(&self) -> Vec<EndpointPattern> {
        patterns::of(self.endpoints(), REGIONS)
    }
}

#[cfg(test)]
mod tests;
