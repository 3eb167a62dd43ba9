//! Keeps the program that sees packet sockets at every interface of each network namespace, for as
//! long as some agent is enforced: where one that has just begun sends its first frame, the program
//! has to be there already. What comes from no packet socket leaves the program at once. A
//! service's links outlive it, and the next one goes on with them.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fs, io,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::{
    kernel::{FrameLink, Frames, Harm, Interface, Tampering},
    workload::{
        netns::{NetworkNamespace, VisitError, Visitor},
        proc::ProcFs,
    },
};

/// How often namespaces and interfaces are looked at.
const INTERVAL: Duration = Duration::from_millis(500);
const INTERFACES_MAX: usize = 4_096;
/// Links are looked at each second time: that is soon enough, and reads a file for each.
const LOOKS: u32 = 2;
const QUEUE_MAX: usize = 64;
/// How long a policy waits at most until the interfaces that exist are covered.
const COVERED_MAX: Duration = Duration::from_secs(2);

/// The thread that attaches.
#[derive(Debug)]
pub(super) struct FrameGuard {
    orders: SyncSender<Order>,
    harms: Receiver<Tampering>,
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
    /// Starts it. What it attached and did not pin goes with it when this value is dropped.
    pub(super) fn spawn(frames: Frames, proc: ProcFs) -> io::Result<Self> {
        let mut links: HashMap<u64, Links> = HashMap::new();
        for (interface, link) in frames.take()? {
            links.entry(interface.namespace).or_default().insert(interface.index, link);
        }
        let (orders, queue) = sync_channel(QUEUE_MAX);
        let (found, harms) = mpsc::channel();
        thread::Builder::new().name("frames".into()).spawn(move || match Visitor::new() {
            Ok(visitor) => {
                Cover { frames, proc, visitor, links, looks: 0, found }.keep(&queue);
            }
            Err(error) => tracing::warn!(%error, "packet sockets are found and not stopped"),
        })?;
        Ok(Self { orders, harms })
    }

    /// What somebody did to its links since.
    pub(super) fn harms(&self) -> impl Iterator<Item = Tampering> {
        self.harms.try_iter()
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

/// Those of a namespace, by the interface's index.
type Links = HashMap<u32, FrameLink>;

/// What is attached, by namespace.
struct Cover {
    frames: Frames,
    proc: ProcFs,
    visitor: Visitor,
    links: HashMap<u64, Links>,
    looks: u32,
    found: Sender<Tampering>,
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
                    self.links
                        .drain()
                        .flat_map(|(_, links)| links)
                        .for_each(|(_, link)| remove(link));
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
        self.looks = self.looks.wrapping_add(1);
        let present = self.cover(all)?;
        let gone = self.links.extract_if(|inode, _| !present.contains(inode));
        gone.flat_map(|(_, links)| links).for_each(|(_, link)| remove(link));
        Ok(())
    }

    /// Attaches to what is not yet covered, and gives the namespaces.
    fn cover(&mut self, namespaces: Vec<NetworkNamespace>) -> Result<HashSet<u64>, VisitError> {
        let mut present = HashSet::new();
        for namespace in namespaces {
            if !present.insert(namespace.inode) {
                continue;
            }
            let mut here = Here {
                namespace: namespace.inode,
                frames: &self.frames,
                links: self.links.entry(namespace.inode).or_default(),
                found: self.looks.is_multiple_of(LOOKS).then_some(&self.found),
            };
            match self.visitor.within(&namespace, || here.cover()) {
                Ok(Ok(())) | Err(VisitError::Enter(_)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "interfaces not covered"),
                Err(error @ VisitError::Return(_)) => return Err(error),
            }
        }
        Ok(present)
    }
}

/// The thread's present namespace.
struct Here<'a> {
    namespace: u64,
    frames: &'a Frames,
    links: &'a mut Links,
    /// Where to tell what somebody did to links, if they are to be looked at.
    found: Option<&'a Sender<Tampering>>,
}

impl Here<'_> {
    fn cover(&mut self) -> io::Result<()> {
        let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let listed = fs::read_to_string("/proc/thread-self/net/dev")?;
        let names = listed.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
        let mut present = HashSet::new();
        for name in names.take(INTERFACES_MAX) {
            // An interface may go between the two.
            let Ok(index) = netdevice::name_to_index(&any, name) else { continue };
            present.insert(index);
            let interface = Interface { namespace: self.namespace, index };
            if let Some(found) = self.found
                && let Some(mut harm) = self.harm(index)?
            {
                if harm.harm == Harm::Detached {
                    self.links.remove(&index).into_iter().for_each(remove);
                    self.links.insert(index, self.frames.attach(interface)?);
                    harm.is_mended = true;
                }
                found.send(harm).ok();
            } else if let Entry::Vacant(place) = self.links.entry(index) {
                place.insert(self.frames.attach(interface)?);
            }
        }
        let gone = self.links.extract_if(|index, _| !present.contains(index));
        gone.for_each(|(_, link)| remove(link));
        Ok(())
    }

    fn harm(&mut self, index: u32) -> io::Result<Option<Tampering>> {
        self.links.get_mut(&index).map_or(Ok(None), FrameLink::tampering)
    }
}

fn remove(link: FrameLink) {
    if let Err(error) = link.detach() {
        tracing::warn!(%error, "the pin of a program at an interface stays");
    }
}
