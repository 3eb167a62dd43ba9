//! Which subject a process ends as that agents start one after the other, by the tables that the
//! kernel has for it.

use std::collections::{BTreeMap, VecDeque};

use governd_common::limits::MEMBERS_MAX;

use super::image::{Compiled, TableImage};

/// Agents in the order in which each starts the next, by their subjects.
pub(super) type Lineage = Vec<u32>;

/// What becomes of a process of a subject when it executes what an agent is recognised by: the same
/// where that changes nothing. Subject 0 is nobody's.
pub(super) fn step(image: &TableImage, subject: u32, agent: u32) -> u32 {
    if subject == 0 {
        return if is_alone(image, agent) { agent } else { 0 };
    }
    let next = image.delegations.binary_search_by_key(&(subject, agent), |(key, _)| *key);
    let next = next.ok().and_then(|index| image.delegations.get(index));
    next.map_or(subject, |(_, next)| *next)
}

/// Where a lineage ends that begins with nobody.
pub(super) fn end(image: &TableImage, lineage: &[u32]) -> u32 {
    lineage.iter().fold(0, |subject, agent| step(image, subject, *agent))
}

/// Where agents end of which only the last is known to be that. Of all orders in which the others
/// can have been, one that most of the policies hold after.
pub(super) fn end_of_any(image: &TableImage, above: &[u32], agent: u32) -> u32 {
    let members = |subject: u32| {
        let found = image.subjects.iter().find(|(known, _)| *known == subject);
        found.map_or(0, |(_, it)| it.members_or(subject).iter().filter(|one| **one != 0).count())
    };
    let mut ends = Vec::new();
    orders(above, &mut Vec::new(), &mut |order| ends.push(step(image, end(image, order), agent)));
    ends.into_iter().max_by_key(|subject| (members(*subject), *subject)).unwrap_or(0)
}

/// Every order of a few agents.
fn orders(left: &[u32], order: &mut Lineage, found: &mut impl FnMut(&[u32])) {
    if left.is_empty() || order.len() >= MEMBERS_MAX {
        return found(order);
    }
    for (index, agent) in left.iter().enumerate() {
        let mut rest = left.to_vec();
        rest.remove(index);
        order.push(*agent);
        orders(&rest, order, found);
        order.pop();
    }
}

/// One lineage for each subject that stands for agents that others started, the shortest.
pub(super) fn all(compiled: &Compiled) -> Vec<Lineage> {
    let image = &compiled.image;
    let mut starts: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
    for ((subject, agent), next) in &image.delegations {
        starts.entry(*subject).or_default().push((*agent, *next));
    }
    let alone = compiled.agents.iter().map(|agent| agent.subject);
    let mut known: BTreeMap<u32, Lineage> = BTreeMap::new();
    let mut open: VecDeque<u32> = alone.filter(|agent| is_alone(image, *agent)).collect();
    open.iter().for_each(|agent| drop(known.insert(*agent, vec![*agent])));
    let mut found = Vec::new();
    while let Some(subject) = open.pop_front() {
        let lineage = known.get(&subject).cloned().unwrap_or_default();
        for (agent, next) in starts.remove(&subject).unwrap_or_default() {
            if known.contains_key(&next) {
                continue;
            }
            let further: Lineage = lineage.iter().copied().chain([agent]).collect();
            found.push(further.clone());
            known.insert(next, further);
            open.push_back(next);
        }
    }
    found
}

/// Whether an agent is recognised where no other one started it.
pub(super) fn is_alone(image: &TableImage, agent: u32) -> bool {
    let anybody = image.parents.iter().find(|(subject, _)| *subject == 0);
    image.selectors.iter().enumerate().any(|(index, subject)| {
        let is_for_anybody = anybody.is_none_or(|(_, set)| {
            set.words.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
        });
        *subject == agent && is_for_anybody
    })
}
