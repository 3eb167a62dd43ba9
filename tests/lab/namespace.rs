//! The client's and the servers' network namespaces, joined by a veth pair.

use std::{
    fs::{self, File},
    io::Write as _,
    net::IpAddr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{command::must, site};

const DIRECTORY: &str = "/run/netns";

/// A network namespace; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace without duplicate address detection, which would delay every address.
    ///
    /// # Errors
    ///
    /// Fails if `ip` does.
    pub fn create(name: String) -> Result<Self> {
        must("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        within(&namespace.path(), disable_dad)?;
        Ok(namespace)
    }

    /// Its name, for `ip`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, for `setns(2)`.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs lines of `ip -batch` in it.
    ///
    /// # Errors
    ///
    /// Fails with what `ip` said and the lines.
    pub fn configure(&self, lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting ip")?;
        child.stdin.take().context("ip has no input")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip -n {} -batch: {said}\n{lines}", self.name);
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = must("ip", &["netns", "delete", &self.name]) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Both namespaces of a lab.
#[derive(Debug)]
pub struct Namespaces {
    client: Namespace,
    server: Namespace,
}

impl Namespaces {
    /// Makes both, with every address of the lab.
    ///
    /// # Errors
    ///
    /// Fails if `ip` does.
    pub fn create(name: &str) -> Result<Self> {
        let client = Namespace::create(format!("{name}-client"))?;
        let server = Namespace::create(format!("{name}-server"))?;
        let mut lines = format!(
            "link set lo up\nlink add lab0 type veth peer name lab0 netns {}\nlink set lab0 up\n",
            server.name
        );
        add_host(&mut lines, site::CLIENT);
        client.configure(&lines)?;
        let mut lines = String::from("link set lo up\nlink set lab0 up\n");
        let resolvers = [site::RESOLVER, site::RESOLVER_V4, site::RESOLVER_V6];
        for number in resolvers.into_iter().chain(site::ALL.iter().map(|site| site.number)) {
            add_host(&mut lines, number);
        }
        server.configure(&lines)?;
        Ok(Self { client, server })
    }

    /// The clients' namespace, as a path that `setns(2)` takes.
    pub fn client(&self) -> PathBuf {
        self.client.path()
    }

    /// The servers' namespace, as a path that `setns(2)` takes.
    pub fn server(&self) -> PathBuf {
        self.server.path()
    }
}

/// The names of all network namespaces of this machine.
///
/// # Errors
///
/// Fails if they cannot be listed.
pub(crate) fn names() -> Result<Vec<String>> {
    if !Path::new(DIRECTORY).exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(DIRECTORY).with_context(|| format!("reading {DIRECTORY}"))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Runs `work` in a thread of its own in the network namespace; sockets that it makes stay there.
///
/// # Errors
///
/// Fails if the namespace cannot be entered, or with `work`'s error.
pub fn within<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let enter = || -> std::io::Result<()> {
        let file = File::open(path)?;
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    };
    let thread = || {
        enter().with_context(|| format!("entering {}", path.display()))?;
        work()
    };
    thread::scope(|scope| scope.spawn(thread).join())
        .map_err(|_| anyhow!("panic in {}", path.display()))?
}

fn disable_dad() -> Result<()> {
    for which in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{which}/accept_dad");
        fs::write(&path, "0").with_context(|| format!("writing {path}"))?;
    }
    Ok(())
}

fn add_host(lines: &mut String, number: u8) {
    let (v4, v6) = (site::v4(number), site::v6(number));
    for (address, prefix) in [(IpAddr::V4(v4), 24), (IpAddr::V6(v6), 64)] {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        // `replace`, because several names may share a host.
        lines.push_str(&format!("addr replace {address}/{prefix} dev lab0{nodad}\n"));
    }
}
