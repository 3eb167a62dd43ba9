//! What the maps are like: two daemons can share a map that is the same for both.

use std::collections::BTreeMap;

use aya::maps::MapInfo;
use aya_obj::{Object, generated::bpf_map_type::BPF_MAP_TYPE_HASH};
use governd_common::names::map;
use ring::digest::{SHA256, digest};

use super::{KernelError, KernelOptions, handover};

/// Bytes of a digest that a name is made of.
const NAME_BYTES: usize = 8;

/// The maps by name.
pub(super) struct Shape {
    maps: BTreeMap<String, Dimensions>,
}

#[derive(Debug, Eq, PartialEq)]
struct Dimensions {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

impl Shape {
    /// Of the maps in an object, and of those that the daemon makes itself.
    pub(super) fn of(object: &[u8], options: &KernelOptions) -> Result<Self, KernelError> {
        let object = Object::parse(object).map_err(|_| KernelError::Missing("maps"))?;
        let mut maps = BTreeMap::new();
        for name in map::ALL {
            let found = object.maps.get(name).ok_or(KernelError::Missing(name))?;
            let wanted = match name {
                map::EVENTS => options.ring_bytes,
                map::TASKS => options.tasks_max,
                _ => None,
            };
            let dimensions = Dimensions {
                kind: found.map_type(),
                key_bytes: found.key_size(),
                value_bytes: found.value_size(),
                entries: wanted.unwrap_or_else(|| found.max_entries()),
                flags: found.map_flags(),
            };
            maps.insert(name.to_owned(), dimensions);
        }
        for (name, [key_bytes, value_bytes, entries, flags]) in handover::MAPS {
            let kind = BPF_MAP_TYPE_HASH as u32;
            let dimensions = Dimensions { kind, key_bytes, value_bytes, entries, flags };
            maps.insert(name.to_owned(), dimensions);
        }
        Ok(Self { maps })
    }

    /// A name for all of it.
    pub(super) fn name(&self) -> String {
        let text = format!("{:?}", self.maps);
        let digest = digest(&SHA256, text.as_bytes());
        digest.as_ref().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a map of the kernel is like the one of this name.
    pub(super) fn has(&self, name: &str, found: &MapInfo) -> bool {
        let kind = found.map_type().map_or(0, |kind| kind as u32);
        let dimensions = Dimensions {
            kind,
            key_bytes: found.key_size(),
            value_bytes: found.value_size(),
            entries: found.max_entries(),
            flags: found.map_flags(),
        };
        self.maps.get(name) == Some(&dimensions)
    }
}
