//! Events into the ring, and the counters of what did not get there.
//!
//! Waking the reader costs more than the rest of a hook. Denials wake it, and so does a ring that
//! fills. Everything else waits for the reader's timer, unless the reader sleeps: then the kernel
//! wakes it, because it finds that it waits for this very event.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP},
    helpers::{bpf_ktime_get_boot_ns, bpf_ringbuf_output, bpf_ringbuf_query},
};
use governd_common::{
    event::{EventHeader, EventKind, InitialEvent},
    limits::RING_BYTES,
    verdict::Loss,
};

use crate::{
    caller::Caller,
    subject::Who,
    tables::{EVENTS, LOST},
};

/// Waiting bytes from which on the reader is woken whatever the event.
const WAKE_BYTES: u64 = RING_BYTES as u64 / 4;
/// From there on it is woken by events that pass a multiple of this, and not by each: a wake
/// interrupts the processor, which takes longer than everything else that is done for an event.
const WAKE_STEP_BYTES: u64 = RING_BYTES as u64 / 32;
/// How far behind such a multiple an event has passed it; more than the largest event.
const WAKE_WINDOW_BYTES: u64 = WAKE_STEP_BYTES / 32;
const _: () = assert!(size_of::<InitialEvent>() < WAKE_WINDOW_BYTES as usize);

/// Whether the reader is to be woken for an event.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Wake {
    Now,
    /// By its timer, or if it sleeps.
    OnTimer,
}

/// Counts what could not be done.
#[inline(always)]
pub(crate) fn count(loss: Loss) {
    if let Some(counter) = LOST.get_ptr_mut(loss as u32) {
        // SAFETY: the counter belongs to this CPU; a program that interrupts this one may cost a
        // count, and no more.
        unsafe { *counter += 1 };
    }
}

/// The part that every event begins with, for the current task.
#[inline(always)]
pub(crate) fn header(kind: EventKind, hook: u16, generation: u64, who: &Who) -> EventHeader {
    let Caller { uid, gid, cgroup, comm } = Caller::current();
    EventHeader {
        kind: kind as u16,
        hook,
        tgid: who.tgid,
        // SAFETY: the helper only reads the clock.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        generation,
        cgroup,
        uid,
        gid,
        subject: who.subject,
        root: who.root,
        comm,
    }
}

/// Writes an event of a fixed size.
#[inline(always)]
pub(crate) fn event<E: 'static>(event: E, wake: Wake) {
    let Some(mut entry) = EVENTS.reserve_untyped::<E>(0) else {
        count(Loss::Ring);
        return;
    };
    entry.write(event);
    entry.submit(wake_flags(wake));
}

/// Writes the first `len` bytes of an event; the verifier wants to see that they are there.
#[inline(always)]
pub(crate) fn bytes(start: *const c_void, len: u64, wake: Wake) {
    let ring = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    // SAFETY: the verifier checks that `start` points to at least `len` bytes.
    if unsafe { bpf_ringbuf_output(ring, start.cast_mut(), len, wake_flags(wake)) } != 0 {
        count(Loss::Ring);
    }
}

#[inline(always)]
pub(crate) fn wake_flags(wake: Wake) -> u64 {
    let ring = core::ptr::from_ref(&EVENTS).cast_mut().cast();
    let is_filling = || {
        // SAFETY: the helper only reads the ring's positions.
        let waiting = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
        waiting > WAKE_BYTES && waiting % WAKE_STEP_BYTES < WAKE_WINDOW_BYTES
    };
    if wake == Wake::Now || is_filling() { u64::from(BPF_RB_FORCE_WAKEUP) } else { 0 }
}
