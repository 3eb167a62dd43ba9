//! What holds for an agent that another one started: the policies of both.
//!
//! Such a process has a subject of its own, which stands for its agent and those that started it.
//! Each of them is asked about a flow, and the strictest answer counts. What DNS taught the process
//! is known by its own subject, rules and grants by those of the agents.

use crate::{
    address::Address,
    decide::{Basis, Decision, Flow, Hit, Proof, Tables},
    key::{BindingKey, GrantKey},
    table::{Binding, RuleBlock, Subject},
    verdict::{Reason, Verdict},
};

/// Tables as one of the agents sees them that a subject stands for.
#[derive(Debug)]
pub struct Side<'t, T> {
    /// Those of the policy.
    pub tables: &'t T,
    /// The subject that stands for all, for which names were bound.
    pub learner: u32,
}

impl<T> Side<'_, T> {
    /// Who learned names that hold for a subject, or for the host.
    #[inline(always)]
    fn learner_of(&self, subject: u32) -> u32 {
        if subject == BindingKey::HOST { subject } else { self.learner }
    }
}

impl<T: Tables> Tables for Side<'_, T> {
    #[inline(always)]
    fn subject(&self, subject: u32) -> Option<&Subject> {
        self.tables.subject(subject)
    }

    #[inline(always)]
    fn binding(&self, subject: u32, address: &Address) -> Option<&Binding> {
        self.tables.binding(self.learner_of(subject), address)
    }

    #[inline(always)]
    fn binds(&self, subject: u32, address: &Address, set: u32, now_ns: u64) -> bool {
        self.tables.binds(self.learner_of(subject), address, set, now_ns)
    }

    #[inline(always)]
    fn network(&self, subject: u32, address: &Address) -> Option<u32> {
        self.tables.network(subject, address)
    }

    #[inline(always)]
    fn block(&self, subject: u32, set: u32) -> Option<&RuleBlock> {
        self.tables.block(subject, set)
    }

    #[inline(always)]
    fn is_resolver(&self, address: &Address) -> bool {
        self.tables.is_resolver(address)
    }

    #[inline(always)]
    fn granted_until(&self, grant: &GrantKey) -> u64 {
        self.tables.granted_until(grant)
    }

    #[inline(always)]
    fn is_quarantined(&self, subject: u32) -> bool {
        self.tables.is_quarantined(subject)
            || (self.learner != subject && self.tables.is_quarantined(self.learner))
    }

    #[inline(always)]
    fn rank_of_name(&self, flow: &Flow, set: u32) -> u64 {
        self.tables.rank_of_name(flow, set)
    }

    #[inline(always)]
    fn opening(&self, basis: Basis) -> u32 {
        self.tables.opening(basis)
    }

    #[inline(always)]
    fn hit(&self, flow: &Flow, set: u32) -> Hit {
        self.tables.hit(flow, set)
    }
}

/// The stricter of two decisions about one flow. What one of them still wants to be proved has to
/// be proved, too.
#[inline(always)]
pub fn stricter(one: Decision, other: Decision) -> Decision {
    let is_stricter = strictness(&other) > strictness(&one);
    if is_stricter { both(other, one) } else { both(one, other) }
}

/// The stricter one, with what the other one wants as well.
#[inline(always)]
pub fn both(stricter: Decision, other: Decision) -> Decision {
    let proof = proof_of_both(stricter.proof, other.proof);
    let quiet = stricter.quiet && other.quiet;
    match stricter.verdict {
        Verdict::Allow => Decision { proof, quiet, ..stricter },
        Verdict::Deny => stricter,
    }
}

/// Larger is stricter: a denial that is carried out, one that is only recorded, what holds by a
/// grant, what is recorded, and what is not. Among denials those that a person can lift are last.
#[inline(always)]
pub fn strictness(decision: &Decision) -> u32 {
    let rank = match (decision.verdict, decision.reason) {
        (Verdict::Deny, Reason::Quarantine) => 7,
        (Verdict::Deny, Reason::Halt) => 6,
        (Verdict::Deny, Reason::Approval) => 4,
        (Verdict::Deny, _) => 5,
        (Verdict::Allow, Reason::Granted) => 3,
        (Verdict::Allow, _) if decision.quiet => 1,
        (Verdict::Allow, _) => 2,
    };
    if decision.refuses() { rank + 8 } else { rank }
}

/// What proves both. A name that has to be there can also not be one that is denied; the code of
/// QUIC is for other traffic than theirs.
#[inline(always)]
fn proof_of_both(one: Proof, other: Proof) -> Proof {
    match (one, other) {
        (Proof::None, proof) | (proof, Proof::None) => proof,
        (Proof::Quic, _) | (_, Proof::Quic) => Proof::Quic,
        (Proof::Name, _) | (_, Proof::Name) => Proof::Name,
        (Proof::Denials, Proof::Denials) => Proof::Denials,
    }
}
