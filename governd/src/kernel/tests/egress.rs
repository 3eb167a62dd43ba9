//! Packets of sockets that no other hook settles.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    thread,
};

use governd_common::{
    event::{FlowEvent, Hook},
    table::subject_flag,
    verdict::{Mode, Reason, Verdict},
};
use tempfile::TempDir;

use super::{
    agent,
    host::{EPERM, Host, TestCgroup, destination, is_root, wait_for},
    image::{AGENT, Policy},
};
use crate::kernel::KernelOptions;

const EINVAL: &str = "errno 22";
const EVERY_PORT: (u16, u16) = (0, u16::MAX);

/// Starts an agent that holds a socket, lets `change` happen, and returns what its send gave.
pub(super) fn hold(cgroup: &Path, step: &str, change: impl FnOnce()) -> String {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let script = format!("hold {} {step}", path.display());
    let exe = std::env::current_exe().unwrap();
    let lines = thread::scope(|scope| {
        let agent = scope.spawn(|| agent::run(&exe, cgroup, &script));
        wait_for(&path.join("ready"));
        change();
        fs::write(path.join("go"), "").unwrap();
        agent.join().unwrap()
    });
    let [line] = lines.as_slice() else { panic!("one line: {lines:?}") };
    line.clone()
}

fn egress(host: &mut Host) -> Vec<FlowEvent> {
    let flows = host.flows().into_iter();
    flows.filter(|flow| flow.header.hook == Hook::Egress as u16).collect()
}

fn udp() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn a_connection_is_judged_again_under_a_new_policy() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let (_server, port) = udp();
    let cgroup = host.cgroup.id();
    let path = host.cgroup.path.clone();
    let step = format!("udp 127.0.0.2 {port}");
    let open = Policy::of_cgroup(cgroup, Mode::Enforce)
        .network(Verdict::Allow, "127.0.0.2", EVERY_PORT, 0)
        .image;
    let closed = Policy::of_cgroup(cgroup, Mode::Enforce).image;
    let monitored = Policy::of_cgroup(cgroup, Mode::Monitor).image;
    for (next, outcome) in [(&closed, EPERM), (&monitored, "ok"), (&open, "ok")] {
        host.kernel.install(&open).unwrap();
        let sent = hold(&path, &step, || {
            host.kernel.install(next).unwrap();
        });
        assert_eq!(sent, outcome);
        let flows = egress(&mut host);
        assert_eq!(flows.len(), usize::from(outcome == EPERM || std::ptr::eq(next, &monitored)));
        for flow in flows {
            assert_eq!(flow.verdict, Verdict::Deny as u8);
            assert_eq!((flow.reason, flow.header.subject), (Reason::NoRule as u8, AGENT));
            assert_eq!(destination(&flow).to_string(), format!("127.0.0.2:{port}"));
            assert_ne!(flow.header.tgid, 0);
        }
    }
    // A policy without the agent leaves its connections alone.
    host.kernel.install(&open).unwrap();
    let sent = hold(&path, &step, || {
        host.kernel.install(&Policy::empty().image).unwrap();
    });
    assert_eq!(sent, "ok");
}

#[test]
fn a_raw_socket_from_before_enforcement_sends_nothing_under_it() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let cgroup = host.cgroup.id();
    let path = host.cgroup.path.clone();
    let monitored = Policy::of_cgroup(cgroup, Mode::Monitor).image;
    let everything =
        |mode, flags| Policy::of_cgroup(cgroup, mode).subject(mode, Verdict::Allow, flags).image;
    let enforced = everything(Mode::Enforce, 0);
    let excused = everything(Mode::Enforce, subject_flag::RAW_SOCKETS);
    for kind in ["raw-icmp", "raw-udp"] {
        for (next, outcome) in [(&enforced, EPERM), (&excused, "ok"), (&monitored, "ok")] {
            host.kernel.install(&monitored).unwrap();
            let sent = hold(&path, &format!("{kind} 127.0.0.2 0"), || {
                host.kernel.install(next).unwrap();
            });
            assert_eq!(sent, outcome, "{kind}");
            let flows = egress(&mut host);
            let is_reported = !std::ptr::eq(next, &excused);
            assert_eq!(!flows.is_empty(), is_reported, "{kind}: {flows:?}");
            assert!(flows.iter().all(|flow| flow.reason == Reason::RawSocket as u8));
        }
    }
}

#[test]
fn ip_options_of_a_governed_process_do_not_go_out() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let (_server, port) = udp();
    let path = host.cgroup.path.clone();
    let image = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .network(Verdict::Allow, "127.0.0.2", EVERY_PORT, 0)
        .image;
    host.kernel.install(&image).unwrap();
    assert_eq!(hold(&path, &format!("udp 127.0.0.2 {port}"), || {}), "ok");
    assert_eq!(egress(&mut host), []);
    assert_eq!(hold(&path, &format!("options 127.0.0.2 {port}"), || {}), EPERM);
    assert_eq!(egress(&mut host)[0].reason, Reason::RawSocket as u8);
}

#[test]
fn a_raw_socket_that_is_older_than_the_programs_belongs_to_its_cgroup() {
    if !is_root() {
        return;
    }
    // ICMP, then tunnels: IPv4 and IPv6 in IPv4, GRE, and a number that nobody has.
    for kind in
        ["raw-icmp", "raw-protocol-4", "raw-protocol-41", "raw-protocol-47", "raw-protocol-253"]
    {
        let cgroup = TestCgroup::new();
        let path = cgroup.path.clone();
        let id = cgroup.id();
        let mut slot = None;
        let mut cgroup = Some(cgroup);
        let sent = hold(&path, &format!("{kind} 127.0.0.2 0"), || {
            let mut host = Host::of(cgroup.take().unwrap(), KernelOptions::default());
            host.kernel.install(&Policy::of_cgroup(id, Mode::Enforce).image).unwrap();
            slot = Some(host);
        });
        assert_eq!(sent, EPERM);
        let flows = egress(slot.as_mut().unwrap());
        assert_eq!((flows[0].reason, flows[0].header.subject), (Reason::RawSocket as u8, AGENT));
    }
}

#[test]
fn extension_headers_of_a_governed_process_do_not_go_out() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let server = UdpSocket::bind("[::1]:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let image = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .network(Verdict::Allow, "::1", EVERY_PORT, 0)
        .image;
    host.kernel.install(&image).unwrap();
    for kind in ["plain", "hop-by-hop", "destination", "routing-2", "routing-4"] {
        host.drain();
        let outcome = host.one(&format!("headers {kind} ::1 {port}"));
        let flows = egress(&mut host);
        if kind == "plain" {
            assert_eq!((outcome.as_str(), flows.as_slice()), ("ok", &[][..]));
        } else if outcome == EINVAL {
            // The kernel was built without headers of this type.
            assert!(kind.starts_with("routing"), "{kind}");
        } else {
            assert!([EPERM, "EACCES"].contains(&outcome.as_str()), "{kind}: {outcome}");
            assert_eq!(flows[0].reason, Reason::RawSocket as u8, "{kind}");
        }
    }
}

#[test]
fn allowed_connections_and_servers_of_an_agent_work() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let to = listener.local_addr().unwrap();
    let image = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .network(Verdict::Allow, "127.0.0.2", EVERY_PORT, 0)
        .image;
    host.kernel.install(&image).unwrap();
    assert_eq!(host.one(&format!("tcp {to}")), "ok");
    // The agent answers a client that it could not connect to by itself.
    let directory = TempDir::new().unwrap();
    let ready = directory.path().join("ready");
    let script = format!("serve {}", directory.path().display());
    let (path, exe) = (host.cgroup.path.clone(), std::env::current_exe().unwrap());
    thread::scope(|scope| {
        let agent = scope.spawn(|| agent::run(&exe, &path, &script));
        wait_for(&ready);
        let port: u16 = fs::read_to_string(&ready).unwrap().parse().unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"hello").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
        assert_eq!(agent.join().unwrap(), ["ok"]);
    });
    assert_eq!(egress(&mut host), []);
}
