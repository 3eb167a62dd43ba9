//! What a self-test tries for an agent: a place that its policy has to let it reach, and one that
//! it must not reach. Pure: the same tables and the same decision as in the kernel, in user space.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use governd_common::{
    decide::{Flow, decide},
    key::BindingKey,
    limits::BINDING_SETS_MAX,
    table::{Binding, BoundSet, RuleBlock, entry_flag, set_id},
    verdict::{Reason, Verdict},
};

use super::{image::Compiled, tables::ImageTables};

/// Nobody has these addresses (RFC 5737).
const FORBIDDEN: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(203, 0, 113, 1)];
const BOUND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The discard service (RFC 863).
const PORT: u16 = 9;
const PROTOCOL_TCP: u8 = 6;
/// Rules of one agent that are looked at.
const CANDIDATES_MAX: usize = 256;
/// How long an address stands for a name that is tried, in nanoseconds.
const BOUND_NS: u64 = 1_000_000_000;

/// A place that an agent has to reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowed {
    /// Where to connect to.
    pub to: SocketAddr,
    /// The set of the rule that allows it.
    pub set: u32,
    /// What the address has to be bound to for it, if the rule is about a name.
    pub binding: Option<(BindingKey, Binding)>,
}

/// What is tried for one agent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Trial {
    /// What has to pass; nothing can be tried, if `None`.
    pub allowed: Option<Allowed>,
    /// What has to be refused; nothing is, if `None`.
    pub refused: Option<SocketAddr>,
}

/// Chooses what to try for a subject.
pub fn choose(
    tables: &mut ImageTables<'_>,
    compiled: &Compiled,
    subject: u32,
    now_ns: u64,
) -> Trial {
    let flow = |to: SocketAddr| Flow {
        subject,
        address: to.ip().into(),
        port: to.port(),
        protocol: PROTOCOL_TCP,
        now_ns,
    };
    let forbidden = FORBIDDEN.map(|address| SocketAddr::new(address.into(), PORT));
    // A denial that would quarantine the agent is not tried.
    let refused = forbidden.into_iter().find(|to| {
        let decision = decide(tables, &flow(*to));
        decision.verdict == Verdict::Deny && decision.reason != Reason::Halt
    });
    let own = compiled.image.blocks.iter();
    let own = own.filter(|(of, set, _)| *of == subject && *set != set_id::ANY_ADDRESS);
    let mut candidates = own
        .take(CANDIDATES_MAX)
        .flat_map(|(_, set, block)| ports(block).map(|port| (*set, port)).collect::<Vec<_>>());
    let networks = &compiled.image.networks;
    let allowed = candidates.find_map(|(set, port)| {
        let network = networks.iter().find(|(of, _, _, known)| *of == subject && *known == set);
        let binding = network.is_none().then(|| bound(subject, set, now_ns));
        let address = network.map_or(BOUND.into(), |(_, address, _, _)| IpAddr::from(*address));
        // The sockets that are lent are of IPv4.
        let to = SocketAddr::new(address, port);
        tables.unbind();
        if let Some((key, binding)) = binding {
            tables.put(key, binding);
        }
        let passes = address.is_ipv4() && decide(tables, &flow(to)).verdict == Verdict::Allow;
        passes.then_some(Allowed { to, set, binding })
    });
    Trial { allowed, refused }
}

/// Ports on which a block allows TCP without a person.
fn ports(block: &RuleBlock) -> impl Iterator<Item = u16> {
    let entries = block.entries.iter().take(block.len as usize);
    let may = entries.filter(|entry| {
        let is_tcp = entry.protocol == 0 || entry.protocol == PROTOCOL_TCP;
        let is_plain = entry.flags & (entry_flag::APPROVE | entry_flag::HALT) == 0;
        is_tcp && is_plain && entry.verdict == Verdict::Allow as u8
    });
    may.map(|entry| entry.port_first.max(1))
}

fn bound(subject: u32, set: u32, now_ns: u64) -> (BindingKey, Binding) {
    let mut sets = [BoundSet::UNUSED; BINDING_SETS_MAX];
    if let Some(first) = sets.first_mut() {
        *first = BoundSet { expires_ns: now_ns.saturating_add(BOUND_NS), set, reserved: 0 };
    }
    (BindingKey { subject, address: IpAddr::from(BOUND).into() }, Binding { sets })
}
