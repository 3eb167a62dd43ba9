//! The decision: one function, compiled for the kernel and for the daemon.
//!
//! A destination has a rule through its address (the longest network that the subject's rules name)
//! and through the names that DNS bound to the address for this subject. Within a set, the first
//! entry of the block that fits port and protocol counts; user space sorts them. An address may
//! stand for several names and the first packet does not say which, so among names an allow is
//! preferred. Between name and network the more specific wins, and deny wins when they are equal.
//! What no rule matches gets the subject's default; a table that is missing denies.

use crate::{
    address::Address,
    limits::{BINDING_SETS_MAX, RULES_PER_BLOCK_MAX},
    table::{Binding, RuleBlock, Subject, subject_flag},
    verdict::{Mode, Reason, Verdict},
};

/// The tables of the slot in force: BPF maps in the kernel, vectors in tests and `explain`.
pub trait Tables {
    /// Settings of a subject.
    fn subject(&self, subject: u32) -> Option<&Subject>;
    /// Names that an address stands for, as this subject (or `BindingKey::HOST`) learned them.
    fn binding(&self, subject: u32, address: &Address) -> Option<&Binding>;
    /// The set of the longest network of the subject's rules that holds the address.
    fn network(&self, subject: u32, address: &Address) -> Option<u32>;
    /// Rules of a subject for a set.
    fn block(&self, subject: u32, set: u32) -> Option<&RuleBlock>;
    /// Whether DNS answers of this address are trusted.
    fn is_resolver(&self, address: &Address) -> bool;
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Who asks; 0 is everything that is not a registered agent.
    pub subject: u32,
    /// Destination.
    pub address: Address,
    /// Destination port, host byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub now_ns: u64,
}

/// What is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    /// What the policy says.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Whether a denial is carried out.
    pub mode: Mode,
    /// Rule number, or the subject's default rule.
    pub rule: u32,
    /// The set that matched, or 0.
    pub set: u32,
    /// True if nobody wants a record of it.
    pub quiet: bool,
}

impl Decision {
    /// Whether the hook refuses.
    pub fn refuses(&self) -> bool {
        self.verdict == Verdict::Deny && self.mode == Mode::Enforce
    }

    /// The decision for a governed subject when a table cannot be read.
    pub const FAULT: Self = Self {
        verdict: Verdict::Deny,
        reason: Reason::Fault,
        mode: Mode::Enforce,
        rule: 0,
        set: 0,
        quiet: false,
    };
}

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PORT_DNS: u16 = 53;

/// Decides about a flow.
pub fn decide<T: Tables>(tables: &T, flow: &Flow) -> Decision {
    let Some(settings) = tables.subject(flow.subject) else {
        return Decision::FAULT;
    };
    let answer = |verdict, reason, rule, set, quiet| Decision {
        verdict,
        reason,
        mode: Mode::from_byte(settings.mode),
        rule,
        set,
        quiet,
    };
    let named = by_name(tables, flow);
    let networked =
        tables.network(flow.subject, &flow.address).and_then(|set| lookup(tables, flow, set));
    if let Some(hit) = prefer(named, networked) {
        return answer(hit.verdict, Reason::Rule, hit.rule, hit.set, false);
    }
    if settings.flags & subject_flag::LOOPBACK != 0 && flow.address.is_loopback() {
        return answer(Verdict::Allow, Reason::Loopback, settings.default_rule, 0, true);
    }
    let is_dns =
        flow.port == PORT_DNS && (flow.protocol == PROTOCOL_UDP || flow.protocol == PROTOCOL_TCP);
    if is_dns && tables.is_resolver(&flow.address) {
        return answer(Verdict::Allow, Reason::Resolver, settings.default_rule, 0, true);
    }
    let reason = if flow.subject == 0 { Reason::Unregistered } else { Reason::NoRule };
    let quiet = settings.flags & subject_flag::QUIET_DEFAULT != 0;
    answer(Verdict::from_byte(settings.default_verdict), reason, settings.default_rule, 0, quiet)
}

#[derive(Clone, Copy)]
struct Hit {
    verdict: Verdict,
    specificity: u16,
    rule: u32,
    set: u32,
}

fn lookup<T: Tables>(tables: &T, flow: &Flow, set: u32) -> Option<Hit> {
    let block = tables.block(flow.subject, set)?;
    for (index, entry) in block.entries.iter().enumerate().take(RULES_PER_BLOCK_MAX) {
        if index as u32 >= block.len {
            return None;
        }
        let port_fits = entry.port_first <= flow.port && flow.port <= entry.port_last;
        if port_fits && (entry.protocol == 0 || entry.protocol == flow.protocol) {
            return Some(Hit {
                verdict: Verdict::from_byte(entry.verdict),
                specificity: entry.specificity,
                rule: entry.rule,
                set,
            });
        }
    }
    None
}

fn by_name<T: Tables>(tables: &T, flow: &Flow) -> Option<Hit> {
    let own = bound(tables, flow, tables.binding(flow.subject, &flow.address));
    let host = tables.binding(crate::key::BindingKey::HOST, &flow.address);
    either_name(own, bound(tables, flow, host))
}

fn bound<T: Tables>(tables: &T, flow: &Flow, binding: Option<&Binding>) -> Option<Hit> {
    let mut best = None;
    for entry in binding?.sets.iter().take(BINDING_SETS_MAX) {
        if entry.expires_ns > flow.now_ns {
            best = either_name(best, lookup(tables, flow, entry.set));
        }
    }
    best
}

fn either_name(left: Option<Hit>, right: Option<Hit>) -> Option<Hit> {
    let (Some(a), Some(b)) = (left, right) else {
        return left.or(right);
    };
    let rank = |hit: &Hit| (hit.verdict == Verdict::Allow, hit.specificity);
    Some(if rank(&b) > rank(&a) { b } else { a })
}

fn prefer(named: Option<Hit>, networked: Option<Hit>) -> Option<Hit> {
    let (Some(name), Some(network)) = (named, networked) else {
        return named.or(networked);
    };
    let rank = |hit: &Hit| (hit.specificity, hit.verdict == Verdict::Deny);
    Some(if rank(&network) > rank(&name) { network } else { name })
}
