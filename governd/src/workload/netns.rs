//! Network namespaces: found through processes, and entered for a moment.
//!
//! A thread is in one network namespace, and a socket belongs to the one in which it was made. So
//! a thread of its own enters another namespace, makes a socket there and comes back; the socket
//! goes on speaking for that namespace. Staying would keep a namespace alive that nobody uses.

use std::{
    collections::HashSet,
    fs::{self, File},
    io, mem,
    os::fd::AsFd as _,
    path::Path,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    limits::{NETWORK_NAMESPACES_MAX, THREADS_LOOKED_AT_MAX},
    proc::{Census, Count, ProcFs, bracketed},
};

/// Where network namespaces have names.
const NAMED: &str = "/run/netns";

/// A network namespace, held while this value lives.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: File,
    /// Its inode, which tells namespaces apart.
    pub inode: u64,
}

impl NetworkNamespace {
    /// That of a process's first thread.
    ///
    /// # Errors
    /// The process is gone, or may not be looked at.
    pub fn of_process(proc: &ProcFs, pid: u32) -> io::Result<Self> {
        Self::open(proc, pid, "ns/net")
    }

    fn open(proc: &ProcFs, pid: u32, link: &str) -> io::Result<Self> {
        Self::of_file(&proc.file(pid, link))
    }

    fn of_file(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }

    /// Those that have a name (ip-netns(8)), and perhaps no process yet, without the ones in
    /// `known`, which they are added to. At most `NETWORK_NAMESPACES_MAX`.
    pub fn named(known: &mut HashSet<u64>) -> impl Iterator<Item = Self> {
        let files = fs::read_dir(NAMED).into_iter().flatten().flatten();
        let opened = files.filter_map(|file| Self::of_file(&file.path()).ok());
        opened.filter(|named| known.insert(named.inode)).take(NETWORK_NAMESPACES_MAX)
    }

    /// Those of a process's threads, each once: a thread may enter another one by itself.
    pub fn of_threads(proc: &ProcFs, pid: u32) -> Vec<Self> {
        let mut seen = HashSet::new();
        let threads = proc.threads(pid).into_iter().take(THREADS_LOOKED_AT_MAX);
        threads
            .filter_map(|thread| {
                let link = format!("task/{thread}/ns/net");
                let inode = bracketed(std::fs::read_link(proc.file(pid, &link)).ok()?.to_str()?)?;
                if !seen.insert(inode) {
                    return None;
                }
                Self::open(proc, pid, &link).ok()
            })
            .collect()
    }

    /// Those of processes, each once, without the ones in `known`, which they are added to. At
    /// most `NETWORK_NAMESPACES_MAX`.
    pub fn of_processes<'a>(
        proc: &'a ProcFs,
        pids: impl IntoIterator<Item = u32> + 'a,
        known: &'a mut HashSet<u64>,
    ) -> impl Iterator<Item = Self> + 'a {
        let others = pids.into_iter().filter_map(|pid| {
            let inode = proc.namespace(pid, "net")?;
            if !known.insert(inode) {
                return None;
            }
            Self::of_process(proc, pid).ok()
        });
        others.take(NETWORK_NAMESPACES_MAX)
    }
}

/// The network namespaces of all processes, for who looks at them again and again.
///
/// Asking each process each time is most of what a daemon does on a host where nothing happens, and
/// few processes go elsewhere after they have begun. So a process is asked when it is new, and
/// again every [`LOOKS_A_ROUND`] looks. They are listed again only when some have begun or ended.
#[derive(Debug, Default)]
pub struct Lookout {
    looks: u32,
    census: Option<Census>,
    /// What the host's processes were by when they were listed.
    listed: Option<Count>,
    /// By process id.
    known: Vec<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    pid: u32,
    /// `None` if it could not be told.
    inode: Option<u64>,
}

/// Looks in which every process is asked once.
const LOOKS_A_ROUND: u32 = 16;

impl Lookout {
    /// The processes at the last look.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.known.iter().map(|known| known.pid)
    }

    /// Those of all processes, each once, without the ones in `seen`, which they are added to. At
    /// most `NETWORK_NAMESPACES_MAX`.
    pub fn look(&mut self, proc: &ProcFs, seen: &mut HashSet<u64>) -> Vec<NetworkNamespace> {
        if self.census.is_none() {
            self.census = proc.open_census().ok();
        }
        // Read first: who begins meanwhile is listed now or at the next look.
        let count = self.census.as_ref().and_then(Census::count);
        if count.is_none() || count != self.listed {
            self.list(proc.pids());
            self.listed = count;
        }
        self.look_at(proc, seen)
    }

    fn list(&mut self, mut pids: Vec<u32>) {
        pids.sort_unstable();
        let mut before = mem::take(&mut self.known).into_iter().peekable();
        let known = pids.into_iter().map(|pid| {
            while before.next_if(|known| known.pid < pid).is_some() {}
            before.next_if(|known| known.pid == pid).unwrap_or(Known { pid, inode: None })
        });
        self.known = known.collect();
    }

    fn look_at(&mut self, proc: &ProcFs, seen: &mut HashSet<u64>) -> Vec<NetworkNamespace> {
        self.looks = self.looks.wrapping_add(1);
        let mut found = Vec::new();
        // Most processes are where the one before them is.
        let mut last = None;
        for known in &mut self.known {
            let is_due = known.pid.wrapping_add(self.looks).is_multiple_of(LOOKS_A_ROUND);
            if is_due || known.inode.is_none() {
                let census = self.census.as_ref();
                known.inode = census.and_then(|census| census.network_namespace(known.pid));
            }
            let Some(inode) = known.inode else { continue };
            if last == Some(inode) {
                continue;
            }
            if seen.contains(&inode) {
                last = Some(inode);
                continue;
            }
            if found.len() == NETWORK_NAMESPACES_MAX {
                continue;
            }
            // It may have gone elsewhere since.
            let Ok(namespace) = NetworkNamespace::of_process(proc, known.pid) else { continue };
            known.inode = Some(namespace.inode);
            last = known.inode;
            if seen.insert(namespace.inode) {
                found.push(namespace);
            }
        }
        found
    }
}

/// A thread that works in other network namespaces and comes back to its own after each.
#[derive(Debug)]
pub struct Visitor {
    home: NetworkNamespace,
}

impl Visitor {
    /// For the calling thread, which must be one that does nothing else.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn new() -> io::Result<Self> {
        Ok(Self { home: NetworkNamespace::of_file(Path::new("/proc/thread-self/ns/net"))? })
    }

    /// Works in a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or cannot be left again: then the thread must end.
    pub fn within<T>(
        &self,
        namespace: &NetworkNamespace,
        work: impl FnOnce() -> T,
    ) -> Result<T, VisitError> {
        if namespace.inode == self.home.inode {
            return Ok(work());
        }
        enter(namespace).map_err(VisitError::Enter)?;
        let outcome = work();
        enter(&self.home).map_err(VisitError::Return)?;
        Ok(outcome)
    }
}

fn enter(namespace: &NetworkNamespace) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    Ok(move_into_link_name_space(namespace.file.as_fd(), kind)?)
}

/// Why a thread could not work in another namespace.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// It stayed where it was.
    #[error("cannot enter a network namespace")]
    Enter(#[source] io::Error),
    /// It is in the wrong place, and must end.
    #[error("cannot return to the own network namespace")]
    Return(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_process_that_goes_elsewhere_is_found_within_a_round() {
        let proc = ProcFs::new(Path::new("/proc"));
        let mut shell = Command::new("sh")
            .args(["-c", "read go; exec unshare --net cat"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = shell.id();
        let home = proc.namespace(pid, "net").unwrap();
        let mut lookout =
            Lookout { census: Some(proc.open_census().unwrap()), ..Lookout::default() };
        lookout.list(vec![pid]);
        let mut inodes = || -> Vec<u64> {
            let found = lookout.look_at(&proc, &mut HashSet::new());
            found.into_iter().map(|namespace| namespace.inode).collect()
        };
        assert_eq!(inodes(), [home]);
        shell.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let elsewhere = loop {
            match proc.namespace(pid, "net") {
                Some(inode) if inode != home => break inode,
                _ => thread::sleep(Duration::from_millis(5)),
            }
        };
        let looks: Vec<_> = (0..LOOKS_A_ROUND).map(|_| inodes()).collect();
        let again = inodes();
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(looks.contains(&vec![elsewhere]), "{looks:?}");
        assert_eq!(again, [elsewhere]);
        lookout.list(Vec::new());
        assert_eq!(lookout.look_at(&proc, &mut HashSet::new()).len(), 0);
    }

    #[test]
    fn what_is_known_of_who_goes_on_stays_and_who_is_new_is_asked() {
        let mut lookout = Lookout::default();
        lookout.list(vec![9, 3, 5]);
        for known in &mut lookout.known {
            known.inode = Some(u64::from(known.pid) * 10);
        }
        lookout.list(vec![12, 5, 9, 4, 1]);
        let known: Vec<_> = lookout.known.iter().map(|known| (known.pid, known.inode)).collect();
        assert_eq!(known, [(1, None), (4, None), (5, Some(50)), (9, Some(90)), (12, None)]);
    }

    #[test]
    fn who_begins_is_listed_at_the_next_look_and_who_ended_is_not() {
        let proc = ProcFs::new(Path::new("/proc"));
        let mut lookout = Lookout::default();
        let mut lists = |pid: u32| {
            lookout.look(&proc, &mut HashSet::new());
            lookout.pids().any(|known| known == pid)
        };
        assert!(lists(std::process::id()));
        for _ in 0..20 {
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            assert!(lists(child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!lists(child.id()));
        }
    }
}
