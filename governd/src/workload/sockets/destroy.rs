//! Ends a connection that the kernel has refused, so that its program gets an error at once instead
//! of waiting for packets that never go out.
//!
//! Only a socket with the very cookie that the kernel named is ended, whatever else has the same
//! addresses, here or in another network namespace; a UDP socket only while it is connected. The
//! socket is looked for in the namespaces of its owner's threads first, then in those of all other
//! processes: a descriptor can be passed on. That the owner's pid may belong to another process by
//! now only means that the cookie is not found there.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::diag::{Diag, INET, INET6, InetSocket};
use crate::workload::{
    limits::{DESTROY_QUEUE_MAX, DESTROY_TIMEOUT_MS, SOCKET_FDS_MAX},
    netns::{NetworkNamespace, VisitError, Visitor},
    proc::ProcFs,
};

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// States of a TCP connection that somebody can wait on (include/net/tcp_states.h): established,
/// being made or being closed; no listener, and nothing that is only a memory of a connection.
const TCP_STATES: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// UDP sockets are "established" while they are connected.
const UDP_STATES: u32 = 1 << 1;

/// A socket to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Doomed {
    /// Its cookie, which no other socket has while the host is up.
    pub cookie: u64,
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// Destination port, or 0 if it is not known.
    pub port: u16,
    /// tgid of its owner.
    pub tgid: u32,
}

/// What the thread is asked to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// End one socket.
    One(Doomed),
    /// End every connection of a process.
    EveryOf(u32),
}

/// What became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Its program has its error.
    Destroyed,
    /// No namespace has such a connection: its program has closed it, or it is not connected.
    Gone,
}

/// The thread that ends sockets.
#[derive(Debug)]
pub struct Destroyer {
    queue: SyncSender<Order>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    destroyed: AtomicU64,
    failed: AtomicU64,
}

impl Destroyer {
    /// Starts it. It ends when this value is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(proc: ProcFs) -> io::Result<Self> {
        let (queue, doomed) = sync_channel(DESTROY_QUEUE_MAX);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::Builder::new().name("destroyer".into()).spawn(move || match Visitor::new() {
            Ok(visitor) => work(&proc, &visitor, &doomed, &shared),
            Err(error) => tracing::warn!(%error, "refused sockets are not destroyed"),
        })?;
        Ok(Self { queue, counts })
    }

    /// Ends a socket soon. Never waits: what the queue cannot take is counted as failed.
    pub fn destroy(&self, doomed: Doomed) {
        self.order(Order::One(doomed));
    }

    /// Ends every connection that a process has open now, soon, whether it sends anything or not.
    pub fn destroy_every_of(&self, tgid: u32) {
        self.order(Order::EveryOf(tgid));
    }

    fn order(&self, order: Order) {
        if self.queue.try_send(order).is_err() {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sockets that were ended.
    pub fn destroyed(&self) -> u64 {
        self.counts.destroyed.load(Ordering::Relaxed)
    }

    /// Sockets that may still be there. Nothing gets out of them; their programs wait.
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }
}

/// Until nobody can ask any more. If it ends before that, what is asked is counted as failed.
fn work(proc: &ProcFs, visitor: &Visitor, queue: &Receiver<Order>, counts: &Counts) {
    while let Ok(order) = queue.recv() {
        let done = match order {
            Order::One(doomed) => {
                destroy(proc, visitor, &doomed).map(|fate| u64::from(fate == Fate::Destroyed))
            }
            Order::EveryOf(tgid) => end_every_of(proc, visitor, tgid),
        };
        match done {
            Ok(0) => tracing::debug!(?order, "refused socket is gone"),
            Ok(count) => {
                counts.destroyed.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::debug!(%error, ?order, "refused socket not destroyed");
                counts.failed.fetch_add(1, Ordering::Relaxed);
                if matches!(error, DestroyError::Visit(VisitError::Return(_))) {
                    return;
                }
            }
        }
    }
}

/// Why a socket may still be there.
#[derive(Debug, thiserror::Error)]
enum DestroyError {
    /// The kernel does not tell or does not act.
    #[error(transparent)]
    Kernel(#[from] io::Error),
    /// A namespace could not be looked at.
    #[error(transparent)]
    Visit(#[from] VisitError),
}

/// Looks for a socket and ends it.
///
/// # Errors
/// The kernel refuses to tell or to act, or it takes too long.
fn destroy(proc: &ProcFs, visitor: &Visitor, doomed: &Doomed) -> Result<Fate, DestroyError> {
    let end = Instant::now() + Duration::from_millis(DESTROY_TIMEOUT_MS);
    let mut known = HashSet::new();
    let mut unreachable = None;
    let owners = NetworkNamespace::of_threads(proc, doomed.tgid);
    known.extend(owners.iter().map(|namespace| namespace.inode));
    let mut others = HashSet::clone(&known);
    let everywhere = NetworkNamespace::of_processes(proc, proc.pids(), &mut others);
    for namespace in owners.into_iter().chain(everywhere) {
        if Instant::now() > end {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        match visitor.within(&namespace, Diag::open) {
            Ok(diag) => {
                if end_in(&mut diag?, doomed)? == Fate::Destroyed {
                    return Ok(Fate::Destroyed);
                }
            }
            Err(error @ VisitError::Enter(_)) => unreachable = Some(error),
            Err(error @ VisitError::Return(_)) => return Err(error.into()),
        }
    }
    // Where it was not possible to look, the socket may be.
    unreachable.map_or(Ok(Fate::Gone), |error| Err(error.into()))
}

/// In one namespace.
fn end_in(diag: &mut Diag, doomed: &Doomed) -> io::Result<Fate> {
    let states = if doomed.protocol == PROTOCOL_UDP { UDP_STATES } else { TCP_STATES };
    let is_it = |socket: &InetSocket| socket.id.cookie() == doomed.cookie;
    // Something else may have changed the port that the kernel saw, so all ports come last.
    let ports = if doomed.port == 0 { &[0][..] } else { &[doomed.port, 0] };
    for port in ports {
        for family in [INET, INET6] {
            let found = diag.find((family, doomed.protocol), states, *port, is_it)?;
            let Some(socket) = found else { continue };
            return match diag.destroy(doomed.protocol, &socket) {
                Ok(()) => Ok(Fate::Destroyed),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Fate::Gone),
                Err(error) => Err(error),
            };
        }
    }
    Ok(Fate::Gone)
}

/// Ends the connections of a process in the namespaces of its threads, and gives how many. One in
/// another namespace ends at its next packet.
fn end_every_of(proc: &ProcFs, visitor: &Visitor, tgid: u32) -> Result<u64, DestroyError> {
    let end = Instant::now() + Duration::from_millis(DESTROY_TIMEOUT_MS);
    let mut fds_left = SOCKET_FDS_MAX;
    let open = super::open_sockets(proc, tgid, &mut fds_left);
    let mut count = 0;
    for namespace in NetworkNamespace::of_threads(proc, tgid) {
        let mut diag = visitor.within(&namespace, Diag::open)??;
        for (protocol, states) in [(PROTOCOL_TCP, TCP_STATES), (PROTOCOL_UDP, UDP_STATES)] {
            for family in [INET, INET6] {
                let is_its = |socket: &InetSocket| open.contains(&u64::from(socket.inode));
                for socket in diag.every((family, protocol), states, is_its)? {
                    if Instant::now() > end {
                        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                    }
                    match diag.destroy(protocol, &socket) {
                        Ok(()) => count += 1,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::Ipv4Addr,
        path::Path,
        process::{Child, ChildStdout, Command, Stdio},
    };

    use super::*;

    /// Connects in a network namespace of its own to itself, from and to ports that are the same in
    /// each, says its cookie, and what it then gets: the number of an error, or 0 for a byte that
    /// it is sent after a line of input.
    const PEER: &str = r#"
import socket, sys, threading
kind, host = sys.argv[1:]
family = socket.AF_INET if "." in host and ":" not in host else socket.AF_INET6
tcp = kind == "tcp"
local = "::ffff:127.0.0.1" if host.startswith("::ffff") else host
other = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
other.bind((local, 4001))
s = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
s.bind((local, 4002))
if tcp:
    other.listen()
    s.connect((local, 4001))
    other = other.accept()[0]
elif kind == "udp":
    s.connect((local, 4001))
print(int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder), flush=True)
def send():
    sys.stdin.readline()
    other.send(b"x") if tcp else other.sendto(b"x", (local, 4002))
threading.Thread(target=send, daemon=True).start()
try:
    s.recv(1)
    print(0, flush=True)
except OSError as error:
    print(error.errno, flush=True)
"#;

    struct Peer {
        child: Child,
        output: BufReader<ChildStdout>,
        cookie: u64,
    }

    impl Peer {
        fn new(kind: &str, host: &str) -> Self {
            let mut child = Command::new("unshare")
                .args(["--net", "sh", "-c", "ip link set lo up && exec python3 -c \"$0\" \"$@\""])
                .args([PEER, kind, host])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            let mut peer = Self { child, output, cookie: 0 };
            peer.cookie = peer.line();
            peer
        }

        fn line(&mut self) -> u64 {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            line.trim().parse().unwrap()
        }

        fn doomed(&self, protocol: u8, tgid: u32) -> Doomed {
            Doomed { cookie: self.cookie, protocol, port: 4_001, tgid }
        }

        /// What its receiving gives when it is sent a byte.
        fn receive(&mut self) -> u64 {
            writeln!(self.child.stdin.as_ref().unwrap()).unwrap();
            self.line()
        }
    }

    impl Drop for Peer {
        fn drop(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }

    fn is_root() -> bool {
        if rustix::process::geteuid().is_root() {
            return true;
        }
        assert!(std::env::var("CI").is_err(), "these tests need root, and CI must run them");
        eprintln!("skipped: needs root");
        false
    }

    /// In a thread of its own, as the visitor wants it.
    fn fate(doomed: Doomed) -> Fate {
        let look = move || {
            let proc = ProcFs::new(Path::new("/proc"));
            destroy(&proc, &Visitor::new().unwrap(), &doomed).unwrap()
        };
        thread::spawn(look).join().unwrap()
    }

    const ECONNABORTED: u64 = 103;
    const ECONNRESET: u64 = 104;

    #[test]
    fn only_the_connection_with_the_cookie_ends_and_its_twin_lives_on() {
        if !is_root() {
            return;
        }
        let kinds = [("tcp", 6), ("udp", 17)];
        let hosts = ["127.0.0.1", "::1", "::ffff:127.0.0.1"];
        for (kind, protocol) in kinds {
            for host in hosts {
                let (mut peer, mut twin) = (Peer::new(kind, host), Peer::new(kind, host));
                let doomed = peer.doomed(protocol, peer.child.id());
                assert_eq!(fate(doomed), Fate::Destroyed, "{kind} {host}");
                assert_eq!(peer.line(), ECONNABORTED, "{kind} {host}");
                assert_eq!(fate(doomed), Fate::Gone, "{kind} {host}");
                assert_eq!(twin.receive(), 0, "{kind} {host}");
            }
        }
    }

    #[test]
    fn a_connection_is_found_without_its_owner_and_by_another_port() {
        if !is_root() {
            return;
        }
        let mut peer = Peer::new("tcp", "127.0.0.1");
        for tgid in [0, std::process::id(), u32::MAX] {
            assert_eq!(fate(Doomed { cookie: u64::MAX - 1, ..peer.doomed(6, tgid) }), Fate::Gone);
        }
        let doomed = Doomed { port: 9, ..peer.doomed(6, std::process::id()) };
        assert_eq!(fate(doomed), Fate::Destroyed);
        assert_eq!(peer.line(), ECONNABORTED);
    }

    #[test]
    fn a_connection_in_this_namespace_ends_too() {
        if !is_root() {
            return;
        }
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect(to).unwrap();
        let (mut ended, other) = (connect(), connect());
        let cookie = rustix::net::sockopt::socket_cookie(&ended).unwrap();
        let tgid = std::process::id();
        let doomed = Doomed { cookie, protocol: 6, port: to.port(), tgid };
        assert_eq!(fate(doomed), Fate::Destroyed);
        let error = std::io::Read::read(&mut ended, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(rustix::net::sockopt::socket_error(&other).unwrap(), Ok(()));
        assert_eq!(std::io::Write::write(&mut &other, b"x").unwrap(), 1);
    }

    #[test]
    fn an_unconnected_udp_socket_and_a_listener_are_left_alone() {
        if !is_root() {
            return;
        }
        for host in ["127.0.0.1", "::1"] {
            let mut peer = Peer::new("udp-unconnected", host);
            let doomed = peer.doomed(17, peer.child.id());
            assert_eq!(fate(doomed), Fate::Gone, "{host}");
            assert_eq!(fate(Doomed { port: 0, ..doomed }), Fate::Gone, "{host}");
            assert_eq!(peer.receive(), 0, "{host}");
        }
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let cookie = rustix::net::sockopt::socket_cookie(&listener).unwrap();
        let doomed = Doomed { cookie, protocol: 6, port: 0, tgid: std::process::id() };
        assert_eq!(fate(doomed), Fate::Gone);
    }

    #[test]
    fn every_connection_of_a_process_ends_and_nobody_elses() {
        if !is_root() {
            return;
        }
        for (kind, host) in [("tcp", "127.0.0.1"), ("udp", "::1"), ("tcp", "::ffff:127.0.0.1")] {
            let (mut peer, mut other) = (Peer::new(kind, host), Peer::new(kind, host));
            let tgid = peer.child.id();
            let look = move || {
                let proc = ProcFs::new(Path::new("/proc"));
                end_every_of(&proc, &Visitor::new().unwrap(), tgid).unwrap()
            };
            assert!(thread::spawn(look).join().unwrap() > 0, "{kind} {host}");
            // It has both ends: the one that ends first may reset the other.
            assert!([ECONNABORTED, ECONNRESET].contains(&peer.line()), "{kind} {host}");
            assert_eq!(other.receive(), 0, "{kind} {host}");
        }
    }

    #[test]
    fn the_thread_counts_what_it_ends_and_what_it_cannot_take() {
        if !is_root() {
            return;
        }
        let mut peer = Peer::new("tcp", "::1");
        let destroyer = Destroyer::spawn(ProcFs::new(Path::new("/proc"))).unwrap();
        let began = Instant::now();
        destroyer.destroy(peer.doomed(6, peer.child.id()));
        assert_eq!(peer.line(), ECONNABORTED);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let absent = Doomed { cookie: 1, protocol: 6, port: 1, tgid: 0 };
        for _ in 0..3 * DESTROY_QUEUE_MAX {
            destroyer.destroy(absent);
        }
        assert!(destroyer.failed() > 0);
        while destroyer.destroyed() == 0 {
            assert!(began.elapsed() < Duration::from_secs(10));
            thread::yield_now();
        }
    }
}
