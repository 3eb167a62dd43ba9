//! Connections to model servers of the host itself: a rule that changes no verdict, for whom every
//! loopback address is allowed, and makes them known, since a call of a local model is a call of a
//! model.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use governd_common::table::subject_flag;

use super::{Claim, Compiler, specificity};
use crate::policy::value::{
    Target, Tier,
    network::Network,
    port::{Ports, Protocol},
};

const LOOPBACK: [Network; 2] = [
    Network::new_unchecked(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    Network::new_unchecked(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];

impl<'a> Compiler<'a, '_> {
    /// After all agents. Where rules of a document reach into the host, they alone count.
    pub(super) fn local_models(&mut self, ports: &'a [Ports]) {
        let is_open = |flags: u16| flags & subject_flag::LOOPBACK != 0;
        let subjects = self.compiled.image.subjects.iter();
        let open: Vec<u32> =
            subjects.filter(|(_, facts)| is_open(facts.flags)).map(|(id, _)| *id).collect();
        for subject in open.into_iter().filter(|_| !ports.is_empty()) {
            let touches = |network: &Network| {
                LOOPBACK.iter().any(|host| network.holds(host) || host.holds(network))
            };
            if self.networks.iter().any(|(at, claim)| claim.subject == subject && touches(at)) {
                continue;
            }
            let facts = self.compiled.agents.iter().find(|facts| facts.subject == subject);
            let name = facts.map_or("unregistered", |facts| &*facts.name);
            let id = format!("{name}/local-models");
            let text = "allow model servers on loopback".to_owned();
            let rule = self.rule(&id, subject, text, Tier::Allow, None);
            for network in LOOPBACK {
                let protocol = Protocol::Tcp;
                let claim = Claim {
                    subject,
                    rule,
                    tier: Tier::Allow,
                    specificity: specificity::of(&Target::Network(network), true, protocol),
                    ports,
                    protocol,
                    flags: 0,
                    is_question: false,
                };
                self.networks.push((network, claim));
            }
        }
    }
}
