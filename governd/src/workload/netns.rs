//! Network namespaces: found through processes, and entered for a moment.
//!
//! A thread is in one network namespace, and a socket belongs to the one in which it was made. So
//! a thread of its own enters another namespace, makes a socket there and comes back; the socket
//! goes on speaking for that namespace. Staying would keep a namespace alive that nobody uses.

use std::{
    collections::HashSet,
    fs::{self, File},
    io, mem,
    ops::RangeInclusive,
    os::fd::AsFd as _,
    path::Path,
};

use rustix::{
    process::{Pid, PidfdFlags, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

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
/// Listing and asking all processes each time is most of what a daemon does on a host where little
/// happens, and few go elsewhere once they run. Ids are given one after the other, so who has begun
/// is looked for among those that were given since. That is done at two looks: who was given one
/// may not be there yet, and who enters a namespace by ip-netns(8) begins outside. All are listed
/// where ids begin anew, where too many were given, and once a round if any process has begun or
/// ended, since a privileged one can choose the id of its child (`set_tid` of clone3(2)). Each is
/// asked once a round, and once in a longer one while no namespace can have been made: where it may
/// have gone then is one that was there, with nobody in it.
#[derive(Debug, Default)]
pub struct Lookout {
    looks: u32,
    census: Option<Census>,
    calm: Calm,
    /// The ids that had been given last at the look before the last one, and at the last one.
    given: [u64; 2],
    /// What the host's processes were by when all were listed.
    listed: Option<Count>,
    /// By process id.
    known: Vec<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    pid: u32,
    /// `None` if it was not asked yet.
    inode: Option<u64>,
}

/// Looks in which every process is asked once.
const LOOKS_A_ROUND: u32 = 16;
/// The same while nothing moves.
const LOOKS_A_ROUND_CALM: u32 = 64;
/// Looks at which nothing moved, until that counts: who makes a namespace is in it a moment later
/// than its loopback interface is.
const LOOKS_CALM: u32 = 2 * LOOKS_A_ROUND;
/// Ids that are looked up one by one; for more of them all processes are listed.
const NEW_MAX: u64 = 128;

/// Whether any network namespace can have been made lately.
#[derive(Debug, Default)]
struct Calm {
    announced: Option<u64>,
    looks: u32,
}

impl Calm {
    /// Takes in what the kernel has announced by now.
    fn take(&mut self, announced: Option<u64>) {
        let moved = announced.is_none() || announced != self.announced;
        self.announced = announced;
        self.looks = if moved { 0 } else { self.looks.saturating_add(1) };
    }

    /// Looks in which every process is asked once now.
    const fn round(&self) -> u32 {
        if self.looks < LOOKS_CALM { LOOKS_A_ROUND } else { LOOKS_A_ROUND_CALM }
    }
}

impl Lookout {
    /// The processes at the last look, and perhaps some that have ended.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.known.iter().map(|known| known.pid)
    }

    /// Those of all processes, each once, without the ones in `seen`, which they are added to. At
    /// most `NETWORK_NAMESPACES_MAX`.
    pub fn look(&mut self, proc: &ProcFs, seen: &mut HashSet<u64>) -> Vec<NetworkNamespace> {
        self.looks = self.looks.wrapping_add(1);
        if self.census.is_none() {
            self.census = proc.open_census().ok();
        }
        self.calm.take(self.census.as_ref().and_then(Census::announced));
        let new = self.list(proc);
        self.look_at(proc, &new, seen)
    }

    /// Makes the processes those that there are; gives the ids that are new.
    fn list(&mut self, proc: &ProcFs) -> RangeInclusive<u64> {
        // Read first: who begins meanwhile is found now or at the next look.
        let count = self.census.as_ref().and_then(Census::count);
        let given = count.map_or(u64::MAX, |(_, given)| given);
        let [before, last] = self.given;
        self.given = [last, given];
        let new = before.saturating_add(1)..=given;
        let is_due = count.is_none() || self.looks.is_multiple_of(LOOKS_A_ROUND);
        let are_many = given < last || given.checked_sub(before).is_none_or(|new| new > NEW_MAX);
        if are_many || is_due && (count.is_none() || count != self.listed) {
            self.list_all(proc.pids());
            self.listed = count;
            return new;
        }
        for pid in new.clone().filter_map(|id| u32::try_from(id).ok()) {
            if let Err(at) = self.known.binary_search_by_key(&pid, |known| known.pid)
                && is_process(pid)
            {
                self.known.insert(at, Known { pid, inode: None });
            }
        }
        new
    }

    fn list_all(&mut self, mut pids: Vec<u32>) {
        pids.sort_unstable();
        let mut before = mem::take(&mut self.known).into_iter().peekable();
        let known = pids.into_iter().map(|pid| {
            while before.next_if(|known| known.pid < pid).is_some() {}
            before.next_if(|known| known.pid == pid).unwrap_or(Known { pid, inode: None })
        });
        self.known = known.collect();
    }

    fn look_at(
        &mut self,
        proc: &ProcFs,
        new: &RangeInclusive<u64>,
        seen: &mut HashSet<u64>,
    ) -> Vec<NetworkNamespace> {
        let mut found = Vec::new();
        // Most processes are where the one before them is.
        let mut latest = None;
        let Self { looks, census, calm, known, .. } = self;
        let round = calm.round();
        known.retain_mut(|known| {
            let is_due = known.pid.wrapping_add(*looks).is_multiple_of(round);
            if is_due || known.inode.is_none() || new.contains(&u64::from(known.pid)) {
                let census = census.as_ref();
                known.inode = census.and_then(|census| census.network_namespace(known.pid));
            }
            let Some(inode) = known.inode else { return false };
            if latest == Some(inode) || seen.contains(&inode) {
                latest = Some(inode);
                return true;
            }
            if found.len() == NETWORK_NAMESPACES_MAX {
                return true;
            }
            // It may have gone elsewhere since, or have ended.
            let Ok(namespace) = NetworkNamespace::of_process(proc, known.pid) else { return false };
            known.inode = Some(namespace.inode);
            latest = known.inode;
            if seen.insert(namespace.inode) {
                found.push(namespace);
            }
            true
        });
        found
    }
}

/// Whether an id is a process's: threads have ids as well (pidfd_open(2)).
fn is_process(id: u32) -> bool {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| pidfd_open(id, PidfdFlags::empty()).is_ok())
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

    /// Tries whether so many descriptors are left: without any, what is there is not found.
    ///
    /// # Errors
    /// There are fewer.
    pub fn spare(&self, count: usize) -> io::Result<()> {
        (0..count).map(|_| self.home.file.try_clone()).collect::<io::Result<Vec<_>>>().map(drop)
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
        sync::mpsc,
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
        let mut lookout = open_lookout(&proc);
        lookout.list_all(vec![pid]);
        let mut inodes = || -> Vec<u64> {
            lookout.looks += 1;
            let found = lookout.look_at(&proc, &(0..=0), &mut HashSet::new());
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
        assert!((0..LOOKS_A_ROUND).all(|_| inodes().is_empty()));
        assert!(lookout.known.is_empty());
    }

    fn open_lookout(proc: &ProcFs) -> Lookout {
        Lookout { census: Some(proc.open_census().unwrap()), ..Lookout::default() }
    }

    /// Who is asked at a look has another inode afterwards, and who is not the same.
    fn asks(lookout: &mut Lookout, proc: &ProcFs, pid: u32) -> bool {
        let at = lookout.known.binary_search_by_key(&pid, |known| known.pid);
        let known = Known { pid, inode: Some(0) };
        match at {
            Ok(at) => lookout.known[at] = known,
            Err(at) => lookout.known.insert(at, known),
        }
        lookout.look(proc, &mut HashSet::from([0]));
        lookout.known.iter().any(|known| known.pid == pid && known.inode != Some(0))
    }

    #[test]
    fn every_process_is_asked_less_often_only_while_nothing_moves() {
        let mut calm = Calm::default();
        let mut round = |announced| {
            calm.take(announced);
            calm.round()
        };
        for announced in [Some(7), Some(8)] {
            for _ in 0..LOOKS_CALM {
                assert_eq!(round(announced), LOOKS_A_ROUND);
            }
            assert_eq!([(); 2].map(|()| round(announced)), [LOOKS_A_ROUND_CALM; 2]);
        }
        for _ in 0..2 * LOOKS_CALM {
            assert_eq!(round(None), LOOKS_A_ROUND);
        }
    }

    #[test]
    fn nobody_makes_a_network_namespace_unannounced() {
        let census = ProcFs::new(Path::new("/proc")).open_census().unwrap();
        let before = census.announced().unwrap();
        let made = Command::new("unshare").args(["--net", "true"]).status().unwrap();
        assert!(made.success() && census.announced().unwrap() > before);
    }

    #[test]
    fn who_is_new_is_asked_at_two_looks_though_another_had_the_id_before() {
        let proc = ProcFs::new(Path::new("/proc"));
        let mut lookout = Lookout::default();
        lookout.look(&proc, &mut HashSet::new());
        let given = proc.open_census().unwrap().count().unwrap().1;
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        lookout.given = [given; 2];
        // At the third look it is not the child's turn.
        let is_turn = |looks: &u32| (child.id() + looks + 3).is_multiple_of(LOOKS_A_ROUND);
        lookout.looks = (0..).find(|looks| !is_turn(looks)).unwrap();
        let asked = [(); 3].map(|()| asks(&mut lookout, &proc, child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(asked, [true, true, false]);
    }

    #[test]
    fn when_ids_begin_anew_all_are_listed() {
        let proc = ProcFs::new(Path::new("/proc"));
        let mut lookout = Lookout::default();
        lookout.look(&proc, &mut HashSet::new());
        lookout.given = [u64::MAX - 1, u64::MAX];
        lookout.known.clear();
        lookout.look(&proc, &mut HashSet::new());
        assert!(lookout.pids().any(|known| known == std::process::id()));
    }

    #[test]
    fn what_is_known_of_who_goes_on_stays_and_who_is_new_is_asked() {
        let mut lookout = Lookout::default();
        lookout.list_all(vec![9, 3, 5]);
        for known in &mut lookout.known {
            known.inode = Some(u64::from(known.pid) * 10);
        }
        lookout.list_all(vec![12, 5, 9, 4, 1]);
        let known: Vec<_> = lookout.known.iter().map(|known| (known.pid, known.inode)).collect();
        assert_eq!(known, [(1, None), (4, None), (5, Some(50)), (9, Some(90)), (12, None)]);
    }

    #[test]
    fn who_begins_is_listed_at_the_next_look_and_who_ended_within_a_round_not_any_more() {
        let proc = ProcFs::new(Path::new("/proc"));
        let mut lookout = Lookout::default();
        let mut lists = |pid: u32| {
            lookout.look(&proc, &mut HashSet::new());
            lookout.pids().any(|known| known == pid)
        };
        assert!(lists(std::process::id()));
        for _ in 0..20 {
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            let (tell, told) = mpsc::channel();
            let (end, ended) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                tell.send(rustix::thread::gettid()).unwrap();
                ended.recv().ok();
            });
            let thread_id = told.recv().unwrap().as_raw_nonzero().get().unsigned_abs();
            assert!(lists(child.id()) && !lists(thread_id));
            drop(end);
            thread.join().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!((0..=LOOKS_A_ROUND).any(|_| !lists(child.id())));
        }
    }
}
