//! Who asks: the subject of the current process.
//!
//! Lineage comes first and is sticky. A process that is not tracked is looked up by executable,
//! user and cgroup, where the policy has selectors that its exec could not have answered already.
//! A descendant of a tracked process that found the task map full is lost: it has no subject, and
//! is nobody's to let through.
//!
//! Nearly every process is neither, and a byte says so: it is set before a process comes into
//! either map, and reset when the process ends. It is also set for who is noted.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
        bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
    },
};
use governd_common::{
    key::{BindingKey, CgroupKey, DelegationKey, ExeKey, SubjectKey, UidKey},
    limits::{CGROUP_DEPTH_MAX, PIDS_PER_BLOCK, SELECTORS_MAX},
    table::{
        PidBlock, SelectorSet, SocketOwner, Subject, Task, newcomers, settings_flag, watch_flag,
    },
    verdict::Loss,
};

use crate::{
    emit::count,
    tables::{
        CGROUPS, DELEGATIONS, EXES, NEWCOMERS, PARENTS, RESOLVER_EXES, SELECTORS, SETTINGS, TASKS,
        UIDS, UNTRACKED, View, WATCHED, subject_in,
    },
    task::{self, Executable, TaskPointer, layout},
};

/// A process and what it counts as.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) tgid: u32,
    pub(crate) subject: u32,
    /// tgid at which the subject began, or 0.
    pub(crate) root: u32,
    /// True for a descendant of a tracked process that could not be tracked.
    pub(crate) is_lost: bool,
}

impl Who {
    #[inline(always)]
    pub(crate) fn unregistered(tgid: u32) -> Self {
        Self { tgid, subject: 0, root: 0, is_lost: false }
    }
}

#[inline(always)]
pub(crate) fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Whether a process may be tracked or lost; most are neither, and nothing more is to be looked up.
#[inline(always)]
pub(crate) fn is_watched(tgid: u32) -> bool {
    // SAFETY: the index is masked to the block.
    WATCHED.get_ptr_mut(block_of(tgid)).is_none_or(|block| unsafe { *mark_in(block, tgid) } != 0)
}

/// Whether a process is of an agent that nobody registered, as user space says.
#[inline(always)]
pub(crate) fn is_noted(tgid: u32) -> bool {
    marks_of(tgid) & watch_flag::NOTED != 0
}

#[inline(always)]
fn marks_of(tgid: u32) -> u8 {
    // SAFETY: the index is masked to the block.
    WATCHED.get_ptr_mut(block_of(tgid)).map_or(0, |block| unsafe { *mark_in(block, tgid) })
}

#[inline(always)]
fn watch(tgid: u32, marks: u8) {
    if let Some(block) = WATCHED.get_ptr_mut(block_of(tgid)) {
        // SAFETY: the index is masked to the block; one byte belongs to one process.
        unsafe { ptr::write_volatile(mark_in(block, tgid), marks) };
    }
}

/// The task map's entry of a process.
#[inline(always)]
pub(crate) fn tracked(tgid: u32) -> Option<Task> {
    if is_watched(tgid) { entry(tgid) } else { None }
}

/// The same, whatever the byte says: an earlier daemon's programs may have had none.
#[inline(always)]
pub(crate) fn entry(tgid: u32) -> Option<Task> {
    // SAFETY: copied at once. An entry goes when its process ends, which the current one has not.
    unsafe { TASKS.get(tgid) }.copied()
}

/// tgid of whose doing it is what the current process does: a tracked process that traces it, or
/// itself; 0 for a CPU that has nothing to do, and if it cannot be read.
#[inline(always)]
pub(crate) fn doer() -> u32 {
    task::untraced_tgid().unwrap_or_else(|| traced_doer())
}

/// The same, by copies. Global, for the verifier to check it once, and for a stack frame of its
/// own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn traced_doer() -> u32 {
    let current = TaskPointer::current();
    match current.tracer().and_then(TaskPointer::tgid) {
        Some(tracer) if TASKS.get_ptr(tracer).is_some() => tracer,
        _ => current.tgid().unwrap_or_else(|| {
            count(Loss::Read);
            0
        }),
    }
}

/// The current process, under a policy.
#[inline(always)]
pub(crate) fn current(view: &View) -> Who {
    current_with_settings(view).0
}

/// The same, with the settings of its subject where they were looked up for it.
#[inline(always)]
pub(crate) fn current_with_settings(view: &View) -> (Who, Option<&'static Subject>) {
    let untraced = task::untraced_tgid();
    let tgid = untraced.unwrap_or_else(current_tgid);
    let doer = untraced.unwrap_or_else(|| traced_doer());
    if doer != tgid || is_watched(doer) {
        if let Some(task) = entry(doer) {
            // A subject that the policy no longer has is not registered any more.
            let settings = subject_in(view.slot, task.subject);
            if settings.is_some() {
                let Task { subject, root, .. } = task;
                return (Who { tgid, subject, root, is_lost: false }, settings);
            }
        } else if is_lost(tgid) {
            return (Who { is_lost: true, ..Who::unregistered(tgid) }, None);
        }
    }
    if !view.has(settings_flag::CLASSIFY_AT_CONNECT) {
        return (Who::unregistered(tgid), None);
    }
    (classify(view, tgid, TaskPointer::current().executable()), None)
}

/// Looks a process up by its executable, user and cgroup, and tracks it if it is an agent.
#[inline(always)]
pub(crate) fn classify(view: &View, tgid: u32, executable: Option<Executable>) -> Who {
    let found = executable.unwrap_or(Executable::NONE);
    let mut subject = select(view.slot, 0, found.device, found.inode);
    if subject == 0 && view.has(settings_flag::HAS_UNCLASSIFIED) {
        subject = newcomer();
    }
    if !SocketOwner::is_agent(subject) {
        // Nobody's for now: nothing may stay of it when user space has said who it is.
        return Who { subject, ..Who::unregistered(tgid) };
    }
    let who = Who { tgid, subject, root: tgid, is_lost: false };
    if track(tgid, subject, tgid).is_err() {
        mark_lost(tgid, true);
    }
    who
}

/// The subject of the current process if it is in a cgroup that user space has not looked at, which
/// then hears of it, or 0. Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn newcomer() -> u32 {
    // SAFETY: the helper only reads the current task's cgroup.
    let own = unsafe { bpf_get_current_cgroup_id() };
    let places = (NEWCOMERS.get_ptr_mut(newcomers::SETTLED), NEWCOMERS.get_ptr_mut(newcomers::MET));
    let (Some(settled), Some(met)) = places else {
        return SocketOwner::UNCLASSIFIED;
    };
    // SAFETY: an array's elements stay where they are; each is replaced by one store, here and by
    // the daemon.
    unsafe {
        if own <= ptr::read_volatile(settled) {
            return 0;
        }
        // Of two that come at once the smaller may win: the next one to come says the larger again.
        if own > ptr::read_volatile(met) {
            ptr::write_volatile(met, own);
        }
    }
    SocketOwner::UNCLASSIFIED
}

/// Finds what a process of a subject is that runs an executable from now on: another subject where
/// that is an agent of its own. Where there is no entry, nothing changes.
#[inline(always)]
pub(crate) fn delegate(view: &View, who: &mut Who, Executable { device, inode }: Executable) {
    if !view.has(settings_flag::HAS_DELEGATIONS) {
        return;
    }
    let next = delegated(view.slot, who.subject, device, inode);
    if next != 0 && track(who.tgid, next, who.tgid).is_ok() {
        (who.subject, who.root) = (next, who.tgid);
    }
}

/// Global, for the verifier to check it once; 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn delegated(slot: u32, subject: u32, device: u32, inode: u64) -> u32 {
    let agent = select(slot, subject, device, inode);
    // SAFETY: entries of a slot in force are neither changed nor removed.
    unsafe { DELEGATIONS.get(DelegationKey { slot, subject, agent }) }.copied().unwrap_or(0)
}

/// Enters a process into the task map.
#[inline(always)]
pub(crate) fn track(tgid: u32, subject: u32, root: u32) -> Result<(), i32> {
    watch(tgid, watch_flag::TRACKED);
    // SAFETY: the helper only reads the clock.
    let since_ns = unsafe { bpf_ktime_get_boot_ns() };
    let tracked = TASKS.insert(tgid, Task { subject, root, since_ns }, BPF_ANY as u64);
    if tracked.is_err() {
        count(Loss::Tasks);
    }
    tracked
}

/// Where the marks of a process are; ids that cannot exist have none.
#[inline(always)]
const fn block_of(tgid: u32) -> u32 {
    tgid / PIDS_PER_BLOCK as u32
}

#[inline(always)]
fn mark_in(block: *mut PidBlock, tgid: u32) -> *mut u8 {
    block.cast::<u8>().wrapping_add(tgid as usize & (PIDS_PER_BLOCK - 1))
}

#[inline(always)]
pub(crate) fn is_lost(tgid: u32) -> bool {
    // SAFETY: the index is masked to the block.
    UNTRACKED.get_ptr_mut(block_of(tgid)).is_some_and(|block| unsafe { *mark_in(block, tgid) } != 0)
}

#[inline(always)]
pub(crate) fn mark_lost(tgid: u32, lost: bool) {
    if lost {
        watch(tgid, watch_flag::TRACKED);
    }
    if let Some(block) = UNTRACKED.get_ptr_mut(block_of(tgid)) {
        // SAFETY: the index is masked to the block; one byte belongs to one process.
        unsafe { *mark_in(block, tgid) = u8::from(lost) };
    }
}

/// A process that is neither tracked nor lost: one that ends.
#[inline(always)]
pub(crate) fn unwatch(tgid: u32) {
    mark_lost(tgid, false);
    watch(tgid, 0);
}

/// The same of one that begins, and is noted where its parent is.
#[inline(always)]
pub(crate) fn begin(tgid: u32, parent: u32) {
    mark_lost(tgid, false);
    watch(tgid, marks_of(parent) & watch_flag::NOTED);
}

/// For whom the answer to a query of the subject counts: for the whole host where the current
/// process resolves names for it. A descendant of an agent never does, whatever it runs: its
/// subject stays. Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn learner(slot: u32, subject: u32) -> u32 {
    let task = TaskPointer::current();
    let (Some(tgid), Some(Executable { device, inode })) = (task.tgid(), task.executable()) else {
        return subject;
    };
    // The socket may have been an ordinary program's before an agent got it.
    if subject != 0 || is_lost(tgid) || TASKS.get_ptr(tgid).is_some() {
        return subject;
    }
    let is_resolver = RESOLVER_EXES.get_ptr(ExeKey { slot, device, inode }).is_some();
    if is_resolver { BindingKey::HOST } else { subject }
}

/// The agent of the first selector that executable, user, cgroup and the process's subject have in
/// common, or 0. Global, for the verifier to check it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn select(slot: u32, current: u32, device: u32, inode: u64) -> u32 {
    // SAFETY: a slot is written only while it is not in force, here and below.
    let Some(settings) = SETTINGS.get_ptr(slot).map(|settings| unsafe { &*settings }) else {
        return 0;
    };
    // Before anything else is looked up: of each that is found or not the verifier would follow the
    // way up by itself.
    let mut cgroup = settings.any_cgroup;
    if settings.flags & settings_flag::HAS_CGROUPS != 0 {
        add_cgroups(slot, &mut cgroup);
    }
    // SAFETY: see above.
    let by_exe = unsafe { EXES.get(ExeKey { slot, device, inode }) };
    let uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: see above.
    let by_uid = unsafe { UIDS.get(UidKey { slot, uid }) };
    let exe = by_exe.unwrap_or(&settings.any_exe);
    let user = by_uid.unwrap_or(&settings.any_uid);
    // A table that is not whole makes nobody an agent's child.
    let parents = if settings.flags & settings_flag::HAS_PARENTS == 0 {
        None
    } else {
        match started_by(slot, current) {
            Some(parents) => Some(parents),
            None => return 0,
        }
    };
    let words = exe.words.iter().zip(&user.words).zip(&cgroup.words);
    for (word, ((exe, user), cgroup)) in words.enumerate() {
        if word as u32 >= settings.selector_words {
            break;
        }
        let started = parents.and_then(|parents| parents.words.get(word)).copied();
        let bits = exe & user & cgroup & started.unwrap_or(u64::MAX);
        if bits != 0 {
            return selector_subject(slot, word as u32 * 64 + bits.trailing_zeros());
        }
    }
    0
}

/// The selectors for what a subject starts, those for what anybody starts among them.
#[inline(always)]
pub(crate) fn started_by(slot: u32, subject: u32) -> Option<&'static SelectorSet> {
    // SAFETY: entries of a slot in force are neither changed nor removed.
    let own = unsafe { PARENTS.get(SubjectKey { slot, subject }) };
    if own.is_some() {
        return own;
    }
    // SAFETY: as above.
    unsafe { PARENTS.get(SubjectKey { slot, subject: 0 }) }
}

#[inline(always)]
pub(crate) fn selector_subject(slot: u32, selector: u32) -> u32 {
    SELECTORS.get(slot * SELECTORS_MAX as u32 + selector).copied().unwrap_or(0)
}

/// Adds the selectors of the current cgroup and of those above it: a cgroup made below a governed
/// one does not escape.
#[inline(always)]
fn add_cgroups(slot: u32, set: &mut SelectorSet) {
    // SAFETY: the helper only reads the current task's cgroup.
    let own = unsafe { bpf_get_current_cgroup_id() };
    add_cgroup(slot, own, set);
    for level in 0..CGROUP_DEPTH_MAX {
        let ancestor = ancestor(level as u32);
        if ancestor == 0 || ancestor == own {
            return;
        }
        add_cgroup(slot, ancestor, set);
    }
}

/// Id of the cgroup at a level above the current one, or of that one; 0 below it.
#[inline(always)]
fn ancestor(level: u32) -> u64 {
    if layout!(cgroup_ancestor_ids) != 0 {
        return TaskPointer::current().ancestor(level).unwrap_or(0);
    }
    // SAFETY: the helper only reads the current task's cgroup.
    unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) }
}

#[inline(always)]
fn add_cgroup(slot: u32, cgroup: u64, set: &mut SelectorSet) {
    // SAFETY: entries of a slot in force are neither changed nor removed.
    let Some(found) = (unsafe { CGROUPS.get(CgroupKey { slot: u64::from(slot), cgroup }) }) else {
        return;
    };
    for (word, more) in set.words.iter_mut().zip(&found.words) {
        *word |= more;
    }
}
