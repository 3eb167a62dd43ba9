//! Loading: the embedded object becomes programs and maps, and is attached.

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
};

use aya::{Ebpf, EbpfError, EbpfLoader, maps::MapError, programs::ProgramError};
use governd_common::{
    names::{global, map},
    table::KernelLayout,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::{
    KernelError, attach::Links, cgroup, lack::Lack, layout, object, pod::Shared, ring::Events,
    tables::PolicyTables,
};

/// The eBPF object that governd/build.rs made.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/governd.bpf.o"));

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

/// The loaded and attached programs and their maps. Dropping it detaches and removes all.
pub struct Kernel {
    pub(super) links: Links,
    pub(super) ebpf: Ebpf,
    pub(super) tables: PolicyTables,
    events: Option<Events>,
    cgroup: PathBuf,
    pub(super) lacks: Vec<Lack>,
}

impl Kernel {
    /// Loads and attaches the programs. Nothing is governed before [`Kernel::install`].
    ///
    /// # Errors
    /// If there is no cgroup v2 tree, no BTF, no permission, or the kernel refuses a program.
    pub fn load(options: &KernelOptions) -> Result<Self, KernelError> {
        Self::load_on(options, layout::of_kernel()?)
    }

    /// Loads on a kernel with this layout, which for a test may have less than the running one.
    pub(super) fn load_on(
        options: &KernelOptions,
        layout: KernelLayout,
    ) -> Result<Self, KernelError> {
        let path = options.cgroup.clone().map_or_else(cgroup::root, Ok)?;
        let directory = cgroup::open(&path)?;
        let lacks = Lack::all(&layout);
        let mut ebpf = load_object(options, layout)?;
        let links = Links::attach(&mut ebpf, &directory, &path, &lacks)?;
        let tables = PolicyTables::take(&mut ebpf)?;
        let events = Some(Events::take(&mut ebpf)?);
        Ok(Self { links, ebpf, tables, events, cgroup: path, lacks })
    }

    /// What the running kernel lacks, and is done without.
    pub fn lacks(&self) -> &[Lack] {
        &self.lacks
    }

    /// Takes the programs off, for good; what they wrote into the ring can still be read.
    pub fn detach(&mut self) {
        self.links.detach();
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

/// Creates the maps and prepares the programs.
pub(super) fn load_object(
    options: &KernelOptions,
    layout: KernelLayout,
) -> Result<Ebpf, KernelError> {
    raise_memlock();
    let object = if layout.has_allocator == 0 {
        let changed = object::with_flags_of(OBJECT, map::TASKS, &TRACED);
        Cow::Owned(changed.ok_or(KernelError::Missing(map::TASKS))?)
    } else {
        Cow::Borrowed(OBJECT)
    };
    let layout = Shared(layout);
    let mut loader = EbpfLoader::new();
    loader.override_global(global::LAYOUT, &layout, true);
    if let Some(bytes) = options.ring_bytes {
        loader.map_max_entries(map::EVENTS, bytes);
    }
    if let Some(entries) = options.tasks_max {
        loader.map_max_entries(map::TASKS, entries);
    }
    loader.load(&object).map_err(object_error)
}

/// Creates the maps and prepares the programs for packets of captures: nothing is to be attached.
pub(super) fn load_replay(layout: KernelLayout, flows_max: u32) -> Result<Ebpf, KernelError> {
    raise_memlock();
    let layout = Shared(layout);
    let mut loader = EbpfLoader::new();
    loader.override_global(global::LAYOUT, &layout, true);
    loader.override_global(global::REPLAY, &1_u32, true);
    loader.map_max_entries(map::FLOWS, flows_max);
    loader.map_max_entries(map::HELLO_FLOWS, flows_max);
    loader.load(OBJECT).map_err(object_error)
}

/// Kernels before 5.11 charge maps to the memlock limit. Where it cannot be raised, loading says
/// so.
fn raise_memlock() {
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "cannot raise the memlock limit");
    }
}

fn object_error(error: EbpfError) -> KernelError {
    let what = "creating a map";
    match error {
        EbpfError::MapError(MapError::CreateError { io_error: source, .. })
            if is_permission(&source) =>
        {
            KernelError::Permission { what, source }
        }
        EbpfError::MapError(MapError::SyscallError(syscall))
            if is_permission(&syscall.io_error) =>
        {
            KernelError::Permission { what, source: syscall.io_error }
        }
        other => KernelError::Object(Box::new(other)),
    }
}

pub(super) fn load_error(program: &'static str, error: ProgramError) -> KernelError {
    let what = "loading a program";
    match error {
        ProgramError::LoadError { io_error: source, .. } if is_permission(&source) => {
            KernelError::Permission { what, source }
        }
        ProgramError::SyscallError(syscall) if is_permission(&syscall.io_error) => {
            KernelError::Permission { what, source: syscall.io_error }
        }
        source => KernelError::Load { program, source: Box::new(source) },
    }
}

/// Missing rights are EPERM; EACCES is the verifier's word for an unsafe program.
fn is_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}
