//! What is on this host and would send in the agent's place.

use std::{fs, process::Command};

use governd_common::{
    event::{Hook, PathEvent},
    table::subject_flag,
    verdict::{Mode, Reason, Verdict},
};
use tempfile::TempDir;

use super::{
    host::{EPERM, Host, is_root},
    image::{AGENT, Policy},
};
use crate::kernel::{KernelOptions, RawEvent};

/// The decisions about something local that are waiting.
fn paths(host: &mut Host) -> Vec<PathEvent> {
    let events = host.drain().into_iter();
    events
        .filter_map(|event| if let RawEvent::Path(path) = event { Some(path) } else { None })
        .collect()
}

#[test]
fn devices_that_are_network_interfaces_are_refused() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    // Whether the kernel has a driver behind it shows only after the refusal.
    let rows = [(10, 200, true), (10, 238, true), (10, 241, true), (108, 0, true), (1, 3, false)];
    for (mode, flags) in
        [(Mode::Enforce, 0), (Mode::Monitor, 0), (Mode::Enforce, subject_flag::RAW_SOCKETS)]
    {
        let policy = Policy::of_exe(exe, mode).subject(mode, Verdict::Deny, flags);
        host.kernel.install(&policy.image).unwrap();
        for (major, minor, is_interface) in rows {
            host.drain();
            let name = at(&format!("{}-{flags}-{major}-{minor}", mode as u8));
            let made = host.one(&format!("mknod {name} {major} {minor}"));
            let is_refused = is_interface && mode == Mode::Enforce && flags == 0;
            // The tests' host writes the kernel's own error as it writes the chosen one.
            let refused = [EPERM, "EACCES"];
            assert_eq!(refused.contains(&made.as_str()), is_refused, "{name}: {made}");
            let made = at("made");
            let mut mknod = Command::new("mknod");
            mknod.args([&made, "c", &major.to_string(), &minor.to_string()]);
            assert!(mknod.status().unwrap().success());
            let opened = host.one(&format!("open {made}"));
            fs::remove_file(&made).unwrap();
            assert_eq!(refused.contains(&opened.as_str()), is_refused, "{name}: {opened}");
            let seen = paths(&mut host);
            let count = if is_interface && flags == 0 { 2 } else { 0 };
            assert_eq!(seen.len(), count, "{name}: {seen:?}");
            for event in seen {
                assert_eq!(
                    (event.header.hook, event.device),
                    (Hook::Device as u16, major << 20 | minor)
                );
                assert_eq!((event.reason, event.mode), (Reason::Device as u8, mode as u8));
                assert_eq!((event.header.subject, event.verdict), (AGENT, Verdict::Deny as u8));
                assert_ne!(event.header.tgid, 0);
            }
        }
    }
}
