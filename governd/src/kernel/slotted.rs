//! Tables that hold two policies at a time, one in each slot.

use std::io;

use aya::{
    Ebpf,
    maps::{HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key as LpmKey},
};
use governd_common::key::{
    CgroupKey, CidrKey, DecisionKey, DelegationKey, ExeKey, NameKey, ResolverKey, SocketPathKey,
    SubjectKey, UidKey,
};

use super::{
    KernelError,
    intact::Seal,
    pod::Shared,
    tables::{open, removed},
};

const SLOTS: u32 = 2;

/// A key that begins with the slot.
pub(super) trait InSlot: aya::Pod {
    fn slot(&self) -> u32;
}

macro_rules! in_slot {
    ($($key:ty: $self:ident => $slot:expr,)*) => {
        $(impl InSlot for Shared<$key> {
            fn slot(&self) -> u32 {
                let $self = &self.0;
                $slot
            }
        })*
    };
}

in_slot! {
    ExeKey: key => key.slot,
    UidKey: key => key.slot,
    CgroupKey: key => key.slot as u32,
    SubjectKey: key => key.slot,
    DecisionKey: key => key.slot,
    DelegationKey: key => key.slot,
    ResolverKey: key => key.slot,
    CidrKey: key => u32::from_be_bytes(key.slot),
    SocketPathKey: key => u32::from_be_bytes(key.slot),
    NameKey: key => key.bytes.first().copied().map_or(0, u32::from),
}

impl<K: InSlot> InSlot for LpmKey<K> {
    fn slot(&self) -> u32 {
        self.data().slot()
    }
}

/// Something that holds entries: a hash or a trie.
pub(super) trait Store<K> {
    type Value;
    fn put(&mut self, key: &K, value: Self::Value) -> Result<(), MapError>;
    fn remove(&mut self, key: &K) -> Result<(), MapError>;
    fn all(&self) -> Result<Vec<K>, MapError>;
}

impl<K: aya::Pod, V: aya::Pod> Store<K> for HashMap<MapData, K, V> {
    type Value = V;

    fn put(&mut self, key: &K, value: V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn remove(&mut self, key: &K) -> Result<(), MapError> {
        HashMap::remove(self, key)
    }

    fn all(&self) -> Result<Vec<K>, MapError> {
        self.keys().collect()
    }
}

impl<K: aya::Pod, V: aya::Pod> Store<LpmKey<K>> for LpmTrie<MapData, K, V> {
    type Value = V;

    fn put(&mut self, key: &LpmKey<K>, value: V) -> Result<(), MapError> {
        self.insert(key, value, 0)
    }

    fn remove(&mut self, key: &LpmKey<K>) -> Result<(), MapError> {
        LpmTrie::remove(self, key)
    }

    fn all(&self) -> Result<Vec<LpmKey<K>>, MapError> {
        self.keys().collect()
    }
}

/// A table whose keys begin with the slot, and the keys that each slot holds.
pub(super) struct Slotted<M, K> {
    map: M,
    name: &'static str,
    /// Entries that one policy may have, so that the next one fits beside it.
    room: u32,
    written: [Vec<K>; SLOTS as usize],
    seal: Seal,
}

/// A table that can be looked at.
pub(super) trait Sealed {
    fn name(&self) -> &'static str;
    /// What the slot holds now is right.
    fn seal(&mut self, slot: u32) -> Result<(), KernelError>;
    /// Reads on; at the end of the table it says whether the slot holds what it did.
    fn look(&mut self, slot: u32, budget: &mut u32) -> Result<Option<bool>, KernelError>;
    /// Reads which keys there are, whoever wrote them.
    fn reread(&mut self) -> Result<(), KernelError>;
}

fn unread(name: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |error| KernelError::map("read", name)(error.into())
}

/// Whether bytes of a map are a key of a slot.
fn is_of<K: InSlot>(bytes: &[u8], slot: u32) -> bool {
    // SAFETY: any bytes are a value of a `Pod`, and there are as many.
    bytes.len() == size_of::<K>()
        && unsafe { bytes.as_ptr().cast::<K>().read_unaligned() }.slot() == slot
}

impl<M: Store<K>, K: InSlot> Sealed for Slotted<M, K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn seal(&mut self, slot: u32) -> Result<(), KernelError> {
        let closed = self.seal.close(|key| is_of::<K>(key, slot));
        closed.map_err(unread(self.name))
    }

    fn look(&mut self, slot: u32, budget: &mut u32) -> Result<Option<bool>, KernelError> {
        let looked = self.seal.look(budget, |key| is_of::<K>(key, slot));
        looked.map_err(unread(self.name))
    }

    fn reread(&mut self) -> Result<(), KernelError> {
        let keys = self.map.all().map_err(KernelError::map("read", self.name))?;
        self.written = [Vec::new(), Vec::new()];
        for key in keys {
            self.keys(key.slot()).push(key);
        }
        Ok(())
    }
}

impl<M: Store<K>, K: InSlot> Slotted<M, K> {
    /// Takes the map, with what an earlier daemon wrote into it: all of one policy, and perhaps a
    /// part of another.
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, KernelError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let (Map::HashMap(data) | Map::LpmTrie(data)) =
            ebpf.map(name).ok_or(KernelError::Missing(name))?
        else {
            return Err(KernelError::Missing(name));
        };
        let entries = data.info().map_err(KernelError::map("open", name))?.max_entries();
        let seal = Seal::new(data).map_err(unread(name))?;
        let room = entries / SLOTS;
        let map: M = open(ebpf, name)?;
        let mut table = Self { map, name, room, written: [Vec::new(), Vec::new()], seal };
        table.reread()?;
        Ok(table)
    }

    /// The keys that a slot holds.
    pub(super) fn written(&self, slot: u32) -> &[K] {
        let [even, odd] = &self.written;
        if slot & 1 == 0 { even } else { odd }
    }

    pub(super) fn check_room(&self, wanted: usize) -> Result<(), KernelError> {
        if wanted <= self.room as usize {
            return Ok(());
        }
        Err(KernelError::TableFull { map: self.name, room: self.room, wanted })
    }

    fn keys(&mut self, slot: u32) -> &mut Vec<K> {
        let [even, odd] = &mut self.written;
        if slot & 1 == 0 { even } else { odd }
    }

    pub(super) fn fill(
        &mut self,
        slot: u32,
        entries: impl Iterator<Item = (K, M::Value)>,
    ) -> Result<(), KernelError> {
        for (key, value) in entries {
            let stored = self.map.put(&key, value);
            stored.map_err(KernelError::map("write", self.name))?;
            self.keys(slot).push(key);
        }
        Ok(())
    }

    pub(super) fn empty(&mut self, slot: u32) -> Result<(), KernelError> {
        while let Some(key) = self.keys(slot).last().copied() {
            removed(self.map.remove(&key)).map_err(KernelError::map("write", self.name))?;
            self.keys(slot).pop();
        }
        Ok(())
    }
}
