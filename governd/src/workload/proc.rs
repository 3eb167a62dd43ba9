//! One process, as /proc tells it (proc(5)).
//!
//! A process can end, execute another file or be replaced by one with the same pid between two
//! reads. So its start time is read first and last: a reading never mixes two processes. Whatever
//! could not be read is `None`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags, open, readlinkat_raw};

use crate::core::{
    digest::{Digest, FileVersion},
    process::{Exe, Login, Process},
    trace,
};

use super::{
    limits::{
        CMDLINE_BYTES_MAX, ENVIRON_BYTES_MAX, ENVIRON_NAMES_MAX, MAPS_BYTES_MAX,
        SMALL_FILE_BYTES_MAX, SWEEP_PROCESSES_MAX,
    },
    mounts::{FileIdentity, Mounts},
    read, redact,
};

/// Nanoseconds of one clock tick of /proc (`USER_HZ` is 100 on every architecture that Rust's
/// Linux targets have, include/asm-generic/param.h).
pub const TICK_NS: u64 = 10_000_000;

/// More than the line of `loadavg` and the target of a namespace's link have.
const LOAD_BYTES_MAX: usize = 128;
const NAMESPACE_BYTES_MAX: usize = 64;
/// More than a number has.
const NUMBER_BYTES_MAX: usize = 32;

/// A mounted /proc.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: Arc<Path>,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stat {
    /// Name of the thread group leader.
    pub name: String,
    /// Parent's pid; 0 for the first process and for kernel threads' own parent.
    pub parent: u32,
    /// Session id.
    pub session: u32,
    /// Start: `CLOCK_BOOTTIME` in nanoseconds, rounded down to [`TICK_NS`].
    pub started_ns: u64,
    /// True for a kernel thread (`PF_KTHREAD`, include/linux/sched.h).
    pub is_kernel_thread: bool,
}

/// The cgroups of a process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CgroupPaths {
    /// Path in the v2 tree, from the `0::` line.
    pub unified: Option<String>,
    /// Path in systemd's own v1 tree (`name=systemd`), where a hybrid host keeps its units.
    pub systemd: Option<String>,
}

/// Files of /proc that are held open: what is asked of all processes several times a second costs a
/// fraction of what it does by whole paths.
#[derive(Debug)]
pub struct Census {
    directory: OwnedFd,
    load: File,
    announced: Option<File>,
}

/// How many things the kernel has announced to who manages devices, whether anybody listens or not
/// (lib/kobject_uevent.c). The loopback interface of a new network namespace is one, and nobody is
/// in the namespace before.
const ANNOUNCED: &str = "/sys/kernel/uevent_seqnum";

/// How many processes and threads there are, and the id that was given last (proc_loadavg(5)).
pub type Count = (u64, u64);

impl Census {
    /// What is another whenever a process or a thread has begun or ended. `None` if it cannot be
    /// read.
    pub fn count(&self) -> Option<Count> {
        let mut line = [0; LOAD_BYTES_MAX];
        let len = self.load.read_at(&mut line, 0).ok()?;
        let line = std::str::from_utf8(line.get(..len)?).ok()?;
        let mut fields = line.split_ascii_whitespace().skip(3);
        let (_, threads) = fields.next()?.split_once('/')?;
        Some((threads.parse().ok()?, fields.next()?.parse().ok()?))
    }

    /// What grows whenever a network namespace is made, in whichever way, and with other things.
    /// `None` if it cannot be read.
    pub fn announced(&self) -> Option<u64> {
        let mut line = [0; NUMBER_BYTES_MAX];
        let len = self.announced.as_ref()?.read_at(&mut line, 0).ok()?;
        std::str::from_utf8(line.get(..len)?).ok()?.trim().parse().ok()
    }

    /// The inode of the network namespace that a process's first thread is in.
    pub fn network_namespace(&self, pid: u32) -> Option<u64> {
        let mut target = [0; NAMESPACE_BYTES_MAX];
        let link = format!("{pid}/ns/net");
        let len = readlinkat_raw(&self.directory, link, &mut target[..]).ok()?;
        bracketed(std::str::from_utf8(target.get(..len)?).ok()?)
    }
}

impl ProcFs {
    /// A proc file system mounted at `root`, or a directory of the same form.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Pids of all processes, at most `SWEEP_PROCESSES_MAX`; empty if the directory is unreadable.
    pub fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .take(SWEEP_PROCESSES_MAX)
            .collect()
    }

    /// For who asks of all processes again and again.
    ///
    /// # Errors
    /// The files cannot be opened.
    pub fn open_census(&self) -> io::Result<Census> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(&*self.root, flags, Mode::empty())?;
        let (load, announced) = (self.root.join("loadavg"), File::open(ANNOUNCED).ok());
        Ok(Census { directory, load: File::open(load)?, announced })
    }

    /// Ids of a process's threads; empty if it is gone.
    pub fn threads(&self, pid: u32) -> Vec<u32> {
        let entries = fs::read_dir(self.file(pid, "task")).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// Everything about a process but its user's name, cgroup id and workload, which the host's
    /// other files tell, and its trace. `None` if there is no such process, or if it was replaced
    /// while it was read.
    pub fn process(&self, pid: u32, own_mounts: &Mounts) -> Option<Process> {
        let stat = self.stat(pid)?;
        let (uid, gid) = self.ids(pid);
        let (exe, digest) = self.exe(pid, own_mounts).unzip();
        let process = Process {
            pid,
            started_ns: stat.started_ns,
            parent: (stat.parent != 0).then_some(stat.parent),
            exe,
            digest,
            args: self.args(pid),
            uid,
            user: None,
            gid,
            cgroup_id: None,
            cgroup: self.cgroups(pid).unified.map(Into::into),
            workload: None,
            login: self.login(pid),
            session: (stat.session != 0).then_some(stat.session),
            trace: None,
            name: stat.name,
        };
        match self.stat(pid) {
            Some(after) if after.started_ns != stat.started_ns => None,
            _ => Some(process),
        }
    }

    /// The fields of `stat` that governd uses.
    pub fn stat(&self, pid: u32) -> Option<Stat> {
        parse_stat(&read::text(&self.file(pid, "stat"), SMALL_FILE_BYTES_MAX).ok()?)
    }

    /// Real user id and group id, in the user namespace of governd.
    pub fn ids(&self, pid: u32) -> (Option<u32>, Option<u32>) {
        let Ok(text) = read::text(&self.file(pid, "status"), SMALL_FILE_BYTES_MAX) else {
            return (None, None);
        };
        let first = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        (first("Uid:"), first("Gid:"))
    }

    /// The executable. A deleted one keeps the path that it had, without the kernel's ` (deleted)`;
    /// a memfd is `/memfd:NAME`. Its digest is one that nobody shares yet.
    pub fn exe(&self, pid: u32, own_mounts: &Mounts) -> Option<(Exe, Arc<Digest>)> {
        let link = self.file(pid, "exe");
        let identity = FileIdentity::of(&link)?;
        let path = exe_path(&link, identity)?;
        let device = self.device(pid, &identity, own_mounts);
        let digest = Arc::new(Digest::of(identity.version()));
        Some((Exe { path, device, inode: identity.inode }, digest))
    }

    /// The `s_dev` of a file that was reached through a process's mounts.
    pub(super) fn device(&self, pid: u32, identity: &FileIdentity, own_mounts: &Mounts) -> u32 {
        let is_known = identity.mount.is_some_and(|mount| own_mounts.device(mount).is_some());
        if is_known {
            identity.device(own_mounts)
        } else {
            identity.device(&Mounts::read(&self.file(pid, "mountinfo")))
        }
    }

    /// The path and version of the executable, if it is still the file with this inode.
    pub fn exe_of_inode(&self, pid: u32, inode: u64) -> Option<(PathBuf, FileVersion)> {
        let link = self.file(pid, "exe");
        let identity = FileIdentity::of(&link).filter(|identity| identity.inode == inode)?;
        Some((exe_path(&link, identity)?, identity.version()))
    }

    /// Arguments, redacted; `None` if they cannot be read, empty for kernel threads and zombies.
    pub fn args(&self, pid: u32) -> Option<Arc<[String]>> {
        let mut bytes = read::bytes(&self.file(pid, "cmdline"), CMDLINE_BYTES_MAX).ok()?;
        split_title(&mut bytes);
        Some(redact::args(&bytes))
    }

    /// Arguments, redacted, of a process whose arguments begin with these bytes.
    pub fn args_that_begin(&self, pid: u32, begin: &[u8]) -> Option<Arc<[String]>> {
        let bytes = read::bytes(&self.file(pid, "cmdline"), CMDLINE_BYTES_MAX).ok()?;
        bytes.starts_with(begin).then(|| redact::args(&bytes))
    }

    /// Whether a process runs: one with its pid that began later is another. Asked after something
    /// of it was read, it says that it was the process's.
    pub fn still_runs(&self, process: &Process) -> bool {
        let latest_ns = process.started_ns.saturating_add(2 * TICK_NS);
        self.stat(process.pid).is_some_and(|stat| stat.started_ns <= latest_ns)
    }

    /// Names of environment variables as the process started, never their values.
    pub fn environment_names(&self, pid: u32) -> Option<Vec<String>> {
        let bytes = read::bytes(&self.file(pid, "environ"), ENVIRON_BYTES_MAX).ok()?;
        let name = |variable: &[u8]| {
            let end = variable.iter().position(|byte| *byte == b'=')?;
            let name = std::str::from_utf8(variable.get(..end)?).ok()?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let is_valid = !name.is_empty() && name.len() <= 128 && name.bytes().all(is_name);
            is_valid.then(|| name.to_owned())
        };
        Some(bytes.split(|byte| *byte == 0).filter_map(name).take(ENVIRON_NAMES_MAX).collect())
    }

    /// Absolute paths that variables of these names had as the process started.
    pub fn directories_named_by<'a>(
        &self,
        pid: u32,
        names: &BTreeSet<&'a str>,
    ) -> BTreeMap<&'a str, String> {
        let bytes = read::bytes(&self.file(pid, "environ"), ENVIRON_BYTES_MAX).unwrap_or_default();
        let path = |variable: &[u8]| {
            let (name, path) = std::str::from_utf8(variable).ok()?.split_once('=')?;
            let name = names.get(name)?;
            (path.len() > 1 && path.starts_with('/')).then(|| (*name, path.to_owned()))
        };
        bytes.split(|byte| *byte == 0).filter_map(path).collect()
    }

    /// Packages of Python whose libraries a process has mapped, each once, by the names of their
    /// directories or files below `site-packages` or `dist-packages`.
    pub fn python_modules(&self, pid: u32) -> Vec<String> {
        let text = read::text(&self.file(pid, "maps"), MAPS_BYTES_MAX).unwrap_or_default();
        let module = |line: &str| {
            let (_, inside) = line.rsplit_once("-packages/")?;
            let name = inside.split(['/', '.']).next()?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        let names: BTreeSet<String> = text.lines().filter_map(module).collect();
        names.into_iter().collect()
    }

    /// cgroup paths; empty if they cannot be read.
    pub fn cgroups(&self, pid: u32) -> CgroupPaths {
        read::text(&self.file(pid, "cgroup"), SMALL_FILE_BYTES_MAX)
            .map(|text| parse_cgroups(&text))
            .unwrap_or_default()
    }

    /// The login that a process comes from.
    pub fn login(&self, pid: u32) -> Login {
        let number = |name| {
            let number = read::first_line(&self.file(pid, name))?.parse().ok()?;
            (number != u32::MAX).then_some(number)
        };
        Login { uid: number("loginuid"), session: number("sessionid") }
    }

    /// Id of the trace that a process was started in, by its environment as it started.
    pub fn trace_id(&self, pid: u32) -> Option<Arc<str>> {
        let bytes = read::bytes(&self.file(pid, "environ"), ENVIRON_BYTES_MAX).ok()?;
        let value = |variable: &[u8]| {
            let value = variable.strip_prefix(trace::VARIABLE.as_bytes())?.strip_prefix(b"=")?;
            trace::trace_id(value)
        };
        bytes.split(|byte| *byte == 0).find_map(value)
    }

    /// Whether a process may change the network of its namespace: it has `CAP_NET_ADMIN` there.
    pub fn is_network_admin(&self, pid: u32) -> bool {
        const CAP_NET_ADMIN: u32 = 12;
        let status = read::text(&self.file(pid, "status"), SMALL_FILE_BYTES_MAX);
        let status = status.unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|value| u64::from_str_radix(value.trim(), 16).ok());
        effective.is_some_and(|bits| bits >> CAP_NET_ADMIN & 1 == 1)
    }

    /// The process (`tgid`) that a thread belongs to, while it is there.
    pub fn process_of(&self, thread: u32) -> Option<u32> {
        let status = read::text(&self.file(thread, "status"), SMALL_FILE_BYTES_MAX).ok()?;
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
        process.trim().parse().ok()
    }

    /// A namespace's inode, such as of `net` or `mnt`.
    pub fn namespace(&self, pid: u32, name: &str) -> Option<u64> {
        let target = fs::read_link(self.file(pid, "ns").join(name)).ok()?;
        bracketed(target.to_str()?)
    }

    /// Mounts of governd's own mount namespace.
    pub fn own_mounts(&self) -> Mounts {
        Mounts::read(&self.root.join("self/mountinfo"))
    }

    /// A file below the directory of a process.
    pub fn file(&self, pid: u32, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }
}

/// npm writes what it runs over its arguments, as one word (`npm exec PACKAGE`): takes it apart.
fn split_title(bytes: &mut Vec<u8>) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let is_title = bytes.starts_with(b"npm ") && bytes.iter().skip(end).all(|byte| *byte == 0);
    if is_title {
        bytes.truncate(end);
        for byte in bytes.iter_mut().filter(|byte| **byte == b' ') {
            *byte = 0;
        }
    }
}

/// The number in `net:[4026531840]` and `socket:[123]`.
pub(super) fn bracketed(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once('[')?;
    rest.strip_suffix(']')?.parse().ok()
}

fn exe_path(link: &Path, identity: FileIdentity) -> Option<PathBuf> {
    let target = fs::read_link(link).ok()?;
    let bytes = target.as_os_str().as_bytes();
    match bytes.strip_suffix(b" (deleted)") {
        Some(kept) if identity.links == 0 => Some(PathBuf::from(std::ffi::OsStr::from_bytes(kept))),
        _ => Some(target),
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is in parentheses and may contain any character, parentheses and spaces included.
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    let _state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let _group = fields.next()?;
    let session = fields.next()?.parse().unwrap_or(0);
    let flags: u32 = fields.nth(2)?.parse().ok()?;
    let ticks: u64 = fields.nth(12)?.parse().ok()?;
    Some(Stat {
        name: name.to_owned(),
        parent,
        session,
        started_ns: ticks.saturating_mul(TICK_NS),
        is_kernel_thread: flags & PF_KTHREAD != 0,
    })
}

const PF_KTHREAD: u32 = 0x0020_0000;

fn parse_cgroups(text: &str) -> CgroupPaths {
    let mut paths = CgroupPaths::default();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // A cgroup that was removed while the process still ran in it.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        match (id, controllers) {
            ("0", "") => paths.unified = Some(path.to_owned()),
            (_, "name=systemd") => paths.systemd = Some(path.to_owned()),
            _ => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        os::unix::fs::{MetadataExt as _, symlink},
        process,
    };

    use super::*;

    fn real() -> ProcFs {
        ProcFs::new(Path::new("/proc"))
    }

    struct Fixture {
        dir: tempfile::TempDir,
        proc: ProcFs,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let proc = ProcFs::new(dir.path());
            Self { dir, proc }
        }

        fn write(&self, pid: u32, name: &str, contents: &[u8]) {
            let file = self.dir.path().join(pid.to_string()).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, contents).unwrap();
        }
    }

    const STAT: &[u8] = b"42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 9";

    #[test]
    fn this_process_is_read_whole() {
        let pid = process::id();
        let mounts = real().own_mounts();
        let read = real().process(pid, &mounts).unwrap();
        let own = fs::metadata("/proc/self/exe").unwrap();
        let exe = read.exe.unwrap();
        assert_eq!(exe.path, std::env::current_exe().unwrap());
        assert_eq!(exe.inode, own.ino());
        assert_eq!(read.uid, Some(fs::metadata("/proc/self").unwrap().uid()));
        assert!(read.parent.is_some() && read.started_ns > 0);
        assert!(read.args.unwrap().first().unwrap().contains("governd"));
        assert!(read.cgroup.unwrap().starts_with('/'));
        assert!(real().pids().contains(&pid));
        assert!(real().namespace(pid, "net").is_some());
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let stat = parse_stat(std::str::from_utf8(STAT).unwrap()).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.session), ("a) b (c", 7, 42));
        assert_eq!(stat.started_ns, 123_450_000_000);
        assert!(!stat.is_kernel_thread);
        for broken in ["", "1", "1 (a", "1 (a) S", "1 (a) S x y z", "1 (a) S 1 1 1 1 1 1"] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let fixture = Fixture::new();
        assert_eq!(fixture.proc.process(42, &Mounts::default()), None);
        fixture.write(42, "stat", STAT);
        let bare = fixture.proc.process(42, &Mounts::default()).unwrap();
        assert_eq!((bare.exe, bare.args, bare.uid, bare.cgroup), (None, None, None, None));
        assert_eq!(bare.parent, Some(7));
        fixture.write(42, "status", b"Name:\tx\nUid:\tnonsense\nGid:\t5\t5\t5\t5\n");
        fixture.write(42, "cgroup", b"4:memory:/m\n1:name=systemd:/s/u.service\n0::/u (deleted)\n");
        fixture.write(42, "cmdline", &[b'x'; 200_000]);
        fixture.write(42, "environ", b"A=1\0OPENAI_API_KEY=sk-x\0\xff\xfe=2\0B\0=3\0C D=4\0");
        assert_eq!(fixture.proc.ids(42), (None, Some(5)));
        let cgroups = fixture.proc.cgroups(42);
        assert_eq!(cgroups.unified.as_deref(), Some("/u"));
        assert_eq!(cgroups.systemd.as_deref(), Some("/s/u.service"));
        assert_eq!(&*fixture.proc.args(42).unwrap(), [redact::TRUNCATED.to_owned()]);
        assert_eq!(fixture.proc.environment_names(42).unwrap(), ["A", "OPENAI_API_KEY"]);
        fixture.write(
            42,
            "environ",
            b"A=/a/b\0B=/\0C=c\0OPENAI_API_KEY=/sk-x\0A\0D=/\xff\0E=/e=e\0",
        );
        let named = fixture.proc.directories_named_by(42, &["A", "B", "C", "D", "E"].into());
        let paths: Vec<_> = named.into_iter().collect();
        assert_eq!(paths, [("A", "/a/b".to_owned()), ("E", "/e=e".to_owned())]);
        for (text, expected) in [("1000", Some(1000)), ("4294967295", None), ("x\n", None)] {
            fixture.write(42, "loginuid", text.as_bytes());
            fixture.write(42, "sessionid", text.as_bytes());
            let login = Login { uid: expected, session: expected };
            assert_eq!(fixture.proc.login(42), login, "{text}");
        }
    }

    #[test]
    fn mapped_libraries_name_their_packages() {
        let fixture = Fixture::new();
        let base = "7f0-7f1 r-xp 0 08:01 5 /opt/venv/lib/python3.11/site-packages";
        let maps = format!(
            "{base}/jiter/jiter.cpython-311-x86_64-linux-gnu.so\n{base}/jiter/jiter.x.so\n\
             {base}/_cffi_backend.cpython-311.so\n7f0-7f1 r-xp 0 08:01 5 /usr/lib/libc.so.6\n\
             7f0-7f1 rw-p 0 00:00 0\n{base}/\n/usr/lib/python3/dist-packages/apt_pkg.so\n"
        );
        fixture.write(42, "maps", maps.as_bytes());
        assert_eq!(fixture.proc.python_modules(42), ["_cffi_backend", "apt_pkg", "jiter"]);
        assert_eq!(fixture.proc.python_modules(43), Vec::<String>::new());
    }

    #[test]
    fn what_npm_writes_over_its_arguments_is_taken_apart() {
        let fixture = Fixture::new();
        let rows: &[(&[u8], &[&str])] = &[
            (b"npm exec mcp-server\0\0\0", &["npm", "exec", "mcp-server"]),
            (b"npm exec mcp-server", &["npm", "exec", "mcp-server"]),
            (b"npm exec\0mcp server\0", &["npm exec", "mcp server"]),
            (b"a title\0", &["a title"]),
        ];
        for (cmdline, expected) in rows {
            fixture.write(42, "cmdline", cmdline);
            assert_eq!(*fixture.proc.args(42).unwrap(), **expected);
        }
    }

    #[test]
    fn names_that_are_not_text_and_links_to_nowhere_are_taken() {
        let fixture = Fixture::new();
        fixture.write(42, "stat", STAT);
        let program = fixture.dir.path().join(OsStr::from_bytes(b"pro\xffgram"));
        fs::write(&program, "").unwrap();
        symlink(&program, fixture.dir.path().join("42/exe")).unwrap();
        let (exe, digest) = fixture.proc.exe(42, &Mounts::default()).unwrap();
        assert_eq!(exe.path, program);
        let found = Some((program.clone(), digest.file()));
        assert_eq!(fixture.proc.exe_of_inode(42, exe.inode), found);
        assert_eq!(fixture.proc.exe_of_inode(42, exe.inode + 1), None);
        fs::remove_file(&program).unwrap();
        assert_eq!(fixture.proc.exe(42, &Mounts::default()), None);
    }

    #[test]
    fn a_deleted_executable_keeps_its_path_and_inode() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sleeper");
        fs::copy("/bin/sleep", &program).unwrap();
        let inode = fs::metadata(&program).unwrap().ino();
        let mut child = process::Command::new(&program).arg("30").spawn().unwrap();
        fs::remove_file(&program).unwrap();
        let exe = real().exe(child.id(), &real().own_mounts());
        child.kill().unwrap();
        child.wait().unwrap();
        let (exe, _) = exe.unwrap();
        assert_eq!((exe.path, exe.inode), (program, inode));
    }
}
