//! The thread that has programs at interfaces: which namespaces and interfaces there are, what is
//! attached there, and what changed.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender},
    time::Duration,
};

use rustix::io::Errno;

use super::{
    frames::{Enforced, Made, Order},
    gaps::{Gap, Gaps},
    leftovers::Leftovers,
};
use crate::{
    core::unseen::Deed,
    kernel::{FrameLink, Frames, Harm, Interface, Look, Tampering},
    workload::{
        filters::{Changes, Filters},
        interfaces::{self, Buffer, Listener},
        netns::{Lookout, NetworkNamespace, VisitError, Visitor},
        proc::ProcFs,
    },
};

/// How often namespaces, interfaces and links are looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// Interfaces are listed when the kernel tells of some, and each so many times in any case.
const LOOKS_LISTED: u32 = 16;
/// The process whose network is the host's.
const INIT: u32 = 1;
/// Descriptors that looking takes at a time. With less, what is not found may be there.
const SPARE: usize = 32;
/// Not an interface's index: all that is not found.
const OTHERS: u32 = 0;

/// Those of a namespace, by the interface's index.
type Links = HashMap<u32, FrameLink>;

/// The namespaces, by inode.
pub(super) struct Cover {
    frames: Frames,
    proc: ProcFs,
    visitor: Visitor,
    lookout: Lookout,
    tell: SyncSender<Made>,
    harm: Sender<Tampering>,
    gap: Sender<Gap>,
    /// Of what is in no namespace that is known.
    gaps: Gaps,
    looks: u32,
    leftovers: Leftovers,
    /// Links of an earlier daemon.
    taken: HashMap<u64, Links>,
    buffer: Buffer,
    /// That of the host.
    home: Option<u64>,
    places: HashMap<u64, Place>,
    /// Subjects of the processes that are enforced, and of those that were until the last time.
    enforced: [HashMap<u32, u32>; 2],
}

/// What is attached in one namespace.
struct Place {
    namespace: u64,
    links: Links,
    look: Look,
    /// Every interface was covered, and none has come or gone since.
    is_settled: bool,
    listener: Listener,
    filters: Filters,
    gaps: Gaps,
    /// Interfaces that nobody was told of.
    news: Vec<interfaces::Interface>,
    /// Enforced processes that may change the network.
    admins: Vec<Enforced>,
}

impl Cover {
    /// Goes on with what an earlier daemon left.
    pub(super) fn take(
        frames: Frames,
        proc: ProcFs,
        told: (SyncSender<Made>, Sender<Tampering>, Sender<Gap>),
    ) -> io::Result<Self> {
        let mut links: HashMap<u64, Links> = HashMap::new();
        for (interface, link) in frames.take()? {
            links.entry(interface.namespace).or_default().insert(interface.index, link);
        }
        Ok(Self::new(frames, proc, Visitor::new()?, links, told))
    }

    fn new(
        frames: Frames,
        proc: ProcFs,
        visitor: Visitor,
        taken: HashMap<u64, Links>,
        (tell, harm, gap): (SyncSender<Made>, Sender<Tampering>, Sender<Gap>),
    ) -> Self {
        let home = proc.namespace(INIT, "net");
        let leftovers = Leftovers { may_be: frames.mark().is_some() };
        Self {
            frames,
            proc,
            visitor,
            lookout: Lookout::default(),
            tell,
            harm,
            gap,
            gaps: Gaps::default(),
            looks: 0,
            leftovers,
            taken,
            buffer: Buffer::default(),
            home,
            places: HashMap::new(),
            enforced: Default::default(),
        }
    }

    /// Carries out orders until the last one, and sees to what comes and goes meanwhile.
    pub(super) fn keep(&mut self, queue: &Receiver<Order>) {
        let mut enforced: Option<Vec<Enforced>> = None;
        loop {
            let is_kept = match queue.recv_timeout(INTERVAL) {
                Ok(Order::Is(one)) => {
                    enforced.get_or_insert_default().push(one);
                    self.enforced[0].insert(one.0, one.1);
                    let namespaces = NetworkNamespace::of_threads(&self.proc, one.0);
                    let inodes: Vec<_> = namespaces.iter().map(|found| found.inode).collect();
                    let is_kept = self.cover(namespaces).map(drop);
                    self.note_admin(one, inodes);
                    is_kept
                }
                Ok(Order::Soon) => self.refresh(&[]),
                Ok(Order::Are(newer)) => {
                    self.pin();
                    self.tell_changes();
                    self.enforced.rotate_right(1);
                    self.enforced[0] = newer.iter().copied().collect();
                    let newer = enforced.insert(newer);
                    let is_kept = self.refresh(newer);
                    is_kept.and_then(|()| self.leftovers.clear(&self.visitor, &self.proc))
                }
                Ok(Order::Some(done)) => {
                    self.pin();
                    let is_kept = self.refresh(enforced.get_or_insert_default());
                    done.send(()).ok();
                    is_kept
                }
                Ok(Order::Tell(done)) => {
                    self.tell_news();
                    self.tell_changes();
                    done.send(()).ok();
                    Ok(())
                }
                Ok(Order::None) => {
                    enforced = None;
                    self.leftovers.may_be |= self.frames.mark().is_some() && !self.taken.is_empty();
                    self.let_go_of_others(&HashSet::new());
                    self.gaps.keep(|_| false, &self.gap);
                    self.leftovers.clear(&self.visitor, &self.proc)
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.tell_changes();
                    enforced.as_deref().map_or(Ok(()), |enforced| self.refresh(enforced))
                }
                Ok(Order::Leave(_done)) => {
                    let links = self.places.drain().flat_map(|(_, place)| place.links);
                    let links = links.map(|(_, link)| link);
                    links.filter(|link| link.pin().is_none()).for_each(remove);
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = is_kept {
                tracing::warn!(%error, "packet sockets are not stopped any more");
                return;
            }
        }
    }

    /// Has what is attached outlive the daemon, if anything is to.
    fn pin(&mut self) {
        let attached = self.places.values_mut().flat_map(|place| {
            let Place { namespace, links, .. } = place;
            let interface = |index| Interface { namespace: *namespace, index };
            links.iter_mut().map(move |(index, link)| (interface(*index), link))
        });
        if let Err(error) = self.frames.keep(attached) {
            tracing::warn!(%error, "programs at interfaces go with the daemon");
        }
    }

    fn refresh(&mut self, enforced: &[Enforced]) -> Result<(), VisitError> {
        self.tell_news();
        let mut all = Vec::new();
        let mut admins = Vec::new();
        for one in enforced {
            // Threads of agents may be elsewhere than their processes.
            let own = NetworkNamespace::of_threads(&self.proc, one.0);
            admins.push((*one, own.iter().map(|namespace| namespace.inode).collect()));
            all.extend(own);
        }
        let mut known = all.iter().map(|namespace| namespace.inode).collect();
        all.extend(self.lookout.look(&self.proc, &mut known));
        all.extend(NetworkNamespace::named(&mut known));
        self.looks = self.looks.wrapping_add(1);
        let spare = self.visitor.spare(SPARE);
        self.gaps.note(OTHERS, "network namespaces that are not found", &spare, &self.gap);
        let present = self.cover(all)?;
        if spare.is_ok() {
            self.let_go_of_others(&present);
        }
        for place in self.places.values_mut() {
            place.admins.clear();
        }
        for (one, inodes) in admins {
            self.note_admin(one, inodes);
        }
        Ok(())
    }

    /// Takes off what is in namespaces that are gone.
    fn let_go_of_others(&mut self, present: &HashSet<u64>) {
        let gone = self.places.extract_if(|inode, _| !present.contains(inode));
        let gone = gone.map(|(_, mut place)| {
            place.gaps.keep(|_| false, &self.gap);
            place.links
        });
        let gone = gone.chain(self.taken.drain().map(|(_, links)| links));
        gone.flatten().for_each(|(_, link)| remove(link));
    }

    fn note_admin(&mut self, one: Enforced, inodes: Vec<u64>) {
        if !self.proc.is_network_admin(one.0) {
            return;
        }
        for inode in inodes {
            if let Some(place) = self.places.get_mut(&inode) {
                place.admins.push(one);
            }
        }
    }

    /// Tells of interfaces where an agent may have made them. On the host itself others make all
    /// sorts: there only tunnels count.
    fn tell_news(&mut self) {
        for (inode, place) in &mut self.places {
            let is_home = Some(*inode) == self.home;
            place.hear(&mut self.buffer);
            // The latest is the most likely one: others are its ancestors.
            let Some((pid, subject)) = place.admins.last().copied() else {
                place.news.clear();
                continue;
            };
            for interface in place.news.drain(..) {
                let is_tunnel = interface.is_tunnel();
                if is_home && !is_tunnel {
                    continue;
                }
                let kind = if is_tunnel { "tunnel-interface" } else { "virtual-interface" };
                let interfaces::Interface { name, kind: what, .. } = interface;
                let name = format!("{what} {name} in net:[{inode}]");
                tell(&self.tell, Made { pid, subject, deed: Deed::Has, kind, name });
            }
        }
    }

    /// Tells of rules that an agent changed, and of filters where one may have added them.
    fn tell_changes(&self) {
        for (inode, place) in &self.places {
            let Changes { nftables, traffic_control } = place.filters.news();
            let news = |pid, subject, kind| {
                let name = format!("{kind} in net:[{inode}]");
                tell(&self.tell, Made { pid, subject, deed: Deed::Changes, kind, name });
            };
            for thread in nftables {
                let pid = self.proc.process_of(thread).unwrap_or(thread);
                if let Some(subject) = self.enforced.iter().find_map(|all| all.get(&pid)) {
                    news(pid, *subject, "packet-filter");
                }
            }
            if let Some((pid, subject)) = place.admins.last()
                && traffic_control
                && Some(*inode) != self.home
            {
                news(*pid, *subject, "traffic-control");
            }
        }
    }

    /// Attaches to what is not yet covered, and gives the namespaces.
    fn cover(&mut self, namespaces: Vec<NetworkNamespace>) -> Result<HashSet<u64>, VisitError> {
        let mut present = HashSet::new();
        for namespace in namespaces {
            if !present.insert(namespace.inode) {
                continue;
            }
            let Self { frames, visitor, buffer, home, places, taken, looks, .. } = self;
            let inode = namespace.inode;
            let is_listed = looks.is_multiple_of(LOOKS_LISTED);
            if let Some(place) = places.get_mut(&inode).filter(|_| !is_listed)
                && place.is_covered(buffer)
            {
                continue;
            }
            let covered = visitor.within(&namespace, || {
                let place = match places.entry(inode) {
                    Entry::Occupied(place) => place.into_mut(),
                    Entry::Vacant(place) => {
                        let is_home = Some(inode) == *home;
                        let mut opened = Place::open(inode, is_home, frames.mark(), buffer)?;
                        opened.go_on_with(taken.remove(&inode).unwrap_or_default());
                        place.insert(opened)
                    }
                };
                place.cover(frames, &self.harm, &self.gap)
            });
            match covered {
                Ok(Ok(())) | Err(VisitError::Enter(_)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "interfaces not covered"),
                Err(error @ VisitError::Return(_)) => return Err(error),
            }
        }
        Ok(present)
    }
}

impl Place {
    /// In the thread's present namespace.
    fn open(
        namespace: u64,
        is_home: bool,
        own: Option<[u8; 12]>,
        buffer: &mut Buffer,
    ) -> io::Result<Self> {
        let (listener, present) = Listener::open(buffer)?;
        let tunnels = present.into_iter().filter(interfaces::Interface::is_tunnel);
        let tunnels: Vec<_> = tunnels.collect();
        let look = if is_home || !tunnels.is_empty() { Look::Frames } else { Look::Packets };
        // An agent may have made the namespace, and what is in it.
        let news = if is_home { Vec::new() } else { tunnels };
        let filters = Filters::open(own)?;
        let (links, admins, gaps) = (HashMap::new(), Vec::new(), Gaps::default());
        let is_settled = false;
        Ok(Self { namespace, links, look, is_settled, listener, filters, gaps, news, admins })
    }

    /// Goes on with what an earlier daemon attached, which knows who was there first.
    fn go_on_with(&mut self, taken: Links) {
        if let Some(link) = taken.values().next() {
            self.look = link.look();
        }
        self.links = taken;
    }

    /// Whether there is nothing to do, as far as can be told from elsewhere.
    fn is_covered(&mut self, buffer: &mut Buffer) -> bool {
        self.hear(buffer);
        self.is_settled &= !self.listener.take_changes();
        self.is_settled && self.links.values().all(FrameLink::is_intact)
    }

    /// Takes in which interfaces somebody made.
    fn hear(&mut self, buffer: &mut Buffer) {
        let news = self.listener.news(buffer).unwrap_or_default();
        self.news.extend(news.into_iter().filter(interfaces::Interface::is_made));
    }

    /// In the thread's present namespace. `harms` is told what somebody did to links, and `gaps`
    /// where there are none.
    fn cover(
        &mut self,
        frames: &Frames,
        harms: &Sender<Tampering>,
        gaps: &Sender<Gap>,
    ) -> io::Result<()> {
        let listed = interfaces::present();
        let all = format!("net:[{}]", self.namespace);
        self.gaps.note(OTHERS, &all, &listed.as_ref().map(drop), gaps);
        let present = listed?;
        let mut covered = Ok(());
        for (index, name) in &present {
            // One that takes no program keeps no other from having one.
            let one = self.cover_one(*index, frames, harms);
            self.gaps.note(*index, &format!("{name} in {all}"), &one, gaps);
            covered = covered.and(one);
        }
        self.gaps.keep(|index| present.contains_key(&index), gaps);
        let gone = self.links.extract_if(|index, _| !present.contains_key(index));
        gone.for_each(|(_, link)| remove(link));
        self.is_settled = covered.is_ok();
        covered
    }

    fn cover_one(
        &mut self,
        index: u32,
        frames: &Frames,
        harms: &Sender<Tampering>,
    ) -> io::Result<()> {
        let interface = Interface { namespace: self.namespace, index };
        if let Some(mut harm) = self.harm(index)? {
            if harm.harm != Harm::Detached {
                harms.send(harm).ok();
                return Ok(());
            }
            self.links.remove(&index).into_iter().for_each(remove);
            let attached = frames.attach(interface, self.look);
            harm.is_mended = attached.is_ok();
            // An interface that went away took it along.
            let is_gone = attached
                .as_ref()
                .is_err_and(|error| Errno::from_io_error(error) == Some(Errno::NODEV));
            if !is_gone {
                harms.send(harm).ok();
            }
            self.links.insert(index, attached?);
        } else if let Entry::Vacant(place) = self.links.entry(index) {
            place.insert(frames.attach(interface, self.look)?);
        }
        Ok(())
    }

    fn harm(&mut self, index: u32) -> io::Result<Option<Tampering>> {
        self.links.get_mut(&index).map_or(Ok(None), FrameLink::tampering)
    }
}

fn tell(to: &SyncSender<Made>, made: Made) {
    let kind = made.kind;
    if to.try_send(made).is_err() {
        tracing::warn!(kind, "what an agent may have done to its network is not recorded");
    }
}

fn remove(link: FrameLink) {
    if let Err(error) = link.detach() {
        tracing::warn!(%error, "the pin of a program at an interface stays");
    }
}
