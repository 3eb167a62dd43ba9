//! Settings that name programs which the kernel starts by itself.
//!
//! Such a program is no descendant of whoever named it, nor in its cgroup: a process that crashes,
//! or asks for a module, has the kernel do what it may not. As in [`crate::local`], who asks is the
//! entry in the task map.

use core::ptr;

use aya_ebpf::{
    bindings::bpf_sysctl,
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_sysctl_get_name},
    programs::SysctlContext,
};
use governd_common::{
    decide::Tables as _,
    event::{EventHeader, EventKind, Hook, PathEvent, Setting},
    limits::{COMM_BYTES, SOCKET_PATH_BYTES_MAX},
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::{self, Wake, count},
    outcome::{Fault, Outcome},
    subject,
    tables::{View, is_quarantined},
    task::TaskPointer,
};

/// A name below `/proc/sys` as it is compared; the kernel fills the rest with zeros. Longer ones
/// are none of these.
type Words = [u64; 3];

/// Settings by their names (Documentation/admin-guide/sysctl/kernel.rst).
const SETTINGS: [(Words, Setting); 4] = [
    (words(*b"kernel/core_pattern\0\0\0\0\0"), Setting::CorePattern),
    (words(*b"kernel/modprobe\0\0\0\0\0\0\0\0\0"), Setting::Modprobe),
    (words(*b"kernel/hotplug\0\0\0\0\0\0\0\0\0\0"), Setting::Hotplug),
    (words(*b"kernel/poweroff_cmd\0\0\0\0\0"), Setting::PoweroffCmd),
];

const fn words(name: [u8; size_of::<Words>()]) -> Words {
    let [a, b, c] = name.as_chunks::<8>().0 else {
        return [0; 3];
    };
    [u64::from_ne_bytes(*a), u64::from_ne_bytes(*b), u64::from_ne_bytes(*c)]
}

/// Decides about a setting, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge(context: &SysctlContext) -> i32 {
    let sysctl: *mut bpf_sysctl = context.sysctl;
    // SAFETY: the kernel fills the context; this program may read the field.
    if unsafe { ptr::read_volatile(&raw const (*sysctl).write) } == 0 {
        return Outcome::Pass as i32;
    }
    let mut name: Words = [0; 3];
    // SAFETY: the helper writes at most as many bytes as there are.
    let read = unsafe {
        bpf_sysctl_get_name(sysctl, (&raw mut name).cast(), size_of::<Words>() as u64, 0)
    };
    if read <= 0 {
        return Outcome::Pass as i32;
    }
    for (words, setting) in SETTINGS {
        if name == words {
            return judge_setting(setting) as i32;
        }
    }
    Outcome::Pass as i32
}

#[inline(always)]
fn judge_setting(setting: Setting) -> Outcome {
    let Some(view) = View::current() else {
        return Outcome::Pass;
    };
    let Some(tgid) = TaskPointer::current().tgid() else {
        count(Loss::Read);
        return Fault::LostTask(view).outcome();
    };
    let Some(task) = subject::tracked(tgid) else {
        return if subject::is_lost(tgid) {
            Fault::LostTask(view).outcome()
        } else {
            Outcome::Pass
        };
    };
    let Some(settings) = view.subject(task.subject) else {
        return Outcome::Pass;
    };
    let is_quarantined = is_quarantined(task.subject);
    let mode = if is_quarantined { Mode::Enforce } else { Mode::from_byte(settings.mode) };
    let header = EventHeader {
        kind: EventKind::Path as u16,
        hook: Hook::Sysctl as u16,
        tgid,
        // SAFETY: the helper only reads the clock.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        generation: view.generation,
        cgroup: 0,
        uid: 0,
        gid: 0,
        subject: task.subject,
        root: task.root,
        comm: [0; COMM_BYTES],
    };
    let event = PathEvent {
        header,
        device: setting as u32,
        rule: settings.default_rule,
        verdict: Verdict::Deny as u8,
        reason: Reason::Setting as u8,
        mode: mode as u8,
        reserved: 0,
        path_len: 0,
        path: [0; SOCKET_PATH_BYTES_MAX],
        padding: 0,
    };
    emit::event(event, Wake::Now);
    if mode == Mode::Enforce { Outcome::Refuse } else { Outcome::Pass }
}
