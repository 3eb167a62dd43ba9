//! The maps, and the decision's view of the policy in force.
//!
//! Policy maps are written only by the daemon, so they need no memory set aside; `TASKS`,
//! `BINDINGS` and `PENDING` are written by programs and have theirs from the beginning.

use core::ptr;

use aya_ebpf::{
    bindings::{
        BPF_F_CLONE, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE,
    },
    btf_maps::{
        Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, SkStorage,
        lpm_trie::Key,
    },
    helpers::bpf_ktime_get_boot_ns,
    macros::btf_map,
};
use governd_common::{
    address::Address,
    decide::{Basis, Flow, Hit, Tables, holds},
    key::{
        BindingKey, CgroupKey, CidrKey, DecisionKey, DelegationKey, ExeKey, FlowKey, GrantKey,
        NameKey, QueryKey, QuicKey, ResolverKey, RuleKey, SocketPathKey, SubjectKey, UidKey,
    },
    limit::{Limits, Usage},
    limits::{
        BINDINGS_MAX, BOUND_MARKS, CGROUP_SUBJECTS_MAX, CGROUPS_MAX, CIDRS_MAX, DECISIONS_MAX,
        DELEGATIONS_MAX, DESTINATIONS_MAX, DNS_READERS_MAX, EXES_MAX, GRANTS_MAX, NAMES_MAX,
        PENDING_MAX, PIDS_MAX, PIDS_PER_BLOCK, QUARANTINED_MAX, QUIC_FLOWS_MAX, RESOLVER_EXES_MAX,
        RESOLVERS_MAX, RING_BYTES, RULE_HITS_MAX, SELECTORS_MAX, SOCKET_PATHS_MAX, SUBJECTS_MAX,
        TASKS_MAX, UIDS_MAX, USAGES_MAX,
    },
    names::tail,
    table::{
        BEGINNING_BYTES, Binding, CgroupSubject, Pending, PidBlock, QuicFlow, RuleBlock, RuleHits,
        SelectorSet, Settings, SocketOwner, Subject, Task, ever, newcomers, settings_flag,
    },
    verdict::Loss,
};

use crate::{
    dns::{DnsScratch, SCRATCHES},
    dns_stream::Side,
    hello::{Beginning, HelloScratch},
    process::ExecScratch,
    state::Flows,
};

pub(crate) const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;
const SLOTS: usize = 2;
const PID_BLOCKS: usize = PIDS_MAX as usize / PIDS_PER_BLOCK;

#[btf_map]
pub(crate) static ACTIVE: Array<u64, 1> = Array::new();
#[btf_map]
pub(crate) static SETTINGS: Array<Settings, SLOTS> = Array::new();
#[btf_map]
pub(crate) static TASKS: HashMap<u32, Task, { TASKS_MAX as usize }> = HashMap::new();
#[btf_map]
pub(crate) static UNTRACKED: Array<PidBlock, PID_BLOCKS> = Array::new();
#[btf_map]
pub(crate) static WATCHED: Array<PidBlock, PID_BLOCKS, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
pub(crate) static EXES: HashMap<ExeKey, SelectorSet, { EXES_MAX as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static UIDS: HashMap<UidKey, SelectorSet, { UIDS_MAX as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static CGROUPS: HashMap<CgroupKey, SelectorSet, { CGROUPS_MAX as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static SELECTORS: Array<u32, { SLOTS * SELECTORS_MAX }> = Array::new();
#[btf_map]
static SUBJECTS: HashMap<SubjectKey, Subject, { SUBJECTS_MAX as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static DELEGATIONS: HashMap<
    DelegationKey,
    u32,
    { DELEGATIONS_MAX as usize },
    ON_DEMAND,
> = HashMap::new();
#[btf_map]
pub(crate) static PARENTS: HashMap<SubjectKey, SelectorSet, { SUBJECTS_MAX as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static NAMES: LpmTrie<NameKey, u32, { NAMES_MAX as usize }> = LpmTrie::new();
#[btf_map]
static CIDRS: LpmTrie<CidrKey, u32, { CIDRS_MAX as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static DECISIONS: HashMap<
    DecisionKey,
    RuleBlock,
    { DECISIONS_MAX as usize },
    ON_DEMAND,
> = HashMap::new();
#[btf_map]
pub(crate) static BINDINGS: LruHashMap<BindingKey, Binding, { BINDINGS_MAX as usize }> =
    LruHashMap::new();
#[btf_map]
static BOUND: Array<u8, BOUND_MARKS> = Array::new();
#[btf_map]
static EVER: Array<u8, { ever::LEN }> = Array::new();
#[btf_map]
pub(crate) static PENDING: LruHashMap<QueryKey, Pending, { PENDING_MAX as usize }> =
    LruHashMap::new();
#[btf_map]
pub(crate) static RESOLVER_EXES: HashMap<ExeKey, u32, { RESOLVER_EXES_MAX as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
static RESOLVERS: HashMap<ResolverKey, u32, { RESOLVERS_MAX as usize }, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static SOCKETS: SocketStorage<SocketOwner> = SocketStorage::new();
#[btf_map]
pub(crate) static SOCKET_PATHS: LpmTrie<SocketPathKey, u32, { SOCKET_PATHS_MAX as usize }> =
    LpmTrie::new();
#[btf_map]
pub(crate) static CGROUP_SUBJECTS: LruHashMap<
    u64,
    CgroupSubject,
    { CGROUP_SUBJECTS_MAX as usize },
> = LruHashMap::new();
#[btf_map]
pub(crate) static NEWCOMERS: Array<u64, { newcomers::LEN }> = Array::new();
#[btf_map]
pub(crate) static FLOWS: Flows<SocketOwner> = Flows::new();
#[btf_map]
pub(crate) static FLOW_KEY: PerCpuArray<FlowKey, 1> = PerCpuArray::new();
#[btf_map]
static GRANTS: HashMap<GrantKey, u64, { GRANTS_MAX as usize }> = HashMap::new();
#[btf_map]
pub(crate) static QUARANTINED: HashMap<u32, u64, { QUARANTINED_MAX as usize }> = HashMap::new();
#[btf_map]
pub(crate) static RULE_HITS: LruHashMap<RuleKey, RuleHits, { RULE_HITS_MAX as usize }> =
    LruHashMap::new();
#[btf_map]
pub(crate) static LIMITS: HashMap<SubjectKey, Limits, { SUBJECTS_MAX as usize }, ON_DEMAND> =
    HashMap::new();
#[btf_map]
pub(crate) static USAGES: HashMap<u32, Usage, { USAGES_MAX as usize }, ON_DEMAND> = HashMap::new();
#[btf_map]
pub(crate) static DESTINATIONS: LruHashMap<BindingKey, u64, { DESTINATIONS_MAX as usize }> =
    LruHashMap::new();
#[btf_map]
pub(crate) static LOST: PerCpuArray<u64, { Loss::ALL.len() }> = PerCpuArray::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<(), { RING_BYTES as usize }> = RingBuf::new();
#[btf_map]
pub(crate) static EXEC_SCRATCH: PerCpuArray<ExecScratch, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static DNS_SCRATCH: PerCpuArray<DnsScratch, SCRATCHES> = PerCpuArray::new();
#[btf_map]
pub(crate) static HELLOS: SkStorage<Beginning> = SkStorage::new();
#[btf_map]
pub(crate) static HELLO_FLOWS: Flows<Beginning> = Flows::new();
// Where captures are replayed, user space makes the entries.
const _: () = assert!(size_of::<Beginning>() == BEGINNING_BYTES);
#[btf_map]
pub(crate) static QUIC_FLOWS: LruHashMap<QuicKey, QuicFlow, { QUIC_FLOWS_MAX as usize }> =
    LruHashMap::new();
#[btf_map]
pub(crate) static HELLO_SCRATCH: PerCpuArray<HelloScratch, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static DNS_QUERIES: SkStorage<Side> = SkStorage::new();
#[btf_map]
pub(crate) static DNS_ANSWERS: SkStorage<Side> = SkStorage::new();
/// Newer kernels give no more to a value of socket storage, with what they put before it
/// (`KMALLOC_MAX_CACHE_SIZE`, mm/slub.c: `kmalloc_nolock`).
const STORED_BYTES_MAX: usize = 8_192 - 256;
const _: () = assert!(size_of::<Side>() <= STORED_BYTES_MAX);
const _: () = assert!(size_of::<Beginning>() <= STORED_BYTES_MAX);
#[btf_map]
pub(crate) static DNS_READERS: HashMap<u64, u32, { DNS_READERS_MAX as usize }> = HashMap::new();
#[btf_map]
pub(crate) static TAILS: ProgramArray<{ tail::EGRESS_LEN }> = ProgramArray::new();
#[btf_map]
pub(crate) static INGRESS_TAILS: ProgramArray<{ tail::INGRESS_LEN }> = ProgramArray::new();

/// A map of socket storage whose values an accepted socket gets from the one that listened: whom a
/// server talks to is its clients' choice, so what it accepts is its own and not judged.
#[repr(C)]
pub(crate) struct SocketStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: the pointers describe the map to who loads it, and are never followed.
unsafe impl<T> Sync for SocketStorage<T> {}

impl<T> SocketStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}

/// The policy in force, as it was when the program began.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
    pub(crate) settings: &'static Settings,
}

impl View {
    /// The policy in force; `None` before the first one, and where the slot is not whole.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        let active = ACTIVE.get_ptr(0)?;
        // SAFETY: an array's element stays where it is; the daemon replaces the value by one store.
        let generation = unsafe { ptr::read_volatile(active) };
        let slot = (generation & 1) as u32;
        let settings = SETTINGS.get_ptr(slot)?;
        // SAFETY: as above; a slot is written only while it is not in force.
        let settings = unsafe { &*settings };
        let view = Self { slot, generation, settings };
        (settings.flags & settings_flag::COMPLETE != 0 && view.is_whole()).then_some(view)
    }

    /// Whether the slot still holds the policy that the view began with. A program that was held
    /// up for longer than the daemon's grace period might have seen its tables being replaced.
    #[inline(always)]
    pub(crate) fn is_whole(&self) -> bool {
        // SAFETY: the reference is to an array's element.
        let now = unsafe { ptr::read_volatile(&raw const self.settings.generation) };
        now == self.generation
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.settings.flags & flag != 0
    }
}

impl Tables for View {
    #[inline(always)]
    fn subject(&self, subject: u32) -> Option<&Subject> {
        subject_in(self.slot, subject)
    }

    #[inline(always)]
    fn binding(&self, subject: u32, address: &Address) -> Option<&Binding> {
        // SAFETY: an entry that is reused while it is read yields sets of another address for this
        // one packet; reading them is memory-safe, and LRU reuse of an entry in use is rare.
        unsafe { BINDINGS.get(BindingKey { subject, address: *address }) }
    }

    #[inline(always)]
    fn binds(&self, subject: u32, address: &Address, set: u32, now_ns: u64) -> bool {
        let (high, low) = halves(address);
        binds(subject, high, low, set, now_ns) != 0
    }

    #[inline(always)]
    fn network(&self, subject: u32, address: &Address) -> Option<u32> {
        let (high, low) = halves(address);
        // Sets begin at 1.
        match network_of(self.slot, subject, high, low) {
            0 => None,
            set => Some(set),
        }
    }

    #[inline(always)]
    fn block(&self, subject: u32, set: u32) -> Option<&RuleBlock> {
        // SAFETY: entries of a slot in force are neither changed nor removed.
        unsafe { DECISIONS.get(DecisionKey { slot: self.slot, subject, set }) }
    }

    #[inline(always)]
    fn rank_of_name(&self, flow: &Flow, set: u32) -> u64 {
        name_rank(self.slot, flow.subject, set, port_and_protocol(flow))
    }

    #[inline(always)]
    fn opening(&self, basis: Basis) -> u32 {
        opening_of(basis.hit.0, basis.what)
    }

    #[inline(always)]
    fn hit(&self, flow: &Flow, set: u32) -> Hit {
        Hit(rule_hit(self.slot, flow.subject, set, port_and_protocol(flow)))
    }

    #[inline(always)]
    fn is_resolver(&self, address: &Address) -> bool {
        let (high, low) = halves(address);
        resolves(self.slot, high, low) != 0
    }

    #[inline(always)]
    fn granted_until(&self, grant: &GrantKey) -> u64 {
        granted_until(grant)
    }

    #[inline(always)]
    fn is_quarantined(&self, subject: u32) -> bool {
        is_quarantined(subject)
    }
}

/// Settings of a subject in the policy of a slot.
#[inline(always)]
pub(crate) fn subject_in(slot: u32, subject: u32) -> Option<&'static Subject> {
    // SAFETY: entries of a slot in force are neither changed nor removed.
    unsafe { SUBJECTS.get(SubjectKey { slot, subject }) }
}

/// Whether names may be bound to the address, for anybody: most addresses are spared two lookups.
#[inline(always)]
pub(crate) fn may_be_bound(address: &Address) -> bool {
    // A mark that cannot be read says nothing.
    BOUND.get(address.mark()).is_none_or(|mark| *mark != 0)
}

/// Whether a name was bound to the address before, or to another with the same mark.
#[inline(always)]
pub(crate) fn is_marked_bound(address: &Address) -> bool {
    BOUND.get(address.mark()).is_some_and(|mark| *mark != 0)
}

/// Says so, before a name is bound to it. It stays for good.
#[inline(always)]
pub(crate) fn mark_bound(address: &Address) {
    if let Some(mark) = BOUND.get_ptr_mut(address.mark()) {
        // SAFETY: one byte, which everybody sets to the same.
        unsafe { ptr::write_volatile(mark, 1) };
    }
}

/// Whether something of [`ever`] may have been.
#[inline(always)]
pub(crate) fn has_been(what: u32) -> bool {
    // A byte that cannot be read says nothing.
    EVER.get(what).is_none_or(|byte| *byte != 0)
}

/// Says so, before it is.
#[inline(always)]
pub(crate) fn will_have_been(what: u32) {
    if let Some(byte) = EVER.get_ptr_mut(what) {
        // SAFETY: one byte, which everybody sets to the same.
        unsafe { ptr::write_volatile(byte, 1) };
    }
}

/// Whether the subject is quarantined, under whatever policy.
#[inline(always)]
pub(crate) fn is_quarantined(subject: u32) -> bool {
    has_been(ever::QUARANTINED) && QUARANTINED.get_ptr(subject).is_some()
}

#[inline(always)]
fn granted_until(grant: &GrantKey) -> u64 {
    // SAFETY: a number, copied at once; an entry that is removed meanwhile held until now.
    unsafe { GRANTS.get(grant) }.copied().unwrap_or(0)
}

/// An address as two numbers, which is how global functions take it.
#[inline(always)]
pub(crate) fn halves(address: &Address) -> (u64, u64) {
    let number = u128::from_ne_bytes(address.bytes);
    ((number >> 64) as u64, number as u64)
}

/// The address of two numbers.
#[inline(always)]
pub(crate) fn whole(high: u64, low: u64) -> Address {
    Address { bytes: (u128::from(high) << 64 | u128::from(low)).to_ne_bytes() }
}

/// [`Tables::binds`] in a stack frame of its own; 1 if so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn binds(subject: u32, high: u64, low: u64, set: u32, now_ns: u64) -> u32 {
    // SAFETY: as where a binding is looked up.
    let binding = unsafe { BINDINGS.get(BindingKey { subject, address: whole(high, low) }) };
    holds(binding, set, now_ns).into()
}

/// [`Tables::network`] in a stack frame of its own; 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn network_of(slot: u32, subject: u32, high: u64, low: u64) -> u32 {
    let key = CidrKey::new(slot, subject, whole(high, low));
    CIDRS.get(&Key::new(size_of::<CidrKey>() as u32 * 8, key)).copied().unwrap_or(0)
}

/// [`Tables::is_resolver`] in a stack frame of its own; 1 if so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn resolves(slot: u32, high: u64, low: u64) -> u32 {
    RESOLVERS.get_ptr(ResolverKey { slot, address: whole(high, low) }).is_some().into()
}

#[inline(always)]
const fn port_and_protocol(flow: &Flow) -> u32 {
    (flow.port as u32) << 8 | flow.protocol as u32
}

/// [`Tables::hit`] as a global function: the verifier checks it once, whatever its arguments, and
/// does not follow its outcomes into the callers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rule_hit(slot: u32, subject: u32, set: u32, port_and_protocol: u32) -> u64 {
    hit_in(slot, subject, set, port_and_protocol).0
}

/// [`Tables::opening`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn opening_of(hit: u64, what: u64) -> u32 {
    Basis { hit: Hit(hit), what }.opening()
}

/// [`Tables::rank_of_name`], likewise: it is asked for every name of an address.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn name_rank(slot: u32, subject: u32, set: u32, port_and_protocol: u32) -> u64 {
    let (port, protocol) = ((port_and_protocol >> 8) as u16, port_and_protocol as u8);
    let flow = Flow { subject, address: Address::UNSPECIFIED, port, protocol, now_ns: 0 };
    hit_in(slot, subject, set, port_and_protocol).rank_of_name(&flow)
}

#[inline(always)]
fn hit_in(slot: u32, subject: u32, set: u32, port_and_protocol: u32) -> Hit {
    // SAFETY: entries of a slot in force are neither changed nor removed.
    let Some(block) = (unsafe { DECISIONS.get(DecisionKey { slot, subject, set }) }) else {
        return Hit::NONE;
    };
    let (port, protocol) = ((port_and_protocol >> 8) as u16, port_and_protocol as u8);
    let hit = Hit::in_block(block, port, protocol);
    if hit.needs_grant() {
        let grant = GrantKey { subject, set, port, protocol: u16::from(protocol) };
        // SAFETY: the helper only reads the clock.
        if granted_until(&grant) > unsafe { bpf_ktime_get_boot_ns() } {
            return hit.granted();
        }
    }
    hit
}
