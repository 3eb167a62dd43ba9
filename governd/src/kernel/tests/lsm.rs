//! What an agent that is root may do to the daemon, which here is the test.

use governd_common::{
    event::{ActOnDaemon, Hook},
    verdict::{Mode, Reason, Verdict},
};

use super::{
    host::{EPERM, Host, is_root},
    image::{AGENT, Policy},
};
use crate::kernel::{KernelOptions, Offer, RawEvent};

#[test]
fn an_enforced_agent_does_nothing_to_the_daemon_where_the_kernel_asks() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let asks = Offer::of_kernel().unwrap().kind("lsm_kill").is_some();
    let exe = host.agent_exe();
    let daemon = std::process::id();
    let acts = [
        (format!("signal {daemon}"), ActOnDaemon::Signal),
        (format!("memory {daemon}"), ActOnDaemon::Trace),
        ("bpf".to_owned(), ActOnDaemon::Bpf),
    ];
    for mode in [Mode::Monitor, Mode::Enforce] {
        let policy = Policy::of_exe(exe, mode).subject(mode, Verdict::Deny, 0);
        host.kernel.install(&policy.image).unwrap();
        for (step, act) in &acts {
            host.drain();
            // The tests' host writes the kernel's own error as it writes the chosen one.
            let is_refused = [EPERM, "EACCES"].contains(&host.one(step).as_str());
            assert_eq!(is_refused, asks && mode == Mode::Enforce, "{step} in {mode:?}");
            let told = host.drain().into_iter().filter_map(|event| match event {
                RawEvent::Path(event) if event.header.hook == Hook::Lsm as u16 => Some(event),
                _ => None,
            });
            let told: Vec<_> = told.filter(|event| event.device == *act as u32).collect();
            assert_eq!(!told.is_empty(), asks, "{step}: {told:?}");
            for event in told {
                assert_eq!((event.header.subject, event.mode), (AGENT, mode as u8));
                assert_eq!(event.reason, Reason::SelfProtection as u8);
            }
        }
    }
    // Others, and what only looks, are let through.
    assert_eq!(host.one(&format!("is-there {daemon}")), "ok");
    let another = std::process::Command::new("sleep").arg("20").spawn();
    let mut another = another.unwrap();
    assert_eq!(host.one(&format!("signal {}", another.id())), "ok");
    another.kill().unwrap();
    another.wait().unwrap();
}
