//! What an agent would be allowed of a capture: `governd replay --policy --agent`.
//!
//! The decision is the one that the kernel takes, over the tables of the policy and over what the
//! capture's own DNS answers taught. Three things a capture does not show, and they are taken to
//! be as the agent would wish: that the connections are the agent's, that the answers were
//! asked for, and (unless the caller says which ones) that their servers are trusted resolvers.
//! What DNS taught holds until the end of the capture.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use governd_common::{
    address::Address,
    decide::{Decision, Flow, Named, Proof, Tables, decide, decide_named},
    key::GrantKey,
    table::{Binding, RuleBlock, Subject},
    verdict::{Reason, Verdict},
};

use super::packet;
use crate::{
    capture::{self, Found, Proto, Seen},
    policy::{
        image::{Compiled, RuleFacts},
        tables::ImageTables,
    },
};

/// A decision about a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// The frame that began it, or that completed its name.
    pub frame: u64,
    /// The connection.
    pub flow: capture::Flow,
    /// IP protocol number.
    pub protocol: u8,
    /// The decision.
    pub decision: Decision,
    /// The rule that made it, or whose default it is.
    pub rule: Option<Arc<str>>,
}

/// What is known of a connection whose name was not seen yet.
#[derive(Debug)]
struct Open {
    frame: u64,
    decision: Decision,
    has_spoken: bool,
}

/// Judges the connections of a capture as those of one agent.
#[derive(Debug)]
pub struct Judge<'a> {
    compiled: &'a Compiled,
    tables: Captured<'a>,
    subject: u32,
    open: HashMap<(capture::Flow, u8), Open>,
}

impl<'a> Judge<'a> {
    /// A judge for the agent of this name, or `None` if the policy has no such agent. If
    /// `resolvers` is empty, every DNS server of the capture is trusted.
    pub fn new(compiled: &'a Compiled, agent: &str, resolvers: &'a [IpAddr]) -> Option<Self> {
        let agent = compiled.agents.iter().find(|known| &*known.name == agent)?;
        let tables = Captured { image: ImageTables::new(&compiled.image), resolvers };
        Some(Self { compiled, tables, subject: agent.subject, open: HashMap::new() })
    }

    /// Takes in what is seen; a name that a connection carries completes the decision about it.
    pub fn see(&mut self, seen: &Seen) -> Option<Judged> {
        match seen {
            Seen::Connection { frame, flow, protocol } => {
                self.begin(*frame, *flow, *protocol);
                None
            }
            Seen::Speech(flow) => {
                if let Some(open) = self.open.get_mut(&(*flow, packet::TCP)) {
                    open.has_spoken = true;
                }
                None
            }
            Seen::Name(found) if found.proto == Proto::Dns => {
                self.learn(found);
                None
            }
            Seen::Name(found) => Some(self.name(found)),
        }
    }

    /// The decisions about the connections that carried no name, in the order in which they began.
    pub fn finish(&mut self) -> Vec<Judged> {
        let mut rest = BTreeMap::new();
        for ((flow, protocol), open) in std::mem::take(&mut self.open) {
            let Open { frame, mut decision, has_spoken } = open;
            if decision.proof == Proof::Name && has_spoken {
                (decision.verdict, decision.reason) = (Verdict::Deny, Reason::NoServerName);
            }
            rest.insert((frame, flow, protocol), self.judged(frame, flow, protocol, decision));
        }
        rest.into_values().collect()
    }

    fn begin(&mut self, frame: u64, flow: capture::Flow, protocol: u8) -> Decision {
        let decision = decide(&self.tables, &self.question(flow, protocol));
        self.open.insert((flow, protocol), Open { frame, decision, has_spoken: false });
        decision
    }

    fn learn(&mut self, found: &Found) {
        let server = found.flow.from.ip();
        if !self.tables.is_resolver(&server.into()) {
            return;
        }
        for address in &found.addresses {
            let address = Address::from(*address);
            self.tables.image.bind(self.subject, &found.name, address, u64::MAX);
        }
    }

    fn name(&mut self, found: &Found) -> Judged {
        let Found { frame, flow, proto, name, refused, .. } = found;
        let protocol = if *proto == Proto::Quic { packet::UDP } else { packet::TCP };
        let began = match self.open.remove(&(*flow, protocol)) {
            Some(open) => open.decision,
            // The capture began later than the connection.
            None => {
                let decision = self.begin(*frame, *flow, protocol);
                self.open.remove(&(*flow, protocol));
                decision
            }
        };
        let mut decision = began;
        if began.verdict == Verdict::Allow && began.proof != Proof::None {
            let set = self.tables.image.name_set(name).filter(|_| refused.is_none());
            let named = Named::by_bytes(set.unwrap_or(0), *proto == Proto::Http);
            decision = decide_named(&self.tables, &self.question(*flow, protocol), named);
            if refused.is_some() && began.proof == Proof::Name {
                (decision.verdict, decision.reason) = (Verdict::Deny, Reason::NoServerName);
            }
        }
        self.judged(*frame, *flow, protocol, decision)
    }

    fn judged(&self, frame: u64, flow: capture::Flow, protocol: u8, decision: Decision) -> Judged {
        let rule = self.compiled.rule(decision.rule).map(|RuleFacts { id, .. }| Arc::clone(id));
        Judged { frame, flow, protocol, decision, rule }
    }

    fn question(&self, flow: capture::Flow, protocol: u8) -> Flow {
        let address = Address::from(flow.to.ip());
        Flow { subject: self.subject, address, port: flow.to.port(), protocol, now_ns: 0 }
    }
}

/// The policy's tables, and the resolvers of the capture.
#[derive(Debug)]
struct Captured<'a> {
    image: ImageTables<'a>,
    resolvers: &'a [IpAddr],
}

impl Tables for Captured<'_> {
    fn subject(&self, subject: u32) -> Option<&Subject> {
        self.image.subject(subject)
    }

    fn binding(&self, subject: u32, address: &Address) -> Option<&Binding> {
        self.image.binding(subject, address)
    }

    fn network(&self, subject: u32, address: &Address) -> Option<u32> {
        self.image.network(subject, address)
    }

    fn block(&self, subject: u32, set: u32) -> Option<&RuleBlock> {
        self.image.block(subject, set)
    }

    fn is_resolver(&self, address: &Address) -> bool {
        let given = self.resolvers.iter().any(|one| Address::from(*one).bytes == address.bytes);
        self.resolvers.is_empty() || given || self.image.is_resolver(address)
    }

    fn granted_until(&self, grant: &GrantKey) -> u64 {
        self.image.granted_until(grant)
    }

    fn is_quarantined(&self, subject: u32) -> bool {
        self.image.is_quarantined(subject)
    }
}
