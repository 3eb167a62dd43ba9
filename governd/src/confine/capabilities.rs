//! The capabilities that are kept, each with its reason, and the end of all others.

use std::io;

use rustix::thread::{
    self, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// A capability that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// The capability.
    pub capability: CapabilitySet,
    /// What would not work without it.
    pub reason: &'static str,
}

const fn kept(capability: CapabilitySet, reason: &'static str) -> Kept {
    Kept { capability, reason }
}

/// Those of the daemon.
pub const DAEMON: &[Kept] = &[
    kept(
        CapabilitySet::NET_ADMIN,
        "programs at sockets, packets and interfaces; ending refused connections",
    ),
    kept(
        CapabilitySet::SYS_ADMIN,
        "entering network namespaces of agents, to end their connections and to cover their \
         interfaces; finding BPF objects by number; it has CAP_BPF and CAP_PERFMON in it, which \
         maps, programs and their events need",
    ),
    kept(
        CapabilitySet::SYS_PTRACE,
        "executables, descriptors and namespaces of other users' processes in /proc",
    ),
    kept(
        CapabilitySet::DAC_READ_SEARCH,
        "executables and environments that only their owners may read",
    ),
    kept(CapabilitySet::KILL, "`governd quarantine --kill`: ending processes of other users"),
];

/// Those of the sink.
pub const SINK: &[Kept] =
    &[kept(CapabilitySet::NET_BIND_SERVICE, "listening on a port below 1,024, if told to")];

/// Capabilities that Linux may have: the sets have 64 bits.
const CAPABILITIES_MAX: u32 = 64;

/// Names of capabilities, in the order of their numbers.
pub(super) fn names(capabilities: CapabilitySet) -> Vec<&'static str> {
    /// By number (include/uapi/linux/capability.h).
    const NAMES: [&str; 41] = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
    ];
    let has = |number: &usize| capabilities.bits() >> number & 1 == 1;
    NAMES.iter().enumerate().filter(|(number, _)| has(number)).map(|(_, name)| *name).collect()
}

/// Keeps these, as far as the calling thread has them, and ends all others for good.
///
/// # Errors
/// The kernel refuses.
pub fn keep(kept: &[Kept]) -> io::Result<()> {
    let kept = kept.iter().fold(CapabilitySet::empty(), |all, kept| all | kept.capability);
    let now = capabilities(None)?;
    // Whoever has no CAP_SETPCAP cannot change this set, and has it from a service manager; no
    // program is started that could take from it.
    if now.effective.contains(CapabilitySet::SETPCAP) {
        bound(kept)?;
    }
    thread::clear_ambient_capability_set()?;
    let inheritable = CapabilitySet::empty();
    let (permitted, effective) = (now.permitted & kept, now.effective & kept);
    Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?)
}

/// What programs that are started may get at most.
fn bound(kept: CapabilitySet) -> io::Result<()> {
    for number in 0..CAPABILITIES_MAX {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The kernel knows none of a higher number.
        let Ok(is_in) = capability_is_in_bounding_set(one) else { break };
        if is_in && !kept.contains(one) {
            remove_capability_from_bounding_set(one)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/hardening.md");
    const UNIT: &str = include_str!("../../../deploy/systemd/governd.service");

    #[test]
    fn what_is_kept_is_what_the_page_and_the_unit_say() {
        let line = |text: &'static str, start: &str| {
            text.lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned()
        };
        let mut unit: Vec<_> =
            line(UNIT, "CapabilityBoundingSet=").split(' ').map(str::to_owned).collect();
        unit.sort();
        let mut own: Vec<_> = DAEMON.iter().flat_map(|kept| names(kept.capability)).collect();
        own.sort_unstable();
        assert_eq!(own, unit);
        for kept in DAEMON.iter().chain(SINK) {
            let name = names(kept.capability).concat();
            let row = format!("| `{name}` | {} |", kept.reason);
            assert!(PAGE.contains(&row), "docs/hardening.md lacks: {row}");
        }
    }

    #[test]
    fn a_thread_keeps_what_is_kept_and_gets_nothing_back() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var("CI").is_err(), "this test needs root, and CI must run it");
            eprintln!("skipped: needs root");
            return;
        }
        let kept = std::thread::spawn(|| {
            keep(DAEMON).unwrap();
            let all = CapabilitySets {
                effective: CapabilitySet::all(),
                permitted: CapabilitySet::all(),
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, all).unwrap_err();
            keep(SINK).unwrap();
            keep(DAEMON).unwrap();
            let now = capabilities(None).unwrap();
            assert_eq!(now.permitted, CapabilitySet::empty());
            capability_is_in_bounding_set(CapabilitySet::SYS_MODULE).unwrap()
        });
        assert!(!kept.join().unwrap());
    }
}
