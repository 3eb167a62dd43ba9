//! Links and maps that outlive the daemon, in a BPF file system.
//!
//! Every governed cgroup has a directory, and in it every layout of the maps one of its own:
//! `governd/<cgroup id>/v<state version>-<digest of the maps>/{maps,links,frames}`. Constraints:
//!
//! - At no instant is nothing attached. A daemon that finds its own layout keeps the maps and
//!   replaces the programs, each in one step. One that finds another layout attaches beside it, and
//!   removes it when its own policy is in force: meanwhile both judge, and a denial by either
//!   counts.
//! - A daemon may end at any instant. Links are pinned when the policy is in force and not before,
//!   so what a daemon leaves that never came so far has no effect, and the next one completes it.
//! - One daemon at a time writes: it holds a lock on the cgroup's directory.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use governd_common::{names::map, table::STATE_VERSION};
use rustix::{
    fs::{FlockOperation, flock},
    mount::{MountFlags, mount},
};

use super::{KernelError, frames, handover::Handover, shape::Shape, sys};
use crate::policy::ids::Ids;

/// Where BPF file systems are mounted.
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_MAGIC: u64 = 0xcafe_4a11;
const MAPS: &str = "maps";
const LINKS: &str = "links";
/// What holds programs at network interfaces, which come and go.
const FRAMES: &str = "frames";
/// State versions that are newer than this one's and that it takes over from: a way back.
const NEWER_MAX: u32 = 1;

/// What programs and policies leave in maps, and another layout of them can go on with.
const CARRIED: [&str; 23] = [
    map::RULE_HITS,
    map::USAGES,
    map::DESTINATIONS,
    map::GRANTS,
    map::QUARANTINED,
    map::TASKS,
    map::UNTRACKED,
    map::WATCHED,
    map::NEWCOMERS,
    map::BINDINGS,
    map::BOUND,
    map::EVER,
    map::PENDING,
    map::SOCKETS,
    map::HELLOS,
    map::QUIC_FLOWS,
    map::DNS_QUERIES,
    map::DNS_ANSWERS,
    map::LOST,
    map::EVENTS,
    map::IDS,
    map::RECORDED,
    map::READ,
];

/// The pins of one cgroup, locked.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    directory: PathBuf,
    lock: File,
}

impl Pins {
    /// Locks the pins of a cgroup below `root`, and makes the directories that are missing.
    ///
    /// # Errors
    /// Another daemon governs the cgroup, or there is no BPF file system, or it is not ours alone.
    pub fn lock(root: &Path, cgroup: &Path) -> Result<Self, KernelError> {
        mount_if_missing(root)?;
        make(root)?;
        let directory = directory(root, cgroup)?;
        loop {
            make(&directory)?;
            if let Some(lock) = lock(&directory, cgroup)? {
                return Ok(Self { root: root.to_owned(), directory, lock });
            }
        }
    }

    /// Whether something is pinned for a cgroup.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn has(root: &Path, cgroup: &Path) -> Result<bool, KernelError> {
        let layouts = layouts(&directory(root, cgroup)?)?;
        Ok(layouts.iter().any(|layout| is_filled(&layout.path.join(LINKS))))
    }

    /// Numbers of subjects and sets that something in the kernel may hold.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn ids(&self) -> Result<Ids, KernelError> {
        for layout in self.understood()? {
            let maps = layout.path.join(MAPS);
            if maps.join(map::IDS).exists() {
                return Handover::take(&maps)?.ids();
            }
        }
        Ok(Ids::default())
    }

    /// Layouts whose maps mean the same, the one that is in force first.
    fn understood(&self) -> Result<Vec<Layout>, KernelError> {
        let mut layouts = layouts(&self.directory)?;
        layouts.retain(|layout| layout.version == STATE_VERSION);
        layouts.sort_by_key(|layout| !is_filled(&layout.path.join(LINKS)));
        Ok(layouts)
    }

    /// Prepares the directory of a layout, with what is carried over from another one, and gives
    /// the generation that the policy there has.
    pub(super) fn prepare(&self, shape: &Shape) -> Result<(Place, u64), KernelError> {
        let layouts = layouts(&self.directory)?;
        if let Some(newest) = layouts.iter().map(|layout| layout.version).max()
            && newest > STATE_VERSION + NEWER_MAX
        {
            return Err(KernelError::Newer { path: self.directory.clone(), version: newest });
        }
        let own = self.directory.join(format!("v{STATE_VERSION}-{}", shape.name()));
        let (maps, links, frames) = (own.join(MAPS), own.join(LINKS), own.join(FRAMES));
        let place = Place { maps, links, frames, path: own };
        let is_new = !place.maps.exists();
        for directory in [&place.path, &place.maps, &place.links, &place.frames] {
            make(directory)?;
        }
        let mut generation = 0;
        for layout in self.understood()?.iter().filter(|layout| is_new && layout.path != place.path)
        {
            let from = layout.path.join(MAPS);
            generation = generation.max(active(&from.join(map::ACTIVE))?);
            carry(&from, &place.maps, shape)?;
        }
        Ok((place, generation))
    }

    /// Whether there is another layout than this one.
    pub(super) fn has_others(&self, place: &Place) -> Result<bool, KernelError> {
        Ok(layouts(&self.directory)?.iter().any(|layout| layout.path != place.path))
    }

    /// Removes every layout but this one.
    pub(super) fn keep_only(&self, place: &Place) -> Result<(), KernelError> {
        for layout in layouts(&self.directory)?.iter().filter(|layout| layout.path != place.path) {
            remove_layout(&layout.path)?;
        }
        Ok(())
    }

    /// Makes directories anew that somebody removed, and locks what takes their place.
    pub(super) fn restore(&mut self, place: &Place) -> Result<(), KernelError> {
        for directory in [&self.root, &self.directory] {
            make(directory)?;
        }
        let inode = |about: io::Result<fs::Metadata>| about.map(|about| about.ino()).ok();
        if inode(self.lock.metadata()) != inode(fs::metadata(&self.directory))
            && let Some(lock) = lock(&self.directory, &self.directory)?
        {
            self.lock = lock;
        }
        [&place.path, &place.maps, &place.links, &place.frames]
            .into_iter()
            .try_for_each(|it| make(it))
    }

    /// Takes everything that is pinned for the cgroup out of the kernel.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn remove(&self) -> Result<(), KernelError> {
        layouts(&self.directory)?.iter().try_for_each(|layout| remove_layout(&layout.path))
    }

    /// Takes out of the kernel what is pinned for a cgroup, or for every one, also for those that
    /// are gone. Gives for how many that was.
    ///
    /// # Errors
    /// A daemon governs one of them, or something cannot be removed.
    pub fn remove_all(root: &Path, cgroup: Option<&Path>) -> Result<usize, KernelError> {
        let directories = match cgroup {
            Some(cgroup) => vec![directory(root, cgroup)?],
            None => children(root)?,
        };
        let mut removed = 0;
        for directory in directories.into_iter().filter(|directory| directory.exists()) {
            let name = cgroup.unwrap_or(&directory).to_owned();
            if let Some(lock) = lock(&directory, &name)? {
                Self { root: root.to_owned(), directory, lock }.remove()?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Drop for Pins {
    /// Directories in which nothing is pinned go with the lock.
    fn drop(&mut self) {
        for layout in layouts(&self.directory).unwrap_or_default() {
            for directory in [LINKS, FRAMES, MAPS] {
                fs::remove_dir(layout.path.join(directory)).ok();
            }
            fs::remove_dir(layout.path).ok();
        }
        fs::remove_dir(&self.directory).ok();
        fs::remove_dir(&self.root).ok();
    }
}

/// Where a layout's links and maps are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) maps: PathBuf,
    pub(super) links: PathBuf,
    pub(super) frames: PathBuf,
}

impl Place {
    /// The maps that are pinned, by name.
    pub(super) fn open_maps(&self) -> Result<Vec<(&'static str, OwnedFd)>, KernelError> {
        let paths = map::ALL.into_iter().map(|name| (name, self.maps.join(name)));
        let pinned = paths.filter(|(_, path)| path.exists());
        pinned
            .map(|(name, path)| Ok((name, sys::pinned(&path).map_err(KernelError::pin(&path))?)))
            .collect()
    }
}

/// Locks a directory; `None` if who had the lock before removed it.
fn lock(directory: &Path, cgroup: &Path) -> Result<Option<File>, KernelError> {
    let failed = KernelError::pin(directory);
    let lock = File::open(directory).map_err(&failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(KernelError::Governed { cgroup: cgroup.to_owned() });
        }
        locked => locked.map_err(|errno| failed(errno.into()))?,
    }
    let held = lock.metadata().map_err(&failed)?.ino();
    let is_there = fs::metadata(directory).is_ok_and(|now| now.ino() == held);
    Ok(is_there.then_some(lock))
}

struct Layout {
    path: PathBuf,
    version: u32,
}

/// The directory of a cgroup, by the kernel's id of it: the inode of its directory.
fn directory(root: &Path, cgroup: &Path) -> Result<PathBuf, KernelError> {
    let failed = |source| KernelError::Cgroup { path: cgroup.to_owned(), source };
    Ok(root.join(fs::metadata(cgroup).map_err(failed)?.ino().to_string()))
}

fn layouts(directory: &Path) -> Result<Vec<Layout>, KernelError> {
    let found = children(directory)?.into_iter().filter_map(|path| {
        let version = path.file_name()?.to_str()?.strip_prefix('v')?.split_once('-')?.0;
        Some(Layout { version: version.parse().ok()?, path })
    });
    Ok(found.collect())
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let listed = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    };
    match listed() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(KernelError::pin(directory)),
    }
}

fn is_filled(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// Links first, and what programs call last: nothing that is still attached misses its tables.
fn remove_layout(path: &Path) -> Result<(), KernelError> {
    frames::open_up(&path.join(FRAMES));
    for directory in [path.join(LINKS), path.join(FRAMES), path.to_owned()] {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(KernelError::pin(&directory))?,
        }
    }
    Ok(())
}

/// Pins the maps of one layout in another one, where they are the same.
fn carry(from: &Path, to: &Path, shape: &Shape) -> Result<(), KernelError> {
    for name in CARRIED {
        let (from, to) = (from.join(name), to.join(name));
        if to.exists() || !from.exists() {
            continue;
        }
        let data = MapData::from_pin(&from).map_err(KernelError::map("open", name))?;
        let info = data.info().map_err(KernelError::map("read", name))?;
        if shape.has(name, &info) {
            sys::pin(data.fd().as_fd(), &to).map_err(KernelError::pin(&to))?;
        }
    }
    Ok(())
}

fn active(path: &Path) -> Result<u64, KernelError> {
    if !path.exists() {
        return Ok(0);
    }
    let data = MapData::from_pin(path).map_err(KernelError::map("open", map::ACTIVE))?;
    let array = aya::maps::Map::from_map_data(data).and_then(aya::maps::Array::try_from);
    let array: aya::maps::Array<MapData, u64> =
        array.map_err(KernelError::map("open", map::ACTIVE))?;
    array.get(&0, 0).map_err(KernelError::map("read", map::ACTIVE))
}

/// Makes a directory that only its owner may enter; one that is there already has to be so.
fn make(path: &Path) -> Result<(), KernelError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(KernelError::pin(path)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(KernelError::pin(path))?;
    let is_ours = found.is_dir()
        && found.uid() == rustix::process::geteuid().as_raw()
        && found.mode() & 0o022 == 0;
    if is_ours { Ok(()) } else { Err(KernelError::PinsNotOurs { path: path.to_owned() }) }
}

/// Mounts a BPF file system where the host has none, as service managers do.
fn mount_if_missing(root: &Path) -> Result<(), KernelError> {
    let parent = root.parent().unwrap_or(root);
    let failed = KernelError::pin(parent);
    let is_bpf =
        || -> io::Result<bool> { Ok(rustix::fs::statfs(parent)?.f_type as u64 == BPF_MAGIC) };
    if is_bpf().map_err(&failed)? {
        return Ok(());
    }
    if parent != Path::new(MOUNT_POINT) {
        return Err(KernelError::NoBpfFileSystem { path: parent.to_owned() });
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", parent, "bpf", flags, c"mode=0700").map_err(|errno| failed(errno.into()))
}
