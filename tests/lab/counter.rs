//! Counts packets that arrive in the server namespace, per address: even a SYN that nobody accepts
//! or a datagram to a closed port shows here.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{command::must, namespace::Namespaces, site};

/// What reached an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// TCP and UDP packets, also those that no server took.
    pub packets: u64,
    /// TCP connections that a server accepted.
    pub connections: u64,
    /// UDP datagrams that a server read.
    pub datagrams: u64,
}

/// The packet counters.
#[derive(Debug)]
pub struct Counters {
    namespace: PathBuf,
}

impl Counters {
    /// Makes a counter for every address of the lab.
    ///
    /// # Errors
    ///
    /// Fails if `nft` does.
    pub fn create(namespaces: &Namespaces) -> Result<Self> {
        let counters = Self { namespace: namespaces.server() };
        let mut objects = String::new();
        let mut rules = String::new();
        let mut addresses: Vec<IpAddr> =
            site::ALL.iter().flat_map(|site| site.addresses()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        for address in addresses {
            let name = counter(address);
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            objects.push_str(&format!("counter {name} {{ }}\n"));
            rules.push_str(&format!(
                "{family} daddr {address} meta l4proto {{ tcp, udp }} counter name {name}\n"
            ));
        }
        let table = format!(
            "table inet lab {{\n{objects}chain arrivals {{\n\
             type filter hook prerouting priority raw; policy accept;\n{rules}}}\n}}\n"
        );
        nft(&counters.namespace, &[&table])?;
        Ok(counters)
    }

    /// TCP and UDP packets to an address so far.
    ///
    /// # Errors
    ///
    /// Fails if `nft` does, or for an address that is not a site's.
    pub fn packets(&self, address: IpAddr) -> Result<u64> {
        let text = nft(&self.namespace, &["-j", "list", "counters", "table", "inet", "lab"])?;
        let listed: serde_json::Value = serde_json::from_str(&text).context("reading nft")?;
        let name = counter(address);
        let counters = listed.get("nftables").and_then(|list| list.as_array());
        counters
            .and_then(|list| {
                list.iter().filter_map(|entry| entry.get("counter")).find(|counter| {
                    counter.get("name").and_then(|value| value.as_str()) == Some(&name)
                })
            })
            .and_then(|counter| counter.get("packets")?.as_u64())
            .with_context(|| format!("no packet counter for {address}"))
    }
}

fn counter(address: IpAddr) -> String {
    format!("to_{}", address.to_string().replace([':', '.'], "_"))
}

fn nft(namespace: &Path, args: &[&str]) -> Result<String> {
    let entry = format!("--net={}", namespace.display());
    must("nsenter", &[&[entry.as_str(), "nft"], args].concat())
}
