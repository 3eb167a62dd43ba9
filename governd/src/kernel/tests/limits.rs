//! Limits: what is counted, and what becomes of the first that is too much.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    thread,
};

use governd_common::{
    limit::{Limit, Limits},
    verdict::{Mode, Reason, Verdict},
};

use super::{
    host::{EPERM, Host, is_root},
    image::{AGENT, Policy},
};
use crate::kernel::KernelOptions;

const EVERY_PORT: (u16, u16) = (0, u16::MAX);
/// A network of this host that is not what "this host itself" means to the policy.
const NETWORK: &str = "127.0.0.0/8";

fn policy(host: &Host, mode: Mode, limits: Limits) -> Policy {
    let policy = Policy::of_cgroup(host.cgroup.id(), mode);
    policy.network(Verdict::Allow, NETWORK, EVERY_PORT, 0).limits(limits)
}

fn of(limit: Limit, notify: u64, halt: u64) -> Limits {
    let mut limits = Limits::default();
    limits.notify[limit as usize] = notify;
    limits.halt[limit as usize] = halt;
    limits
}

/// Reasons and verdicts of the decisions that were reported.
fn reported(host: &mut Host) -> Vec<(Reason, bool)> {
    let flows = host.flows().into_iter();
    let of = |code| Reason::from_byte(code).unwrap();
    flows.map(|flow| (of(flow.reason), flow.verdict == Verdict::Allow as u8)).collect()
}

fn used(host: &Host, limit: Limit) -> u64 {
    let usages = host.kernel.usages().unwrap();
    let (_, usage) = usages.iter().find(|(subject, _)| *subject == AGENT).unwrap();
    usage.used[limit as usize].windows.iter().map(|window| window.count).sum()
}

#[test]
fn a_connection_beyond_the_limit_is_told_or_has_the_agent_quarantined_at_once() {
    if !is_root() {
        return;
    }
    let server = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let step = format!("udp-open 127.0.0.2:{port}; ");
    let (rule, limit) = (Reason::Rule, Reason::ConnectionsLimit);
    let rows = [
        (Mode::Enforce, 2, 0, "ok ok ok ok", vec![(limit, true), (rule, true)], false),
        (Mode::Enforce, 0, 2, "ok ok EACCES EACCES", vec![(limit, false)], true),
        (Mode::Monitor, 0, 2, "ok ok ok ok", vec![(limit, false), (limit, false)], false),
        (Mode::Enforce, 0, 4, "ok ok ok ok", vec![(rule, true), (rule, true)], false),
    ];
    for (mode, notify, halt, outcomes, last, is_quarantined) in rows {
        let row = format!("{mode:?} {notify} {halt}");
        let mut host = Host::new(KernelOptions::default());
        let policy = policy(&host, mode, of(Limit::Connections, notify, halt));
        host.kernel.install(&policy.image).unwrap();
        assert_eq!(host.run(&step.repeat(4)).join(" "), outcomes, "{row}");
        let reports = reported(&mut host);
        assert_eq!(reports[..2], [(rule, true); 2], "{row}");
        let expected = reports[2..].iter().take(last.len()).copied();
        assert_eq!(expected.collect::<Vec<_>>(), last, "{row}");
        let quarantined = host.kernel.quarantined().unwrap();
        assert_eq!(!quarantined.is_empty(), is_quarantined, "{row}");
    }
}

#[test]
fn an_address_counts_once_and_counts_outlive_a_policy() {
    if !is_root() {
        return;
    }
    let server = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let to =
        |last: u8| format!("udp-sendto 127.0.0.{last}:{port}; udp-open 127.0.0.{last}:{port};");
    let mut host = Host::new(KernelOptions::default());
    let policy = policy(&host, Mode::Enforce, of(Limit::Destinations, 0, 2));
    host.kernel.install(&policy.image).unwrap();
    let script = [to(2), to(2), to(3)].concat();
    assert_eq!(host.run(&script), ["ok"; 6]);
    assert_eq!(used(&host, Limit::Destinations), 2);
    host.kernel.install(&policy.image).unwrap();
    assert_eq!(host.run(&to(2)), ["ok"; 2]);
    assert_eq!(host.run(&to(4)), ["EACCES"; 2]);
    let reports = reported(&mut host);
    assert_eq!(reports.iter().filter(|one| one.0 == Reason::DestinationsLimit).count(), 1);
    // Somebody releases it: what it did is forgotten.
    host.kernel.set_quarantined(AGENT, false).unwrap();
    host.kernel.forget_usage(AGENT).unwrap();
    assert_eq!(host.run(&[to(2), to(5)].concat()), ["ok"; 4]);
    assert_eq!(used(&host, Limit::Destinations), 1);
    // Nobody counts for a policy that has no limits.
    let mut unlimited = policy;
    unlimited.image.limits.clear();
    host.kernel.install(&unlimited.image).unwrap();
    host.kernel.retire().unwrap();
    assert_eq!(host.run(&to(6)), ["ok"; 2]);
    assert!(host.kernel.usages().unwrap().is_empty());
}

/// Takes what one client sends, and answers with as much, as far as it goes.
fn serve(listener: &TcpListener, bytes: usize) {
    let (mut peer, _) = listener.accept().unwrap();
    let mut received = vec![0; bytes];
    if peer.read_exact(&mut received).is_ok() {
        peer.write_all(&received).ok();
    }
}

#[test]
fn bytes_of_both_directions_count_and_what_stays_on_the_host_does_not() {
    if !is_root() {
        return;
    }
    const BYTES: usize = 200_000;
    let mut host = Host::new(KernelOptions::default());
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let to = listener.local_addr().unwrap();
    let policy = policy(&host, Mode::Enforce, of(Limit::Bytes, 1, 0));
    let policy = policy.network(Verdict::Allow, "192.0.2.0/24", EVERY_PORT, 0);
    host.kernel.install(&policy.image).unwrap();
    let server = thread::spawn(move || serve(&listener, BYTES));
    assert_eq!(host.one(&format!("exchange {BYTES} {to}")), "ok");
    server.join().unwrap();
    assert_eq!(used(&host, Limit::Bytes), 0);
    host.drain();
    // A connection between two sockets of the agent, with five bytes: what goes out comes in.
    assert_eq!(host.run("netns; accept"), ["ok"]);
    let counted = used(&host, Limit::Bytes);
    assert!((MIN_BYTES..10 * MIN_BYTES).contains(&counted), "{counted}");
    let reports = reported(&mut host);
    let told = reports.iter().filter(|report| **report == (Reason::BytesLimit, true));
    assert_eq!(told.count(), 1, "{reports:?}");
}

/// Headers of the least that makes and ends a connection, in both directions; in one they are less
/// than that together.
const MIN_BYTES: u64 = 2 * 7 * 52;

#[test]
fn a_byte_too_much_has_the_agent_quarantined_with_its_packet() {
    if !is_root() {
        return;
    }
    // A datagram of one byte has 29 on its way.
    let rows = [
        (Mode::Enforce, format!("ok ok ok {EPERM} EACCES"), true),
        (Mode::Monitor, "ok ok ok ok ok".to_owned(), false),
    ];
    for (mode, outcomes, is_quarantined) in rows {
        let mut host = Host::new(KernelOptions::default());
        let policy = policy(&host, mode, of(Limit::Bytes, 0, 3 * 29));
        let policy = policy.network(Verdict::Allow, "192.0.2.0/24", EVERY_PORT, 0);
        host.kernel.install(&policy.image).unwrap();
        let script = format!("netns; {}", "udp-sendto 192.0.2.2:9; ".repeat(5));
        assert_eq!(host.run(&script).join(" "), outcomes, "{mode:?}");
        let reports = reported(&mut host);
        let limited = reports.iter().filter(|report| **report == (Reason::BytesLimit, false));
        assert_eq!(limited.count(), 1, "{mode:?}: {reports:?}");
        assert_eq!(!host.kernel.quarantined().unwrap().is_empty(), is_quarantined, "{mode:?}");
    }
}
