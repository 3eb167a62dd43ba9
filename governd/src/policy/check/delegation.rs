//! What agents say of those that start them, across documents.

use std::collections::{HashMap, HashSet};

use super::{
    super::model::{Agent, Policy},
    Checker, Code, Delegation, Diagnostic, Diagnostics, Located, Placed,
};

impl Checker<'_> {
    pub(super) fn delegation(&mut self, word: &Located<String>) -> Option<Placed<Delegation>> {
        let value = self.parse(word, Delegation::parse)?;
        Some(Placed { value, place: self.place(word) })
    }
}

/// Refuses parents that nobody is and agents that could never be recognised because of theirs, and
/// warns of `delegation: own` that has no effect.
pub(crate) fn check_delegations(policy: &Policy, out: &mut Diagnostics) {
    let known: HashMap<&str, &Agent> = policy.agents.iter().map(|one| (&*one.name, one)).collect();
    for agent in &policy.agents {
        let parents = agent.matches.iter().filter_map(|one| one.parent.as_ref());
        for parent in parents.filter(|parent| !known.contains_key(&*parent.value)) {
            let message = format!("no agent is called `{}`", parent.value);
            let hint = "`parent` is the name of another Agent document";
            out.push(Diagnostic::error(Code::UnknownParent, &parent.place, message).hint(hint));
        }
    }
    refuse_cycles(policy, &known, out);
    warn_of_own(policy, out);
}

/// An agent is recognised by an entry without a parent, or by one whose parent is.
fn refuse_cycles(policy: &Policy, known: &HashMap<&str, &Agent>, out: &mut Diagnostics) {
    let mut recognised: HashSet<&str> = HashSet::new();
    loop {
        let new: Vec<&str> = policy
            .agents
            .iter()
            .filter(|agent| !recognised.contains(&*agent.name))
            .filter(|agent| {
                // Entries with faults were reported, and one that nobody knows is.
                agent.matches.is_empty()
                    || agent.matches.iter().any(|entry| {
                        entry.parent.as_ref().is_none_or(|parent| {
                            recognised.contains(&*parent.value)
                                || !known.contains_key(&*parent.value)
                        })
                    })
            })
            .map(|agent| &*agent.name)
            .collect();
        if new.is_empty() {
            break;
        }
        recognised.extend(new);
    }
    for agent in policy.agents.iter().filter(|agent| !recognised.contains(&*agent.name)) {
        let message = format!(
            "`{}` would never be recognised: each of its parents is recognised only below it, or \
             below itself",
            agent.name
        );
        let hint = "leave `parent` out of an entry of one of them";
        out.push(Diagnostic::error(Code::ParentCycle, &agent.place, message).hint(hint));
    }
}

fn warn_of_own(policy: &Policy, out: &mut Diagnostics) {
    let own: Vec<&Agent> = policy.agents.iter().filter(|agent| agent.says_own()).collect();
    for agent in &own {
        let Some(said) = &agent.delegation else { continue };
        if agent.approval.by.is_none() || agent.approval.on.is_none() {
            let message = "`delegation: own` has no effect without an approval";
            let hint = "add `approval` with `by` and `on`, or leave `delegation` out";
            out.push(Diagnostic::warning(Code::IdleDelegation, &said.place, message).hint(hint));
        }
        if own.len() == 1 {
            let message = "no other agent says `delegation: own`, so that this one has no effect";
            let hint =
                "say it in the document of the other agent, too, or leave it out of this one";
            out.push(Diagnostic::warning(Code::IdleDelegation, &said.place, message).hint(hint));
        }
        let parents = agent.matches.iter().filter_map(|entry| entry.parent.as_ref());
        for parent in parents.filter(|parent| !own.iter().any(|it| it.name == parent.value)) {
            let message = format!("`{}` does not say `delegation: own`", parent.value);
            let hint = "what it starts has the policies of both until it does";
            out.push(Diagnostic::warning(Code::IdleDelegation, &parent.place, message).hint(hint));
        }
    }
}
