//! Where a reader of the log stands, in a file of its own, so that it goes on there after it starts
//! anew.
//!
//! A cursor names the log that it belongs to: one that was left by another log, whose indices mean
//! other records, begins anew. Saving replaces the file whole, and is durable when it returns.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    key,
    storage::{Disk, Filesystem},
};

/// First line of the file.
const MARK: &str = "governd cursor 1";

/// How far a reader has come.
pub struct Cursor<F: Filesystem = Disk> {
    filesystem: F,
    directory: PathBuf,
    name: String,
    origin: String,
    next: u64,
    saved: Option<u64>,
}

impl<F: Filesystem> Cursor<F> {
    /// Reads the cursor of that name for a log, whose name (the one in its key and checkpoints) is
    /// `origin`. Without a file that belongs to this log it stands at the first record and
    /// [`Cursor::is_new`].
    ///
    /// # Errors
    ///
    /// If the directory cannot be made, or the file is there and cannot be read.
    pub fn open(filesystem: F, directory: &Path, name: &str, origin: &str) -> io::Result<Self> {
        filesystem.create_dir(directory)?;
        let text = match key::read_text(&filesystem, &directory.join(name)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Not text: no cursor that was saved here.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(error),
        };
        let saved = text.and_then(|text| parse(&text, origin));
        let (directory, name) = (directory.to_owned(), name.to_owned());
        let (origin, next) = (origin.to_owned(), saved.unwrap_or(0));
        Ok(Self { filesystem, directory, name, origin, next, saved })
    }

    /// Whether nothing was saved for this log yet.
    pub fn is_new(&self) -> bool {
        self.saved.is_none()
    }

    /// Index of the first record that is not done.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Notes that everything before an index is done; [`Cursor::save`] makes it last.
    pub fn advance(&mut self, next: u64) {
        self.next = next;
    }

    /// Makes the place durable, if it is not.
    ///
    /// # Errors
    ///
    /// If the file cannot be written: the one before is still there.
    pub fn save(&mut self) -> io::Result<()> {
        if self.saved == Some(self.next) {
            return Ok(());
        }
        let text = format!("{MARK}\n{}\n{}", self.origin, self.next);
        key::write(&self.filesystem, &self.directory, &self.name, &text)?;
        self.saved = Some(self.next);
        Ok(())
    }
}

fn parse(text: &str, origin: &str) -> Option<u64> {
    let mut lines = text.lines();
    let is_ours = lines.next() == Some(MARK) && lines.next() == Some(origin);
    let next = lines.next()?.parse().ok()?;
    (is_ours && lines.next().is_none()).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::log::sim::{Fault, Sim};

    const DIRECTORY: &str = "/state/cursors";
    const ORIGIN: &str = "governd/0123";

    fn open(sim: &Sim, name: &str, origin: &str) -> Cursor<Sim> {
        Cursor::open(sim.clone(), Path::new(DIRECTORY), name, origin).unwrap()
    }

    #[test]
    fn a_saved_place_outlives_the_power_and_one_that_is_not_saved_may_be_lost() {
        let sim = Sim::default();
        let mut cursor = open(&sim, "siem", ORIGIN);
        assert!(cursor.is_new());
        for next in 1..50 {
            cursor.advance(next);
            cursor.save().unwrap();
            cursor.advance(next + 1_000);
            sim.cut_power(next);
            cursor = open(&sim, "siem", ORIGIN);
            assert_eq!((cursor.next(), cursor.is_new()), (next, false));
        }
    }

    #[test]
    fn a_save_that_fails_leaves_the_place_before_it() {
        for fault in [Fault::Full, Fault::ReadOnly, Fault::Sync] {
            let sim = Sim::default();
            let mut cursor = open(&sim, "siem", ORIGIN);
            cursor.advance(7);
            cursor.save().unwrap();
            cursor.advance(8);
            sim.fail(0, u32::MAX, fault);
            cursor.save().unwrap_err();
            sim.cut_power(1);
            // A directory that could not be synced may have the new file already.
            let next = open(&sim, "siem", ORIGIN).next();
            assert!(matches!(next, 7 | 8), "{fault:?}: {next}");
        }
    }

    #[test]
    fn cursors_of_other_names_and_other_logs_are_others() {
        let sim = Sim::default();
        let mut cursor = open(&sim, "siem", ORIGIN);
        cursor.advance(7);
        cursor.save().unwrap();
        for (name, origin, want) in
            [("siem", ORIGIN, 7), ("sink", ORIGIN, 0), ("siem", "governd/4567", 0)]
        {
            let cursor = open(&sim, name, origin);
            assert_eq!((cursor.next(), cursor.is_new()), (want, want == 0), "{name} of {origin}");
        }
    }

    #[test]
    fn what_is_no_cursor_begins_anew() {
        for content in [
            "",
            "7",
            "governd cursor 1\ngovernd/0123\n",
            "governd cursor 1\ngovernd/0123\n7\n8",
            "\u{fffd}",
        ] {
            let sim = Sim::default();
            let mut cursor = open(&sim, "siem", ORIGIN);
            cursor.save().unwrap();
            sim.tamper(&Path::new(DIRECTORY).join("siem"), |bytes| *bytes = content.into());
            assert!(open(&sim, "siem", ORIGIN).is_new(), "{content:?}");
        }
    }
}
