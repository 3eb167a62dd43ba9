//! Numbers that stay the same as long as something in the kernel holds them.

use std::{collections::HashMap, sync::Arc};

/// Gives subjects and sets their numbers. Tasks and bindings in the kernel outlive a policy and
/// hold these numbers, so a number is never given to another name.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    subjects: Numbers,
    sets: Numbers,
}

/// Numbers by what they were given to, and the highest that was ever given.
#[derive(Clone, Debug, Default)]
struct Numbers {
    known: HashMap<Arc<str>, u32>,
    last: u32,
}

impl Numbers {
    fn give(&mut self, text: &str, number: u32) {
        self.known.insert(text.into(), number);
        self.last = self.last.max(number);
    }

    fn number(&mut self, text: &str) -> (Arc<str>, u32) {
        if let Some((text, number)) = self.known.get_key_value(text) {
            return (Arc::clone(text), *number);
        }
        self.last += 1;
        let text: Arc<str> = text.into();
        self.known.insert(Arc::clone(&text), self.last);
        (text, self.last)
    }
}

impl Ids {
    /// Between the names of agents that one subject stands for together.
    pub const AND: &str = "+";

    /// Subjects that stand for several agents, and their names.
    pub fn chains(&self) -> impl Iterator<Item = (u32, &str)> {
        let chains = self.subjects.known.iter().filter(|(text, _)| text.contains(Self::AND));
        chains.map(|(text, subject)| (*subject, &**text))
    }

    /// The subject of an agent, from 1.
    pub fn subject(&mut self, agent: &str) -> u32 {
        self.subjects.number(agent).1
    }

    /// The set of a name pattern or network, from 1, and its text.
    pub(crate) fn set(&mut self, text: &str) -> (Arc<str>, u32) {
        self.sets.number(text)
    }

    /// A number that was given before; the texts are those that it was given to.
    pub fn give(&mut self, is_subject: bool, text: &str, number: u32) {
        let numbers = if is_subject { &mut self.subjects } else { &mut self.sets };
        numbers.give(text, number);
    }

    /// Takes the numbers of sets away that no policy uses any more, and gives the texts that they
    /// were given to: one that comes back gets another number.
    pub fn forget_sets(&mut self, is_used: impl Fn(u32) -> bool) -> Vec<Arc<str>> {
        let unused = self.sets.known.extract_if(|_, number| !is_used(*number));
        unused.map(|(text, _)| text).collect()
    }

    /// How many texts have numbers.
    pub fn count(&self) -> usize {
        self.subjects.known.len() + self.sets.known.len()
    }

    /// The highest that were given.
    pub fn numbered(&self) -> Numbered {
        Numbered { subjects: self.subjects.last, sets: self.sets.last }
    }

    /// What was given since, in order: whether it is a subject, its text, its number.
    pub fn since(&self, before: &Numbered) -> Vec<(bool, &str, u32)> {
        let subjects = self.subjects.known.iter().filter(|(_, number)| **number > before.subjects);
        let sets = self.sets.known.iter().filter(|(_, number)| **number > before.sets);
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

    #[test]
    fn numbers_that_nobody_uses_are_taken_away_and_not_given_again() {
        let mut ids = Ids::default();
        for text in ["a.example", "b.example", "c.example"] {
            ids.set(text);
        }
        let mut forgotten = ids.forget_sets(|number| number == 2);
        forgotten.sort();
        assert_eq!(forgotten, ["a.example".into(), "c.example".into()]);
        assert_eq!((ids.set("b.example").1, ids.set("c.example").1), (2, 4));
        assert_eq!(ids.count(), 2);
    }
}
