//! What one daemon leaves for the next, in maps that no program reads: the numbers of subjects and
//! sets, which tasks, sockets and bindings hold, how much of what was lost is recorded, and how
//! much was read. They live exactly as long as the maps that they explain.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Arc,
};

use aya::maps::{HashMap, Map, MapData, MapError};
use aya_obj::generated::{BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_HASH};
use governd_common::{
    limits::{ID_TEXT_BYTES_MAX, IDS_MAX},
    names::map,
    verdict::Loss,
};

use super::{KernelError, meter::Meter, sys, tables::removed};
use crate::policy::ids::{Ids, Numbered};

/// What a number belongs to: the first byte of its key.
const SUBJECT: u8 = b'a';
const SET: u8 = b's';

/// Entries that one call writes.
const AT_ONCE: usize = 4_096;

type IdKey = [u8; 1 + ID_TEXT_BYTES_MAX];
/// How many, and when that was recorded, in milliseconds since the epoch.
type Recorded = [u64; 2];

/// The maps: bytes of a key and of a value, entries, flags.
pub(super) const MAPS: [(&str, [u32; 4]); 3] = [
    (map::IDS, [size_of::<IdKey>() as u32, 4, IDS_MAX, BPF_F_NO_PREALLOC]),
    (map::RECORDED, [4, size_of::<Recorded>() as u32, Loss::ALL.len() as u32, BPF_F_NO_PREALLOC]),
    (map::READ, [4, 8, 2, BPF_F_NO_PREALLOC]),
];

/// The maps, open.
pub(super) struct Handover {
    ids: HashMap<MapData, IdKey, u32>,
    ids_fd: OwnedFd,
    recorded: HashMap<MapData, u32, Recorded>,
    /// Until the events have it.
    meter: Option<Meter>,
    /// Subjects and sets that are written.
    written: Numbered,
}

impl Handover {
    /// Takes the maps that are pinned in a directory; makes them where there are none.
    pub(super) fn take(directory: &Path) -> Result<Self, KernelError> {
        let [ids, recorded, read] = MAPS;
        let ((ids, ids_fd), (recorded, _)) = (take(directory, ids)?, take(directory, recorded)?);
        let meter = Some(Meter::open(take(directory, read)?.0)?);
        let mut handover = Self { ids, ids_fd, recorded, meter, written: Numbered::default() };
        handover.written = handover.ids()?.numbered();
        Ok(handover)
    }

    /// How many events were read; there is one such count, so the second call gives `None`.
    pub(super) fn take_meter(&mut self) -> Option<Meter> {
        self.meter.take()
    }

    /// The numbers that are given.
    pub(super) fn ids(&self) -> Result<Ids, KernelError> {
        let mut ids = Ids::default();
        for entry in self.ids.iter() {
            let (key, number) = entry.map_err(KernelError::map("read", map::IDS))?;
            let [kind, text @ ..] = key;
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            let text = String::from_utf8_lossy(text.get(..end).unwrap_or_default());
            ids.give(kind == SUBJECT, &text, number);
        }
        Ok(ids)
    }

    /// Writes the numbers that were given since. Those of a policy must be written before it is.
    pub(super) fn keep(&mut self, ids: &Ids) -> Result<(), KernelError> {
        for some in ids.since(&self.written).chunks(AT_ONCE) {
            let keys: Result<Vec<IdKey>, KernelError> =
                some.iter().map(|(is_subject, text, _)| id_key(*is_subject, text)).collect();
            let (keys, numbers) = (keys?, some.iter().map(|(_, _, number)| *number));
            let numbers: Vec<u32> = numbers.collect();
            match sys::put_entries(self.ids_fd.as_fd(), &keys, &numbers) {
                Err(error) if sys::is_unsupported(&error) => {}
                put => {
                    put.map_err(|error| KernelError::map("write", map::IDS)(error.into()))?;
                    continue;
                }
            }
            for (key, number) in keys.into_iter().zip(numbers) {
                let stored = self.ids.insert(key, number, 0);
                stored.map_err(KernelError::map("write", map::IDS))?;
            }
        }
        self.written = ids.numbered();
        Ok(())
    }

    /// Takes numbers of sets away.
    pub(super) fn forget_sets(&mut self, texts: &[Arc<str>]) -> Result<(), KernelError> {
        for text in texts {
            let gone = removed(self.ids.remove(&id_key(false, text)?));
            gone.map_err(KernelError::map("write", map::IDS))?;
        }
        Ok(())
    }

    /// Losses that are recorded: how many, and when.
    pub(super) fn recorded(&self) -> Result<Vec<(Loss, u64, u64)>, KernelError> {
        let mut all = Vec::new();
        for loss in Loss::ALL {
            match self.recorded.get(&u32::from(*loss as u8), 0) {
                Ok([count, time_ms]) => all.push((*loss, count, time_ms)),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(KernelError::map("read", map::RECORDED)(error)),
            }
        }
        Ok(all)
    }

    /// So many are recorded now.
    pub(super) fn record(
        &mut self,
        loss: Loss,
        count: u64,
        now_ms: u64,
    ) -> Result<(), KernelError> {
        let stored = self.recorded.insert(u32::from(loss as u8), [count, now_ms], 0);
        stored.map_err(KernelError::map("write", map::RECORDED))
    }
}

fn id_key(is_subject: bool, text: &str) -> Result<IdKey, KernelError> {
    if text.len() > ID_TEXT_BYTES_MAX {
        return Err(KernelError::Image(format!("more than {ID_TEXT_BYTES_MAX} bytes: {text}")));
    }
    let mut key = [0; 1 + ID_TEXT_BYTES_MAX];
    let kind = if is_subject { SUBJECT } else { SET };
    for (place, byte) in key.iter_mut().zip([kind].into_iter().chain(text.bytes())) {
        *place = byte;
    }
    Ok(key)
}

fn take<K: aya::Pod, V: aya::Pod>(
    directory: &Path,
    (name, [key_bytes, value_bytes, entries, flags]): (&'static str, [u32; 4]),
) -> Result<(HashMap<MapData, K, V>, OwnedFd), KernelError> {
    let path = directory.join(name);
    let data = if path.exists() {
        MapData::from_pin(&path).map_err(KernelError::map("open", name))?
    } else {
        let kind = BPF_MAP_TYPE_HASH as u32;
        let map = aya_obj::Map::new_from_params(kind, key_bytes, value_bytes, entries, flags);
        let data = MapData::create(map, name, None).map_err(KernelError::map("create", name))?;
        sys::pin(data.fd().as_fd(), &path).map_err(KernelError::pin(&path))?;
        data
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| KernelError::map("open", name)(error.into()))?;
    let map = Map::from_map_data(data).and_then(HashMap::try_from);
    Ok((map.map_err(KernelError::map("open", name))?, fd))
}
