//! What was refused, by who sent it and its word. The first of a kind is told at once, and the rest
//! with their number at the next look: who sends again and again what is refused wakes nobody.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::notice::{Notice, Weight};

/// Kinds that are counted between two looks; those beyond are one kind.
const KINDS_MAX: usize = 256;
const OTHERS: &str = "others";

/// Since the last look.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    kinds: Mutex<HashMap<(String, String), Kind>>,
}

#[derive(Debug)]
struct Kind {
    detail: String,
    /// How often it was after the first.
    again: u64,
}

impl Refusals {
    /// Something was refused; what is to be told now, where it is the first of its kind.
    pub(super) fn count(&self, who: &str, what: &str, detail: &str) -> Option<Notice> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (who.to_owned(), what.to_owned());
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&key) {
            key = (OTHERS.to_owned(), OTHERS.to_owned());
        }
        if let Some(kind) = kinds.get_mut(&key) {
            kind.again += 1;
            return None;
        }
        let notice = notice(key.clone(), detail.to_owned(), 1);
        kinds.insert(key, Kind { detail: detail.to_owned(), again: 0 });
        Some(notice)
    }

    /// What was refused again meanwhile; from here on all is the first of its kind.
    pub(super) fn take(&self) -> Vec<Notice> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let again = kinds.drain().filter(|(_, kind)| kind.again > 0);
        again.map(|(key, Kind { detail, again })| notice(key, detail, again)).collect()
    }
}

fn notice((who, what): (String, String), detail: String, count: u64) -> Notice {
    Notice { what, who, detail, count, weight: Weight::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_is_told_with_its_number() {
        let refusals = Refusals::default();
        let refuse = |who: &str| refusals.count(who, "a", "b");
        let mut told: Vec<Notice> = (0..5).filter_map(|_| refuse("192.0.2.1")).collect();
        assert_eq!(told.len(), 1);
        told.extend((0..KINDS_MAX * 2).filter_map(|number| refuse(&number.to_string())));
        told.extend(refusals.take());
        assert_eq!(told.len(), KINDS_MAX + 1 + 2);
        let counts: u64 = told.iter().map(|notice| notice.count).sum();
        assert_eq!(counts, 5 + 2 * KINDS_MAX as u64);
        assert!(refusals.take().is_empty());
        assert!(refuse("192.0.2.1").is_some());
    }
}
