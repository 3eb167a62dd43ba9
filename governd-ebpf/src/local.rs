//! What is on this host and would send in a process's place: devices that packets leave by.
//!
//! A packet that is written into a tunnel's device is forwarded like one from another host, and
//! belongs to no socket; so governed processes do not get the device. Programs of this kind have
//! few helpers on older kernels: who asks is only the entry in the task map.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, programs::DeviceContext};
use governd_common::{
    decide::Tables as _,
    event::{EventHeader, EventKind, Hook, PathEvent},
    limits::{COMM_BYTES, SOCKET_PATH_BYTES_MAX},
    table::subject_flag,
    verdict::{Loss, Mode, Reason, Verdict},
};

use crate::{
    emit::{self, Wake, count},
    outcome::{Fault, Outcome},
    subject,
    tables::{View, is_quarantined},
    task::TaskPointer,
};

/// `BPF_DEVCG_DEV_CHAR`, in the lower half of the access (include/uapi/linux/bpf.h).
const CHARACTER_DEVICE: u32 = 2;
/// Devices that are network interfaces to who holds them, as major and minor numbers
/// (Documentation/admin-guide/devices.txt): tun, vhost-net, vhost-vsock and ppp.
const INTERFACES: [(u32, u32); 4] = [(10, 200), (10, 238), (10, 241), (108, 0)];
const MINOR_BITS: u32 = 20;

/// Decides about a device, and gives the program's return value.
#[inline(always)]
pub(crate) fn judge_device(context: &DeviceContext) -> i32 {
    // SAFETY: the kernel fills the context; these programs may read the fields.
    let (access, major, minor) = unsafe {
        let device = context.device;
        ((*device).access_type, (*device).major, (*device).minor)
    };
    if access & 0xffff != CHARACTER_DEVICE || !INTERFACES.contains(&(major, minor)) {
        return Outcome::Pass as i32;
    }
    let Some(view) = View::current() else {
        return Outcome::Pass as i32;
    };
    let Some(tgid) = TaskPointer::current().tgid() else {
        count(Loss::Read);
        return Fault::LostTask(view).outcome() as i32;
    };
    let Some(task) = subject::tracked(tgid) else {
        let outcome =
            if subject::is_lost(tgid) { Fault::LostTask(view).outcome() } else { Outcome::Pass };
        return outcome as i32;
    };
    let Some(settings) = view.subject(task.subject) else {
        return Outcome::Pass as i32;
    };
    let is_quarantined = is_quarantined(task.subject);
    if settings.flags & subject_flag::RAW_SOCKETS != 0 && !is_quarantined {
        return Outcome::Pass as i32;
    }
    let mode = if is_quarantined { Mode::Enforce } else { Mode::from_byte(settings.mode) };
    let header = EventHeader {
        kind: EventKind::Path as u16,
        hook: Hook::Device as u16,
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
        device: major << MINOR_BITS | minor,
        rule: settings.default_rule,
        verdict: Verdict::Deny as u8,
        reason: Reason::Device as u8,
        mode: mode as u8,
        reserved: 0,
        path_len: 0,
        path: [0; SOCKET_PATH_BYTES_MAX],
        padding: 0,
    };
    emit::event(event, Wake::Now);
    if mode == Mode::Enforce { Outcome::Refuse as i32 } else { Outcome::Pass as i32 }
}
