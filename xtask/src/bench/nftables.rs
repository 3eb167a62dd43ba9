//! What many people use instead: a packet filter that lets a cgroup reach a set of addresses.

use std::{fmt::Write as _, io::Write as _, path::Path, process::Stdio};

use anyhow::{Context as _, Result, bail};

use super::{
    field::Namespace,
    site::{RESOLVER, SERVER, TARGET},
};

/// Its name in the report.
pub(super) const LABEL: &str = "nftables: cgroup, set, conntrack";

/// Lets processes of the cgroup reach so many addresses, and nobody anything else.
pub(super) fn filter(namespace: &Namespace<'_>, cgroup: &Path, rules: usize) -> Result<()> {
    let mut command = namespace.command("nft")?;
    let mut child =
        command.args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("starting nft")?;
    let mut input = child.stdin.take().context("nft has no input")?;
    input.write_all(ruleset(cgroup, rules).as_bytes())?;
    drop(input);
    let status = child.wait()?;
    if !status.success() {
        bail!("nft did not take the rules: {status}");
    }
    Ok(())
}

fn ruleset(cgroup: &Path, rules: usize) -> String {
    let mut elements = format!("{TARGET}, {SERVER}, {RESOLVER}");
    for rule in 3..rules {
        // Writing to a String does not fail.
        write!(elements, ", 172.16.{}.{}", rule >> 8, rule & 0xff).unwrap_or_default();
    }
    // nft takes it from there, wherever the cgroup v2 tree is mounted below.
    let cgroup = cgroup.strip_prefix("/sys/fs/cgroup").unwrap_or(cgroup).display();
    format!(
        "table inet bench {{
  set allowed {{ type ipv4_addr; flags interval; elements = {{ {elements} }} }}
  chain output {{
    type filter hook output priority 0; policy drop;
    ct state established,related accept
    socket cgroupv2 level 1 \"{cgroup}\" ip daddr @allowed accept
  }}
}}
"
    )
}
