//! How specific a rule is. Larger wins; deny wins where two are equal.
//!
//! What the target says counts first: an exact name or single address 1,000, a wildcard 500 and its
//! labels, a network its prefix length in the 128-bit form (IPv4 counts from 96). Among equal
//! targets a rule that names ports wins over one that does not, then one that names a protocol.

use governd_common::limits::NAME_BYTES_MAX;

use crate::policy::value::{Target, name::HostPattern, network::Network, port::Protocol};

const EXACT: u16 = 1_000;
const WILDCARD: u16 = 500;
const LABELS_MAX: u16 = NAME_BYTES_MAX as u16 / 2 + 1;
/// One step of the target is worth more than everything that ports and protocol say.
const STEP: u16 = 4;
const PORTS: u16 = 2;
const PROTOCOL: u16 = 1;

const _: () = {
    assert!(128 < WILDCARD && WILDCARD + LABELS_MAX < EXACT);
    assert!(PORTS + PROTOCOL < STEP);
    assert!(EXACT.checked_mul(STEP).is_some());
};

/// The specificity of a rule on a target.
pub fn of(target: &Target, has_ports: bool, protocol: Protocol) -> u16 {
    match target {
        Target::Name(pattern) => of_name(pattern, has_ports, protocol),
        Target::Network(network) => of_network(network, has_ports, protocol),
    }
}

/// The specificity of a rule on a name or wildcard.
pub fn of_name(pattern: &HostPattern, has_ports: bool, protocol: Protocol) -> u16 {
    let target = if pattern.is_wildcard() {
        WILDCARD + (pattern.labels() as u16).min(LABELS_MAX)
    } else {
        EXACT
    };
    with_steps(target, has_ports, protocol)
}

fn of_network(network: &Network, has_ports: bool, protocol: Protocol) -> u16 {
    let target = if network.is_host() { EXACT } else { u16::from(network.mapped_prefix()) };
    with_steps(target, has_ports, protocol)
}

fn with_steps(target: u16, has_ports: bool, protocol: Protocol) -> u16 {
    let ports = if has_ports { PORTS } else { 0 };
    let protocol = if protocol == Protocol::Any { 0 } else { PROTOCOL };
    target * STEP + ports + protocol
}
