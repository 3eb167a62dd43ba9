//! The lab: network namespaces with their own DNS and TLS servers, in which real clients run.
//!
//! A client namespace and a server namespace are joined by one veth pair. The servers own an
//! address per name ([`site`]), speak enough of the AI services' protocols for the official
//! clients to complete a request, and count exactly what reached them. Clients run in the client
//! namespace and in a cgroup of the lab's own, which is the one that governd is given. The test
//! process itself is never in that cgroup.
//!
//! Everything that the lab makes carries [`leftover::PREFIX`] and the pid of the process that made
//! it. It is removed when the [`Lab`] is dropped; what a killed run left is removed by the next.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

pub mod certificate;
pub mod cgroup;
pub mod client;
pub mod command;
pub mod counter;
pub mod daemon;
pub mod dns;
pub mod harness;
pub mod http;
pub mod leftover;
pub mod namespace;
pub mod residue;
pub mod server;
pub mod site;
pub mod tool;
pub mod wait;

use crate::{
    certificate::Authority,
    cgroup::Cgroup,
    client::{Client, Family},
    counter::{Counters, Seen},
    dns::Resolvers,
    namespace::Namespaces,
    server::Servers,
    tool::Tools,
};

/// A running lab. The order of the fields is the order in which they are taken down.
#[derive(Debug)]
pub struct Lab {
    cgroup: Cgroup,
    servers: Servers,
    resolvers: Resolvers,
    counters: Counters,
    namespaces: Namespaces,
    tools: Tools,
    authority: Authority,
    files: TempDir,
}

impl Lab {
    /// Builds a lab.
    ///
    /// # Errors
    ///
    /// Fails without root, without the packages and clients that `cargo xtask setup` installs, or
    /// without a cgroup v2 mount.
    pub fn start() -> Result<Self> {
        Self::start_with(Tools::find()?)
    }

    /// Builds a lab for what needs no more than these tools.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with(tools: Tools) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        leftover::remove().context("removing what a killed run left")?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", leftover::PREFIX, std::process::id());

        let files = TempDir::with_prefix(&name).context("making the lab's directory")?;
        let namespaces = Namespaces::create(&name).context("making the network namespaces")?;
        let counters = Counters::create(&namespaces).context("making the packet counters")?;
        let resolvers = Resolvers::start(&namespaces, files.path()).context("starting dnsmasq")?;
        let authority = Authority::create(files.path()).context("making the private CA")?;
        let servers = Servers::start(&namespaces, &authority).context("starting the servers")?;
        let cgroup = Cgroup::create(&name).context("making the lab's cgroup")?;
        Ok(Self { cgroup, servers, resolvers, counters, namespaces, tools, authority, files })
    }

    /// The cgroup in which clients run: the one to give to governd.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Programs that the tests run.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The two namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The CA certificate, PEM.
    pub fn authority(&self) -> &Path {
        self.authority.path()
    }

    /// A command in the client namespace and the lab's cgroup, which resolves names to addresses
    /// of `family`.
    pub fn client(&self, family: Family, program: impl AsRef<Path>) -> Client {
        let resolv_conf = self.resolvers.resolv_conf(family);
        Client::new(program.as_ref(), &self.namespaces, resolv_conf, self.authority())
            .cgroup(self.cgroup.path())
    }

    /// What reached an address of the server namespace so far.
    ///
    /// # Errors
    ///
    /// Fails if the packet counters cannot be read.
    pub fn seen(&self, address: IpAddr) -> Result<Seen> {
        let (connections, datagrams) = self.servers.counts(address);
        Ok(Seen { packets: self.counters.packets(address)?, connections, datagrams })
    }

    /// A new empty directory, removed with the lab.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = TempDir::with_prefix_in(format!("{name}-"), self.files.path())
            .with_context(|| format!("making a directory for {name}"))?
            .keep();
        Ok(path)
    }
}
