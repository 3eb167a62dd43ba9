//! What a process reached for on this host, in words.

use std::sync::Arc;

use governd_common::event::{ActOnDaemon, Hook, PathEvent, Setting};

/// Devices by major and minor number (Documentation/admin-guide/devices.txt).
const DEVICES: [((u32, u32), &str); 4] = [
    ((10, 200), "/dev/net/tun"),
    ((10, 238), "/dev/vhost-net"),
    ((10, 241), "/dev/vhost-vsock"),
    ((108, 0), "/dev/ppp"),
];
const MINOR_BITS: u32 = 20;
/// Where glibc looks for its cache daemon (`_PATH_NSCDSOCKET`, nscd/nscd-client.h).
const NSCD: &[u8] = b"/var/run/nscd/socket\0";

/// Whether every program of a kind reaches for it, whether it is there or not, so that records of
/// it would say nothing and hide what does: glibc looks for nscd whenever a user or a host is
/// looked up, and goes on without it.
pub(super) fn is_habitual(event: &PathEvent) -> bool {
    event.header.hook == Hook::Unix as u16 && event.path.starts_with(NSCD)
}

/// The device's name, the local socket's as policies write it, what was done to the daemon, or the
/// setting's name.
pub(super) fn path(event: &PathEvent) -> Arc<str> {
    match event.header.hook {
        hook if hook == Hook::Device as u16 => device(event.device),
        hook if hook == Hook::Lsm as u16 => act(event.device),
        hook if hook == Hook::Sysctl as u16 => setting(event.device),
        _ => socket(event),
    }
}

fn act(code: u32) -> Arc<str> {
    const ACTS: [(ActOnDaemon, &str); 3] = [
        (ActOnDaemon::Bpf, "bpf(2)"),
        (ActOnDaemon::Signal, "a signal to governd"),
        (ActOnDaemon::Trace, "the memory of governd"),
    ];
    let known = ACTS.iter().find(|(act, _)| *act as u32 == code);
    known.map_or("an act against governd", |(_, words)| words).into()
}

fn setting(code: u32) -> Arc<str> {
    const SETTINGS: [(Setting, &str); 4] = [
        (Setting::CorePattern, "/proc/sys/kernel/core_pattern"),
        (Setting::Modprobe, "/proc/sys/kernel/modprobe"),
        (Setting::Hotplug, "/proc/sys/kernel/hotplug"),
        (Setting::PoweroffCmd, "/proc/sys/kernel/poweroff_cmd"),
    ];
    let known = SETTINGS.iter().find(|(setting, _)| *setting as u32 == code);
    known.map_or("a setting of the kernel", |(_, path)| path).into()
}

fn device(number: u32) -> Arc<str> {
    let number = (number >> MINOR_BITS, number & ((1 << MINOR_BITS) - 1));
    let known = DEVICES.iter().find(|(device, _)| *device == number);
    match known {
        Some((_, name)) => (*name).into(),
        None => format!("device {}:{}", number.0, number.1).into(),
    }
}

/// A path ends at its first NUL; an abstract name begins with one, and is written with `@`.
fn socket(event: &PathEvent) -> Arc<str> {
    let bytes = event.path.get(..event.path_len as usize).unwrap_or_default();
    match bytes.split_first() {
        None => "an address that cannot be read".into(),
        Some((0, name)) => format!("@{}", name.escape_ascii()).into(),
        Some(_) => {
            let path = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(path).into()
        }
    }
}
