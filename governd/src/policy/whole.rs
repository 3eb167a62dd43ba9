//! What becomes of a whole connection: of its first packet, and of the name in its first bytes.
//!
//! The kernel decides twice about a connection whose rule wants a proof. Whoever asks about a
//! destination before there is a connection wants to know how it ends.

use std::net::{IpAddr, Ipv6Addr};

use governd_common::{
    address::Address,
    decide::{Decision, Flow, Named, Proof, decide, decide_named},
    verdict::{Reason, Verdict},
};

use super::{explain::NamesOnly, tables::ImageTables};

pub(super) const PORT_HTTP: u16 = 80;

/// Who asks, and on which port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Asker {
    /// The subject.
    pub(super) subject: u32,
    /// Destination port.
    pub(super) port: u16,
    /// IP protocol number.
    pub(super) protocol: u8,
}

impl Asker {
    fn flow(self, address: IpAddr) -> Flow {
        let Self { subject, port, protocol } = self;
        Flow { subject, address: Address::from(address), port, protocol, now_ns: 0 }
    }

    /// A connection to a name that was looked up and stands in the first bytes. Without an address,
    /// rules on networks cannot say anything about it.
    pub(super) fn to_name(
        self,
        tables: &mut ImageTables<'_>,
        name: &str,
        address: Option<IpAddr>,
    ) -> Decision {
        tables.unbind();
        let set = tables.name_set(name).unwrap_or(0);
        let flow = self.flow(address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        tables.bind(self.subject, name, flow.address, u64::MAX);
        let named = Named::by_bytes(set, self.port == PORT_HTTP);
        if address.is_some() {
            let first = decide(tables, &flow);
            return if is_settled(first) { first } else { decide_named(tables, &flow, named) };
        }
        let tables = NamesOnly::new(tables);
        let first = decide(&tables, &flow);
        if is_settled(first) { first } else { decide_named(&tables, &flow, named) }
    }

    /// A connection to an address that no name is known of.
    pub(super) fn to_address(self, tables: &mut ImageTables<'_>, address: IpAddr) -> Decision {
        tables.unbind();
        let decision = decide(tables, &self.flow(address));
        if decision.proof == Proof::Name && decision.verdict == Verdict::Allow {
            let reason = Reason::NoServerName;
            return Decision { verdict: Verdict::Deny, reason, proof: Proof::None, ..decision };
        }
        decision
    }
}

fn is_settled(decision: Decision) -> bool {
    decision.verdict == Verdict::Deny || decision.proof == Proof::None
}
