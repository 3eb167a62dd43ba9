//! What went through the TCP connections that processes have open, by the kernel's own counters,
//! asked for every so often by a thread of its own. What went through one that is closed is told by
//! the programs.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread,
    time::Duration,
};

use super::{
    diag::{Diag, Measured, of_both},
    open_sockets,
};
use crate::workload::{
    limits::{OPEN_INTERVAL_MS, SOCKET_FDS_MAX},
    netns::{NetworkNamespace, VisitError, Visitor},
    proc::ProcFs,
};

/// A connection that a process has open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Open {
    /// The process, one of those that have it.
    pub pid: u32,
    /// The socket's cookie, as programs see it.
    pub cookie: u64,
    /// The other side.
    pub peer: SocketAddr,
    /// Whether the other side made it: somebody listens on the port of this side.
    pub is_accepted: bool,
    /// Bytes sent that the other side has.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// The thread that looks.
#[derive(Debug)]
pub struct Meter {
    pids: SyncSender<Vec<u32>>,
    found: Receiver<Vec<Open>>,
}

impl Meter {
    /// Starts it; it looks at nobody yet. It ends when this value is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(proc: ProcFs) -> io::Result<Self> {
        let (pids, wanted) = sync_channel(1);
        let (tell, found) = sync_channel(1);
        thread::Builder::new()
            .name("meter".into())
            .spawn(move || measure(&proc, &wanted, &tell))?;
        Ok(Self { pids, found })
    }

    /// Looks at these processes from now on. If the thread is behind, it keeps to those before.
    pub fn watch(&self, pids: Vec<u32>) {
        self.pids.try_send(pids).ok();
    }

    /// All that was open at the last look, if there was one since the last call.
    pub fn latest(&self) -> Option<Vec<Open>> {
        self.found.try_iter().last()
    }
}

fn measure(proc: &ProcFs, wanted: &Receiver<Vec<u32>>, tell: &SyncSender<Vec<Open>>) {
    let Ok(visitor) = Visitor::new() else { return };
    let mut pids = Vec::new();
    loop {
        thread::sleep(Duration::from_millis(OPEN_INTERVAL_MS));
        match wanted.recv_timeout(Duration::ZERO) {
            Ok(newer) => pids = newer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Ok(found) = look(proc, &visitor, &pids) else { return };
        // A look that was not taken yet is as good as this one.
        if let Err(TrySendError::Disconnected(_)) = tell.try_send(found) {
            return;
        }
    }
}

/// The open connections of these processes, each once.
///
/// # Errors
/// The thread is in the wrong namespace.
fn look(proc: &ProcFs, visitor: &Visitor, pids: &[u32]) -> Result<Vec<Open>, VisitError> {
    let mut owners = HashMap::new();
    let mut fds_left = SOCKET_FDS_MAX;
    for pid in pids {
        for inode in open_sockets(proc, *pid, &mut fds_left) {
            owners.entry(inode).or_insert(*pid);
        }
    }
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    if owners.is_empty() {
        return Ok(found);
    }
    for namespace in NetworkNamespace::of_processes(proc, pids.iter().copied(), &mut seen) {
        let listed = of_both(visitor, &namespace, Diag::measured)?;
        let listeners: HashSet<u16> =
            listed.iter().filter(|one| one.is_listener).map(|one| one.port).collect();
        for one in listed.into_iter().filter(|one| !one.is_listener) {
            // Inodes of sockets are of one file system for all namespaces.
            let Some(pid) = owners.remove(&one.inode) else { continue };
            let Measured { cookie, port, peer, sent_bytes, received_bytes, .. } = one;
            let is_accepted = listeners.contains(&port);
            found.push(Open { pid, cookie, peer, is_accepted, sent_bytes, received_bytes });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        path::Path,
    };

    use super::*;

    #[test]
    fn bytes_of_an_open_connection_are_counted_on_both_sides() {
        let proc = ProcFs::new(Path::new("/proc"));
        let looked = thread::spawn(move || {
            let visitor = Visitor::new().unwrap();
            for host in ["127.0.0.1:0", "[::1]:0"] {
                let listener = TcpListener::bind(host).unwrap();
                let to = listener.local_addr().unwrap();
                let mut client = TcpStream::connect(to).unwrap();
                let (mut server, _) = listener.accept().unwrap();
                client.write_all(&[7; 3_000]).unwrap();
                server.read_exact(&mut [0; 3_000]).unwrap();
                server.write_all(&[7; 500]).unwrap();
                client.read_exact(&mut [0; 500]).unwrap();
                let open = look(&proc, &visitor, &[std::process::id()]).unwrap();
                let of = |peer| *open.iter().find(|open: &&Open| open.peer == peer).unwrap();
                let (sent, received) = (of(to), of(client.local_addr().unwrap()));
                assert_eq!((sent.pid, sent.received_bytes), (std::process::id(), 500), "{host}");
                assert_eq!(received.received_bytes, 3_000, "{host}");
                assert_eq!((sent.is_accepted, received.is_accepted), (false, true), "{host}");
                assert_ne!((sent.cookie, received.cookie), (0, 0), "{host}");
                // A SYN takes a place in the sequence.
                assert!((3_000..=3_001).contains(&sent.sent_bytes), "{host}: {sent:?}");
            }
        });
        looked.join().unwrap();
    }
}
