//! What a process reached for on this host, in words.

use std::sync::Arc;

use governd_common::event::{Hook, PathEvent};

/// Devices by major and minor number (Documentation/admin-guide/devices.txt).
const DEVICES: [((u32, u32), &str); 4] = [
    ((10, 200), "/dev/net/tun"),
    ((10, 238), "/dev/vhost-net"),
    ((10, 241), "/dev/vhost-vsock"),
    ((108, 0), "/dev/ppp"),
];
const MINOR_BITS: u32 = 20;

/// The device's name.
pub(super) fn path(event: &PathEvent) -> Arc<str> {
    if event.header.hook != Hook::Device as u16 {
        return "unknown".into();
    }
    let number = (event.device >> MINOR_BITS, event.device & ((1 << MINOR_BITS) - 1));
    let known = DEVICES.iter().find(|(device, _)| *device == number);
    match known {
        Some((_, name)) => (*name).into(),
        None => format!("device {}:{}", number.0, number.1).into(),
    }
}
