//! The programs without a host: loaded, attached to nothing, and fed packet by packet
//! (`BPF_PROG_TEST_RUN`, net/bpf/test_run.c).
//!
//! The kernel makes a socket for each run, so what a socket would remember is in a map by
//! addresses and ports, and the caller writes what `connect` would have stored there. For the same
//! reason everybody is a trusted resolver.

use std::fmt;

use aya::maps::{HashMap, MapData};
use governd_common::{
    key::FlowKey,
    names::{map, program, tail},
    table::{BEGINNING_BYTES, SocketOwner},
};

use super::{
    Early, KernelError, Offer, RawEvent, attach,
    collection::Collection,
    load::load_replay,
    meter::Meter,
    pod::Shared,
    ring::Events,
    sys,
    tables::{PolicyTables, open},
};
use crate::policy::image::TableImage;

/// Longest IP packet that the kernel takes: a page without what it puts around a packet, and
/// without the Ethernet header that is put before it here.
const PACKET_BYTES_MAX: usize = 3_300;
/// Flows that are remembered at a time.
const FLOWS_MAX: u32 = 65_536;
/// An Ethernet header's length; the kernel wants one and takes it off again.
const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Towards the asking or connecting side.
    Ingress,
    /// Away from it.
    Egress,
}

/// The programs that look at packets, and their maps.
pub struct Replay {
    collection: Collection,
    tables: PolicyTables,
    flows: HashMap<MapData, Shared<FlowKey>, Shared<SocketOwner>>,
    beginnings: HashMap<MapData, Shared<FlowKey>, [u8; BEGINNING_BYTES]>,
    flows_len: u32,
    events: Events,
}

impl Replay {
    /// Longest IP packet that [`Replay::run`] takes, in bytes.
    pub const PACKET_BYTES_MAX: usize = PACKET_BYTES_MAX;

    /// Loads the programs.
    ///
    /// # Errors
    /// As [`super::Kernel::load`], without what attaching needs.
    pub fn load() -> Result<Self, KernelError> {
        let mut collection = load_replay(&Offer::of_kernel()?.layout, FLOWS_MAX)?;
        let called = tail::ALL.iter().map(|(_, _, name)| *name);
        let wanted = [program::SKB_INGRESS, program::SKB_EGRESS].into_iter().chain(called);
        let wanted: Vec<_> = wanted.map(|name| (name, None)).collect();
        if let Some((_, error)) = collection.load(&wanted, &Early::default()).pop() {
            return Err(error);
        }
        collection.forget_codes();
        // What is missing cannot be done without here, so nothing is left out.
        attach::fill_tails(&collection, &[])?;
        let tables = PolicyTables::take(&mut collection)?;
        let flows = open(&mut collection, map::FLOWS)?;
        let beginnings = open(&mut collection, map::HELLO_FLOWS)?;
        let events = Events::take(&mut collection, Meter::default())?;
        Ok(Self { collection, tables, flows, beginnings, flows_len: 0, events })
    }

    /// Puts a policy in force and returns its generation.
    ///
    /// # Errors
    /// As [`super::Kernel::install`].
    pub fn install(&mut self, image: &TableImage) -> Result<u64, KernelError> {
        self.tables.install(image)
    }

    /// Begins a flow with what its socket would hold. When there are too many, all are forgotten.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn begin(&mut self, key: FlowKey, owner: SocketOwner) -> Result<(), KernelError> {
        self.end(key)?;
        if self.flows_len >= FLOWS_MAX {
            self.forget()?;
        }
        let stored = self.flows.insert(Shared(key), Shared(owner), 0);
        stored.map_err(KernelError::map("write", map::FLOWS))?;
        self.flows_len += 1;
        let stored = self.beginnings.insert(Shared(key), [0; BEGINNING_BYTES], 0);
        stored.map_err(KernelError::map("write", map::HELLO_FLOWS))
    }

    /// Whether a flow was begun and not forgotten.
    pub fn knows(&self, key: &FlowKey) -> bool {
        self.flows.get(&Shared(*key), 0).is_ok()
    }

    /// Forgets a flow, if it was begun.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn end(&mut self, key: FlowKey) -> Result<(), KernelError> {
        if !self.knows(&key) {
            return Ok(());
        }
        let removed = self.flows.remove(&Shared(key));
        removed.map_err(KernelError::map("write", map::FLOWS))?;
        self.flows_len = self.flows_len.saturating_sub(1);
        let removed = self.beginnings.remove(&Shared(key));
        removed.map_err(KernelError::map("write", map::HELLO_FLOWS))
    }

    /// Forgets every flow.
    ///
    /// # Errors
    /// If a map cannot be written.
    pub fn forget(&mut self) -> Result<(), KernelError> {
        let keys: Vec<_> = self.flows.keys().filter_map(Result::ok).collect();
        for Shared(key) in keys {
            self.end(key)?;
        }
        Ok(())
    }

    /// Runs a program on an IP packet, hands its events to `each` and returns whether the packet
    /// may pass.
    ///
    /// # Errors
    /// If the kernel does not take the packet: it is too long or not one.
    pub fn run(
        &mut self,
        direction: Direction,
        packet: &[u8],
        each: impl FnMut(RawEvent),
    ) -> Result<bool, KernelError> {
        let name = match direction {
            Direction::Ingress => program::SKB_INGRESS,
            Direction::Egress => program::SKB_EGRESS,
        };
        let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let mut frame = vec![0; ETHERNET_BYTES - 2];
        frame.extend(if is_v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 });
        frame.extend_from_slice(packet);
        let returned = sys::run(self.collection.program(name)?, &frame).map_err(|source| {
            KernelError::Run { program: name, packet_bytes: packet.len(), source }
        })?;
        self.events.drain(each)?;
        // The lowest bit is the verdict (include/linux/bpf-cgroup.h, `BPF_RET_SET_CN`).
        Ok(returned & 1 == 1)
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Replay").field("flows_len", &self.flows_len).finish_non_exhaustive()
    }
}
