//! Numbers that stay the same as long as something in the kernel holds them.

use std::{collections::HashMap, sync::Arc};

/// Gives subjects and sets their numbers. Tasks and bindings in the kernel outlive a policy and
/// hold these numbers, so a number is never given to another name.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    subjects: HashMap<Arc<str>, u32>,
    sets: HashMap<Arc<str>, u32>,
}

impl Ids {
    /// Between the names of agents that one subject stands for together.
    pub const AND: &str = "+";

    /// Subjects that stand for several agents, and their names.
    pub fn chains(&self) -> impl Iterator<Item = (u32, &str)> {
        let chains = self.subjects.iter().filter(|(text, _)| text.contains(Self::AND));
        chains.map(|(text, subject)| (*subject, &**text))
    }

    /// The subject of an agent, from 1.
    pub fn subject(&mut self, agent: &str) -> u32 {
        number(&mut self.subjects, agent).1
    }

    /// The set of a name pattern or network, from 1, and its text.
    pub(crate) fn set(&mut self, text: &str) -> (Arc<str>, u32) {
        number(&mut self.sets, text)
    }

    /// A number that was given before; the texts are those that it was given to.
    pub fn give(&mut self, is_subject: bool, text: &str, number: u32) {
        let known = if is_subject { &mut self.subjects } else { &mut self.sets };
        known.insert(text.into(), number);
    }

    /// How many are given.
    pub fn numbered(&self) -> Numbered {
        Numbered { subjects: last(&self.subjects), sets: last(&self.sets) }
    }

    /// What was given since, in order: whether it is a subject, its text, its number.
    pub fn since(&self, before: &Numbered) -> Vec<(bool, &str, u32)> {
        let subjects = self.subjects.iter().filter(|(_, number)| **number > before.subjects);
        let sets = self.sets.iter().filter(|(_, number)| **number > before.sets);
        let subjects = subjects.map(|(text, number)| (true, &**text, *number));
        let mut new: Vec<(bool, &str, u32)> =
            subjects.chain(sets.map(|(text, number)| (false, &**text, *number))).collect();
        new.sort_by_key(|(_, _, number)| *number);
        new
    }
}

/// The highest numbers that are given.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Numbered {
    subjects: u32,
    sets: u32,
}

fn last(known: &HashMap<Arc<str>, u32>) -> u32 {
    known.values().copied().max().unwrap_or(0)
}

fn number(known: &mut HashMap<Arc<str>, u32>, text: &str) -> (Arc<str>, u32) {
    if let Some((text, number)) = known.get_key_value(text) {
        return (Arc::clone(text), *number);
    }
    let (text, number): (Arc<str>, u32) = (text.into(), known.len() as u32 + 1);
    known.insert(Arc::clone(&text), number);
    (text, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_were_given_stay_and_others_follow_them() {
        let mut first = Ids::default();
        assert_eq!(first.subject("a"), 1);
        let before = first.numbered();
        assert_eq!((first.subject("b"), first.set("x.example").1), (2, 1));
        assert_eq!(first.since(&before), [(false, "x.example", 1), (true, "b", 2)]);
        let mut second = Ids::default();
        for (is_subject, text, number) in first.since(&Numbered::default()) {
            second.give(is_subject, text, number);
        }
        assert_eq!(second.numbered(), first.numbered());
        let given = (second.subject("b"), second.subject("c"), second.set("y.example").1);
        assert_eq!(given, (2, 3, 2));
    }
}
