//! What there is in a namespace of the bench: addresses on its loopback device, and names.

use std::net::Ipv4Addr;

/// The address that plain connections and datagrams are for. On the loopback device, and no
/// loopback address, which a policy might treat in another way.
pub(super) const TARGET: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The HTTPS server, by name.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The same server, where no name leads.
pub(super) const UNNAMED: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
pub(super) const HAPROXY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 4);
pub(super) const ENVOY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 5);
pub(super) const SQUID: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 6);
pub(super) const MITMPROXY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 7);
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 53);

/// Every address of a namespace.
pub(super) const ALL: [Ipv4Addr; 8] =
    [TARGET, SERVER, UNNAMED, HAPROXY, ENVOY, SQUID, MITMPROXY, RESOLVER];

/// The server's name, which the agent may reach.
pub(super) const NAME: &str = "api.bench.example";
/// Another name of the server, which it may not.
pub(super) const NAME_REFUSED: &str = "other.bench.example";
/// Names that lead to the server through a proxy.
pub(super) const NAME_HAPROXY: &str = "haproxy.bench.example";
pub(super) const NAME_ENVOY: &str = "envoy.bench.example";
/// Names of the server's certificate.
pub(super) const NAMES: [&str; 4] = [NAME, NAME_REFUSED, NAME_HAPROXY, NAME_ENVOY];

/// `nNUMBER` below this are names with many addresses each, which nobody else has.
pub(super) const MANY: &str = "many.bench.example";
pub(super) const MANY_ADDRESSES: u32 = 16;
/// The first of those addresses; nothing is sent to them.
const MANY_FIRST: u32 = Ipv4Addr::new(10, 128, 0, 0).to_bits();

/// The addresses of a name.
pub(super) fn addresses(name: &str) -> Vec<Ipv4Addr> {
    match name {
        NAME | NAME_REFUSED => vec![SERVER],
        NAME_HAPROXY => vec![HAPROXY],
        NAME_ENVOY => vec![ENVOY],
        _ => many(name).unwrap_or_default(),
    }
}

fn many(name: &str) -> Option<Vec<Ipv4Addr>> {
    let number = name.strip_suffix(MANY)?.strip_prefix('n')?.strip_suffix('.')?;
    let first = MANY_FIRST + number.parse::<u16>().map(u32::from).ok()? * MANY_ADDRESSES;
    Some((first..first + MANY_ADDRESSES).map(Ipv4Addr::from_bits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_many_addresses_share_none() {
        let [first, second] = ["n0.many.bench.example", "n1.many.bench.example"].map(addresses);
        assert_eq!((first.len(), second.len()), (16, 16));
        assert!(first.iter().all(|address| !second.contains(address)), "{first:?} {second:?}");
        assert_eq!(addresses(NAME), [SERVER]);
        assert!(addresses("nx.many.bench.example").is_empty());
    }
}
