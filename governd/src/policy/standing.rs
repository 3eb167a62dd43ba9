//! How a destination stands with an agent: the tier that it has, and what proves its name.
//!
//! Tried, not read from rules: connections that lack a proof are asked about, so that what counts
//! is what the decision says of them, whichever rules and agents it comes from.

use std::{fmt, net::IpAddr, net::Ipv6Addr};

use governd_common::{
    address::Address,
    decide::{Decision, Flow, Named, Proof, decide, decide_named},
    verdict::{Reason, Verdict},
};

use super::{
    explain::NamesOnly,
    image::Compiled,
    tables::ImageTables,
    value::verdict_word,
    whole::{Asker, PORT_HTTP},
};

const TCP: u8 = 6;

/// How it stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Standing {
    tier: &'static str,
    proofs: Proofs,
}

/// What is enough to prove a name, beside DNS and the first bytes together.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Proofs {
    by_bytes: bool,
    by_dns: bool,
    is_plain: bool,
}

impl Standing {
    /// Of a destination without a name.
    pub(super) fn of(compiled: &Compiled, decision: Decision) -> Self {
        Self { tier: tier(compiled, decision), proofs: Proofs::default() }
    }

    /// Of a name, about which this is the decision where everything is proved.
    pub(super) fn of_name(
        compiled: &Compiled,
        decision: Decision,
        (asker, name, tables): (Asker, &str, &mut ImageTables<'_>),
    ) -> Self {
        let standing = Self::of(compiled, decision);
        match standing.tier {
            "deny" | "halt" => standing,
            _ => Self { proofs: Proofs::of(asker, name, tables), ..standing },
        }
    }
}

/// The word of the rule's tier, or of the verdict where no rule decides.
fn tier(compiled: &Compiled, decision: Decision) -> &'static str {
    let rule = compiled.rule(decision.rule);
    match (decision.reason, rule) {
        (Reason::Rule | Reason::Approval | Reason::Halt, Some(rule)) => rule.tier.word(),
        _ => verdict_word(decision.verdict),
    }
}

impl Proofs {
    fn of(asker: Asker, name: &str, tables: &mut ImageTables<'_>) -> Self {
        let Asker { subject, port, protocol } = asker;
        let address = Address::from(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let flow = Flow { subject, address, port, protocol, now_ns: 0 };
        let set = tables.name_set(name).unwrap_or(0);
        tables.unbind();
        let named = Named::by_bytes(set, port == PORT_HTTP);
        let by_bytes = passes(&NamesOnly::granting(tables), &flow, Some(named));
        tables.bind(subject, name, address, u64::MAX);
        let tables = NamesOnly::granting(tables);
        let by_dns = passes(&tables, &flow, None);
        // Without a need of first bytes, these may be anything.
        let may_be_plain = protocol == TCP && port != PORT_HTTP && !by_dns;
        let plain = Named::by_bytes(set, true);
        Self { by_bytes, by_dns, is_plain: may_be_plain && passes(&tables, &flow, Some(plain)) }
    }
}

/// Whether a connection passes whose first bytes name this, or nothing.
fn passes(tables: &NamesOnly<'_, '_>, flow: &Flow, named: Option<Named>) -> bool {
    let first = decide(tables, flow);
    if first.verdict == Verdict::Deny || first.proof == Proof::None {
        return first.verdict == Verdict::Allow;
    }
    match named {
        Some(named) => decide_named(tables, flow, named).verdict == Verdict::Allow,
        // Who is no agent may be denied some names, and needs none.
        None => first.proof == Proof::Denials || (first.proof == Proof::Quic && flow.subject == 0),
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, proofs: Proofs { by_bytes, by_dns, is_plain } } = self;
        f.write_str(tier)?;
        match (by_bytes, by_dns) {
            (true, true) => return f.write_str(", without proof of the name"),
            (true, false) => f.write_str(", verified by sni")?,
            (false, true) => f.write_str(", verified by dns")?,
            (false, false) => {}
        }
        f.write_str(if *is_plain { ", plaintext too" } else { "" })
    }
}
