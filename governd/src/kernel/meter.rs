//! How many events were read out of the ring, and how many of those are on record. Both are in a
//! map, so that what a daemon took with it when it was killed is known to the next one.

use aya::maps::{HashMap, MapData, MapError};
use governd_common::names::map;

use super::KernelError;

/// Keys of the two numbers.
const READ: u32 = 0;
const SETTLED: u32 = 1;

/// The two numbers, and the map that they are in; without one they are this daemon's alone.
#[derive(Default)]
pub(super) struct Meter {
    map: Option<HashMap<MapData, u32, u64>>,
    read: u64,
    settled: u64,
}

impl Meter {
    /// Goes on with what an earlier daemon has left.
    pub(super) fn open(map: HashMap<MapData, u32, u64>) -> Result<Self, KernelError> {
        let number = |key| match map.get(&key, 0) {
            Ok(number) => Ok(number),
            Err(MapError::KeyNotFound) => Ok(0),
            Err(error) => Err(KernelError::map("read", map::READ)(error)),
        };
        let (read, settled) = (number(READ)?, number(SETTLED)?);
        Ok(Self { read, settled, map: Some(map) })
    }

    /// Events that were read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Events that were read and may not be on record.
    pub(super) fn unsettled(&self) -> u64 {
        self.read.saturating_sub(self.settled)
    }

    /// At most so many are about to be read: who is killed meanwhile may have read all of them.
    pub(super) fn begin(&mut self, most: u64) {
        self.write(READ, self.read.saturating_add(most));
    }

    /// So many were read.
    pub(super) fn end(&mut self, count: u64) {
        self.read += count;
        self.write(READ, self.read);
    }

    /// The first so many of those that were read are on record, or need none.
    pub(super) fn settle(&mut self, read: u64) {
        if read != self.settled {
            self.settled = read;
            self.write(SETTLED, read);
        }
    }

    fn write(&mut self, key: u32, number: u64) {
        let written = self.map.as_mut().map_or(Ok(()), |map| map.insert(key, number, 0));
        if let Err(error) = written {
            tracing::debug!(%error, "what is read from the ring cannot be counted");
        }
    }
}
