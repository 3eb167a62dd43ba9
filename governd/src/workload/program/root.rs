//! Files as a process sees them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, openat2};

use crate::workload::{limits::PACKAGES_MAX, proc::ProcFs};

/// The root directory of a process, and the one that it works in.
pub(super) struct Root {
    directory: File,
    /// Where that is in the mount namespace of the process; `/` unless it is a part of it.
    path: PathBuf,
    works_in: PathBuf,
}

/// A file of a process, found but not opened for reading.
pub(super) struct Found {
    /// Its path for the process, without symbolic links.
    pub(super) path: String,
    pub(super) link: Link,
}

/// Holds a file.
pub(super) struct Link(File);

impl Link {
    /// Leads to the file, whatever its names are.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// The same file for reading. What is no regular file, such as a pipe that nobody writes to,
    /// must not stop whoever reads.
    pub(super) fn reopened(&self) -> io::Result<File> {
        if !self.0.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
        OpenOptions::new().read(true).custom_flags(flags).open(self.path())
    }
}

impl Root {
    pub(super) fn of(proc: &ProcFs, pid: u32) -> Option<Self> {
        let root = proc.file(pid, "root");
        Some(Self {
            path: fs::read_link(&root).ok()?,
            works_in: fs::read_link(proc.file(pid, "cwd")).ok()?,
            directory: File::open(root).ok()?,
        })
    }

    /// The file of a path, which is one for the process and may begin where it works.
    pub(super) fn find(&self, path: &str) -> Option<Found> {
        let link = Link(self.open(path, OFlags::PATH)?);
        link.0.metadata().ok().filter(|about| about.is_file())?;
        let target = fs::read_link(link.path()).ok()?;
        let inside = target.strip_prefix(&self.path).ok()?;
        let path = Path::new("/").join(inside).to_str()?.to_owned();
        Some(Found { path, link })
    }

    /// The text of a file, up to so many bytes; `None` if it is longer, or no text.
    pub(super) fn text(&self, path: &str, bytes_max: u64) -> Option<String> {
        let file = self.find(path)?.link.reopened().ok()?;
        let mut text = String::new();
        file.take(bytes_max + 1).read_to_string(&mut text).ok()?;
        (text.len() as u64 <= bytes_max).then_some(text)
    }

    /// Names in a directory, at most `PACKAGES_MAX`.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let opened = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let entries = opened.and_then(|file| Dir::read_from(file).ok()).into_iter().flatten();
        let name = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok().map(str::to_owned);
        entries.filter_map(|entry| name(entry.ok()?)).take(PACKAGES_MAX).collect()
    }

    fn open(&self, path: &str, flags: OFlags) -> Option<File> {
        let flags = flags | OFlags::CLOEXEC;
        let path = self.works_in.join(path);
        // An absolute link of a container leads to a file of the container.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.directory, &path, flags, Mode::empty(), resolve).ok().map(File::from)
    }
}
