//! Settings that name programs which the kernel starts by itself.
//!
//! Such a program is no descendant of whoever named it, nor in its cgroup: a process that crashes,
//! or asks for a module, has the kernel do what it may not.

use core::ptr;

use aya_ebpf::{
    bindings::bpf_sysctl, helpers::generated::bpf_sysctl_get_name, programs::SysctlContext,
};
use governd_common::{
    event::{Hook, Setting},
    verdict::Reason,
};

use crate::{
    asking::{Asking, NOBODY},
    outcome::Outcome,
    tables::View,
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
    match Asking::of(&view, TaskPointer::current().tgid(), NOBODY) {
        Ok(asking) => {
            asking.report_number(Hook::Sysctl, setting as u32, Reason::Setting);
            asking.outcome()
        }
        Err(outcome) => outcome,
    }
}
