//! The policy tables, and the way in which one policy replaces another.
//!
//! Constraints: a packet is judged by one policy and never by parts of two; a policy that cannot be
//! written whole leaves the one in force untouched; nothing is taken from a slot that a program may
//! still be reading.
//!
//! So a policy is written into the slot that is not in force, `SETTINGS` of that slot says that it
//! is complete, and one store into `ACTIVE` puts it in force. Programs read `ACTIVE` once and use
//! that slot to their end. After a grace period in which every program that began before the store
//! has ended, the old slot is emptied.

use std::collections::HashSet;

use aya::maps::{
    Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key as LpmKey,
};
use governd_common::{
    address::Address,
    key::{
        BindingKey, CgroupKey, CidrKey, DecisionKey, DelegationKey, ExeKey, GrantKey, NameKey,
        QuicKey, ResolverKey, RuleKey, SocketPathKey, SubjectKey, UidKey,
    },
    limit::{Limits, Usage},
    limits::{NAME_KEY_BYTES, SELECTOR_WORDS, SELECTORS_MAX, SOCKET_PATH_BYTES_MAX},
    names::map,
    table::{
        Binding, PidBlock, QuicFlow, RuleBlock, RuleHits, SelectorSet, Settings, SocketOwner,
        Subject, Task, socket_path,
    },
    verdict::Loss,
};
use zerocopy::FromZeros;

use super::{
    Kernel, KernelError,
    canary::{self, Owners},
    collection::Collection,
    grace::Grace,
    intact::Known,
    pod::Shared,
    settings,
    slotted::Slotted,
    watched::Watched,
};
use crate::policy::image::{LocalSocket, TableImage};

/// Attempts to read a map that changes while it is read.
const READS_MAX: u32 = 8;

type Hash<K, V> = HashMap<MapData, Shared<K>, V>;
type Trie<K> = LpmTrie<MapData, Shared<K>, u32>;
type SocketPaths = Trie<SocketPathKey>;

/// Maps that the daemon writes or reads.
pub(crate) struct PolicyTables {
    pub(super) active: Array<MapData, u64>,
    pub(super) settings: Array<MapData, Shared<Settings>>,
    selectors: Array<MapData, u32>,
    pub(super) exes: Slotted<Hash<ExeKey, Shared<SelectorSet>>, Shared<ExeKey>>,
    pub(super) uids: Slotted<Hash<UidKey, Shared<SelectorSet>>, Shared<UidKey>>,
    pub(super) cgroups: Slotted<Hash<CgroupKey, Shared<SelectorSet>>, Shared<CgroupKey>>,
    pub(super) subjects: Slotted<Hash<SubjectKey, Shared<Subject>>, Shared<SubjectKey>>,
    pub(super) delegations: Slotted<Hash<DelegationKey, u32>, Shared<DelegationKey>>,
    pub(super) parents: Slotted<Hash<SubjectKey, Shared<SelectorSet>>, Shared<SubjectKey>>,
    pub(super) names: Slotted<Trie<NameKey>, LpmKey<Shared<NameKey>>>,
    pub(super) cidrs: Slotted<Trie<CidrKey>, LpmKey<Shared<CidrKey>>>,
    pub(super) decisions: Slotted<Hash<DecisionKey, Shared<RuleBlock>>, Shared<DecisionKey>>,
    pub(super) socket_paths: Slotted<SocketPaths, LpmKey<Shared<SocketPathKey>>>,
    pub(super) resolver_exes: Slotted<Hash<ExeKey, u32>, Shared<ExeKey>>,
    pub(super) resolvers: Slotted<Hash<ResolverKey, u32>, Shared<ResolverKey>>,
    pub(super) tasks: HashMap<MapData, u32, Shared<Task>>,
    pub(super) untracked: Array<MapData, Shared<PidBlock>>,
    pub(super) watched: Watched,
    pub(super) bindings: Hash<BindingKey, Shared<Binding>>,
    bound: Array<MapData, u8>,
    ever: Array<MapData, u8>,
    pub(super) quic_flows: HashMap<MapData, Shared<QuicKey>, Shared<QuicFlow>>,
    lost: PerCpuArray<MapData, u64>,
    pub(super) grants: HashMap<MapData, Shared<GrantKey>, u64>,
    pub(super) quarantined: HashMap<MapData, u32, u64>,
    pub(super) limits: Slotted<Hash<SubjectKey, Shared<Limits>>, Shared<SubjectKey>>,
    pub(super) usages: HashMap<MapData, u32, Shared<Usage>>,
    pub(super) rule_hits: Hash<RuleKey, Shared<RuleHits>>,
    pub(super) newcomers: Array<MapData, u64>,
    pub(super) owners: Owners,
    pub(super) generation: u64,
    /// Nothing was installed yet: the policy in force, if there is one, is an earlier daemon's.
    pub(super) is_first: bool,
    grace: Grace,
    pub(super) known: Known,
}

impl PolicyTables {
    pub(super) fn take(collection: &mut Collection) -> Result<Self, KernelError> {
        let active: Array<MapData, u64> = open(collection, map::ACTIVE)?;
        let generation = active.get(&0, 0).map_err(KernelError::map("read", map::ACTIVE))?;
        Ok(Self {
            active,
            settings: open(collection, map::SETTINGS)?,
            selectors: open(collection, map::SELECTORS)?,
            exes: Slotted::take(collection, map::EXES)?,
            uids: Slotted::take(collection, map::UIDS)?,
            cgroups: Slotted::take(collection, map::CGROUPS)?,
            subjects: Slotted::take(collection, map::SUBJECTS)?,
            delegations: Slotted::take(collection, map::DELEGATIONS)?,
            parents: Slotted::take(collection, map::PARENTS)?,
            names: Slotted::take(collection, map::NAMES)?,
            cidrs: Slotted::take(collection, map::CIDRS)?,
            decisions: Slotted::take(collection, map::DECISIONS)?,
            socket_paths: Slotted::take(collection, map::SOCKET_PATHS)?,
            resolver_exes: Slotted::take(collection, map::RESOLVER_EXES)?,
            resolvers: Slotted::take(collection, map::RESOLVERS)?,
            tasks: open(collection, map::TASKS)?,
            untracked: open(collection, map::UNTRACKED)?,
            watched: Watched::take(collection)?,
            bindings: open(collection, map::BINDINGS)?,
            bound: open(collection, map::BOUND)?,
            ever: open(collection, map::EVER)?,
            quic_flows: open(collection, map::QUIC_FLOWS)?,
            lost: open(collection, map::LOST)?,
            grants: open(collection, map::GRANTS)?,
            quarantined: open(collection, map::QUARANTINED)?,
            limits: Slotted::take(collection, map::LIMITS)?,
            usages: open(collection, map::USAGES)?,
            rule_hits: open(collection, map::RULE_HITS)?,
            newcomers: open(collection, map::NEWCOMERS)?,
            owners: open(collection, map::SOCKETS)?,
            generation,
            is_first: true,
            grace: Grace::default(),
            known: Known::default(),
        })
    }

    /// Counts generations on from this one, if it is later: sockets remember by which one they were
    /// judged.
    pub(super) fn count_from(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    pub(super) fn install(&mut self, image: &TableImage) -> Result<u64, KernelError> {
        check(image)?;
        self.check_room(image)?;
        self.count_limited(image)?;
        self.grace.end();
        let before = self.generation;
        let generation = before + 1;
        let slot = generation as u32 & 1;
        if let Err(error) = self.write(slot, generation, image) {
            // The slot is not in force; what stays in it is emptied before it is written again.
            self.empty(slot)?;
            return Err(error);
        }
        if self.is_first {
            self.forget_bindings(image)?;
            self.mark_all_bound()?;
            self.is_first = false;
        }
        self.seal(slot, settings::of(generation, image));
        let stored = self.active.set(0, generation, 0);
        stored.map_err(KernelError::map("write", map::ACTIVE))?;
        self.generation = generation;
        // Before the first policy there is none that a program could go on with.
        if before > 0 {
            self.grace.begin();
        }
        Ok(generation)
    }

    fn retire(&mut self) -> Result<(), KernelError> {
        self.grace.end();
        let slot = self.generation as u32 & 1;
        self.empty(slot ^ 1)?;
        self.forget_unlimited(slot)
    }

    /// Bindings were made for the patterns of their policy, and what names they stand for is not
    /// known to another daemon. Where a policy has further patterns, what an address is bound to
    /// may not be all, so nothing is until it is asked for again.
    fn forget_bindings(&mut self, image: &TableImage) -> Result<(), KernelError> {
        let slot = self.generation as u32 & 1;
        let bytes = |key: &LpmKey<Shared<NameKey>>| key.data().0.bytes;
        let known: HashSet<[u8; NAME_KEY_BYTES]> =
            self.names.written(slot).iter().map(bytes).collect();
        if image.names.iter().all(|(name, _)| known.contains(&bytes(&name_key(slot, name)))) {
            return Ok(());
        }
        for (key, _) in read_all(&self.bindings, map::BINDINGS)? {
            removed(self.bindings.remove(&key))
                .map_err(KernelError::map("write", map::BINDINGS))?;
        }
        Ok(())
    }

    /// Marks every address that is bound: an earlier daemon's programs may not have done so.
    pub(super) fn mark_all_bound(&mut self) -> Result<(), KernelError> {
        for (key, _) in read_all(&self.bindings, map::BINDINGS)? {
            self.mark_bound(&key.0.address)?;
        }
        Ok(())
    }

    /// To be called before the address is bound.
    fn mark_bound(&mut self, address: &Address) -> Result<(), KernelError> {
        let stored = self.bound.set(address.mark(), 1, 0);
        stored.map_err(KernelError::map("write", map::BOUND))
    }

    /// To be called before it is, see [`governd_common::table::ever`].
    pub(super) fn will_have_been(&mut self, what: u32) -> Result<(), KernelError> {
        self.ever.set(what, 1, 0).map_err(KernelError::map("write", map::EVER))
    }

    fn check_room(&self, image: &TableImage) -> Result<(), KernelError> {
        self.exes.check_room(image.exes.len())?;
        self.uids.check_room(image.uids.len())?;
        self.cgroups.check_room(image.cgroups.len())?;
        self.subjects.check_room(image.subjects.len() + 1)?;
        self.delegations.check_room(image.delegations.len())?;
        self.parents.check_room(image.parents.len())?;
        self.names.check_room(image.names.len())?;
        self.cidrs.check_room(image.networks.len())?;
        self.decisions.check_room(image.blocks.len())?;
        self.limits.check_room(image.limits.len())?;
        self.socket_paths.check_room(image.local_sockets.len())?;
        self.resolver_exes.check_room(image.resolver_exes.len())?;
        self.resolvers.check_room(image.resolvers.len())
    }

    /// Writes everything, and last the settings that say so.
    fn write(&mut self, slot: u32, generation: u64, image: &TableImage) -> Result<(), KernelError> {
        self.empty(slot)?;
        for (index, subject) in image.selectors.iter().enumerate() {
            let at = slot * SELECTORS_MAX as u32 + index as u32;
            let stored = self.selectors.set(at, *subject, 0);
            stored.map_err(KernelError::map("write", map::SELECTORS))?;
        }
        let exe = |&(device, inode): &_| Shared(ExeKey { slot, device, inode });
        let exes = image.exes.iter();
        let exes = exes.map(|(file, set)| (exe(file), Shared(image.without_scripts(set))));
        self.exes.fill(slot, exes)?;
        self.resolver_exes.fill(slot, image.resolver_exes.iter().map(|file| (exe(file), 1)))?;
        let uids =
            image.uids.iter().map(|(uid, set)| (Shared(UidKey { slot, uid: *uid }), Shared(*set)));
        self.uids.fill(slot, uids)?;
        let cgroups = image.cgroups.iter().map(|(cgroup, set)| {
            (Shared(CgroupKey { slot: u64::from(slot), cgroup: *cgroup }), Shared(*set))
        });
        self.cgroups.fill(slot, cgroups)?;
        let delegations = image.delegations.iter().map(|&((subject, agent), next)| {
            (Shared(DelegationKey { slot, subject, agent }), next)
        });
        self.delegations.fill(slot, delegations)?;
        let parents = image
            .parents
            .iter()
            .map(|(subject, set)| (Shared(SubjectKey { slot, subject: *subject }), Shared(*set)));
        self.parents.fill(slot, parents)?;
        let names = image.names.iter().map(|(name, set)| (name_key(slot, name), *set));
        self.names.fill(slot, names)?;
        let networks = image.networks.iter().map(|(subject, address, prefix, set)| {
            let bits = CidrKey::FIXED_BITS + u32::from(*prefix);
            (LpmKey::new(bits, Shared(CidrKey::new(slot, *subject, *address))), *set)
        });
        self.cidrs.fill(slot, networks)?;
        let blocks = image.blocks.iter().map(|(subject, set, block)| {
            (Shared(DecisionKey { slot, subject: *subject, set: *set }), Shared(*block))
        });
        self.decisions.fill(slot, blocks)?;
        let resolvers = image
            .resolvers
            .iter()
            .map(|address| (Shared(ResolverKey { slot, address: *address }), 1));
        self.resolvers.fill(slot, resolvers)?;
        let sockets: HashSet<_> = image.local_sockets.iter().collect();
        let sockets =
            sockets.into_iter().map(|(subject, socket)| socket_key(slot, *subject, socket));
        self.socket_paths.fill(slot, sockets)?;
        let key = |subject: &u32| Shared(SubjectKey { slot, subject: *subject });
        let limits = image.limits.iter().map(|(subject, limits)| (key(subject), Shared(*limits)));
        self.limits.fill(slot, limits)?;
        let subjects =
            image.subjects.iter().map(|(subject, settings)| (key(subject), Shared(*settings)));
        let canary = SubjectKey { slot, subject: SocketOwner::CANARY };
        let canary = std::iter::once((Shared(canary), Shared(canary::SUBJECT)));
        self.subjects.fill(slot, subjects.chain(canary))?;
        let stored = self.settings.set(slot, Shared(settings::of(generation, image)), 0);
        stored.map_err(KernelError::map("write", map::SETTINGS))
    }

    /// Empties a slot that no program reads. Its settings go first: a program that comes to it
    /// nevertheless finds that it is not whole.
    fn empty(&mut self, slot: u32) -> Result<(), KernelError> {
        let stored = self.settings.set(slot, Shared(Settings::new_zeroed()), 0);
        stored.map_err(KernelError::map("write", map::SETTINGS))?;
        self.exes.empty(slot)?;
        self.uids.empty(slot)?;
        self.cgroups.empty(slot)?;
        self.subjects.empty(slot)?;
        self.limits.empty(slot)?;
        self.delegations.empty(slot)?;
        self.parents.empty(slot)?;
        self.names.empty(slot)?;
        self.cidrs.empty(slot)?;
        self.decisions.empty(slot)?;
        self.socket_paths.empty(slot)?;
        self.resolver_exes.empty(slot)?;
        self.resolvers.empty(slot)
    }
}

impl Kernel {
    /// Puts a policy in force and returns its generation. What began before may still be judged by
    /// the policy before, until [`Kernel::retire`] returns.
    ///
    /// # Errors
    /// If the policy does not fit or contradicts itself, or a table cannot be written; the policy
    /// that was in force stays.
    pub fn install(&mut self, image: &TableImage) -> Result<u64, KernelError> {
        self.tables.install(image)
    }

    /// Takes the policy before out of the tables, as soon as nothing is judged by it any more: some
    /// milliseconds after it was replaced, at most 100 where the kernel has no membarrier. The next
    /// [`Kernel::install`] waits for that in any case.
    ///
    /// # Errors
    /// A table cannot be written.
    pub fn retire(&mut self) -> Result<(), KernelError> {
        self.tables.retire()
    }

    /// Generation in force; 0 before the first policy.
    pub fn generation(&self) -> u64 {
        self.tables.generation
    }

    /// What addresses stand for, as DNS taught it.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn bindings(&self) -> Result<Vec<(BindingKey, Binding)>, KernelError> {
        let all = read_all(&self.tables.bindings, map::BINDINGS)?;
        Ok(all.into_iter().map(|(Shared(key), binding)| (key, binding)).collect())
    }

    /// Replaces bindings, after a policy with other patterns came into force; one without any set
    /// is removed.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn rebind(&mut self, bindings: &[(BindingKey, Binding)]) -> Result<(), KernelError> {
        for (key, binding) in bindings {
            self.tables.mark_bound(&key.address)?;
            let written = if binding.sets.iter().all(|bound| bound.set == 0) {
                removed(self.tables.bindings.remove(&Shared(*key)))
            } else {
                self.tables.bindings.insert(Shared(*key), Shared(*binding), 0)
            };
            written.map_err(KernelError::map("write", map::BINDINGS))?;
        }
        Ok(())
    }

    /// What the programs could not do since they were loaded, for every reason.
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn lost(&self) -> Result<Vec<(Loss, u64)>, KernelError> {
        let mut counts = Vec::with_capacity(Loss::ALL.len());
        for loss in Loss::ALL {
            let per_cpu = self.tables.lost.get(&u32::from(*loss as u8), 0);
            let per_cpu = per_cpu.map_err(KernelError::map("read", map::LOST))?;
            counts.push((*loss, per_cpu.iter().sum()));
        }
        Ok(counts)
    }
}

/// Checks what the maps' own limits do not.
fn check(image: &TableImage) -> Result<(), KernelError> {
    let wrong = |what: String| Err(KernelError::Image(what));
    if image.selectors.len() > SELECTORS_MAX || image.selector_words as usize > SELECTOR_WORDS {
        return wrong(format!("more than {SELECTORS_MAX} selectors"));
    }
    if !image.subjects.iter().any(|(subject, _)| *subject == 0) {
        return wrong("no settings for what is not registered".to_owned());
    }
    if image.names.iter().any(|(name, _)| name.is_empty() || name.len() >= NAME_KEY_BYTES) {
        return wrong("a name that is empty or too long".to_owned());
    }
    let is_too_long = |socket: &LocalSocket| match socket {
        LocalSocket::Path(path) | LocalSocket::Beginning(path) => {
            path.len() > SOCKET_PATH_BYTES_MAX
        }
        LocalSocket::Abstract(name) => name.len() >= SOCKET_PATH_BYTES_MAX,
    };
    if image.local_sockets.iter().any(|(_, socket)| is_too_long(socket)) {
        return wrong("a path of a local socket that is too long".to_owned());
    }
    if image.networks.iter().any(|(_, _, prefix, _)| *prefix > 128) {
        return wrong("a network with a prefix above 128 bits".to_owned());
    }
    Ok(())
}

fn name_key(slot: u32, name: &[u8]) -> LpmKey<Shared<NameKey>> {
    let mut key = NameKey::new_zeroed();
    for (place, byte) in key.bytes.iter_mut().zip([slot as u8].iter().chain(name)) {
        *place = *byte;
    }
    LpmKey::new((1 + name.len() as u32) * 8, Shared(key))
}

/// A path or an abstract name ends where it ends; the beginning of paths does not.
fn socket_key(
    slot: u32,
    subject: u32,
    socket: &LocalSocket,
) -> (LpmKey<Shared<SocketPathKey>>, u32) {
    let mut key = SocketPathKey::new(slot, subject);
    let (path, shift, bytes, kind) = match socket {
        LocalSocket::Path(path) => (path, 0, path.len() + 1, socket_path::WHOLE),
        LocalSocket::Beginning(path) => (path, 0, path.len(), socket_path::BEGINNING),
        LocalSocket::Abstract(name) => (name, 1, name.len() + 1, socket_path::WHOLE),
    };
    for (place, byte) in key.path.iter_mut().skip(shift).zip(path.bytes()) {
        *place = byte;
    }
    if shift == 1 {
        key.abstract_len = bytes as u8;
    }
    (LpmKey::new(SocketPathKey::FIXED_BITS + 8 * bytes as u32, Shared(key)), kind)
}

pub(super) fn open<M>(collection: &mut Collection, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = collection.take_map(name).ok_or(KernelError::Missing(name))?;
    map.try_into().map_err(KernelError::map("open", name))
}

/// Removing what is not there is done already.
pub(super) fn removed(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Copies a map that programs change at the same time. When the key that the walk stands on is
/// removed, the walk begins again.
pub(super) fn read_all<K: aya::Pod, V>(
    map: &HashMap<MapData, K, Shared<V>>,
    name: &'static str,
) -> Result<Vec<(K, V)>, KernelError>
where
    Shared<V>: aya::Pod,
    V: Copy,
{
    let mut attempt = 1;
    loop {
        let read: Result<Vec<(K, V)>, MapError> =
            map.iter().map(|entry| entry.map(|(key, Shared(value))| (key, value))).collect();
        match read {
            Ok(all) => return Ok(all),
            Err(error) if attempt == READS_MAX => {
                return Err(KernelError::map("read", name)(error));
            }
            Err(_) => attempt += 1,
        }
    }
}
