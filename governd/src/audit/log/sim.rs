//! A file system in memory that fails on command and forgets what was not synced.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::storage::{File, Filesystem};

/// What a disk writes at once.
const SECTOR_BYTES: usize = 64;

/// How an operation fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Writes put half of their bytes and say so.
    Short,
    /// Writes put nothing: the disk is full.
    Full,
    /// Writes put nothing: the file system was remounted read-only.
    ReadOnly,
    /// Syncs fail, and what they should have written may never be.
    Sync,
}

#[derive(Clone, Default)]
pub(super) struct Sim(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    locks: BTreeSet<usize>,
    /// Operations until the fault, how many then fail, and how.
    fault: Option<(u32, u32, Fault)>,
    random: u64,
}

#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

pub(super) struct Handle {
    state: Rc<RefCell<State>>,
    id: usize,
    is_lock: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.is_lock {
            self.state.borrow_mut().locks.remove(&self.id);
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, part: &[u8]) {
    bytes.resize(bytes.len().max(offset + part.len()), 0);
    bytes[offset..offset + part.len()].copy_from_slice(part);
}

impl Content {
    fn change(&mut self, change: Change) {
        match &change {
            Change::Write(offset, bytes) => put(&mut self.seen, *offset, bytes),
            Change::Size(size) => self.seen.resize(*size, 0),
        }
        self.pending.push(change);
    }

    /// Makes pending changes durable, sector by sector, where the coin says so.
    fn settle(&mut self, mut coin: impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Size(size) if coin() => self.durable.resize(size, 0),
                Change::Size(_) => {}
                Change::Write(offset, bytes) => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let room = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
                        let end = bytes.len().min(at + room);
                        if coin() {
                            put(&mut self.durable, offset + at, &bytes[at..end]);
                        }
                        at = end;
                    }
                }
            }
        }
    }
}

impl State {
    /// Splitmix64, so that a run is repeatable.
    fn coin(random: &mut u64) -> bool {
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }

    fn fault(&mut self, is_sync: bool) -> Option<Fault> {
        let (wait, times, fault) = self.fault?;
        if matches!(fault, Fault::Sync) != is_sync {
            return None;
        }
        if wait > 0 {
            self.fault = Some((wait - 1, times, fault));
            return None;
        }
        self.fault = (times > 1).then_some((0, times - 1, fault));
        Some(fault)
    }
}

impl Sim {
    /// After so many operations that the fault applies to, so many fail.
    pub(super) fn fail(&self, after: u32, times: u32, fault: Fault) {
        self.0.borrow_mut().fault = Some((after, times, fault));
    }

    pub(super) fn mend(&self) {
        self.0.borrow_mut().fault = None;
    }

    /// The power goes: of what was not synced, any part may be there.
    pub(super) fn cut_power(&self, seed: u64) {
        let state = &mut *self.0.borrow_mut();
        state.random ^= seed;
        let random = &mut state.random;
        for file in &mut state.files {
            file.settle(|| State::coin(random));
            file.seen = file.durable.clone();
        }
        state.names.retain(|path, _| state.durable_names.contains_key(path) || State::coin(random));
        for (path, id) in &state.durable_names {
            // A file that was taken away may be there again.
            if !state.names.contains_key(path) && State::coin(random) {
                state.names.insert(path.clone(), *id);
            }
        }
        state.durable_names = state.names.clone();
        state.fault = None;
    }

    /// Changes bytes behind the log's back.
    pub(super) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let state = &mut *self.0.borrow_mut();
        let file = &mut state.files[state.names[path]];
        change(&mut file.seen);
        file.durable = file.seen.clone();
    }

    fn handle(&self, id: usize) -> Handle {
        Handle { state: Rc::clone(&self.0), id, is_lock: false }
    }
}

impl Filesystem for Sim {
    type File = Handle;

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        let here = state.names.keys().filter(|name| name.parent() == Some(path));
        Ok(here.map(|name| name.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        let id = self.0.borrow().names.get(path).copied();
        id.map(|id| self.handle(id)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, path: &Path) -> io::Result<Handle> {
        if let Ok(handle) = self.open(path) {
            return Ok(handle);
        }
        let state = &mut *self.0.borrow_mut();
        match state.fault(false) {
            Some(Fault::Full) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::ReadOnly) => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Some(Fault::Short | Fault::Sync) | None => {}
        }
        state.files.push(Content::default());
        state.names.insert(path.to_owned(), state.files.len() - 1);
        Ok(self.handle(state.files.len() - 1))
    }

    fn lock(&self, path: &Path) -> io::Result<Handle> {
        let mut handle = self.create(path)?;
        if !self.0.borrow_mut().locks.insert(handle.id) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        handle.is_lock = true;
        Ok(handle)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.borrow_mut().names.remove(path);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        if state.fault(true).is_some() {
            return Err(io::Error::other("input/output error"));
        }
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl File for Handle {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state.borrow().files[self.id].seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state.borrow();
        let rest = state.files[self.id].seen.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        let bytes = match state.fault(false) {
            Some(Fault::Full) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::ReadOnly) => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Some(Fault::Short) => &bytes[..bytes.len().div_ceil(2)],
            Some(Fault::Sync) | None => bytes,
        };
        state.files[self.id].change(Change::Write(offset as usize, bytes.to_vec()));
        Ok(bytes.len())
    }

    fn write_blocks_at(&self, blocks: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(blocks, offset)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.state.borrow_mut().files[self.id].change(Change::Size(bytes as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        let fails = state.fault(true).is_some();
        let random = &mut state.random;
        let file = &mut state.files[self.id];
        if fails {
            // The kernel drops the dirty mark: what did not get there stays away (fsync(2), EIO).
            file.settle(|| State::coin(random));
            return Err(io::Error::other("input/output error"));
        }
        file.settle(|| true);
        Ok(())
    }
}
