//! What happens when the daemon does not read: verdicts stay, and the losses are counted.

use std::{net::UdpSocket, thread, time::Duration};

use governd_common::verdict::{Loss, Mode, Verdict};

use super::{
    host::{Host, is_root},
    image::Policy,
};
use crate::kernel::{KernelOptions, RawEvent};

const RING_BYTES: u32 = 4_096;

#[test]
fn a_full_ring_changes_no_verdict_and_its_losses_are_counted() {
    if !is_root() {
        return;
    }
    let options = KernelOptions { ring_bytes: Some(RING_BYTES), ..KernelOptions::default() };
    let mut host = Host::new(options);
    let server = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).network(
        Verdict::Allow,
        "127.0.0.2",
        (0, u16::MAX),
        0,
    );
    host.kernel.install(&policy.image).unwrap();
    let script = format!(
        "repeat 300 127.0.0.3:{port}; udp-connect 127.0.0.3:{port}; udp-connect 127.0.0.2:{port}"
    );
    assert_eq!(host.run(&script), ["refused 300", "EACCES", "ok"]);
    let reported = host.drain().len() as u64;
    assert!(reported < 60, "{reported}");
    // Forks, execs and exits of the agent are events too.
    assert!(host.lost(Loss::Ring) + reported >= 302, "{reported} {}", host.lost(Loss::Ring));
    // With room again, nothing is lost any more.
    let lost = host.lost(Loss::Ring);
    assert_eq!(host.one(&format!("udp-connect 127.0.0.3:{port}")), "EACCES");
    assert_eq!(host.lost(Loss::Ring), lost);
    assert!(host.flows().iter().any(|flow| flow.verdict == Verdict::Deny as u8));
}

#[test]
fn nothing_is_lost_in_ordinary_times() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    host.kernel.install(&policy.image).unwrap();
    assert_eq!(host.run("child; setsid; udp-connect 127.0.0.1:9"), ["EACCES"]);
    for (loss, count) in host.kernel.lost().unwrap() {
        assert_eq!(count, 0, "{loss:?}");
    }
}

#[test]
fn a_denial_wakes_the_reader_without_its_timer() {
    if !is_root() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    host.kernel.install(&policy.image).unwrap();
    let path = host.cgroup.path.clone();
    let exe = std::env::current_exe().unwrap();
    let agent = thread::spawn(move || super::agent::run(&exe, &path, "udp-open 127.0.0.1:9"));
    let mut denials = Vec::new();
    runtime.block_on(async {
        while denials.is_empty() {
            host.events.wait_for_a_wake();
            let batch = host.events.batch(|event| {
                if let RawEvent::Flow(flow) = event {
                    denials.push(flow.verdict);
                }
            });
            tokio::time::timeout(Duration::from_secs(30), batch).await.unwrap().unwrap();
        }
    });
    assert_eq!(denials, [Verdict::Deny as u8]);
    assert_eq!(agent.join().unwrap(), [host.refusal()]);
}
