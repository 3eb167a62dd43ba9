//! Numbers that stay the same while the daemon runs.

use std::{collections::HashMap, sync::Arc};

/// Gives subjects and sets their numbers. Tasks and bindings in the kernel outlive a policy and
/// hold these numbers, so a number is never given to another name.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    subjects: HashMap<Arc<str>, u32>,
    sets: HashMap<Arc<str>, u32>,
}

impl Ids {
    /// The subject of an agent, from 1.
    pub fn subject(&mut self, agent: &str) -> u32 {
        number(&mut self.subjects, agent).1
    }

    /// The set of a name pattern or network, from 1, and its text.
    pub(crate) fn set(&mut self, text: &str) -> (Arc<str>, u32) {
        number(&mut self.sets, text)
    }
}

fn number(known: &mut HashMap<Arc<str>, u32>, text: &str) -> (Arc<str>, u32) {
    if let Some((text, number)) = known.get_key_value(text) {
        return (Arc::clone(text), *number);
    }
    let (text, number): (Arc<str>, u32) = (text.into(), known.len() as u32 + 1);
    known.insert(Arc::clone(&text), number);
    (text, number)
}
