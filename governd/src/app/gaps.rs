//! Interfaces at which no program is, though some agent is enforced: told once each, until they
//! have one or are gone.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    io,
    sync::mpsc::Sender,
};

use rustix::io::Errno;

use super::{discovery::trouble, engine::Engine, frames::FrameGuard};
use crate::audit::record::Record;

/// The kind of the finding, and the word in the status.
pub(super) const WORD: &str = "uncovered-interface";

/// What has no program, and why; no reason where it is over.
pub(super) type Gap = (String, Option<String>);

/// Those that have none now, with the reason.
pub(super) type Uncovered = BTreeMap<String, String>;

/// What the thread at interfaces told of one network namespace, by index.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    told: HashMap<u32, String>,
}

impl Gaps {
    /// Takes in how it went with an interface; tells what is new.
    pub(super) fn note(
        &mut self,
        index: u32,
        name: &str,
        covered: &Result<(), impl Borrow<io::Error>>,
        to: &Sender<Gap>,
    ) {
        let Err(error) = covered else { return self.end(index, to) };
        let error = error.borrow();
        // One that is gone needs none.
        if Errno::from_io_error(error) != Some(Errno::NODEV) && !self.told.contains_key(&index) {
            self.told.insert(index, name.to_owned());
            to.send((name.to_owned(), Some(error.to_string()))).ok();
        }
    }

    /// Of those that are left.
    pub(super) fn keep(&mut self, is_there: impl Fn(u32) -> bool, to: &Sender<Gap>) {
        let gone = self.told.extract_if(|index, _| !is_there(*index));
        gone.for_each(|(_, name)| drop(to.send((name, None))));
    }

    fn end(&mut self, index: u32, to: &Sender<Gap>) {
        if let Some(name) = self.told.remove(&index) {
            to.send((name, None)).ok();
        }
    }
}

impl Engine {
    /// Records which interfaces have no program since.
    pub(super) fn look_for_gaps(&mut self) {
        let told: Vec<Gap> = self.frames.iter().flat_map(FrameGuard::gaps).collect();
        for (place, why) in told {
            let Some(why) = why else {
                tracing::info!(place, "an interface has a program or is gone");
                self.watch.gaps.remove(&place);
                continue;
            };
            let title = "an interface has no program: frames that agents send there pass";
            tracing::error!(
                place,
                why,
                hint = "docs/operations.md, uncovered-interface",
                "{title}"
            );
            let mut finding = trouble(WORD, title, vec![format!("{place}: {why}")]);
            finding.uid = format!("{WORD}/{place}").into();
            self.journal.record(Record::Finding(finding), None);
            self.watch.gaps.insert(place, why);
        }
    }

    /// In words, for the status.
    pub(super) fn gaps_in_words(&self) -> impl Iterator<Item = (String, String)> {
        self.watch.gaps.iter().map(|(place, why)| {
            let detail =
                format!("{place} has no program, and frames that agents send there pass: {why}");
            (WORD.to_owned(), detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_has_no_program_is_told_once_until_it_has_one_or_is_gone() {
        let (to, told) = mpsc::channel();
        let mut gaps = Gaps::default();
        let refused = || Err(io::Error::from(Errno::INVAL));
        let mut note = |index, covered: io::Result<()>| {
            gaps.note(index, &format!("eth{index}"), &covered, &to);
            told.try_iter().collect::<Vec<Gap>>()
        };
        let why = io::Error::from(Errno::INVAL).to_string();
        let begun = |name: &str| vec![(name.to_owned(), Some(why.clone()))];
        assert_eq!(note(1, Ok(())), []);
        assert_eq!(note(2, refused()), begun("eth2"));
        assert_eq!(note(2, refused()), []);
        assert_eq!(note(1, Err(Errno::NODEV.into())), []);
        assert_eq!(note(2, Ok(())), [("eth2".to_owned(), None)]);
        assert_eq!(note(2, refused()), begun("eth2"));
        assert_eq!(note(3, refused()), begun("eth3"));
        gaps.keep(|index| index == 3, &to);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [("eth2".to_owned(), None)]);
    }
}
