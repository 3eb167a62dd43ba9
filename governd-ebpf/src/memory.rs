//! Memory of other processes that a governed one writes.
//!
//! Who may trace a process may write its memory as well: by process_vm_writev(2), by /proc/PID/mem,
//! by ptrace(2), also without its stopping. What it then does is the writer's doing, and no hook of
//! a connection tells that. But the kernel takes the lock of the memory first, and says so. There
//! the process becomes the writer's subject, before the first byte is written, and for good.
//!
//! The same lock is taken to read another's memory, as `ps` does: only system calls that may write
//! are looked at. The program runs for every such lock on the host, nearly all of which are of the
//! process's own memory.

use core::ffi::c_void;

use aya_ebpf::programs::RawTracePointContext;
use governd_common::{
    event::{EventKind, InfluenceEvent},
    verdict::Loss,
};

use crate::{
    asking::header,
    emit::{self, Wake, count},
    subject,
    tables::View,
    task::{TaskPointer, current_call, current_memory},
};

/// Numbers of system calls by which memory of another process may be written, in the tables of
/// x86-64 and of its 32-bit programs. On other architectures nothing is judged, see `mm_owner`.
const WRITING: [u64; 30] = [
    1, 16, 18, 20, 40, 101, 275, 278, 296, 311, 326, 328, 426, // write to io_uring_enter
    4, 26, 54, 146, 181, 187, 239, 313, 316, 334, 348, 377,
    379, // the same of 32-bit programs
    514, 516, 521, 540, // and of those with 32-bit pointers
];
/// Marks the numbers of programs with 32-bit pointers (`__X32_SYSCALL_BIT`).
const X32: u64 = 0x4000_0000;
/// The first process of the host, which would make everything that it starts the agent's.
const INIT: u32 = 1;
/// No number: what io_uring does in its own workers.
const WORKER: u64 = u64::MAX;

/// `mmap_lock_start_locking(mm)`: somebody is about to take the lock of a process's memory.
#[inline(always)]
pub(crate) fn judge(context: &RawTracePointContext) {
    let memory = context.arg::<*const c_void>(0);
    if current_memory() == memory {
        return;
    }
    let tgid = subject::current_tgid();
    let Some(writer) = subject::tracked(tgid) else {
        return;
    };
    let Some(call) = current_call() else {
        count(Loss::Read);
        return;
    };
    if call != WORKER && !WRITING.contains(&(call & !X32)) {
        return;
    }
    let Some(target) = TaskPointer::of_memory(memory).and_then(TaskPointer::tgid) else {
        return;
    };
    // An agent's own descendants are its anyway, and a debugger may do what it likes with them.
    let is_own = subject::tracked(target).is_some_and(|task| task.subject == writer.subject);
    if target == 0 || target == tgid || is_own {
        return;
    }
    if target != INIT {
        let is_lost = subject::track(target, writer.subject, writer.root).is_err();
        subject::mark_lost(target, is_lost);
    }
    let generation = View::current().map_or(0, |view| view.generation);
    let header = header(EventKind::Influence, 0, generation, tgid, &writer);
    emit::event(InfluenceEvent { header, target, reserved: 0 }, Wake::Now);
}
