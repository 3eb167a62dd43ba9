//! Lineage: fork, exec and exit keep the task map.
//!
//! A child is tracked before it can run, in its parent's context; an exec that makes somebody of a
//! process does so before the new program's first instruction.

use core::{ffi::c_void, mem::offset_of};

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user},
    programs::RawTracePointContext,
};
use governd_common::{
    event::{EventKind, ExecEvent, ExitEvent, ForkEvent},
    limits::{EXEC_ARGS_BYTES_MAX, EXEC_PATH_BYTES_MAX},
    table::{SocketOwner, settings_flag},
    verdict::Loss,
};

use crate::{
    emit::{self, Wake, count},
    subject::{self, Who},
    tables::{EXEC_SCRATCH, TASKS, View},
    task::{Binprm, Executable, TaskPointer},
};

/// Memory in which `process_exec` composes its event; too large for the stack. Tracepoints run
/// with preemption off and do not nest, so one per CPU is enough.
#[repr(C)]
pub(crate) struct ExecScratch {
    event: ExecEvent,
}

/// `sched_process_fork(parent, child)`: the child exists and has not run.
#[inline(always)]
pub(crate) fn fork(context: &RawTracePointContext) {
    let child = TaskPointer::new(context.arg::<*const c_void>(1));
    let (Some(child_pid), Some(child_tgid)) = (child.pid(), child.tgid()) else {
        count(Loss::Read);
        return;
    };
    if child_pid != child_tgid {
        return;
    }
    // The task that forks is the current one, also where the child gets another parent
    // (CLONE_PARENT).
    let tgid = subject::current_tgid();
    let Some(task) = subject::entry(tgid) else {
        // What an earlier process with this id left behind, while no program ran, is not its own.
        if subject::entry(child_tgid).is_some() {
            forget(child_tgid);
        }
        if subject::is_lost(tgid) {
            subject::mark_lost(child_tgid, true);
        } else {
            subject::begin(child_tgid, tgid);
        }
        return;
    };
    let is_lost = subject::track(child_tgid, task.subject, task.root).is_err();
    subject::mark_lost(child_tgid, is_lost);
    let generation = View::current().map_or(0, |view| view.generation);
    let who = Who { tgid, subject: task.subject, root: task.root, is_lost: false };
    let header = emit::header(EventKind::Fork, 0, generation, &who);
    emit::event(ForkEvent { header, child: child_tgid, reserved: 0 }, Wake::OnTimer);
}

/// `sched_process_exec(task, old_pid, bprm)`: the new program is in place and has not run.
#[inline(always)]
pub(crate) fn exec(context: &RawTracePointContext) {
    let task = TaskPointer::new(context.arg::<*const c_void>(0));
    let binprm = Binprm::new(context.arg::<*const c_void>(2));
    let executable = match binprm.executable() {
        Some(executable) => executable,
        None => {
            count(Loss::Read);
            Executable::NONE
        }
    };
    let tgid = subject::current_tgid();
    // No `Option` is carried on from here: of one that is `None` the compiler may save the rest to
    // the stack, which verifiers up to Linux 6.12 refuse as a read of what was never written.
    let Some(view) = View::current() else {
        // Without a policy nobody becomes somebody, and who was somebody stays it.
        if let Some(tracked) = subject::entry(tgid) {
            let who = Who { tgid, subject: tracked.subject, root: tracked.root, is_lost: false };
            report_exec(task, binprm, executable, 0, &who);
        }
        return;
    };
    let who = match subject::entry(tgid) {
        Some(task) => {
            let mut who = Who { tgid, subject: task.subject, root: task.root, is_lost: false };
            subject::delegate(&view, &mut who, executable);
            who
        }
        None if subject::is_lost(tgid) => Who { is_lost: true, ..Who::unregistered(tgid) },
        None => subject::classify(&view, tgid, Some(executable)),
    };
    // Who is unclassified is so at each connection anew.
    let who =
        Who { subject: if SocketOwner::is_agent(who.subject) { who.subject } else { 0 }, ..who };
    if who.subject != 0 || view.has(settings_flag::REPORT_ALL_EXECS) {
        report_exec(task, binprm, executable, view.generation, &who);
    }
}

#[inline(always)]
fn report_exec(
    task: TaskPointer,
    binprm: Binprm,
    executable: Executable,
    generation: u64,
    who: &Who,
) {
    let Some(scratch) = EXEC_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's memory, and nothing else uses it before the program ends.
    let event = unsafe { &mut (*scratch).event };
    event.header = emit::header(EventKind::Exec, 0, generation, who);
    event.parent = task.parent().and_then(TaskPointer::tgid).unwrap_or(0);
    event.device = executable.device;
    event.inode = executable.inode;
    event.path_len = read_path(binprm, &mut event.path);
    event.args_len = read_arguments(task, &mut event.args);
    let args_len = u64::from(event.args_len & ARGS_MASK_WIDE);
    let args_len = if args_len > EXEC_ARGS_BYTES_MAX as u64 { 0 } else { args_len };
    let len = offset_of!(ExecEvent, args) as u64 + args_len;
    emit::bytes(core::ptr::from_ref(event).cast(), len, Wake::OnTimer);
}

/// A mask that keeps every length up to and including the maximum.
const ARGS_MASK_WIDE: u32 = EXEC_ARGS_BYTES_MAX as u32 * 2 - 1;

#[inline(always)]
fn read_path(binprm: Binprm, path: &mut [u8; EXEC_PATH_BYTES_MAX]) -> u32 {
    let Some(from) = binprm.path() else {
        count(Loss::Read);
        return 0;
    };
    // SAFETY: the helper checks the address and writes at most the size of the buffer.
    let read = unsafe {
        bpf_probe_read_kernel_str(path.as_mut_ptr().cast(), EXEC_PATH_BYTES_MAX as u32, from)
    };
    // The helper counts the NUL that it ends with.
    if read > 0 && read <= EXEC_PATH_BYTES_MAX as i64 { read as u32 - 1 } else { 0 }
}

#[inline(always)]
fn read_arguments(task: TaskPointer, args: &mut [u8; EXEC_ARGS_BYTES_MAX]) -> u32 {
    let Some((start, end)) = task.arguments() else {
        count(Loss::Read);
        return 0;
    };
    let len = end.wrapping_sub(start);
    let len =
        if len > EXEC_ARGS_BYTES_MAX as u64 { EXEC_ARGS_BYTES_MAX as u32 } else { len as u32 };
    // SAFETY: the helper checks the address and writes at most `len` bytes.
    let result = unsafe { bpf_probe_read_user(args.as_mut_ptr().cast(), len, start as *const _) };
    if result == 0 { len } else { 0 }
}

/// `sched_process_exit(task)`: a thread ends; with the last one, the process.
#[inline(always)]
pub(crate) fn exit(context: &RawTracePointContext) {
    let tgid = subject::current_tgid();
    let task = TaskPointer::new(context.arg::<*const c_void>(0));
    let is_last = match task.live_threads() {
        Some(live) => live == 0,
        None => {
            count(Loss::Read);
            false
        }
    };
    if !is_last {
        return;
    }
    let Some(task) = subject::entry(tgid) else {
        subject::unwatch(tgid);
        return;
    };
    forget(tgid);
    subject::unwatch(tgid);
    let generation = View::current().map_or(0, |view| view.generation);
    let who = Who { tgid, subject: task.subject, root: task.root, is_lost: false };
    let header = emit::header(EventKind::Exit, 0, generation, &who);
    emit::event(ExitEvent { header }, Wake::OnTimer);
}

/// Removes a process that was in the task map.
#[inline(always)]
fn forget(tgid: u32) {
    // ENOENT: another thread of the process, which ended at the same time, was first.
    if let Err(error) = TASKS.remove(tgid)
        && error != -ENOENT
    {
        count(Loss::Tasks);
    }
}

const ENOENT: i32 = 2;
