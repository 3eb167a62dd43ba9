//! Sockets that a governed process did not connect: lent by another process, inherited, or older
//! than the programs. And those of others, which must stay theirs.

use std::{
    env, fs,
    io::{ErrorKind, Read as _},
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use governd_common::{
    event::{FlowEvent, Hook},
    key::BindingKey,
    limits::PIDS_PER_BLOCK,
    table::{Binding, BoundSet, PidBlock, Task, entry_flag, subject_flag},
    verdict::{Mode, Reason, Verdict},
};
use tempfile::TempDir;

use super::{
    agent,
    host::{EPERM, Host, TestCgroup, destination, is_root, wait_for},
    image::{AGENT, FIRST_SET, Policy},
};
use crate::kernel::{Kernel, KernelOptions, pod::Shared};

const EVERY_PORT: (u16, u16) = (0, u16::MAX);
const JUDGE_ACCEPTED: u16 = subject_flag::JUDGE_ACCEPTED;
/// What a read gives to which nothing came.
const TIMEOUT: &str = "errno 110";
/// Within this time a packet that was refused is sent again several times (200 ms and doubling).
const RETRANSMISSIONS: Duration = Duration::from_millis(700);
/// Where something has to arrive, whoever sends it ends by then, on a slow machine as well.
const SENDER_END: Duration = Duration::from_secs(60);

/// A program that is nobody's: it connects, and starts the agent with what it needs to send there.
const LEND: &str = r#"
import os, socket, subprocess, sys
kind, host, port, how, exe = sys.argv[1:6]
stream = kind == "tcp"
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
s.connect((host, int(port)))
number, keep = s.fileno(), [s]
if how not in ("inherited", "pidfd"):
    ours, theirs = socket.socketpair()
    socket.send_fds(ours, [b"x"], [s.fileno()])
    number, keep = theirs.fileno(), [ours, theirs]
os.set_inheritable(number, how != "pidfd")
script = f"use {how} {number} {os.getpid()}"
environment = dict(os.environ, GOVERND_TEST_SCRIPT=script)
agent = subprocess.Popen([exe] + sys.argv[6:], env=environment, close_fds=False)
sys.exit(agent.wait())
"#;

/// A program that is nobody's: it sends a lot to a server and reads it all back.
const CONVERSE: &str = r#"
import socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
data = bytes(1 << 20)
threading.Thread(target=s.sendall, args=(data,)).start()
left = len(data)
while left:
    left -= len(s.recv(65536))
print("outcome ok")
"#;

/// Runs a program of nobody's in a cgroup, and gives the outcomes that it and what it started say.
fn stranger(cgroup: &Path, program: &str, arguments: &[&str]) -> Vec<String> {
    let output = start(cgroup, program, arguments).wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split_once("outcome "))
        .map(|(_, rest)| rest.to_owned())
        .collect()
}

fn start(cgroup: &Path, program: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec python3 -c \"$@\""]);
    command.arg(cgroup).arg(program).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Lends a connection to the agent in one way and gives what its send gave.
fn lend(host: &Host, kind: &str, how: &str, port: u16) -> String {
    let exe = host.exe();
    let exe = exe.to_str().unwrap();
    let port = port.to_string();
    let mut arguments = vec![kind, "127.0.0.1", &port, how, exe];
    arguments.extend(agent::ARGUMENTS);
    let lines = stranger(&host.cgroup.path, LEND, &arguments);
    let [line] = lines.as_slice() else { panic!("one line: {lines:?}") };
    line.clone()
}

fn egress(host: &mut Host) -> Vec<FlowEvent> {
    let flows = host.flows().into_iter();
    flows.filter(|flow| flow.header.hook == Hook::Egress as u16).collect()
}

/// What arrives at a server until its sender ends or is silent for so long.
fn arrived(peer: &mut TcpStream, silence: Duration) -> Vec<u8> {
    peer.set_read_timeout(Some(silence)).unwrap();
    let mut data = Vec::new();
    let mut piece = [0; 64];
    loop {
        match peer.read(&mut piece) {
            Ok(0) => return data,
            Ok(len) => data.extend(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return data,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return data,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_connection_that_another_process_lends_is_judged_as_the_agents() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    for how in ["inherited", "scm", "pidfd", "splice", "sendfile", "uring"] {
        for is_allowed in [false, true] {
            // A port of its own: the connection before may still be closing, and is judged again.
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = server.local_addr().unwrap().port();
            let mut policy = Policy::of_exe(exe, Mode::Enforce);
            if is_allowed {
                policy = policy.network(Verdict::Allow, "127.0.0.1", EVERY_PORT, 0);
            }
            host.kernel.install(&policy.image).unwrap();
            host.drain();
            let data = thread::scope(|scope| {
                let silence = if is_allowed { SENDER_END } else { RETRANSMISSIONS };
                let server = &server;
                let server = scope.spawn(move || arrived(&mut server.accept().unwrap().0, silence));
                assert_eq!(lend(&host, "tcp", how, port), "ok", "{how}");
                server.join().unwrap()
            });
            let mut flows = egress(&mut host);
            flows.retain(|flow| flow.port == port);
            if is_allowed {
                assert_eq!((data.as_slice(), flows.as_slice()), (&b"token"[..], &[][..]), "{how}");
                continue;
            }
            assert_eq!(data, b"", "{how}");
            let [flow] = flows.as_slice() else { panic!("one refusal for {how}: {flows:?}") };
            assert_eq!((flow.reason, flow.header.subject), (Reason::NoRule as u8, AGENT), "{how}");
            assert_eq!(destination(flow).to_string(), format!("127.0.0.1:{port}"), "{how}");
            assert_ne!(flow.header.tgid, 0, "{how}");
        }
    }
}

#[test]
fn a_lent_udp_socket_sends_nothing_that_the_agent_may_not() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    for (mode, outcome) in [(Mode::Enforce, EPERM), (Mode::Monitor, "ok")] {
        host.kernel.install(&Policy::of_exe(exe, mode).image).unwrap();
        host.drain();
        assert_eq!(lend(&host, "udp", "scm", port), outcome);
        let flows = egress(&mut host);
        let [flow] = flows.as_slice() else { panic!("one refusal: {flows:?}") };
        assert_eq!((flow.reason, flow.mode), (Reason::NoRule as u8, mode as u8));
        assert_eq!(flow.header.subject, AGENT);
    }
}

#[test]
fn a_name_that_the_first_bytes_would_prove_is_not_proven_of_a_connection_that_runs_already() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let address = std::net::IpAddr::from([127, 0, 0, 1]).into();
    let mut binding = Binding { sets: [BoundSet::UNUSED; 8] };
    binding.sets[0] = BoundSet { expires_ns: u64::MAX, set: FIRST_SET, reserved: 0 };
    for (flags, expected) in [(0, &b""[..]), (entry_flag::VERIFY_DNS, b"token")] {
        let policy = Policy::of_exe(exe, Mode::Enforce).verified_by(flags);
        let policy = policy.name(Verdict::Allow, "allowed.test");
        host.kernel.install(&policy.image).unwrap();
        host.kernel.rebind(&[(BindingKey { subject: AGENT, address }, binding)]).unwrap();
        host.drain();
        let data = thread::scope(|scope| {
            let silence = if expected.is_empty() { RETRANSMISSIONS } else { SENDER_END };
            let server = &server;
            let server = scope.spawn(move || arrived(&mut server.accept().unwrap().0, silence));
            assert_eq!(lend(&host, "tcp", "scm", port), "ok");
            server.join().unwrap()
        });
        assert_eq!(data, expected);
        let reasons: Vec<_> = egress(&mut host).iter().map(|flow| flow.reason).collect();
        let refused = [Reason::ForeignSocket as u8];
        assert_eq!(reasons, if flags == 0 { &refused[..] } else { &[] });
    }
}

#[test]
fn what_others_send_while_the_agent_runs_stays_theirs() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    // The agent may connect nowhere. Much of what its clients send, they send in softirqs that its
    // own sending raises.
    host.kernel.install(&Policy::of_exe(exe, Mode::Enforce).image).unwrap();
    host.drain();
    let directory = TempDir::new().unwrap();
    let script = format!("echo {}", directory.path().display());
    thread::scope(|scope| {
        let agent = scope.spawn(|| host.run(&script));
        let ready = directory.path().join("ready");
        wait_for(&ready);
        let port = fs::read_to_string(&ready).unwrap();
        assert_eq!(stranger(&host.cgroup.path, CONVERSE, &[port.trim()]), ["ok"]);
        assert_eq!(agent.join().unwrap(), ["ok"]);
    });
    assert_eq!(egress(&mut host), []);
}

/// Starts an agent in a cgroup that nothing is attached to, lets it connect, and then the programs
/// come. Gives the host, what arrived, and what the agent's send gave.
fn older_than_programs(
    silence: Duration,
    change: impl FnOnce(&mut Host, u64, u32),
) -> (Host, Vec<u8>, String) {
    let cgroup = TestCgroup::new();
    let (path, id) = (cgroup.path.clone(), cgroup.id());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let directory = TempDir::new().unwrap();
    let go = |name: &str| -> PathBuf { directory.path().join(name) };
    let script = format!("hold {} tcp 127.0.0.1 {port}", directory.path().display());
    let exe = env::current_exe().unwrap();
    thread::scope(|scope| {
        let agent = scope.spawn(|| agent::run(&exe, &path, &script));
        wait_for(&go("ready"));
        let (mut peer, _) = server.accept().unwrap();
        let pid = last_process(&path);
        let mut host = Host::of(cgroup, KernelOptions::default());
        change(&mut host, id, pid);
        fs::write(go("go"), "").unwrap();
        let data = arrived(&mut peer, silence);
        let lines = agent.join().unwrap();
        (host, data, lines.join(";"))
    })
}

/// The process of a cgroup that started last.
fn last_process(cgroup: &Path) -> u32 {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    text.lines().filter_map(|line| line.parse().ok()).max().unwrap()
}

#[test]
fn a_connection_that_is_older_than_the_programs_is_judged_at_its_next_packet() {
    if !is_root() {
        return;
    }
    for is_allowed in [false, true] {
        for known in Known::ALL {
            let is_refused = !is_allowed || known == Known::Lost;
            let silence = if is_refused { RETRANSMISSIONS } else { SENDER_END };
            let (mut host, data, outcome) = older_than_programs(silence, |host, cgroup, pid| {
                let mut policy = match known {
                    Known::ByCgroup => Policy::of_cgroup(cgroup, Mode::Enforce),
                    _ => Policy::of_exe((0, 1), Mode::Enforce),
                };
                if is_allowed {
                    policy = policy.network(Verdict::Allow, "127.0.0.1", EVERY_PORT, 0);
                }
                host.kernel.install(&policy.image).unwrap();
                known.tell(&mut host.kernel, pid);
            });
            assert_eq!(outcome, "ok");
            let flows = egress(&mut host);
            let refused: Vec<_> =
                flows.iter().map(|flow| (flow.reason, flow.header.subject)).collect();
            let is_reported = is_refused && known != Known::Lost;
            let reported = is_reported.then_some((Reason::NoRule as u8, AGENT));
            assert_eq!(data.is_empty(), is_refused, "{known:?}");
            assert_eq!(refused, Vec::from_iter(reported), "{known:?}");
        }
    }
}

/// How the programs know a process that runs already.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    ByCgroup,
    /// The daemon found it.
    Tracked,
    /// As above, under programs that had no bytes of who is watched.
    TrackedEarlier,
    /// It could not be tracked, under such programs.
    Lost,
}

impl Known {
    const ALL: [Self; 4] = [Self::ByCgroup, Self::Tracked, Self::TrackedEarlier, Self::Lost];

    fn tell(self, kernel: &mut Kernel, pid: u32) {
        let task = Task { subject: AGENT, root: pid, since_ns: 0 };
        let tables = &mut kernel.tables;
        match self {
            Self::ByCgroup => {}
            Self::Tracked => kernel.set_task(pid, task).unwrap(),
            Self::TrackedEarlier => {
                tables.tasks.insert(pid, Shared(task), 0).unwrap();
                tables.watch_all().unwrap();
            }
            Self::Lost => {
                let (block, at) = (pid / PIDS_PER_BLOCK as u32, pid as usize % PIDS_PER_BLOCK);
                let mut marks = [0; PIDS_PER_BLOCK];
                marks[at] = 1;
                tables.untracked.set(block, Shared(PidBlock { marks }), 0).unwrap();
                tables.watch_all().unwrap();
            }
        }
    }
}

#[test]
fn what_another_host_opens_is_reported_and_judged_if_the_policy_says_so() {
    if !is_root() {
        return;
    }
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    let rows = [
        (0, "192.0.2.2", "ok", Some((Verdict::Allow, Reason::Accepted))),
        (JUDGE_ACCEPTED, "192.0.2.2", TIMEOUT, Some((Verdict::Deny, Reason::NoRule))),
        (JUDGE_ACCEPTED, "192.0.2.0/24", "ok", None),
    ];
    for (flags, network, outcome, reported) in rows {
        let policy = Policy::of_exe(exe, Mode::Enforce)
            .subject(Mode::Enforce, Verdict::Deny, flags)
            .network(Verdict::Allow, network, EVERY_PORT, 0);
        host.kernel.install(&policy.image).unwrap();
        host.drain();
        assert_eq!(host.one("netns; accept"), outcome, "{network}");
        let flows = egress(&mut host);
        let seen: Vec<_> = flows.iter().map(|flow| (flow.verdict, flow.reason)).collect();
        let expected = reported.map(|(verdict, reason)| (verdict as u8, reason as u8));
        assert_eq!(seen, Vec::from_iter(expected), "{network}");
        assert!(flows.iter().all(|flow| destination(flow).ip().to_string() == "192.0.2.3"));
    }
}
