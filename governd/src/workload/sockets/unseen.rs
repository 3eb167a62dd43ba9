//! What carries data past every hook of the programs: packet, vsock and XDP sockets, those of other
//! families than IP's that lead to other machines (RxRPC, TIPC, Bluetooth and the like), and
//! network interfaces made of a file (`/dev/net/tun`).
//!
//! Nothing in the kernel announces them, so the descriptors of governed processes are looked at a
//! few times a second. sockfs tells a socket's kind without touching it (`system.sockprotoname`,
//! net/socket.c), in whichever network namespace it is. A socket that io_uring holds without a
//! descriptor is listed with its ring, and its kind is asked of the kernel by sock_diag(7). What
//! comes and goes between two looks is missed, and so are vsock and XDP sockets that only a ring
//! holds. A ring whose thread is another process's does what it is told as that process.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::diag::Diag;
use crate::workload::{
    limits::{
        SMALL_FILE_BYTES_MAX, SOCKET_FDS_MAX, UNSEEN_INTERVAL_MS, UNSEEN_KNOWN_MAX,
        UNSEEN_QUEUE_MAX,
    },
    netns::{NetworkNamespace, VisitError, Visitor},
    proc::{ProcFs, bracketed},
    read,
};

/// Between two looks, and where there is nobody to look at.
const INTERVAL: Duration = Duration::from_millis(UNSEEN_INTERVAL_MS);
const NOBODY: Duration = Duration::from_secs(3_600);

/// What was found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// `AF_PACKET`: frames that the program writes itself.
    Packet,
    /// `AF_VSOCK`: to the hypervisor or to another machine of the host.
    Vsock,
    /// `AF_XDP`: frames, past the kernel's network stack.
    Xdp,
    /// Of a family that no program judges.
    Other,
    /// A ring of io_uring whose thread (`IORING_SETUP_SQPOLL`) is another process's, not governed.
    Ring,
    /// A tun or tap device: the packets of an interface.
    Tun,
}

impl Kind {
    /// The word that records use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Packet => "packet-socket",
            Self::Vsock => "vsock-socket",
            Self::Xdp => "xdp-socket",
            Self::Other => "other-socket",
            Self::Ring => "foreign-ring",
            Self::Tun => "tun-device",
        }
    }

    /// By the name of a socket's protocol in the kernel (`struct proto`); a device has none.
    fn of(protocol: Option<&str>) -> Option<Self> {
        match protocol {
            None => Some(Self::Tun),
            Some("PACKET") => Some(Self::Packet),
            Some("AF_VSOCK") => Some(Self::Vsock),
            Some("XDP") => Some(Self::Xdp),
            Some("" | "UNIX" | "UNIX-STREAM" | "NETLINK" | "ALG" | "KEY") => None,
            Some(name) if OVER_IP.iter().any(|over_ip| name.starts_with(over_ip)) => None,
            Some(_) => Some(Self::Other),
        }
    }

    /// What tells it from others, to people too.
    fn label(self, name: &str, protocol: Option<&str>) -> String {
        match (self, protocol) {
            (Self::Other, Some(protocol)) => format!("{protocol} {name}"),
            _ => name.to_owned(),
        }
    }
}

/// How the names of the protocols begin that are over IP, all of whose packets are judged.
const OVER_IP: [&str; 8] = ["TCP", "UDP", "RAW", "PING", "SCTP", "DCCP", "L2TP/IP", "MPTCP"];

/// A process that has something of this sort.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unseen {
    /// The process.
    pub pid: u32,
    /// What it has.
    pub kind: Kind,
    /// What tells it from others: `socket:[INODE]`, or the interface.
    pub name: String,
}

/// The thread that looks.
#[derive(Debug)]
pub struct Lookout {
    pids: SyncSender<Vec<u32>>,
    found: Receiver<Unseen>,
}

impl Lookout {
    /// Starts it. It ends when this value is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(proc: ProcFs) -> io::Result<Self> {
        let (pids, watched) = sync_channel(1);
        let (tell, found) = sync_channel(UNSEEN_QUEUE_MAX);
        thread::Builder::new()
            .name("lookout".into())
            .spawn(move || look_out(Sweep::new(proc), &watched, &tell))?;
        Ok(Self { pids, found })
    }

    /// Looks at these processes from now on. If the thread is behind, it keeps to those before.
    pub fn watch(&self, pids: Vec<u32>) {
        self.pids.try_send(pids).ok();
    }

    /// What was found since; each thing once, as long as somebody has it.
    pub fn found(&self) -> impl Iterator<Item = Unseen> + '_ {
        self.found.try_iter()
    }
}

fn look_out(mut sweep: Sweep, watched: &Receiver<Vec<u32>>, tell: &SyncSender<Unseen>) {
    let mut pids = Vec::new();
    loop {
        // Who is to be looked at when there is nobody comes as an order.
        let interval = if pids.is_empty() { NOBODY } else { INTERVAL };
        match watched.recv_timeout(interval) {
            Ok(newer) => pids = newer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for unseen in sweep.look(&pids) {
            if tell.send(unseen).is_err() {
                return;
            }
        }
    }
}

/// What one thread remembers from look to look.
#[derive(Debug)]
struct Sweep {
    proc: ProcFs,
    visitor: io::Result<Visitor>,
    /// What each descriptor's target is, by its name; `None` for the ordinary.
    known: HashMap<String, Option<Kind>>,
}

impl Sweep {
    /// For the calling thread.
    fn new(proc: ProcFs) -> Self {
        Self { proc, visitor: Visitor::new(), known: HashMap::new() }
    }

    /// What these processes have that they had not at the last look.
    fn look(&mut self, pids: &[u32]) -> Vec<Unseen> {
        let mut found = Vec::new();
        let mut present = HashSet::new();
        let mut fds_left = SOCKET_FDS_MAX;
        for pid in pids {
            let entries = fs::read_dir(self.proc.file(*pid, "fd")).into_iter().flatten();
            for entry in entries.filter_map(Result::ok).take(fds_left) {
                fds_left -= 1;
                let path = entry.path();
                let target = fs::read_link(&path).unwrap_or_default();
                let Some(target) = target.to_str() else { continue };
                if target == "anon_inode:[io_uring]" {
                    let number = entry.file_name();
                    let fdinfo = Path::new("fdinfo").join(number);
                    let text = self.proc.file(*pid, "").join(fdinfo);
                    let text = read::text(&text, SMALL_FILE_BYTES_MAX).unwrap_or_default();
                    self.look_at_ring(*pid, &text, &mut present, &mut found);
                    self.look_at_thread(*pid, pids, &text, &mut present, &mut found);
                    continue;
                }
                let Some(name) = self.name(*pid, &path, target) else { continue };
                if !self.known.contains_key(&name) && self.known.len() < UNSEEN_KNOWN_MAX {
                    let protocol = protocol(&path, &name);
                    let kind = Kind::of(protocol.as_deref());
                    found.extend(kind.map(|kind| {
                        let name = kind.label(&name, protocol.as_deref());
                        Unseen { pid: *pid, kind, name }
                    }));
                    self.known.insert(name.clone(), kind);
                }
                present.insert(name);
            }
        }
        self.known.retain(|name, _| present.contains(name));
        found
    }

    /// The name of what may be something of this sort.
    fn name(&self, pid: u32, path: &Path, target: &str) -> Option<String> {
        if target.starts_with("socket:[") {
            return Some(target.to_owned());
        }
        if target.starts_with("/dev/tap") {
            return Some(target.to_owned());
        }
        let number = (target == "/dev/net/tun").then(|| path.file_name()?.to_str()).flatten()?;
        let fdinfo = self.proc.file(pid, &format!("fdinfo/{number}"));
        let text = read::text(&fdinfo, SMALL_FILE_BYTES_MAX).ok()?;
        let interface = text.lines().find_map(|line| line.strip_prefix("iff:"))?.trim();
        // Without an interface it carries nothing yet.
        let namespace = self.proc.namespace(pid, "net").filter(|_| !interface.is_empty())?;
        Some(format!("{target} {interface} in net:[{namespace}]"))
    }

    /// Sockets that a ring holds without a descriptor (`UserFiles` in its fdinfo).
    fn look_at_ring(
        &mut self,
        pid: u32,
        fdinfo: &str,
        present: &mut HashSet<String>,
        found: &mut Vec<Unseen>,
    ) {
        let names = fdinfo.lines().filter_map(|line| {
            let start = line.find("socket:[")?;
            line.get(start..)?.split_whitespace().next()
        });
        let names: Vec<&str> = names.collect();
        if names.iter().any(|name| !self.known.contains_key(*name)) {
            let inodes = self.packet_inodes(pid);
            for name in &names {
                let is_packet = bracketed(name).is_some_and(|inode| inodes.contains(&inode));
                let kind = is_packet.then_some(Kind::Packet);
                if !self.known.contains_key(*name) && self.known.len() < UNSEEN_KNOWN_MAX {
                    let name = (*name).to_owned();
                    found.extend(kind.map(|kind| Unseen { pid, kind, name: name.clone() }));
                    self.known.insert(name, kind);
                }
            }
        }
        present.extend(names.into_iter().map(str::to_owned));
    }

    /// Whose thread does what is written into a ring (`SqThread` in its fdinfo).
    fn look_at_thread(
        &mut self,
        pid: u32,
        governed: &[u32],
        fdinfo: &str,
        present: &mut HashSet<String>,
        found: &mut Vec<Unseen>,
    ) {
        let thread = fdinfo.lines().find_map(|line| line.strip_prefix("SqThread:"));
        let thread = thread.and_then(|thread| thread.trim().parse().ok());
        let Some(owner) = thread.and_then(|thread| self.proc.process_of(thread)) else { return };
        if governed.contains(&owner) {
            return;
        }
        let name = format!("io_uring of process {owner} in process {pid}");
        if !self.known.contains_key(&name) && self.known.len() < UNSEEN_KNOWN_MAX {
            found.push(Unseen { pid, kind: Kind::Ring, name: name.clone() });
            self.known.insert(name.clone(), Some(Kind::Ring));
        }
        present.insert(name);
    }

    /// Inodes of the packet sockets in the namespaces of a process's threads.
    fn packet_inodes(&mut self, pid: u32) -> HashSet<u64> {
        let mut inodes = HashSet::new();
        for namespace in NetworkNamespace::of_threads(&self.proc, pid) {
            let Ok(visitor) = &self.visitor else { break };
            match visitor.within(&namespace, Diag::open) {
                Ok(diag) => {
                    let listed = diag.and_then(|mut diag| diag.packet_inodes());
                    inodes.extend(listed.unwrap_or_default());
                }
                Err(VisitError::Enter(_)) => {}
                // In the wrong place: no more visits.
                Err(VisitError::Return(error)) => self.visitor = Err(error),
            }
        }
        inodes
    }
}

/// The protocol of the socket that a descriptor leads to, empty if it cannot be read; `None` for a
/// device.
fn protocol(path: &Path, name: &str) -> Option<String> {
    if !name.starts_with("socket:[") {
        return None;
    }
    let mut buffer = [0; 32];
    let read = rustix::fs::getxattr(path, "system.sockprotoname", &mut buffer[..]);
    let bytes = read.ok().and_then(|len| buffer.get(..len)).unwrap_or_default();
    Some(String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).into_owned())
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    fn sweep() -> Sweep {
        Sweep::new(ProcFs::new(Path::new("/proc")))
    }

    #[test]
    fn an_ordinary_process_has_nothing_and_a_missing_one_neither() {
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        // Other tests of this process may open what is looked for.
        let child = std::process::Command::new("sleep").arg("10").spawn();
        let mut child = child.unwrap();
        assert_eq!(sweep().look(&[child.id(), u32::MAX]), []);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_protocol_that_is_not_over_ip_and_leads_to_other_machines_is_one() {
        let rows = [
            ("RXRPC", Some(Kind::Other)),
            ("TIPC", Some(Kind::Other)),
            ("SMC6", Some(Kind::Other)),
            ("XDP", Some(Kind::Xdp)),
            ("UDPLITEv6", None),
            ("MPTCPv6", None),
            ("UNIX-STREAM", None),
            ("", None),
        ];
        for (protocol, kind) in rows {
            assert_eq!(Kind::of(Some(protocol)), kind, "{protocol}");
        }
        assert_eq!(Kind::Other.label("socket:[7]", Some("TIPC")), "TIPC socket:[7]");
        assert_eq!(Kind::Packet.label("socket:[7]", Some("PACKET")), "socket:[7]");
    }

    #[test]
    fn a_ring_with_a_thread_of_who_is_not_governed_is_found_once() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("77")).unwrap();
        fs::write(proc.path().join("77/status"), "Name:\tiou-sqp-70\nTgid:\t70\n").unwrap();
        let mut sweep = Sweep::new(ProcFs::new(proc.path()));
        let mut look = |governed: &[u32], fdinfo: &str| {
            let mut found = Vec::new();
            sweep.look_at_thread(5, governed, fdinfo, &mut HashSet::new(), &mut found);
            found
        };
        for (governed, thread) in [(&[5][..], "-1"), (&[5], "78"), (&[5, 70], "77")] {
            assert_eq!(look(governed, &format!("SqThread:\t{thread}\n")), [], "{thread}");
        }
        let name = "io_uring of process 70 in process 5".to_owned();
        let ring = Unseen { pid: 5, kind: Kind::Ring, name };
        assert_eq!(look(&[5], "SqMask:\t0x7\nSqThread:\t77\nSqThreadCpu:\t1\n"), [ring]);
        assert_eq!(look(&[5], "SqThread:\t77\n"), []);
    }

    #[test]
    fn each_kind_is_found_once_as_long_as_somebody_has_it() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var("CI").is_err(), "these tests need root, and CI must run them");
            eprintln!("skipped: needs root");
            return;
        }
        let pid = std::process::id();
        let vsock = AddressFamily::from_raw(40);
        let rows = [(AddressFamily::PACKET, Kind::Packet), (vsock, Kind::Vsock)];
        for (family, kind) in rows {
            // A host without the protocol has no such socket either.
            let Ok(open) = socket(family, SocketType::DGRAM, None) else { continue };
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
            let name = fs::read_link(path).unwrap().to_str().unwrap().to_owned();
            let unseen = Unseen { pid, kind, name };
            let mut sweep = sweep();
            assert_eq!(sweep.look(&[pid]).iter().filter(|found| **found == unseen).count(), 1);
            assert!(!sweep.look(&[pid, pid]).contains(&unseen));
            drop(open);
            sweep.look(&[pid]);
            assert!(!sweep.known.contains_key(&unseen.name));
        }
    }

    #[test]
    fn the_kernel_lists_the_packet_sockets_of_a_namespace() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let open = socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        let inode = bracketed(fs::read_link(path).unwrap().to_str().unwrap()).unwrap();
        let look = || sweep().packet_inodes(std::process::id());
        assert!(thread::spawn(look).join().unwrap().contains(&inode));
    }
}
