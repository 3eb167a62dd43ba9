//! The SHA-256 of a file that processes execute or run. It is computed beside, so it is known later
//! than the file, or never: what cannot be read, or was another by then, has none.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// What makes a file the same as before: any change of its contents changes this.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FileVersion {
    /// Device as `stat(2)` reports it.
    pub device: u32,
    /// Inode.
    pub inode: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Time of the last change: seconds since the epoch, and nanoseconds.
    pub changed: (i64, u32),
}

impl FileVersion {
    /// When it came to be, in nanoseconds since the epoch.
    pub fn changed_ns(&self) -> u64 {
        let (seconds, nanos) = self.changed;
        u64::try_from(seconds)
            .unwrap_or(0)
            .saturating_mul(1_000_000_000)
            .saturating_add(nanos.into())
    }

    /// Whether this is the file that a version is of, with as many bytes: a running executable
    /// whose name or owner changes stays what it is.
    pub fn is_of(&self, version: &Self) -> bool {
        let identity = |version: &Self| (version.device, version.inode, version.bytes);
        identity(self) == identity(version)
    }
}

/// The digest of one version of a file, shared by all who have it.
#[derive(Debug)]
pub struct Digest {
    file: FileVersion,
    is_asked: AtomicBool,
    /// 64 hexadecimal digits; `None` inside if there is none.
    outcome: OnceLock<Option<Arc<str>>>,
}

impl Digest {
    /// Of a version of a file, not known yet.
    pub const fn of(file: FileVersion) -> Self {
        Self { file, is_asked: AtomicBool::new(false), outcome: OnceLock::new() }
    }

    /// The version that it is of.
    pub const fn file(&self) -> FileVersion {
        self.file
    }

    /// The SHA-256 in hexadecimal, once it is known.
    pub fn sha256(&self) -> Option<&Arc<str>> {
        self.outcome.get()?.as_ref()
    }

    /// Whether it is known, or known that there is none.
    pub fn is_settled(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Whether nobody has asked for it; from now on somebody has.
    pub fn ask(&self) -> bool {
        !self.is_asked.swap(true, Ordering::Relaxed)
    }

    /// Whoever asked was not heard: the next one may.
    pub fn take_back(&self) {
        self.is_asked.store(false, Ordering::Relaxed);
    }

    /// What came of it. Only the first outcome counts.
    pub fn settle(&self, sha256: Option<Arc<str>>) {
        self.outcome.get_or_init(|| sha256);
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Eq for Digest {}
