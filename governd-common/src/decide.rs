//! The decision: one function, compiled for the kernel and for the daemon.
//!
//! A destination has a rule through its address (the longest network that the subject's rules name)
//! and through the names that DNS bound to the address for this subject. Within a set, the first
//! entry of the block that fits port and protocol counts; user space sorts them. An address may
//! stand for several names and the first packet does not say which, so among names an allow is
//! preferred. Between name and network the more specific wins, and deny wins when they are equal.
//! What no rule matches gets the subject's default; a table that is missing denies.
//!
//! A rule on a name lets a connection begin, and says what its first bytes have to prove. Once they
//! name a server, the same function decides again: by the rules on that name, and by whether the
//! address is bound to it.
//!
//! A hit is one number, so that the programs can find it in a function that the verifier checks by
//! itself; with options and enums it would follow every combination of them.

use crate::{
    address::Address,
    delegation::{Side, stricter},
    key::{BindingKey, GrantKey},
    limits::BINDING_SETS_MAX,
    opening::{Opening, basis_flag},
    table::{Binding, RuleBlock, SocketOwner, Subject, set_id, subject_flag},
    verdict::{Mode, Reason, Verdict},
};
pub use crate::{hit::Hit, opening::Basis};

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
    /// `CLOCK_BOOTTIME` until which a person granted it, in nanoseconds; 0 if nobody did.
    fn granted_until(&self, grant: &GrantKey) -> u64;
    /// Whether the subject is quarantined.
    fn is_quarantined(&self, subject: u32) -> bool;
    /// Whether an address stands for a name of a set, or did not long ago, as this subject (or
    /// `BindingKey::HOST`) learned it.
    fn binds(&self, subject: u32, address: &Address, set: u32, now_ns: u64) -> bool {
        holds(self.binding(subject, address), set, now_ns)
    }
    /// How good the best entry of a name's set is for the flow ([`Hit::rank_of_name`]).
    fn rank_of_name(&self, flow: &Flow, set: u32) -> u64 {
        self.hit(flow, set).rank_of_name(flow)
    }
    /// What a rule or a default comes to ([`Basis::opening`]).
    fn opening(&self, basis: Basis) -> u32 {
        basis.opening()
    }
    /// The first entry of a set's rules that fits the flow.
    fn hit(&self, flow: &Flow, set: u32) -> Hit {
        let hit = self
            .block(flow.subject, set)
            .map_or(Hit::NONE, |block| Hit::in_block(block, flow.port, flow.protocol));
        if hit.needs_grant() && self.granted_until(&flow.grant(set)) > flow.now_ns {
            return hit.granted();
        }
        hit
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

impl Flow {
    /// The grant that it takes, if the set's rule asks for one.
    #[inline(always)]
    pub const fn grant(&self, set: u32) -> GrantKey {
        GrantKey { subject: self.subject, set, port: self.port, protocol: self.protocol as u16 }
    }
}

/// What a connection's first bytes named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Named {
    /// The set of the name, or 0 where no pattern matches it; where they were not seen yet, the set
    /// that [`by_name`] found.
    pub set: u32,
    /// Bits of [`named_flag`].
    pub flags: u32,
}

impl Named {
    /// They were not seen yet.
    pub const NOTHING: Self = Self { set: 0, flags: 0 };

    /// A name of this set, from a TLS hello or, if so, from the Host of a plaintext request.
    pub const fn by_bytes(set: u32, is_plaintext: bool) -> Self {
        let plaintext = if is_plaintext { named_flag::PLAINTEXT } else { 0 };
        Self { set, flags: named_flag::KNOWN | plaintext }
    }

    /// The same, of a connection whose address was found to be bound to the name before.
    pub const fn proven(self) -> Self {
        Self { flags: self.flags | named_flag::PROVEN, ..self }
    }

    /// A name that DNS gave when the connection was made.
    pub const fn by_dns(set: u32) -> Self {
        Self { set, flags: named_flag::KNOWN | named_flag::PROVEN | named_flag::DNS }
    }

    #[inline(always)]
    pub(crate) fn has(self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Bits of [`Named::flags`].
pub mod named_flag {
    /// The name is known.
    pub const KNOWN: u32 = 1 << 0;
    /// It was in plaintext.
    pub const PLAINTEXT: u32 = 1 << 1;
    /// The address was bound to it when that was looked at.
    pub const PROVEN: u32 = 1 << 2;
    /// Only DNS says so.
    pub const DNS: u32 = 1 << 3;
}

/// What has still to be proved of a connection that is allowed so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Proof {
    /// Nothing.
    None = 0,
    /// The first bytes have to name a server that the policy allows there.
    Name = 1,
    /// If they name a server, it must not be one that the policy denies.
    Denials = 2,
    /// As the one before, for QUIC, whose first bytes only user space can read.
    Quic = 3,
}

impl Proof {
    /// Reads a code from shared bytes.
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Name,
            2 => Self::Denials,
            3 => Self::Quic,
            _ => Self::None,
        }
    }
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
    /// What has still to be proved, if it is allowed.
    pub proof: Proof,
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
        proof: Proof::None,
    };

    /// The decision about everything that a quarantined subject asks for: carried out in monitor
    /// mode too, since a person ordered it.
    #[inline(always)]
    pub const fn quarantine(rule: u32) -> Self {
        Self { reason: Reason::Quarantine, rule, ..Self::FAULT }
    }
}

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PORT_DNS: u16 = 53;
/// How long after the end of its life a binding still serves a connection whose first bytes come
/// late, in nanoseconds.
const LATE_NS: u64 = 300_000_000_000;

/// Decides about a flow, of which nothing but the destination is known.
pub fn decide<T: Tables>(tables: &T, flow: &Flow) -> Decision {
    of_members(tables, flow, |side, flow| {
        decide_of_one(side, flow, Named { set: by_name(side, flow), ..Named::NOTHING })
    })
}

/// Decides about a flow, of which a name is known.
pub fn decide_named<T: Tables>(tables: &T, flow: &Flow, named: Named) -> Decision {
    of_members(tables, flow, |side, flow| decide_of_one(side, flow, named))
}

/// The strictest of what the policies of all agents say that the subject stands for.
fn of_members<T: Tables>(
    tables: &T,
    flow: &Flow,
    decide: impl Fn(&Side<'_, T>, &Flow) -> Decision,
) -> Decision {
    let Some(settings) = tables.subject(flow.subject) else {
        return Decision::FAULT;
    };
    let side = Side { tables, learner: flow.subject };
    let members = settings.members_or(flow.subject).into_iter().take_while(|member| *member != 0);
    let decisions = members.map(|subject| decide(&side, &Flow { subject, ..*flow }));
    // What is not registered is one, too, and has the number that stands for none.
    decisions.reduce(stricter).unwrap_or_else(|| decide(&side, flow))
}

/// Decides about a flow of a subject that is one agent, of which a name is known, or the best name
/// of its address.
#[inline(always)]
pub fn decide_of_one<T: Tables>(tables: &T, flow: &Flow, named: Named) -> Decision {
    let Some(settings) = tables.subject(flow.subject) else {
        return Decision::FAULT;
    };
    if tables.is_quarantined(flow.subject) {
        return Decision::quarantine(settings.default_rule);
    }
    decide_by(settings, tables, flow, named)
}

/// The same, of one that is not quarantined and whose settings these are.
#[inline(always)]
pub fn decide_by<T: Tables>(settings: &Subject, tables: &T, flow: &Flow, named: Named) -> Decision {
    // Sets begin at 1.
    let hit = if named.set == 0 { Hit::NONE } else { tables.hit(flow, named.set) };
    conclude(tables, settings, flow, named, (hit, named.set))
}

/// From the best rule on a name to the decision.
#[inline(always)]
fn conclude<T: Tables>(
    tables: &T,
    settings: &Subject,
    flow: &Flow,
    named: Named,
    (mut hit, mut set): (Hit, u32),
) -> Decision {
    let has_denials = settings.flags & subject_flag::NAME_DENIALS != 0;
    let is_deny = Verdict::from_byte(settings.default_verdict) == Verdict::Deny;
    let is_known = named.has(named_flag::KNOWN);
    let mut is_networks = false;
    if let Some(network) = tables.network(flow.subject, &flow.address) {
        let networked = tables.hit(flow, network);
        if networked.rank() > hit.rank() {
            (hit, set, is_networks) = (networked, network, true);
        }
    }
    let mut answer = Decision {
        verdict: Verdict::Allow,
        reason: Reason::Rule,
        mode: Mode::from_byte(settings.mode),
        rule: settings.default_rule,
        set: 0,
        quiet: true,
        proof: Proof::None,
    };
    if hit == Hit::NONE {
        if settings.flags & subject_flag::LOOPBACK != 0 && flow.address.is_loopback() {
            return Decision { reason: Reason::Loopback, ..answer };
        }
        let is_dns = flow.port == PORT_DNS
            && (flow.protocol == PROTOCOL_UDP || flow.protocol == PROTOCOL_TCP);
        if is_dns && tables.is_resolver(&flow.address) {
            return Decision { reason: Reason::Resolver, ..answer };
        }
        if is_deny && !is_known {
            (hit, set) = (tables.hit(flow, set_id::ANY_ADDRESS), 0);
        }
    }
    let flags = basis_flag::when(is_networks, basis_flag::NETWORK)
        | basis_flag::when(has_denials && !is_known, basis_flag::ASKS_NAMES)
        | basis_flag::when(is_deny, basis_flag::DENIES)
        | basis_flag::when(SocketOwner::is_agent(flow.subject), basis_flag::AGENT)
        | named.flags;
    let mut opening = Opening(tables.opening(Basis::new(hit, flow, flags)));
    if hit == Hit::NONE {
        let is_agent = SocketOwner::is_agent(flow.subject);
        answer.reason = if is_agent { Reason::NoRule } else { Reason::Unregistered };
        answer.quiet = settings.flags & subject_flag::QUIET_DEFAULT != 0;
    } else {
        (answer.rule, answer.set, answer.quiet) = (hit.rule(), set, false);
        answer.reason = hit.reason();
    }
    if opening == Opening::BINDING && !is_bound(tables, flow, set) {
        opening = Opening::not(Reason::ServerName);
    }
    let is_new = is_known && !named.has(named_flag::PROVEN);
    opening.write(is_new, &mut answer);
    answer
}

/// The set with the best hit of the names that the address stands for; 0 for none.
#[inline(always)]
pub fn by_name<T: Tables>(tables: &T, flow: &Flow) -> u32 {
    let own = best_of(tables, flow, tables.binding(flow.subject, &flow.address), (0, 0));
    best_of(tables, flow, tables.binding(BindingKey::HOST, &flow.address), own).1
}

/// The best rank and its set, of those before and of what is bound.
#[inline(always)]
fn best_of<T: Tables>(
    tables: &T,
    flow: &Flow,
    binding: Option<&Binding>,
    (mut best, mut set): (u64, u32),
) -> (u64, u32) {
    let Some(binding) = binding else {
        return (best, set);
    };
    for entry in binding.sets.iter().take(BINDING_SETS_MAX) {
        if entry.expires_ns > flow.now_ns {
            let rank = tables.rank_of_name(flow, entry.set);
            if rank > best {
                (best, set) = (rank, entry.set);
            }
        }
    }
    (best, set)
}

/// Whether the address stands for a name of the set.
#[inline(always)]
fn is_bound<T: Tables>(tables: &T, flow: &Flow, set: u32) -> bool {
    tables.binds(flow.subject, &flow.address, set, flow.now_ns)
        || tables.binds(BindingKey::HOST, &flow.address, set, flow.now_ns)
}

/// [`Tables::binds`], by what is bound.
#[inline(always)]
pub fn holds(binding: Option<&Binding>, set: u32, now_ns: u64) -> bool {
    let Some(binding) = binding else {
        return false;
    };
    let mut found = false;
    for entry in binding.sets.iter().take(BINDING_SETS_MAX) {
        found |= entry.set == set && entry.expires_ns.saturating_add(LATE_NS) > now_ns;
    }
    found
}
