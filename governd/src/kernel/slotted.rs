//! Tables that hold two policies at a time, one in each slot.

use std::io;

use aya::maps::{HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key as LpmKey};
use governd_common::key::{
    CgroupKey, CidrKey, DecisionKey, DelegationKey, ExeKey, NameKey, ResolverKey, SocketPathKey,
    SubjectKey, UidKey,
};

use super::{
    KernelError,
    collection::Collection,
    intact::Seal,
    pod::Shared,
    sys,
    tables::{open, removed},
};

const SLOTS: u32 = 2;
/// Entries that one call writes: enough that the call costs nothing, and few to hold twice.
const AT_ONCE: usize = 4_096;

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
    type Value: aya::Pod;
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
    /// What was written into each slot, added up.
    sums: [u64; SLOTS as usize],
    seal: Seal,
}

/// A table that can be looked at.
pub(super) trait Sealed {
    fn name(&self) -> &'static str;
    /// What was written into the slot is what it has to hold.
    fn seal(&mut self, slot: u32);
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

    fn seal(&mut self, slot: u32) {
        let [even, odd] = self.sums;
        self.seal.close(if slot & 1 == 0 { even } else { odd });
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
    pub(super) fn take(collection: &mut Collection, name: &'static str) -> Result<Self, KernelError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        let (Map::HashMap(data) | Map::LpmTrie(data)) =
            collection.map(name).ok_or(KernelError::Missing(name))?
        else {
            return Err(KernelError::Missing(name));
        };
        let entries = data.info().map_err(KernelError::map("open", name))?.max_entries();
        let seal = Seal::new(data).map_err(unread(name))?;
        let room = entries / SLOTS;
        let map: M = open(collection, name)?;
        let (written, sums) = ([Vec::new(), Vec::new()], [0; SLOTS as usize]);
        let mut table = Self { map, name, room, written, sums, seal };
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

    /// Writes entries, each key once.
    pub(super) fn fill(
        &mut self,
        slot: u32,
        entries: impl Iterator<Item = (K, M::Value)>,
    ) -> Result<(), KernelError> {
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let (keys, values): (Vec<K>, Vec<M::Value>) = entries.by_ref().take(AT_ONCE).unzip();
            let sum = keys.iter().zip(&values).fold(0_u64, |sum, (key, value)| {
                sum.wrapping_add(self.seal.part(bytes_of(key), bytes_of(value)))
            });
            // What is there in part has to be taken out again.
            self.keys(slot).extend_from_slice(&keys);
            let total = self.sum(slot);
            *total = total.wrapping_add(sum);
            self.put_all(&keys, values)?;
        }
        Ok(())
    }

    fn put_all(&mut self, keys: &[K], values: Vec<M::Value>) -> Result<(), KernelError> {
        if self.seal.sizes() == (size_of::<K>(), size_of::<M::Value>()) {
            match sys::put_entries(self.seal.map(), keys, &values) {
                Err(error) if sys::is_unsupported(&error) => {}
                put => return put.map_err(|error| self.unwritten(error)),
            }
        }
        for (key, value) in keys.iter().zip(values) {
            let stored = self.map.put(key, value);
            stored.map_err(KernelError::map("write", self.name))?;
        }
        Ok(())
    }

    /// Takes everything out of a slot.
    pub(super) fn empty(&mut self, slot: u32) -> Result<(), KernelError> {
        *self.sum(slot) = 0;
        if self.seal.sizes().0 == size_of::<K>()
            && sys::remove_entries(self.seal.map(), self.written(slot)).is_ok()
        {
            *self.keys(slot) = Vec::new();
            return Ok(());
        }
        // Or one by one, where some are gone already.
        while let Some(key) = self.keys(slot).last().copied() {
            removed(self.map.remove(&key)).map_err(KernelError::map("write", self.name))?;
            self.keys(slot).pop();
        }
        Ok(())
    }

    fn sum(&mut self, slot: u32) -> &mut u64 {
        let [even, odd] = &mut self.sums;
        if slot & 1 == 0 { even } else { odd }
    }

    fn unwritten(&self, error: io::Error) -> KernelError {
        KernelError::map("write", self.name)(error.into())
    }
}

/// The bytes of a key or value, as the kernel gives them back.
fn bytes_of<T: aya::Pod>(value: &T) -> &[u8] {
    // SAFETY: keys and values of maps are shared types, integers, and packed keys of tries made of
    // those: zerocopy has checked that none has padding, so every byte is initialised. The slice
    // lives as long as the borrow.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
