//! Keeps the programs that see packets where no other does at every interface of each network
//! namespace, for as long as some agent is enforced: where one that has just begun sends its first
//! frame, the program has to be there already. What is none of its business leaves it at once.
//!
//! Interfaces that an agent makes are found, too: what they carry may be anything. So are rules of
//! the packet filter that it changes, which may copy packets and send them elsewhere. A service's
//! links outlive it, and the next one goes on with them.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{self, Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::{cover::Cover, gaps::Gap, unseen};
use crate::{
    core::unseen::Deed,
    kernel::{Coming, Tampering},
    policy::image::Compiled,
    workload::proc::ProcFs,
};

const QUEUE_MAX: usize = 64;
/// Interfaces that were found and not recorded yet.
const FOUND_MAX: usize = 256;
/// How long a policy waits at most until the interfaces that exist are covered.
const COVERED_MAX: Duration = Duration::from_secs(2);
/// How long the end of the daemon waits at most for what was found.
const TOLD_MAX: Duration = Duration::from_millis(500);
/// The same for what is to be taken off.
const OFF_MAX: Duration = Duration::from_secs(5);

/// The thread that attaches. What is not pinned goes with it.
#[derive(Debug)]
pub(super) struct FrameGuard {
    orders: SyncSender<Order>,
    found: Receiver<Made>,
    harms: Receiver<Tampering>,
    gaps: Receiver<Gap>,
}

/// A process and its subject.
pub(super) type Enforced = (u32, u32);

#[derive(Debug)]
pub(super) enum Order {
    /// Some agent is about to be enforced: what exists is to be covered, for as long as this daemon
    /// is there.
    Soon,
    /// These are enforced, and no others.
    Are(Vec<Enforced>),
    /// No agent is.
    None,
    /// Some agent is: what exists is to be covered, also without this daemon, and then this one
    /// told.
    Some(SyncSender<()>),
    /// This one is, too.
    Is(Enforced),
    /// What was found by now is to be told, and then this one.
    Tell(SyncSender<()>),
    /// The thread is to end, and drop this when nothing holds that is to go with it.
    Leave(SyncSender<()>),
}

/// An interface in the network namespace of an agent that may make interfaces, or another way that
/// packets take there.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pid: u32,
    pub(super) subject: u32,
    pub(super) deed: Deed,
    /// The kind of the finding.
    pub(super) kind: &'static str,
    pub(super) name: String,
}

impl FrameGuard {
    /// Starts it, before the programs are loaded. If the policy enforces, what exists is covered as
    /// soon as they are, and while others are loaded: without a policy in force they let everything
    /// pass.
    pub(super) fn spawn(coming: Coming, proc: ProcFs, policy: &Compiled) -> io::Result<Self> {
        let (orders, queue) = sync_channel(QUEUE_MAX);
        let (harm, harms) = mpsc::channel();
        let (gap, gaps) = mpsc::channel();
        let (tell, found) = sync_channel(FOUND_MAX);
        if unseen::enforces(policy) {
            orders.try_send(Order::Soon).ok();
        }
        thread::Builder::new().name("frames".into()).spawn(move || {
            let Some(frames) = coming.wait() else { return };
            match Cover::take(frames, proc, (tell, harm, gap)) {
                Ok(mut cover) => cover.keep(&queue),
                Err(error) => tracing::warn!(%error, "packet sockets are found and not stopped"),
            }
        })?;
        Ok(Self { orders, found, harms, gaps })
    }

    /// What somebody did to its links since.
    pub(super) fn harms(&self) -> impl Iterator<Item = Tampering> {
        self.harms.try_iter()
    }

    /// What is not covered since, and what is again.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.gaps.try_iter()
    }

    /// Some agents are enforced, and these are their processes with their subjects; or none is.
    /// False if the thread is behind and was not told.
    pub(super) fn set(&self, enforced: Option<HashMap<u32, u32>>) -> bool {
        let order = |all: HashMap<u32, u32>| Order::Are(all.into_iter().collect());
        self.orders.try_send(enforced.map_or(Order::None, order)).is_ok()
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
    pub(super) fn add(&self, pid: u32, subject: u32) {
        self.orders.try_send(Order::Is((pid, subject))).ok();
    }

    /// Waits until what was found by now can be taken.
    pub(super) fn finish(&self) {
        self.wait(TOLD_MAX);
    }

    /// Takes everything off, and waits for that: filters would stay, though they would let
    /// everything pass.
    pub(super) fn end(&self) {
        self.set(None);
        self.wait(OFF_MAX);
    }

    /// Waits until every order so far is carried out.
    fn wait(&self, at_most: Duration) {
        let (done, told) = sync_channel(1);
        if self.orders.try_send(Order::Tell(done)).is_ok() {
            told.recv_timeout(at_most).ok();
        }
    }

    /// What was found since.
    pub(super) fn found(&self) -> impl Iterator<Item = Made> + '_ {
        self.found.try_iter()
    }
}

impl Drop for FrameGuard {
    fn drop(&mut self) {
        let (done, left) = sync_channel(1);
        if self.orders.try_send(Order::Leave(done)).is_ok() {
            left.recv_timeout(OFF_MAX).ok();
        }
    }
}
