//! Whether anything was taken out of some directories: the kernel tells of it (inotify(7)), so that
//! not every entry has to be asked for again and again.
//!
//! What the kernel does not tell of is that a name leads elsewhere, as when something is mounted
//! there or a file system is taken away while it is in use. That is asked.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::PathBuf,
};

use rustix::{
    fs::inotify::{CreateFlags, WatchFlags, add_watch, init},
    io::{Errno, read},
};

/// Messages that are read at once: each is some 30 bytes long.
const MESSAGES_BYTES: usize = 4_096;

/// The directories, watched from when this was made.
#[derive(Debug)]
pub(super) struct Removals {
    messages: OwnedFd,
    directories: Vec<(PathBuf, Identity)>,
}

/// Device and inode.
type Identity = (u64, u64);

impl Removals {
    /// Watches directories.
    pub(super) fn watch(paths: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let messages = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let told = WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
        let mut directories = Vec::new();
        for path in paths {
            // Asked first: if it is exchanged meanwhile, that shows at the first look.
            let found = identity(&path)?;
            add_watch(&messages, &path, told)?;
            directories.push((path, found));
        }
        Ok(Self { messages, directories })
    }

    /// Whether nothing was taken away since this was made, as far as can be told. Once that is not
    /// so, it stays so until somebody watches anew.
    pub(super) fn is_none(&self) -> bool {
        let mut messages = [0; MESSAGES_BYTES];
        let is_quiet = matches!(read(&self.messages, &mut messages), Err(Errno::AGAIN));
        let mut directories = self.directories.iter();
        is_quiet && directories.all(|(path, known)| identity(path).is_ok_and(|now| now == *known))
    }
}

fn identity(path: &PathBuf) -> io::Result<Identity> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn watched(directory: &Path) -> Removals {
        Removals::watch([directory.to_owned()]).unwrap()
    }

    #[test]
    fn what_is_removed_renamed_or_covered_shows_and_what_is_added_does_not() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("pins");
        fs::create_dir(&directory).unwrap();
        let (one, other) = (directory.join("one"), directory.join("other"));
        let put = || fs::write(&one, "").unwrap();
        put();
        let quiet = watched(&directory);
        fs::write(&other, "").unwrap();
        assert!(quiet.is_none() && quiet.is_none());
        let changes: [(&str, &dyn Fn()); 4] = [
            ("removed", &|| fs::remove_file(&one).unwrap()),
            ("renamed", &|| fs::rename(&one, parent.path().join("one")).unwrap()),
            ("exchanged", &|| fs::rename(&other, &one).unwrap()),
            ("elsewhere", &|| {
                fs::rename(&directory, parent.path().join("away")).unwrap();
                fs::create_dir(&directory).unwrap();
            }),
        ];
        for (what, change) in changes {
            put();
            let removals = watched(&directory);
            assert!(removals.is_none(), "{what}");
            change();
            assert!(!removals.is_none(), "{what}");
        }
        fs::remove_dir_all(&directory).unwrap();
        assert!(Removals::watch([directory]).is_err());
    }
}
