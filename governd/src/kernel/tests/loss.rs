//! What happens when the daemon does not read: verdicts stay, and the losses are counted.

use std::{net::UdpSocket, os::fd::AsFd as _, sync::mpsc, thread, time::Duration};

use governd_common::verdict::{Loss, Mode, Verdict};

use super::{
    host::{Host, is_root},
    image::Policy,
};
use crate::kernel::{KernelOptions, RawEvent, records::Records, ring::Pauses};

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

/// Long enough to fail a test, whose events take milliseconds.
const HUNG: Duration = Duration::from_secs(30);

/// A reader that looks by itself only when the test has failed already.
fn never(longest: Duration) -> Pauses {
    let hours = Duration::from_secs(3_600);
    Pauses { first: hours, ordinary: hours, longest }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a script in the host's cgroup meanwhile.
fn agent(host: &Host, script: String) -> thread::JoinHandle<Vec<String>> {
    let (path, exe) = (host.cgroup.path.clone(), host.exe());
    thread::spawn(move || super::agent::run(&exe, &path, &script))
}

/// A host whose agent may connect to 127.0.0.1, and to nothing else.
fn local_host() -> Host {
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    let policy = policy.network(Verdict::Allow, "127.0.0.1", (0, u16::MAX), 0);
    host.kernel.install(&policy.image).unwrap();
    host
}

#[test]
fn a_denial_wakes_the_reader_without_its_timer() {
    if !is_root() {
        return;
    }
    let mut host = local_host();
    // It does not sleep, so nothing else wakes it.
    host.events.set_pauses(never(Duration::MAX));
    let agent = agent(&host, "udp-open 127.0.0.2:9".to_owned());
    let mut denials = Vec::new();
    runtime().block_on(async {
        while denials.is_empty() {
            let batch = host.events.batch(|event| {
                if let RawEvent::Flow(flow) = event {
                    denials.push(flow.verdict);
                }
            });
            tokio::time::timeout(HUNG, batch).await.unwrap().unwrap();
        }
    });
    assert_eq!(denials, [Verdict::Deny as u8]);
    assert_eq!(agent.join().unwrap(), [host.refusal()]);
}

#[test]
fn nobody_falls_asleep_over_an_event() {
    if !is_root() {
        return;
    }
    let mut host = local_host();
    for _ in 0..3 {
        assert_eq!(host.run("udp-open 127.0.0.1:9"), ["ok"]);
        assert!(!host.events.records().rest().unwrap(), "one has come that woke nobody");
        assert!(!host.drain().is_empty());
        assert!(host.events.records().rest().unwrap(), "all are read");
    }
}

#[test]
fn what_a_killed_reader_has_read_is_not_read_again() {
    if !is_root() {
        return;
    }
    let mut host = local_host();
    assert_eq!(host.run("udp-open 127.0.0.1:9"), ["ok"]);
    assert!(!host.drain().is_empty());
    let ring = host.events.records().fd().try_clone_to_owned().unwrap();
    let bytes = governd_common::limits::RING_BYTES as usize;
    // The other one is killed before it gives back what it read last.
    let mut next = Records::open(ring.as_fd(), bytes).unwrap();
    assert!(next.next().unwrap().is_none());
    assert_eq!(host.run("udp-open 127.0.0.1:9"), ["ok"]);
    let mut read = 0;
    while next.next().unwrap().is_some() {
        next.done().unwrap();
        read += 1;
    }
    assert_eq!(read, host.drain().len(), "each reads the same");
    assert!(read > 0);
}

#[test]
fn who_sleeps_is_woken_by_the_next_event_whenever_it_comes() {
    const EVENTS: usize = 20_000;
    if !is_root() {
        return;
    }
    let mut host = local_host();
    // It sleeps after each batch, so that events come at all moments of its falling asleep; one
    // that does not wake it is not read for an hour.
    host.events.set_pauses(never(Duration::ZERO));
    let agent = agent(&host, format!("irregular {EVENTS} 127.0.0.1:9"));
    let (mut read, mut batches) = (0, 0);
    runtime().block_on(async {
        while read < EVENTS {
            let batch = host.events.batch(|event| {
                if let RawEvent::Flow(flow) = event {
                    assert_eq!(flow.verdict, Verdict::Allow as u8);
                    read += 1;
                }
            });
            let batch = tokio::time::timeout(HUNG, batch).await;
            batch.unwrap_or_else(|_| panic!("asleep after {read}, batch {batches}")).unwrap();
            batches += 1;
        }
    });
    assert_eq!(agent.join().unwrap(), [format!("ok {EVENTS}")]);
    assert_eq!(read, EVENTS);
    assert!(batches > EVENTS / 100, "it did not sleep often: {batches}");
}

#[test]
fn who_looks_by_itself_is_not_woken_by_what_can_wait() {
    if !is_root() {
        return;
    }
    let mut host = local_host();
    // One that was read, and that is not given back before it sleeps.
    assert_eq!(host.run("udp-open 127.0.0.1:9"), ["ok"]);
    assert!(!host.drain().is_empty());
    host.events.set_pauses(never(Duration::MAX));
    let (path, exe) = (host.cgroup.path.clone(), host.exe());
    let (begin, begun) = mpsc::channel();
    let agent = thread::spawn(move || {
        begun.recv().unwrap();
        super::agent::run(&exe, &path, "irregular 100 127.0.0.1:9")
    });
    runtime().block_on(async {
        // Who begins to wait is woken once in any case.
        for pause in [Duration::from_millis(200), Duration::from_secs(2)] {
            let batch = host.events.batch(|event| panic!("woken for {event:?}"));
            assert!(tokio::time::timeout(pause, batch).await.is_err());
            begin.send(()).ok();
        }
    });
    assert_eq!(agent.join().unwrap(), ["ok 100"]);
    assert!(host.drain().len() >= 100);
}
