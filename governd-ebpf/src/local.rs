//! What is on this host and would send in a process's place: devices that packets leave by.
//!
//! A packet that is written into a tunnel's device is forwarded like one from another host, and
//! belongs to no socket; so governed processes do not get the device.

use aya_ebpf::programs::DeviceContext;
use governd_common::{event::Hook, table::subject_flag, verdict::Reason};

use crate::{asking::Asking, outcome::Outcome, tables::View, task::TaskPointer};

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
    let tgid = TaskPointer::current().tgid();
    match Asking::of(&view, tgid, subject_flag::RAW_SOCKETS) {
        Ok(asking) => {
            asking.report_number(Hook::Device, major << MINOR_BITS | minor, Reason::Device);
            asking.outcome() as i32
        }
        Err(outcome) => outcome as i32,
    }
}
