//! SHA-256 of executables, by a thread of its own: a file is read once, however often it runs.
//!
//! Only the version of a file that a process really executed is read: the one behind
//! `/proc/PID/exe`, which nobody can write to while it runs, or, of a process that is gone, what is
//! at the path now if nothing of it has changed, neither before nor while it is read. What cannot
//! be read has no digest; nobody waits for one.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use ring::digest::{Context, SHA256};
use rustix::fs::OFlags;

use super::{
    limits::{DIGEST_FILE_BYTES_MAX, DIGESTS_MAX, DIGESTS_WAITING_MAX},
    mounts::FileIdentity,
    proc::ProcFs,
};
use crate::core::{
    digest::{Digest, FileVersion},
    process::Process,
};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 128 * 1_024;

/// A file whose digest is wanted.
#[derive(Debug)]
struct Wanted {
    /// The link of a process that executes it.
    running: PathBuf,
    path: PathBuf,
    digest: Arc<Digest>,
}

/// The digests of the files that processes execute, and the thread that computes those that are
/// asked for. It ends with what it is doing when this is dropped.
#[derive(Debug)]
pub struct Digests {
    proc: ProcFs,
    known: HashMap<FileVersion, Arc<Digest>>,
    wanted: Option<SyncSender<Wanted>>,
}

impl Digests {
    /// Digests that nobody computes.
    pub fn idle(proc: ProcFs) -> Self {
        Self { proc, known: HashMap::new(), wanted: None }
    }

    /// Starts the thread, over a proc file system.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(proc: ProcFs) -> io::Result<Self> {
        let (wanted, asked) = sync_channel::<Wanted>(DIGESTS_WAITING_MAX);
        thread::Builder::new().name("digests".into()).spawn(move || {
            for Wanted { running, path, digest } in asked {
                let version = digest.file();
                let of_running = compute(&running, |found| found.is_of(&version));
                digest.settle(of_running.or_else(|| compute(&path, |found| *found == version)));
            }
        })?;
        Ok(Self { wanted: Some(wanted), ..Self::idle(proc) })
    }

    /// Starts the thread; without one there are no digests.
    pub fn start_or_idle(proc: ProcFs) -> Self {
        Self::start(proc.clone()).unwrap_or_else(|error| {
            tracing::warn!(%error, "no digests of executables");
            Self::idle(proc)
        })
    }

    /// The digest that everybody shares who has this version of a file.
    pub fn of(&mut self, version: FileVersion) -> Arc<Digest> {
        if let Some(known) = self.known.get(&version) {
            return Arc::clone(known);
        }
        if self.known.len() >= DIGESTS_MAX {
            self.known.clear();
        }
        let digest = Arc::new(Digest::of(version));
        self.known.insert(version, Arc::clone(&digest));
        digest
    }

    /// Asks for the digest of what a process executes, if nobody has; never waits. What cannot be
    /// asked because too many are waited for may be asked again.
    pub fn want(&self, process: &Process) {
        let (Some(digest), Some(exe)) = (&process.digest, &process.exe) else { return };
        let Some(wanted) = self.wanted.as_ref().filter(|_| digest.ask()) else { return };
        let (running, path) = (self.proc.file(process.pid, "exe"), exe.path.clone());
        if wanted.try_send(Wanted { running, path, digest: Arc::clone(digest) }).is_err() {
            digest.take_back();
        }
    }
}

/// The digest of what is at a path, if that is the one meant before and after it is read.
fn compute(path: &Path, is_meant: impl Fn(&FileVersion) -> bool) -> Option<Arc<str>> {
    let has_it = || {
        let found = FileIdentity::of(path).filter(|found| found.is_file)?.version();
        (is_meant(&found) && found.bytes <= DIGEST_FILE_BYTES_MAX).then_some(())
    };
    has_it()?;
    let sha256 = hash(open(path).ok()?).ok()?;
    has_it().map(|()| sha256)
}

/// Opens a file. What is put in its place meanwhile, such as a pipe that nobody writes to, must not
/// stop the thread.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The SHA-256 of a file in hexadecimal.
pub(super) fn hash(file: File) -> io::Result<Arc<str>> {
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    // It may grow while it is read.
    let mut file = file.take(DIGEST_FILE_BYTES_MAX);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        context.update(chunk.get(..read).unwrap_or_default());
    }
    let hex: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hex.into())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::Command,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::core::process::Exe;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn version(path: &Path) -> FileVersion {
        FileIdentity::of(path).unwrap().version()
    }

    /// A process that executes a file, of which only this is known.
    fn process(pid: u32, path: &Path, digest: Arc<Digest>) -> Process {
        let exe = Exe { path: path.to_owned(), device: 1, inode: digest.file().inode };
        Process { pid, exe: Some(exe), digest: Some(digest), ..Process::default() }
    }

    fn settled(digest: &Digest) -> Option<String> {
        let started = Instant::now();
        while !digest.is_settled() {
            assert!(started.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(1));
        }
        digest.sha256().map(|sha256| sha256.to_string())
    }

    #[test]
    fn a_version_of_a_file_has_one_digest_and_another_version_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "").unwrap();
        let mut digests = Digests::start(ProcFs::new(Path::new("/proc"))).unwrap();
        let first = digests.of(version(&path));
        assert!(Arc::ptr_eq(&first, &digests.of(version(&path))));
        assert_eq!(first.sha256(), None);
        // A pid that nobody has.
        digests.want(&process(u32::MAX, &path, Arc::clone(&first)));
        assert_eq!(settled(&first).as_deref(), Some(EMPTY));
        fs::write(&path, "x").unwrap();
        let second = digests.of(version(&path));
        digests.want(&process(u32::MAX, &path, Arc::clone(&second)));
        assert!(settled(&second).is_some_and(|sha256| sha256 != EMPTY));
        assert_eq!(first.sha256().map(|sha256| &**sha256), Some(EMPTY));
    }

    #[test]
    fn the_file_that_runs_is_read_and_no_other_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sleeper");
        fs::copy("/bin/sleep", &path).unwrap();
        let mut child = Command::new(&path).arg("30").spawn().unwrap();
        let mut digests = Digests::start(ProcFs::new(Path::new("/proc"))).unwrap();
        let version = version(&path);
        let (running, gone) = (digests.of(version), Arc::new(Digest::of(version)));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "something else").unwrap();
        digests.want(&process(child.id(), &path, Arc::clone(&running)));
        digests.want(&process(u32::MAX, &path, Arc::clone(&gone)));
        let (running, gone) = (settled(&running), settled(&gone));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(running.as_deref(), compute(Path::new("/bin/sleep"), |_| true).as_deref());
        assert!(running.is_some());
        assert_eq!(gone, None);
    }

    #[test]
    fn what_is_no_file_or_too_large_has_no_digest_and_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(DIGEST_FILE_BYTES_MAX + 1).unwrap();
        for path in [&pipe, &large, &dir.path().to_owned(), &"/dev/zero".into()] {
            assert_eq!(compute(path, |_| true), None, "{}", path.display());
        }
        assert_eq!(compute(&dir.path().join("missing"), |_| true), None);
    }

    #[test]
    fn only_so_many_wait_and_the_rest_may_be_asked_again() {
        let path = Path::new("/bin/sleep");
        // Nobody takes what is asked for.
        let (wanted, _asked) = sync_channel(DIGESTS_WAITING_MAX);
        let digests =
            Digests { wanted: Some(wanted), ..Digests::idle(ProcFs::new(Path::new("/proc"))) };
        let one = |inode| Arc::new(Digest::of(FileVersion { inode, ..version(path) }));
        let asked: Vec<Arc<Digest>> = (0..=DIGESTS_WAITING_MAX as u64).map(one).collect();
        for digest in &asked {
            digests.want(&process(0, path, Arc::clone(digest)));
        }
        let again: Vec<bool> = asked.iter().map(|digest| digest.ask()).collect();
        assert_eq!(again.iter().filter(|is_first| **is_first).count(), 1);
        assert!(again.last().unwrap());
    }
}
