//! Local sockets: who listens behind one might connect in a governed process's place.
//!
//! A container engine, a proxy or a bus does what it is asked over a local socket, as a process of
//! its own. The hook sees the address as it was given, and symbolic links and `..` lead anywhere;
//! so what may be reached is a list of whole addresses, and everything else is refused. A name says
//! nothing where anybody may mount: there no path is listed.

use aya_ebpf::{
    btf_maps::lpm_trie::Key, helpers::generated::bpf_probe_read_kernel, programs::SockAddrContext,
};
use governd_common::{
    decide::Tables as _,
    event::{EventKind, Hook, PathEvent},
    key::SocketPathKey,
    limits::SOCKET_PATH_BYTES_MAX,
    table::{SocketOwner, Subject, settings_flag, socket_path, subject_flag},
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::{self, Wake, count},
    outcome::Outcome,
    subject::{self, Who},
    tables::{EVENTS, SOCKET_PATHS, View, is_quarantined},
    task::{LocalAddress, TaskPointer},
};

/// Decides about a local address, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SockAddrContext) -> i32 {
    let Some(view) = View::current() else {
        return Outcome::Pass.answer();
    };
    let who = subject::current(&view);
    if who.is_lost {
        let enforces = view.has(settings_flag::ENFORCES);
        return if enforces { Outcome::Refuse.answer() } else { Outcome::Pass.answer() };
    }
    if !SocketOwner::is_agent(who.subject) {
        return Outcome::Pass.answer();
    }
    let Some(settings) = view.subject(who.subject) else {
        return Outcome::Pass.answer();
    };
    let is_quarantined = is_quarantined(who.subject);
    if settings.flags & subject_flag::LOCAL_SOCKETS != 0 && !is_quarantined {
        return Outcome::Pass.answer();
    }
    let key = SocketPathKey::new(view.slot, who.subject);
    let mut key = Key::new(size_of::<SocketPathKey>() as u32 * 8, key);
    let len = read(context, &mut key.data);
    let is_known = len != 0 && !is_quarantined && means_something(&key.data);
    if is_known && is_listed_for(&view, who.subject, settings, &mut key) {
        return Outcome::Pass.answer();
    }
    report(&view, &who, &key.data, len, settings);
    if is_quarantined || Mode::from_byte(settings.mode) == Mode::Enforce {
        Outcome::Refuse.answer()
    } else {
        Outcome::Pass.answer()
    }
}

/// Reads the address into the key; 0 if it cannot be read or is no address.
#[inline(always)]
fn read(context: &SockAddrContext, key: &mut SocketPathKey) -> u32 {
    let Some(address) = LocalAddress::of(context.sock_addr.cast_const().cast()) else {
        count(Loss::Read);
        return 0;
    };
    let len = address.path_len();
    if len == 0 || len > SOCKET_PATH_BYTES_MAX as u32 {
        return 0;
    }
    // SAFETY: at most as many bytes as there is room for; the helper checks the kernel's address.
    let read = unsafe { bpf_probe_read_kernel(key.path.as_mut_ptr().cast(), len, address.path()) };
    if read != 0 {
        count(Loss::Read);
        return 0;
    }
    // An abstract name may hold any byte, and ends only with its length.
    if key.path[0] == 0 {
        key.abstract_len = len as u8;
    }
    len
}

/// Whether the name stands for the same socket as it does for who wrote the list. An abstract one
/// belongs to the network namespace, and is no path.
#[inline(always)]
fn means_something(key: &SocketPathKey) -> bool {
    key.path[0] == 0
        || TaskPointer::current().is_where_root_mounts().unwrap_or_else(|| {
            count(Loss::Read);
            false
        })
}

/// Whether every agent that the subject stands for may reach it. Those that are only monitored do
/// not count beside one that is not.
#[inline(always)]
fn is_listed_for(
    view: &View,
    subject: u32,
    settings: &Subject,
    key: &mut Key<SocketPathKey>,
) -> bool {
    // Once for all, or the verifier would look at it for each.
    let climbs = climbs(&key.data);
    for member in settings.members_or(subject) {
        if member == 0 {
            break;
        }
        let Some(own) = view.subject(member) else {
            return false;
        };
        let is_free = own.mode < settings.mode || own.flags & subject_flag::LOCAL_SOCKETS != 0;
        key.data.subject = member.to_be_bytes();
        if !is_free && !is_listed(key, climbs) {
            return false;
        }
    }
    true
}

#[inline(always)]
fn is_listed(key: &Key<SocketPathKey>, climbs: bool) -> bool {
    match SOCKET_PATHS.get(key).copied() {
        Some(socket_path::WHOLE) => true,
        Some(socket_path::BEGINNING) => !climbs,
        _ => false,
    }
}

/// Whether the path leaves a directory that it went into. Without a branch at each byte, for the
/// verifier would follow both ways of each.
#[inline(always)]
fn climbs(key: &SocketPathKey) -> bool {
    let mut found = 0;
    for window in key.path.windows(3) {
        let [first, second, third] = window else { continue };
        let differs = (first ^ b'/') | (second ^ b'.') | (third ^ b'.');
        // Below zero, and so with the highest bit, only where nothing differs.
        found |= u64::from(differs).wrapping_sub(1);
    }
    found >> (u64::BITS - 1) != 0
}

/// In a stack frame of its own, and put together in the ring itself: the stack has no room for a
/// second path. It returns a number for the verifier.
#[inline(never)]
fn report(view: &View, who: &Who, key: &SocketPathKey, len: u32, settings: &Subject) -> u32 {
    let Some(mut entry) = EVENTS.reserve_untyped::<PathEvent>(0) else {
        count(Loss::Ring);
        return 0;
    };
    let event: *mut PathEvent = entry.as_mut_ptr();
    let (reason, mode) = if is_quarantined(who.subject) {
        (Reason::Quarantine, Mode::Enforce as u8)
    } else {
        (Reason::UnixSocket, settings.mode)
    };
    // SAFETY: the entry is of this type and nobody else's until it is submitted; the helper writes
    // as many bytes as both paths have.
    let copied = unsafe {
        (*event).header = emit::header(EventKind::Path, Hook::Unix as u16, view.generation, who);
        (*event).device = 0;
        (*event).rule = settings.default_rule;
        (*event).verdict = Verdict::Deny as u8;
        (*event).reason = reason as u8;
        (*event).mode = mode;
        (*event).reserved = 0;
        (*event).path_len = len;
        (*event).padding = 0;
        bpf_probe_read_kernel(
            (&raw mut (*event).path).cast(),
            SOCKET_PATH_BYTES_MAX as u32,
            key.path.as_ptr().cast(),
        )
    };
    if copied != 0 {
        count(Loss::Read);
    }
    entry.submit(emit::wake_flags(Wake::Now));
    0
}
