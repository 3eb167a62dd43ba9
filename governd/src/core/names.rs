//! The names that DNS gave to addresses, per subject: what the kernel keeps as set ids, kept here
//! in full for records, and to bind addresses anew when a policy with other patterns comes.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use governd_common::{
    address::Address,
    event::DnsEvent,
    key::BindingKey,
    limits::{BINDING_SETS_MAX, BINDING_TTL_MAX_S, BINDING_TTL_MIN_S, BINDINGS_MAX},
    table::{Binding, BoundSet},
};
use zerocopy::FromZeros;

use crate::policy::explain::Bound;

const NS_PER_S: u64 = 1_000_000_000;

/// Names by subject and address.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<(u32, Address), Vec<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    name: Arc<str>,
    set: u32,
    expires_ns: u64,
}

/// What a DNS answer said, for a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Who asked; what the host's resolver asks is nobody's, though it counts for all.
    pub subject: u32,
    /// The name that was asked for.
    pub name: Arc<str>,
    /// Its addresses, with their TTL in seconds.
    pub addresses: Vec<(IpAddr, u32)>,
}

impl Names {
    /// Takes in an answer. `None` if the event's lengths or bytes are not what the kernel writes.
    pub fn observe(&mut self, event: &DnsEvent) -> Option<Answer> {
        let bytes = event.name.get(..usize::from(event.name_len))?;
        let name: Arc<str> = std::str::from_utf8(bytes).ok()?.into();
        let used = event.addresses.get(..usize::try_from(event.addresses_len).ok()?)?;
        let mut addresses = Vec::with_capacity(used.len());
        for answer in used {
            let ttl_s = answer.ttl_s.clamp(BINDING_TTL_MIN_S, BINDING_TTL_MAX_S);
            let expires_ns = event.header.time_ns.saturating_add(u64::from(ttl_s) * NS_PER_S);
            let known = Known { name: Arc::clone(&name), set: event.set, expires_ns };
            self.learn((event.header.subject, answer.address), known, event.header.time_ns);
            addresses.push((answer.address.into(), answer.ttl_s));
        }
        let learner = event.header.subject;
        let subject = if learner == BindingKey::HOST { 0 } else { learner };
        Some(Answer { subject, name, addresses })
    }

    fn learn(&mut self, key: (u32, Address), known: Known, now_ns: u64) {
        if self.known.len() >= BINDINGS_MAX as usize && !self.known.contains_key(&key) {
            self.expire(now_ns);
            if self.known.len() >= BINDINGS_MAX as usize {
                return;
            }
        }
        let names = self.known.entry(key).or_default();
        names.retain(|old| old.expires_ns > now_ns && old.name != known.name);
        if names.len() >= BINDING_SETS_MAX {
            names.remove(0);
        }
        names.push(known);
    }

    /// Forgets what has expired.
    pub fn expire(&mut self, now_ns: u64) {
        self.known.retain(|_, names| {
            names.retain(|known| known.expires_ns > now_ns);
            !names.is_empty()
        });
    }

    /// The name by which a flow of a subject knows its destination: one of the set that decided,
    /// else the one learned last. Expired names count, since a connection may outlive them.
    pub fn name(&self, subject: u32, address: Address, set: u32) -> Option<Arc<str>> {
        let own = self.known.get(&(subject, address));
        let host = self.known.get(&(BindingKey::HOST, address));
        let all = || host.into_iter().chain(own).flatten();
        let decided = all().rfind(|known| set != 0 && known.set == set);
        decided.or_else(|| all().last()).map(|known| Arc::clone(&known.name))
    }

    /// Whether DNS gave the address to the name, for a subject or for everybody.
    pub fn has(&self, subject: u32, address: Address, name: &str) -> bool {
        [subject, BindingKey::HOST].into_iter().any(|who| {
            let known = self.known.get(&(who, address));
            known.is_some_and(|names| names.iter().any(|known| &*known.name == name))
        })
    }

    /// Everything that DNS said to a subject, or to everybody, and that is still valid.
    pub fn bound(&self, subject: u32, now_ns: u64) -> Vec<Bound> {
        let mine =
            self.known.iter().filter(|((who, _), _)| *who == subject || *who == BindingKey::HOST);
        mine.flat_map(|((who, address), names)| {
            names.iter().filter(move |known| known.expires_ns > now_ns).map(move |known| Bound {
                name: Arc::clone(&known.name),
                address: (*address).into(),
                is_hosts: *who == BindingKey::HOST,
            })
        })
        .collect()
    }

    /// Bindings that another policy changes: `set_of` gives the set of a name under it, or 0.
    pub fn moves(&self, now_ns: u64, set_of: impl Fn(&str) -> u32) -> Moves {
        let mut moves = Moves::default();
        for ((subject, address), names) in &self.known {
            let alive = || names.iter().filter(|known| known.expires_ns > now_ns);
            if alive().all(|known| set_of(&known.name) == known.set) {
                continue;
            }
            let key = BindingKey { subject: *subject, address: *address };
            let after = || alive().map(|known| (set_of(&known.name), known.expires_ns));
            let before = alive().map(|known| (known.set, known.expires_ns));
            moves.during.push((key, binding(after().chain(before))));
            moves.after.push((key, binding(after())));
        }
        moves
    }

    /// Another policy is in force: `set_of` gives the set of a name under it, or 0.
    pub fn settle(&mut self, set_of: impl Fn(&str) -> u32) {
        for known in self.known.values_mut().flatten() {
            known.set = set_of(&known.name);
        }
    }
}

/// What becomes of bindings when a policy takes the place of another.
#[derive(Debug, Default)]
pub struct Moves {
    /// While either may be in force: the sets of both. A set means the same pattern in both.
    pub during: Vec<(BindingKey, Binding)>,
    /// When the new one is in force.
    pub after: Vec<(BindingKey, Binding)>,
}

fn binding(sets: impl Iterator<Item = (u32, u64)>) -> Binding {
    let mut binding = Binding::new_zeroed();
    let mut used = 0;
    for (set, expires_ns) in sets.filter(|(set, _)| *set != 0) {
        let is_known = binding.sets.iter().take(used).any(|bound| bound.set == set);
        if !is_known && let Some(slot) = binding.sets.get_mut(used) {
            *slot = BoundSet { expires_ns, set, reserved: 0 };
            used += 1;
        }
    }
    binding
}

#[cfg(test)]
mod tests {
    use governd_common::event::DnsAddress;

    use super::*;

    const ADDRESS: Address = Address::v4([10, 0, 0, 1]);

    fn answer(subject: u32, name: &str, set: u32, ttl_s: u32, time_ns: u64) -> DnsEvent {
        let mut event = DnsEvent::new_zeroed();
        event.header.subject = subject;
        event.header.time_ns = time_ns;
        event.set = set;
        event.name[..name.len()].copy_from_slice(name.as_bytes());
        event.name_len = name.len() as u16;
        event.addresses[0] = DnsAddress { address: ADDRESS, ttl_s };
        event.addresses_len = 1;
        event
    }

    #[test]
    fn the_name_of_the_deciding_set_wins_over_the_latest() {
        let mut names = Names::default();
        names.observe(&answer(1, "api.openai.com", 7, 60, 0)).unwrap();
        names.observe(&answer(1, "cdn.example.com", 8, 60, 1)).unwrap();
        assert_eq!(names.name(1, ADDRESS, 7).as_deref(), Some("api.openai.com"));
        assert_eq!(names.name(1, ADDRESS, 0).as_deref(), Some("cdn.example.com"));
        assert_eq!(names.name(2, ADDRESS, 7), None);
    }

    #[test]
    fn a_short_ttl_still_lives_for_the_minimum() {
        let mut names = Names::default();
        names.observe(&answer(1, "a.example", 7, 0, 0)).unwrap();
        let before_end = u64::from(BINDING_TTL_MIN_S) * NS_PER_S - 1;
        let [bound] = &names.bound(1, before_end)[..] else { panic!("one name") };
        assert_eq!((&*bound.name, bound.address), ("a.example", ADDRESS.into()));
        assert!(names.bound(1, before_end + 1).is_empty());
    }

    fn sets(bindings: &[(BindingKey, Binding)]) -> Vec<Vec<u32>> {
        let used = |binding: &Binding| {
            binding.sets.iter().map(|bound| bound.set).filter(|set| *set != 0).collect()
        };
        bindings.iter().map(|(_, binding)| used(binding)).collect()
    }

    #[test]
    fn a_move_keeps_both_meanings_until_the_new_policy_is_in_force() {
        let mut names = Names::default();
        names.observe(&answer(1, "a.example", 7, 60, 0)).unwrap();
        names.observe(&answer(1, "b.example", 8, 60, 0)).unwrap();
        let set_of = |name: &str| if name == "b.example" { 9 } else { 0 };
        let moves = names.moves(1, set_of);
        assert_eq!((sets(&moves.during), sets(&moves.after)), (vec![vec![9, 7, 8]], vec![vec![9]]));
        names.settle(set_of);
        assert_eq!(names.name(1, ADDRESS, 9).as_deref(), Some("b.example"));
        assert!(names.moves(1, set_of).after.is_empty());
    }

    #[test]
    fn a_policy_with_the_same_patterns_moves_nothing() {
        let mut names = Names::default();
        names.observe(&answer(1, "a.example", 7, 60, 0)).unwrap();
        let moves = names.moves(1, |_| 7);
        assert!(moves.during.is_empty() && moves.after.is_empty());
    }

    #[test]
    fn an_event_that_lies_about_its_lengths_teaches_nothing() {
        let mut names = Names::default();
        let mut event = answer(1, "a.example", 7, 60, 0);
        event.name_len = u16::MAX;
        assert_eq!(names.observe(&event), None);
        let mut event = answer(1, "a.example", 7, 60, 0);
        event.addresses_len = u32::MAX;
        assert_eq!(names.observe(&event), None);
    }
}
