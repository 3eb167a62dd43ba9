//! Keeps the program that sees packet sockets at every interface of each network namespace, for as
//! long as some agent is enforced: where one that has just begun sends its first frame, the program
//! has to be there already. What comes from no packet socket leaves the program at once.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fs, io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::{
    kernel::{FrameLink, Frames},
    workload::{
        netns::{NetworkNamespace, VisitError, Visitor},
        proc::ProcFs,
    },
};

/// How often namespaces and interfaces are looked at.
const INTERVAL: Duration = Duration::from_millis(500);
const INTERFACES_MAX: usize = 4_096;
const QUEUE_MAX: usize = 64;
/// How long a policy waits at most until the interfaces that exist are covered.
const COVERED_MAX: Duration = Duration::from_secs(2);

/// The thread that attaches.
#[derive(Debug)]
pub(super) struct FrameGuard {
    orders: SyncSender<Order>,
}

#[derive(Debug)]
enum Order {
    /// These processes are enforced, and no others.
    Are(Vec<u32>),
    /// No agent is.
    None,
    /// Some agent is: what exists is to be covered, and then this one told.
    Some(SyncSender<()>),
    /// This one is, too.
    Is(u32),
}

impl FrameGuard {
    /// Starts it. What it attached goes with it when this value is dropped.
    pub(super) fn spawn(frames: Frames, proc: ProcFs) -> io::Result<Self> {
        let (orders, queue) = sync_channel(QUEUE_MAX);
        thread::Builder::new().name("frames".into()).spawn(move || match Visitor::new() {
            Ok(visitor) => Cover { frames, proc, visitor, links: HashMap::new() }.keep(&queue),
            Err(error) => tracing::warn!(%error, "packet sockets are found and not stopped"),
        })?;
        Ok(Self { orders })
    }

    /// Some agents are enforced, and these are their processes; or none is. If the thread is
    /// behind, the next time counts.
    pub(super) fn set(&self, pids: Option<Vec<u32>>) {
        self.orders.try_send(pids.map_or(Order::None, Order::Are)).ok();
    }

    /// Some agent is enforced from now on; returns when what exists is covered.
    pub(super) fn begin(&self) {
        let (done, covered) = sync_channel(1);
        let is_asked = self.orders.try_send(Order::Some(done)).is_ok();
        if !is_asked || covered.recv_timeout(COVERED_MAX).is_err() {
            tracing::warn!("interfaces are covered later than the policy is in force");
        }
    }

    /// This process is enforced from now on.
    pub(super) fn add(&self, pid: u32) {
        self.orders.try_send(Order::Is(pid)).ok();
    }
}

/// What is attached, by namespace and interface.
struct Cover {
    frames: Frames,
    proc: ProcFs,
    visitor: Visitor,
    links: HashMap<u64, HashMap<u32, FrameLink>>,
}

impl Cover {
    fn keep(&mut self, queue: &Receiver<Order>) {
        let mut pids: Option<Vec<u32>> = None;
        loop {
            let is_kept = match queue.recv_timeout(INTERVAL) {
                Ok(Order::Is(pid)) => {
                    pids.get_or_insert_default().push(pid);
                    self.cover(NetworkNamespace::of_threads(&self.proc, pid)).map(drop)
                }
                Ok(Order::Are(newer)) => {
                    let newer = pids.insert(newer);
                    self.refresh(newer)
                }
                Ok(Order::Some(done)) => {
                    let is_kept = self.refresh(pids.get_or_insert_default());
                    done.send(()).ok();
                    is_kept
                }
                Ok(Order::None) => {
                    pids = None;
                    self.links.clear();
                    Ok(())
                }
                Err(RecvTimeoutError::Timeout) => {
                    pids.as_deref().map_or(Ok(()), |pids| self.refresh(pids))
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = is_kept {
                tracing::warn!(%error, "packet sockets are not stopped any more");
                return;
            }
        }
    }

    fn refresh(&mut self, pids: &[u32]) -> Result<(), VisitError> {
        // Threads of agents may be elsewhere than their processes.
        let mut all: Vec<_> =
            pids.iter().flat_map(|pid| NetworkNamespace::of_threads(&self.proc, *pid)).collect();
        let mut known = all.iter().map(|namespace| namespace.inode).collect();
        all.extend(NetworkNamespace::of_processes(&self.proc, self.proc.pids(), &mut known));
        all.extend(NetworkNamespace::named(&mut known));
        let present = self.cover(all)?;
        self.links.retain(|inode, _| present.contains(inode));
        Ok(())
    }

    /// Attaches to what is not yet covered, and gives the namespaces.
    fn cover(&mut self, namespaces: Vec<NetworkNamespace>) -> Result<HashSet<u64>, VisitError> {
        let mut present = HashSet::new();
        for namespace in namespaces {
            if !present.insert(namespace.inode) {
                continue;
            }
            let links = self.links.entry(namespace.inode).or_default();
            let frames = &self.frames;
            match self.visitor.within(&namespace, || cover_here(frames, links)) {
                Ok(Ok(())) | Err(VisitError::Enter(_)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "interfaces not covered"),
                Err(error @ VisitError::Return(_)) => return Err(error),
            }
        }
        Ok(present)
    }
}

/// In the thread's present namespace.
fn cover_here(frames: &Frames, links: &mut HashMap<u32, FrameLink>) -> io::Result<()> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let listed = fs::read_to_string("/proc/thread-self/net/dev")?;
    let names = listed.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let mut present = HashSet::new();
    for name in names.take(INTERFACES_MAX) {
        // An interface may go between the two.
        let Ok(index) = netdevice::name_to_index(&any, name) else { continue };
        present.insert(index);
        if let Entry::Vacant(place) = links.entry(index) {
            place.insert(frames.attach(index)?);
        }
    }
    links.retain(|index, _| present.contains(index));
    Ok(())
}
