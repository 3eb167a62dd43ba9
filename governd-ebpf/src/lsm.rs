//! What an enforced subject that is root would do to governd: end, stop or trace the daemon, or
//! take programs and tables from the kernel.
//!
//! The kernel asks these programs only where BPF is among its security modules; elsewhere the same
//! acts are found, and not refused. As in [`crate::asking`], who acts is the entry in the task map.

use core::{ffi::c_void, ptr};

use aya_ebpf::{Global, programs::LsmContext};
use governd_common::{
    event::{ActOnDaemon, Hook},
    verdict::{Loss, Reason},
};

use crate::{
    asking::{Asking, NOBODY},
    emit::count,
    outcome::Outcome,
    subject,
    tables::View,
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
    let doer = Some(subject::doer()).filter(|&tgid| tgid != 0);
    let outcome = match Asking::of(&view, doer, NOBODY) {
        Ok(asking) => {
            asking.report_number(Hook::Lsm, act as u32, Reason::SelfProtection);
            asking.outcome()
        }
        Err(outcome) => outcome,
    };
    if outcome == Outcome::Refuse { refuse() } else { PERMIT }
}

/// The value is read from memory, or the compiler counts it out of the condition, and the verifier
/// (since Linux 6.12) does not see that it is an error.
#[inline(always)]
fn refuse() -> i32 {
    let value = REFUSE;
    // SAFETY: the variable is whole and outlives the read.
    unsafe { ptr::read_volatile(&raw const value) as i32 }
}
