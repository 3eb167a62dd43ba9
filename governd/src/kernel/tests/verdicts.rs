//! What each hook permits and refuses, and what the application and the daemon get to see.

use std::net::{TcpListener, UdpSocket};

use governd_common::{
    event::{FlowEvent, Hook},
    table::subject_flag,
    verdict::{Mode, Reason, Verdict},
};

use super::{
    host::{Host, destination, is_root},
    image::{AGENT, DEFAULT_RULE, Policy},
};
use crate::kernel::KernelOptions;

const EVERY_PORT: (u16, u16) = (0, u16::MAX);

/// Listeners at the addresses of the tests; the agent may reach 127.0.0.2, and ::1 on `open`.
struct Servers {
    _v4: Vec<TcpListener>,
    v4_port: u16,
    _open: TcpListener,
    open: u16,
    _closed: TcpListener,
    closed: u16,
    _udp: UdpSocket,
    udp: u16,
}

impl Servers {
    fn new() -> Self {
        let first = TcpListener::bind("127.0.0.2:0").unwrap();
        let v4_port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.3", v4_port)).unwrap();
        let open = TcpListener::bind("[::1]:0").unwrap();
        let closed = TcpListener::bind("[::1]:0").unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        Self {
            v4_port,
            _v4: vec![first, second],
            open: open.local_addr().unwrap().port(),
            _open: open,
            closed: closed.local_addr().unwrap().port(),
            _closed: closed,
            udp: udp.local_addr().unwrap().port(),
            _udp: udp,
        }
    }
}

fn policy(host: &Host, servers: &Servers, mode: Mode) -> Policy {
    Policy::of_cgroup(host.cgroup.id(), mode)
        .network(Verdict::Allow, "127.0.0.2", EVERY_PORT, 0)
        .network(Verdict::Allow, "::1", (servers.open, servers.open), 0)
}

/// Steps, and whether the policy allows them.
fn rows(servers: &Servers) -> Vec<(String, bool, Hook)> {
    let Servers { v4_port, open, closed, udp, .. } = *servers;
    let connect = Hook::Connect;
    let sendmsg = Hook::Sendmsg;
    vec![
        (format!("tcp 127.0.0.2:{v4_port}"), true, connect),
        (format!("tcp 127.0.0.3:{v4_port}"), false, connect),
        (format!("tcp [::1]:{open}"), true, connect),
        (format!("tcp [::1]:{closed}"), false, connect),
        (format!("tcp [::ffff:127.0.0.2]:{v4_port}"), true, connect),
        (format!("tcp [::ffff:127.0.0.3]:{v4_port}"), false, connect),
        (format!("udp-connect 127.0.0.2:{udp}"), true, connect),
        (format!("udp-connect 127.0.0.3:{udp}"), false, connect),
        (format!("udp-connect [::ffff:127.0.0.3]:{udp}"), false, connect),
        (format!("udp-sendto 127.0.0.2:{udp}"), true, sendmsg),
        (format!("udp-sendto 127.0.0.3:{udp}"), false, sendmsg),
        (format!("udp-sendto [::1]:{open}"), true, sendmsg),
        (format!("udp-sendto [::1]:{closed}"), false, sendmsg),
        (format!("udp-sendto [::ffff:127.0.0.2]:{udp}"), true, sendmsg),
        (format!("udp-sendto [::ffff:127.0.0.3]:{udp}"), false, sendmsg),
    ]
}

/// The decision about a step. A connected IPv6 socket to a mapped address passes the sendmsg hook
/// with each message too (net/ipv6/udp.c hands it to IPv4 with its address).
fn decision(host: &mut Host, step: &str) -> FlowEvent {
    let flows = host.flows();
    let (first, more) = flows.split_first().unwrap_or_else(|| panic!("no decision for {step}"));
    let is_sent = first.verdict == Verdict::Allow as u8 || first.mode == Mode::Monitor as u8;
    let again = step.contains("udp-connect [::ffff:") && is_sent;
    assert_eq!(more.len(), usize::from(again), "{step}: {flows:?}");
    assert!(more.iter().all(|flow| flow.verdict == first.verdict), "{step}: {flows:?}");
    *first
}

#[test]
fn every_hook_permits_what_a_rule_allows_and_refuses_the_rest_with_eacces() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let servers = Servers::new();
    host.kernel.install(&policy(&host, &servers, Mode::Enforce).image).unwrap();
    for (step, is_allowed, hook) in rows(&servers) {
        let expected = if is_allowed { "ok" } else { "EACCES" };
        assert_eq!(host.one(&step), expected, "{step}");
        let flow = &decision(&mut host, &step);
        assert_eq!(flow.verdict == Verdict::Allow as u8, is_allowed, "{step}");
        assert_eq!(flow.header.hook, hook as u16, "{step}");
        assert_eq!(flow.header.subject, AGENT);
        assert_eq!(flow.header.generation, 1);
        assert_eq!(flow.header.cgroup, host.cgroup.id());
        assert_eq!(flow.mode, Mode::Enforce as u8);
        let reason = if is_allowed { Reason::Rule } else { Reason::NoRule };
        assert_eq!(flow.reason, reason as u8, "{step}");
        if !is_allowed {
            assert_eq!(flow.rule, DEFAULT_RULE, "{step}");
        }
        let wanted = step.rsplit(' ').next().unwrap().replace("::ffff:", "");
        let wanted = wanted.replace("[127", "127").replace("]:", ":");
        let seen = destination(flow).to_string().replace("]:", ":");
        assert_eq!(seen, wanted, "{step}");
        assert_ne!(flow.cookie, 0);
    }
}

#[test]
fn monitor_mode_stops_nothing_and_reports_what_it_would_stop() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let servers = Servers::new();
    host.kernel.install(&policy(&host, &servers, Mode::Monitor).image).unwrap();
    for (step, is_allowed, _) in rows(&servers) {
        assert_eq!(host.one(&step), "ok", "{step}");
        let flow = decision(&mut host, &step);
        assert_eq!(flow.verdict == Verdict::Allow as u8, is_allowed, "{step}");
        assert_eq!(flow.mode, Mode::Monitor as u8, "{step}");
    }
}

#[test]
fn a_connected_socket_cannot_send_elsewhere() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let servers = Servers::new();
    host.kernel.install(&policy(&host, &servers, Mode::Enforce).image).unwrap();
    let port = servers.udp;
    let step = format!("udp-connect-sendto 127.0.0.2:{port} 127.0.0.3:{port}");
    assert_eq!(host.one(&step), "EACCES");
}

#[test]
fn the_unspecified_address_is_loopback() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let servers = Servers::new();
    let everywhere = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .subject(Mode::Enforce, Verdict::Allow, 0)
        .network(Verdict::Deny, "127.0.0.0/8", EVERY_PORT, 0)
        .network(Verdict::Deny, "::1", EVERY_PORT, 0);
    host.kernel.install(&everywhere.image).unwrap();
    let Servers { udp, open, .. } = servers;
    assert_eq!(host.one(&format!("udp-connect 0.0.0.0:{udp}")), "EACCES");
    assert_eq!(host.one(&format!("tcp [::]:{open}")), "EACCES");
}

#[test]
fn an_ipv4_address_inside_an_ipv6_one_is_judged_too() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .subject(Mode::Enforce, Verdict::Allow, 0)
        .network(Verdict::Deny, "10.0.0.0/8", EVERY_PORT, 0);
    host.kernel.install(&policy.image).unwrap();
    let denied = [
        "[64:ff9b::a00:1]:443",
        "[2002:a00:1::1]:443",
        "[::10.0.0.1]:443",
        "[2001:0:102:304::f5ff:fffe]:443",
    ];
    for address in denied {
        assert_eq!(host.one(&format!("udp-connect {address}")), "EACCES", "{address}");
        let flows = host.flows();
        assert_eq!(flows[0].reason, Reason::Rule as u8, "{address}");
    }
    for address in ["[64:ff9b::b00:1]:443", "[2002:b00:1::1]:443"] {
        assert_ne!(host.one(&format!("udp-connect {address}")), "EACCES", "{address}");
    }
}

/// What a kernel answers that has no UDP-Lite, such as Linux 7.2.
const EPROTONOSUPPORT: &str = "errno 93";

#[test]
fn sockets_that_no_later_hook_sees_are_refused() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let refused = ["v4 raw", "v6 raw", "v4 ping", "v6 ping", "v4 udplite"];
    let enforced = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    host.kernel.install(&enforced.image).unwrap();
    for socket in refused {
        let outcome = host.one(&format!("netns; socket {socket}"));
        if socket == "v4 udplite" && outcome == EPROTONOSUPPORT {
            continue;
        }
        assert_eq!(outcome, "EACCES", "{socket}");
        let flows = host.flows();
        let [flow] = flows.as_slice() else { panic!("one decision for {socket}: {flows:?}") };
        assert_eq!(flow.reason, Reason::RawSocket as u8, "{socket}");
        assert_eq!(flow.header.hook, Hook::SockCreate as u16, "{socket}");
    }
    for socket in ["v4 udp", "v6 udp"] {
        assert_ne!(host.one(&format!("socket {socket}")), "EACCES", "{socket}");
        assert_eq!(host.flows(), [], "{socket}");
    }
    let excused = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).subject(
        Mode::Enforce,
        Verdict::Deny,
        subject_flag::RAW_SOCKETS,
    );
    host.kernel.install(&excused.image).unwrap();
    assert_eq!(host.one("socket v4 raw"), "ok");
    let monitored = Policy::of_cgroup(host.cgroup.id(), Mode::Monitor);
    host.kernel.install(&monitored.image).unwrap();
    assert_eq!(host.one("socket v4 raw"), "ok");
    let flows = host.flows();
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!((flows[0].verdict, flows[0].mode), (Verdict::Deny as u8, Mode::Monitor as u8));
}

#[test]
fn multipath_sockets_are_refused_with_the_error_of_a_kernel_without_them() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let cgroup = host.cgroup.id();
    let enforced = |flags| {
        Policy::of_cgroup(cgroup, Mode::Enforce).subject(Mode::Enforce, Verdict::Allow, flags).image
    };
    host.kernel.install(&Policy::of_cgroup(cgroup, Mode::Monitor).image).unwrap();
    let monitored = host.one("socket v4 mptcp");
    let flows = host.flows();
    for flags in [0, subject_flag::RAW_SOCKETS] {
        host.kernel.install(&enforced(flags)).unwrap();
        assert_eq!(host.one("socket v4 mptcp"), EPROTONOSUPPORT);
    }
    if monitored == EPROTONOSUPPORT {
        return;
    }
    assert_eq!(monitored, "ok");
    let flows = [flows, host.flows()].concat();
    let refused: Vec<_> = flows.iter().map(|flow| (flow.reason, flow.mode)).collect();
    let reason = Reason::Mptcp as u8;
    let (monitor, enforce) = (Mode::Monitor as u8, Mode::Enforce as u8);
    assert_eq!(refused, [(reason, monitor), (reason, enforce), (reason, enforce)]);
}

#[test]
fn what_nobody_governs_is_left_alone() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let servers = Servers::new();
    let port = servers.v4_port;
    assert_eq!(host.one(&format!("tcp 127.0.0.3:{port}")), "ok", "before the first policy");
    host.kernel.install(&Policy::empty().image).unwrap();
    assert_eq!(host.one(&format!("tcp 127.0.0.3:{port}")), "ok");
    assert_eq!(host.one("socket v4 raw"), "ok");
    assert_eq!(host.flows(), []);
}

#[test]
fn nothing_is_left_in_the_kernel_after_the_daemon() {
    if !is_root() {
        return;
    }
    let host = Host::new(KernelOptions::default());
    let status = host.kernel.status().unwrap();
    assert!(status.is_whole(), "{status:?}");
    let ids: Vec<u32> = status.programs.iter().map(|program| program.id).collect();
    let loaded = || -> Vec<u32> {
        aya::programs::loaded_programs().flatten().map(|program| program.id()).collect()
    };
    assert!(ids.iter().all(|id| loaded().contains(id)));
    drop(host);
    // The kernel frees a program some time after its last user.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while ids.iter().any(|id| loaded().contains(id)) {
        assert!(std::time::Instant::now() < end, "programs stay loaded: {ids:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_link_that_was_taken_off_is_seen() {
    if !is_root() {
        return;
    }
    let host = Host::new(KernelOptions::default());
    std::fs::remove_dir(&host.cgroup.path).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while host.kernel.status().unwrap().is_whole() {
        assert!(std::time::Instant::now() < end, "the links look alive");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::create_dir(&host.cgroup.path).unwrap();
}
