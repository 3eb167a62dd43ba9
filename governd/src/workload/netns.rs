//! Network namespaces: found through processes, and entered for a moment.
//!
//! A thread is in one network namespace, and a socket belongs to the one in which it was made. So
//! a thread of its own enters another namespace, makes a socket there and comes back; the socket
//! goes on speaking for that namespace. Staying would keep a namespace alive that nobody uses.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::Path,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    limits::{NETWORK_NAMESPACES_MAX, THREADS_LOOKED_AT_MAX},
    proc::{ProcFs, bracketed},
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
