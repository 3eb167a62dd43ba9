//! What an enforced subject that is root would do to governd: end, stop or trace the daemon, or
//! take programs and tables from the kernel.
//!
//! The kernel asks these programs only where BPF is among its security modules; elsewhere the same
//! acts are found, and not refused. As in [`crate::local`], who acts is the entry in the task map.

use core::{ffi::c_void, ptr};

use aya_ebpf::{Global, programs::LsmContext};
use governd_common::{
    decide::Tables as _,
    event::{ActOnDaemon, EventKind, Hook, PathEvent},
    limits::SOCKET_PATH_BYTES_MAX,
    table::settings_flag,
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::{self, Wake, count},
    subject::{self, Who},
    tables::{View, is_quarantined},
    task::TaskPointer,
};

/// tgid of the daemon that loaded the programs.
#[unsafe(no_mangle)]
pub(crate) static DAEMON: Global<u32> = Global::new(0);

/// What a program of this kind returns to let the kernel go on.
const PERMIT: i32 = 0;
/// `EPERM`, as security modules refuse.
const REFUSE: i64 = -1;

/// `bpf(2)`: whoever may call it can take governd's programs off and write its tables, and load
/// programs that change packets after they were judged.
#[inline(always)]
pub(crate) fn judge_bpf() -> i32 {
    judge(ActOnDaemon::Bpf)
}

/// `kill(2)` and its relatives; signal 0 only asks whether the process is there.
#[inline(always)]
pub(crate) fn judge_kill(context: &LsmContext) -> i32 {
    let signal: i32 = context.arg(2);
    if signal == 0 || !is_daemon(context) { PERMIT } else { judge(ActOnDaemon::Signal) }
}

/// `ptrace(2)`, and what needs the same right: a process's memory, descriptors and environment.
#[inline(always)]
pub(crate) fn judge_ptrace(context: &LsmContext) -> i32 {
    if is_daemon(context) { judge(ActOnDaemon::Trace) } else { PERMIT }
}

/// Whether the hook is about the daemon, which its first argument says.
#[inline(always)]
fn is_daemon(context: &LsmContext) -> bool {
    let target = TaskPointer::new(context.arg::<*const c_void>(0));
    let tgid = target.tgid();
    if tgid.is_none() {
        count(Loss::Read);
    }
    tgid.is_none_or(|tgid| tgid == DAEMON.load())
}

#[inline(always)]
fn judge(act: ActOnDaemon) -> i32 {
    let Some(view) = View::current() else {
        return PERMIT;
    };
    let tgid = subject::current_tgid();
    let Some(task) = subject::tracked(subject::doer()) else {
        let is_refused = subject::is_lost(tgid) && view.has(settings_flag::ENFORCES);
        return if is_refused { refuse() } else { PERMIT };
    };
    let Some(settings) = view.subject(task.subject) else {
        return PERMIT;
    };
    let is_quarantined = is_quarantined(task.subject);
    let mode = if is_quarantined { Mode::Enforce } else { Mode::from_byte(settings.mode) };
    let who = Who { tgid, subject: task.subject, root: task.root, is_lost: false };
    let event = PathEvent {
        header: emit::header(EventKind::Path, Hook::Lsm as u16, view.generation, &who),
        device: act as u32,
        rule: settings.default_rule,
        verdict: Verdict::Deny as u8,
        reason: Reason::SelfProtection as u8,
        mode: mode as u8,
        reserved: 0,
        path_len: 0,
        path: [0; SOCKET_PATH_BYTES_MAX],
        padding: 0,
    };
    emit::event(event, Wake::Now);
    if mode == Mode::Enforce { refuse() } else { PERMIT }
}

/// The value is read from memory, or the compiler counts it out of the condition, and the verifier
/// (since Linux 6.12) does not see that it is an error.
#[inline(always)]
fn refuse() -> i32 {
    let value = REFUSE;
    // SAFETY: the variable is whole and outlives the read.
    unsafe { ptr::read_volatile(&raw const value) as i32 }
}
