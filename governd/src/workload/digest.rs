//! SHA-256 of executables, by a thread of its own: a file is read once, however often it runs.
//!
//! A file counts as the same while device, inode, size and time of change are the same. Only the
//! file that the process really executes is read: the one behind `/proc/PID/exe`, or, of a process
//! that is gone, what is at the path now if it has the same inode. What cannot be read has no
//! digest; nobody waits for one.

use std::{
    collections::HashMap,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use ring::digest::{Context, SHA256};
use rustix::fs::OFlags;

use super::{
    limits::{DIGEST_FILE_BYTES_MAX, DIGESTS_MAX, DIGESTS_WAITING_MAX},
    proc::ProcFs,
};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 128 * 1_024;

/// An executable whose digest is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Whom the answer is for.
    pub tag: Arc<str>,
    /// The process that executes it.
    pub pid: u32,
    /// Its path.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
}

/// An executable's digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Digested {
    /// Whom it is for.
    pub tag: Arc<str>,
    /// 64 hexadecimal digits.
    pub sha256: Arc<str>,
}

/// The thread. It ends with what it is doing when this is dropped.
#[derive(Debug)]
pub struct Digests {
    wanted: SyncSender<Wanted>,
    done: Receiver<Digested>,
}

impl Digests {
    /// Starts the thread, over a proc file system.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(proc: ProcFs) -> io::Result<Self> {
        let (wanted, asked) = sync_channel::<Wanted>(DIGESTS_WAITING_MAX);
        // As many answers as questions: the thread waits where nobody takes them.
        let (answers, done) = sync_channel(DIGESTS_WAITING_MAX);
        thread::Builder::new().name("digests".into()).spawn(move || {
            let mut reader = Reader { proc, known: HashMap::new() };
            for wanted in asked {
                if let Some(sha256) = reader.digest(&wanted)
                    && answers.send(Digested { tag: wanted.tag, sha256 }).is_err()
                {
                    return;
                }
            }
        })?;
        Ok(Self { wanted, done })
    }

    /// Asks for a digest; never waits. False if too many are asked for already.
    pub fn ask(&self, wanted: Wanted) -> bool {
        self.wanted.try_send(wanted).is_ok()
    }

    /// A digest that is done.
    pub fn next(&self) -> Option<Digested> {
        self.done.try_recv().ok()
    }
}

/// What makes a file the same as before: device, inode, size, and time of change.
type Identity = (u64, u64, u64, i64, i64);

struct Reader {
    proc: ProcFs,
    known: HashMap<Identity, Arc<str>>,
}

impl Reader {
    fn digest(&mut self, wanted: &Wanted) -> Option<Arc<str>> {
        let link = self.proc.file(wanted.pid, "exe");
        let is_wanted = |(_, about): &(File, Metadata)| about.ino() == wanted.inode;
        let running = open(&link).ok().filter(is_wanted);
        let (file, about) = running.or_else(|| open(&wanted.path).ok().filter(is_wanted))?;
        if about.size() > DIGEST_FILE_BYTES_MAX {
            return None;
        }
        let identity = (about.dev(), about.ino(), about.size(), about.ctime(), about.ctime_nsec());
        if let Some(known) = self.known.get(&identity) {
            return Some(Arc::clone(known));
        }
        let sha256 = hash(file).ok()?;
        if self.known.len() >= DIGESTS_MAX {
            self.known.clear();
        }
        self.known.insert(identity, Arc::clone(&sha256));
        Some(sha256)
    }
}

/// Opens a regular file. Another one, such as a pipe that nobody writes to, must not stop the
/// thread.
fn open(path: &std::path::Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if about.is_file() { Ok((file, about)) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn hash(file: File) -> io::Result<Arc<str>> {
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
        path::Path,
        process::Command,
        time::{Duration, Instant},
    };

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn reader() -> Reader {
        Reader { proc: ProcFs::new(Path::new("/proc")), known: HashMap::new() }
    }

    fn wanted(pid: u32, path: &Path) -> Wanted {
        let inode = fs::metadata(path).map_or(1, |about| about.ino());
        Wanted { tag: "a".into(), pid, path: path.to_owned(), inode }
    }

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "").unwrap();
        let mut reader = reader();
        // A pid that nobody has.
        assert_eq!(reader.digest(&wanted(u32::MAX, &path)).as_deref(), Some(EMPTY));
        assert_eq!(reader.digest(&wanted(u32::MAX, &path)).as_deref(), Some(EMPTY));
        assert_eq!(reader.known.len(), 1);
        fs::write(&path, "changed").unwrap();
        assert_ne!(reader.digest(&wanted(u32::MAX, &path)).as_deref(), Some(EMPTY));
        assert_eq!(reader.known.len(), 2);
    }

    #[test]
    fn the_file_that_runs_is_read_and_no_other_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sleeper");
        fs::copy("/bin/sleep", &path).unwrap();
        let asked = wanted(0, &path);
        let mut child = Command::new(&path).arg("30").spawn().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "something else").unwrap();
        let mut reader = reader();
        let running = reader.digest(&Wanted { pid: child.id(), ..asked.clone() });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(running, reader.digest(&wanted(u32::MAX, Path::new("/bin/sleep"))));
        assert_eq!(reader.digest(&asked), None);
    }

    #[test]
    fn what_is_no_file_or_too_large_has_no_digest_and_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(DIGEST_FILE_BYTES_MAX + 1).unwrap();
        let mut reader = reader();
        let missing = dir.path().join("missing");
        for path in [&pipe, &large, &missing, &dir.path().to_owned(), &"/dev/zero".into()] {
            assert_eq!(reader.digest(&wanted(u32::MAX, path)), None, "{}", path.display());
        }
    }

    #[test]
    fn the_thread_answers_and_takes_only_so_many_questions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "").unwrap();
        let digests = Digests::start(ProcFs::new(Path::new("/proc"))).unwrap();
        assert!(digests.ask(wanted(u32::MAX, &path)));
        let started = Instant::now();
        let done = loop {
            match digests.next() {
                Some(done) => break done,
                None => thread::sleep(Duration::from_millis(1)),
            }
            assert!(started.elapsed() < Duration::from_secs(10));
        };
        assert_eq!((&*done.tag, &*done.sha256), ("a", EMPTY));
        let asked = (0..4 * DIGESTS_WAITING_MAX).filter(|_| digests.ask(wanted(0, &path))).count();
        assert!(asked < 4 * DIGESTS_WAITING_MAX, "{asked}");
    }
}
