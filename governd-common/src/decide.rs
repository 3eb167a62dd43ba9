//! The decision: one function, compiled for the kernel and for the daemon.
//!
//! A destination has a rule through its address (the longest network that the subject's rules name)
//! and through the names that DNS bound to the address for this subject. Within a set, the first
//! entry of the block that fits port and protocol counts; user space sorts them. An address may
//! stand for several names and the first packet does not say which, so among names an allow is
//! preferred. Between name and network the more specific wins, and deny wins when they are equal.
//! What no rule matches gets the subject's default; a table that is missing denies.
//!
//! A hit is one number, so that the programs can find it in a function that the verifier checks by
//! itself; with options and enums it would follow every combination of them.

use crate::{
    address::Address,
    key::BindingKey,
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
    /// The first entry of a set's rules that fits the flow.
    fn hit(&self, flow: &Flow, set: u32) -> Hit {
        self.block(flow.subject, set)
            .map_or(Hit::NONE, |block| Hit::in_block(block, flow.port, flow.protocol))
    }
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
#[inline(always)]
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
    let (mut hit, mut set) = by_name(tables, flow);
    if let Some(network) = tables.network(flow.subject, &flow.address) {
        let networked = tables.hit(flow, network);
        if networked.rank() > hit.rank() {
            (hit, set) = (networked, network);
        }
    }
    if hit != Hit::NONE {
        return answer(hit.verdict(), Reason::Rule, hit.rule(), set, false);
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

/// A rule that fits, or none, in one number: from the highest bit whether there is one, whether it
/// allows (1), how specific it is (16) and its number (32).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hit(pub u64);

impl Hit {
    /// No rule.
    pub const NONE: Self = Self(0);

    const IS_SOME: u32 = 49;
    const ALLOWS: u32 = 48;
    const SPECIFICITY: u32 = 32;

    /// The first entry of a block that fits.
    #[inline(always)]
    pub fn in_block(block: &RuleBlock, port: u16, protocol: u8) -> Self {
        for (index, entry) in block.entries.iter().enumerate().take(RULES_PER_BLOCK_MAX) {
            if index as u32 >= block.len {
                break;
            }
            let port_fits = entry.port_first <= port && port <= entry.port_last;
            if port_fits && (entry.protocol == 0 || entry.protocol == protocol) {
                let allows = u64::from(entry.verdict == Verdict::Allow as u8);
                return Self(
                    1 << Self::IS_SOME
                        | allows << Self::ALLOWS
                        | u64::from(entry.specificity) << Self::SPECIFICITY
                        | u64::from(entry.rule),
                );
            }
        }
        Self::NONE
    }

    fn verdict(self) -> Verdict {
        Verdict::from_byte((self.0 >> Self::ALLOWS) as u8 & 1)
    }

    fn rule(self) -> u32 {
        self.0 as u32
    }

    /// Between a name and a network: the more specific, then the denial.
    fn rank(self) -> u64 {
        let is_some = self.0 >> Self::IS_SOME;
        let specificity = self.0 >> Self::SPECIFICITY & 0xffff;
        let denies = (self.0 >> Self::ALLOWS & 1) ^ 1;
        is_some << 17 | specificity << 1 | denies
    }

    /// Among names: the allowing one, then the more specific.
    fn rank_of_name(self) -> u64 {
        self.0 >> Self::SPECIFICITY
    }
}

/// The best hit of the names that the address stands for, and its set.
#[inline(always)]
fn by_name<T: Tables>(tables: &T, flow: &Flow) -> (Hit, u32) {
    let own = bound(tables, flow, tables.binding(flow.subject, &flow.address), (Hit::NONE, 0));
    bound(tables, flow, tables.binding(BindingKey::HOST, &flow.address), own)
}

#[inline(always)]
fn bound<T: Tables>(
    tables: &T,
    flow: &Flow,
    binding: Option<&Binding>,
    first: (Hit, u32),
) -> (Hit, u32) {
    let (mut best, mut set) = first;
    let Some(binding) = binding else {
        return (best, set);
    };
    for entry in binding.sets.iter().take(BINDING_SETS_MAX) {
        if entry.expires_ns > flow.now_ns {
            let hit = tables.hit(flow, entry.set);
            if hit.rank_of_name() > best.rank_of_name() {
                (best, set) = (hit, entry.set);
            }
        }
    }
    (best, set)
}
