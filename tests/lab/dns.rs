//! The lab's resolvers: one answers A and AAAA, one only A, one only AAAA, so that a test chooses
//! the address family of an unchanged client by its `resolv.conf`.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{client::Family, command::Running, namespace::Namespaces, site, wait};

/// How long an answer may be kept, in seconds.
pub const TTL_S: u32 = 60;

/// The resolvers; stopped when dropped.
#[derive(Debug)]
pub struct Resolvers {
    directory: PathBuf,
    _running: Vec<Running>,
}

impl Resolvers {
    /// Starts the resolvers and writes a `resolv.conf` for each into `directory`.
    ///
    /// # Errors
    ///
    /// Fails if dnsmasq does not get ready.
    pub fn start(namespaces: &Namespaces, directory: &Path) -> Result<Self> {
        let mut running = Vec::new();
        for family in Family::ALL {
            let address = address(*family);
            let resolv_conf = directory.join(file_name(*family));
            fs::write(&resolv_conf, format!("nameserver {address}\noptions attempts:1\n"))
                .with_context(|| format!("writing {}", resolv_conf.display()))?;
            let configuration = directory.join(format!("{}.dnsmasq", file_name(*family)));
            fs::write(&configuration, dnsmasq_conf(*family))
                .with_context(|| format!("writing {}", configuration.display()))?;
            let mut dnsmasq = Running::start(
                Command::new("setpriv")
                    .args(["--pdeathsig", "KILL", "nsenter"])
                    .arg(format!("--net={}", namespaces.server().display()))
                    .args(["dnsmasq", "--keep-in-foreground", "--log-facility=-", "--pid-file="])
                    .arg(format!("--conf-file={}", configuration.display())),
            )?;
            // It says so when its sockets are bound.
            dnsmasq.line(wait::PATIENCE, |line| line.contains("started, version"))?;
            running.push(dnsmasq);
        }
        Ok(Self { directory: directory.to_owned(), _running: running })
    }

    /// The `resolv.conf` for clients that use `family`.
    pub fn resolv_conf(&self, family: Family) -> PathBuf {
        self.directory.join(file_name(family))
    }
}

/// Every address of a resolver, for a policy's list of trusted ones.
pub fn addresses() -> Vec<IpAddr> {
    Family::ALL.iter().map(|family| address(*family)).collect()
}

fn address(family: Family) -> IpAddr {
    match family {
        Family::Any => site::v4(site::RESOLVER).into(),
        Family::V4 => site::v4(site::RESOLVER_V4).into(),
        Family::V6 => site::v6(site::RESOLVER_V6).into(),
    }
}

fn file_name(family: Family) -> &'static str {
    match family {
        Family::Any => "resolv-any.conf",
        Family::V4 => "resolv-v4.conf",
        Family::V6 => "resolv-v6.conf",
    }
}

fn dnsmasq_conf(family: Family) -> String {
    let mut lines = format!(
        "user=root\nbind-interfaces\nlisten-address={}\nno-resolv\nno-hosts\nlocal-ttl={TTL_S}\n\
         address=/#/\n",
        address(family)
    );
    for site in site::ALL {
        let addresses = site.addresses().into_iter().filter(|address| match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        });
        for address in addresses {
            let line = if site.name.starts_with("*.") {
                format!("address=/{}/{address}\n", site.name)
            } else {
                format!("host-record={},{address}\n", site.name)
            };
            lines.push_str(&line);
        }
    }
    lines
}
