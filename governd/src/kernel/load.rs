//! Loading: the embedded object becomes programs and maps, and is attached.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt, fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use governd_common::{
    layout::KernelLayout,
    names::{global, map},
    table::ever,
    verdict::Loss,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use zerocopy::IntoBytes as _;

use super::{
    Early, KernelError, Offer, Pins,
    attach::{self, Links},
    canary::Canary,
    cgroup,
    collection::{Collection, Refused, Wanted},
    frames,
    handover::Handover,
    lack::Lack,
    lsm, object, pins,
    removals::Removals,
    ring::Events,
    shape::Shape,
    tables::PolicyTables,
};
use crate::policy::ids::Ids;

/// The eBPF object that governd/build.rs made.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/governd.bpf.o"));
/// The same for kernels without the helper that repeats (before Linux 5.17).
static CALLS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/governd-calls.bpf.o"));

/// Maps that get their entries from the daemon as they come, and that tracepoint programs read.
pub(super) const TRACED: [&str; 3] = [map::EXES, map::UIDS, map::CGROUPS];

/// How to load the programs.
#[derive(Clone, Debug, Default)]
pub struct KernelOptions {
    /// Directory of the cgroup to govern; the root of the cgroup v2 tree if `None`.
    pub cgroup: Option<PathBuf>,
    /// Bytes of the event ring, if not `RING_BYTES`; a power of two and a multiple of the page
    /// size.
    pub ring_bytes: Option<u32>,
    /// Entries of the table of tracked processes, if not `TASKS_MAX`.
    pub tasks_max: Option<u32>,
}

/// The loaded and attached programs and their maps. Dropping it detaches and removes all that is
/// not pinned.
pub struct Kernel {
    pub(super) links: Links,
    pub(super) collection: Collection,
    /// Programs that are done without, and why.
    pub(super) refused: Vec<Refused>,
    pub(super) tables: PolicyTables,
    events: Option<Events>,
    cgroup: PathBuf,
    pub(super) directory: fs::File,
    pub(super) lacks: Vec<Lack>,
    pub(super) pinned: Option<Pinned>,
    pub(super) canary: Option<Canary>,
}

/// What outlives the daemon.
pub(super) struct Pinned {
    pub(super) pins: Pins,
    pub(super) place: pins::Place,
    pub(super) handover: Handover,
    /// The maps that are pinned, by name.
    pub(super) maps: Vec<(&'static str, OwnedFd)>,
    /// Those that could not be pinned again.
    pub(super) unpinned: HashSet<&'static str>,
    /// Whether a pin was taken away since they were looked at, once they were.
    pub(super) removals: Option<Removals>,
}

impl Kernel {
    /// Loads and attaches the programs. Nothing is governed before [`Kernel::install`]. With pins
    /// they are to outlive the daemon: they come over the maps and in the places of those that an
    /// earlier one left, and [`Kernel::persist`] makes them stay. Those at interfaces are handed
    /// over as soon as they are loaded.
    ///
    /// # Errors
    /// If there is no cgroup v2 tree, no permission, or the kernel refuses a program; or what is
    /// pinned cannot be used. It goes on as it is, then.
    pub fn load(
        options: &KernelOptions,
        offer: &Offer,
        pins: Option<Pins>,
        early: Early,
    ) -> Result<Self, KernelError> {
        let path = options.cgroup.clone().map_or_else(cgroup::root, Ok)?;
        let directory = cgroup::open(&path)?;
        let lacks = offer.lacks();
        let mut pinned = None;
        let mut generation = 0;
        if let Some(pins) = pins {
            let shape = Shape::of(&object_for(&offer.layout)?, options)?;
            let (place, before) = pins.prepare(&shape)?;
            generation = before;
            let handover = Handover::take(&place.maps)?;
            let (maps, removals) = (Vec::new(), None);
            pinned =
                Some(Pinned { pins, place, handover, maps, unpinned: HashSet::new(), removals });
        }
        let places = pinned.as_ref().map(|pinned| &pinned.place);
        let at_interfaces = places.map(|place| place.frames.clone());
        early.way(frames::way(&lacks, &directory, places)?, at_interfaces);
        let mut collection = load_object(options, &offer.layout, places.map(|place| &*place.maps))?;
        let place = attach::Place {
            directory: &directory,
            path: &path,
            pins: places.map(|place| &*place.links),
        };
        let (links, refused) = Links::attach(&mut collection, &place, offer, &early)?;
        // Nobody waits any more for one that is refused.
        drop(early);
        for (program, error) in refused.iter().filter(|(program, _)| lsm::is_one(program)) {
            tracing::warn!(%error, program, "left out");
        }
        collection.forget_codes();
        let mut tables = PolicyTables::take(&mut collection)?;
        tables.count_from(generation);
        if tables.generation > 0 {
            // Only now do programs mark everybody whom a tracked process starts.
            tables.watch_all()?;
        }
        let meter = pinned.as_mut().and_then(|pinned| pinned.handover.take_meter());
        let events = Some(Events::take(&mut collection, meter.unwrap_or_default())?);
        if let Some(pinned) = &mut pinned {
            pinned.maps = pinned.place.open_maps()?;
        }
        let (cgroup, canary) = (path, None);
        Ok(Self {
            links,
            collection,
            refused,
            tables,
            events,
            cgroup,
            directory,
            lacks,
            pinned,
            canary,
        })
    }

    /// Makes what is loaded stay when the daemon ends, and takes away what it replaces. To be
    /// called when a policy is in force.
    ///
    /// # Errors
    /// Something cannot be pinned or removed.
    pub fn persist(&mut self) -> Result<(), KernelError> {
        let Some(Pinned { pins, place, .. }) = &self.pinned else { return Ok(()) };
        if pins.has_others(place)? {
            // Programs of another layout may have a table of their own for it, or none.
            for what in 0..ever::LEN as u32 {
                self.tables.will_have_been(what)?;
            }
        }
        self.links.pin(&place.links)?;
        pins.keep_only(place)?;
        // Programs of another layout may have bound addresses until now.
        self.tables.mark_all_bound()
    }

    /// What the running kernel lacks, and is done without.
    pub fn lacks(&self) -> &[Lack] {
        &self.lacks
    }

    /// Takes the programs off, for good, pinned or not; what they wrote into the ring can still be
    /// read.
    ///
    /// # Errors
    /// Something pinned cannot be removed.
    pub fn detach(&mut self) -> Result<(), KernelError> {
        let removed = self.pinned.as_ref().map_or(Ok(()), |pinned| pinned.pins.remove());
        self.links.detach();
        removed
    }

    /// Writes which numbers stand for which agents and sets, before a policy with them is
    /// installed.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn keep_ids(&mut self, ids: &Ids) -> Result<(), KernelError> {
        self.pinned.as_mut().map_or(Ok(()), |pinned| pinned.handover.keep(ids))
    }

    /// Takes away the numbers of sets that neither the policy in force nor the next one has.
    ///
    /// # Errors
    /// They cannot be taken away.
    pub fn forget_sets(&mut self, texts: &[Arc<str>]) -> Result<(), KernelError> {
        self.pinned.as_mut().map_or(Ok(()), |pinned| pinned.handover.forget_sets(texts))
    }

    /// What was lost and is recorded already: how many, and when, in milliseconds since the epoch.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn recorded(&self) -> Result<Vec<(Loss, u64, u64)>, KernelError> {
        self.pinned.as_ref().map_or(Ok(Vec::new()), |pinned| pinned.handover.recorded())
    }

    /// So many losses of a kind are recorded.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_recorded(&mut self, loss: Loss, count: u64, now_ms: u64) -> Result<(), KernelError> {
        let pinned = self.pinned.as_mut();
        pinned.map_or(Ok(()), |pinned| pinned.handover.record(loss, count, now_ms))
    }

    /// The stream of events; there is one, so the second call gives `None`.
    pub fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// Directory of the cgroup that is governed.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Kernel")
            .field("cgroup", &self.cgroup)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// The object, as this kernel takes it.
fn object_for(layout: &KernelLayout) -> Result<Cow<'static, [u8]>, KernelError> {
    let built = if layout.has_loops == 0 { CALLS } else { OBJECT };
    if layout.has_allocator != 0 {
        return Ok(Cow::Borrowed(built));
    }
    let changed = object::with_flags_of(built, map::TASKS, &TRACED);
    Ok(Cow::Owned(changed.ok_or(KernelError::Missing(map::TASKS))?))
}

/// Creates the maps, or opens those that are pinned in a directory, and prepares the programs.
pub(super) fn load_object(
    options: &KernelOptions,
    layout: &KernelLayout,
    pins: Option<&Path>,
) -> Result<Collection, KernelError> {
    raise_memlock();
    let object = object_for(layout)?;
    let daemon = std::process::id();
    let entries = [(map::EVENTS, options.ring_bytes), (map::TASKS, options.tasks_max)];
    let entries = entries.into_iter().filter_map(|(name, entries)| Some((name, entries?)));
    let wanted = Wanted {
        globals: HashMap::from([
            (global::LAYOUT, layout.as_bytes()),
            (global::DAEMON, daemon.as_bytes()),
        ]),
        entries: entries.collect(),
        pins: pins.map(|pins| (pins, &map::ALL[..])),
    };
    Collection::make(&object, &wanted)
}

/// Creates the maps and prepares the programs for packets of captures: nothing is to be attached.
pub(super) fn load_replay(
    layout: &KernelLayout,
    flows_max: u32,
) -> Result<Collection, KernelError> {
    raise_memlock();
    let wanted = Wanted {
        globals: HashMap::from([
            (global::LAYOUT, layout.as_bytes()),
            (global::REPLAY, 1_u32.as_bytes()),
        ]),
        entries: HashMap::from([(map::FLOWS, flows_max), (map::HELLO_FLOWS, flows_max)]),
        pins: None,
    };
    Collection::make(if layout.has_loops == 0 { CALLS } else { OBJECT }, &wanted)
}

/// Kernels before 5.11 charge maps to the memlock limit. Where it cannot be raised, loading says
/// so.
pub fn raise_memlock() {
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "cannot raise the memlock limit");
    }
}

/// Missing rights are EPERM; EACCES is the verifier's word for an unsafe program.
pub(super) fn is_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}
