//! Who begins to listen on some TCP ports: no program of ours sees that, so the listeners of every
//! network namespace are listed every so often, by a thread of its own.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::{
    diag::{Diag, of_both},
    open_sockets,
};
use crate::workload::{
    limits::{LISTENERS_INTERVAL_MS, LISTENERS_QUEUE_MAX, SOCKET_FDS_MAX},
    netns::{Lookout, VisitError, Visitor},
    proc::ProcFs,
};

/// A process that listens.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Listener {
    /// The process.
    pub pid: u32,
    /// Its TCP port.
    pub port: u16,
}

/// The thread that looks.
#[derive(Debug)]
pub struct Listeners {
    ports: SyncSender<Vec<u16>>,
    found: Receiver<Listener>,
}

impl Listeners {
    /// Starts it; it looks for nothing yet. It ends when this value is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(proc: ProcFs) -> io::Result<Self> {
        let (ports, wanted) = sync_channel(1);
        let (tell, found) = sync_channel(LISTENERS_QUEUE_MAX);
        thread::Builder::new()
            .name("listeners".into())
            .spawn(move || look_out(&proc, &wanted, &tell))?;
        Ok(Self { ports, found })
    }

    /// Looks for listeners on these ports from now on.
    pub fn want(&self, ports: Vec<u16>) {
        self.ports.try_send(ports).ok();
    }

    /// Processes that began to listen since the last call.
    pub fn found(&self) -> impl Iterator<Item = Listener> + '_ {
        self.found.try_iter()
    }
}

fn look_out(proc: &ProcFs, wanted: &Receiver<Vec<u16>>, tell: &SyncSender<Listener>) {
    let Ok(visitor) = Visitor::new() else { return };
    let (mut ports, mut known) = (Vec::new(), HashSet::new());
    let mut lookout = Lookout::default();
    loop {
        match wanted.recv_timeout(Duration::from_millis(LISTENERS_INTERVAL_MS)) {
            Ok(newer) => ports = newer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let looked = look(proc, &visitor, &mut lookout, &ports, &mut known);
        let Ok(found) = looked else { return };
        if found.into_iter().any(|listener| tell.send(listener).is_err()) {
            return;
        }
    }
}

/// Who listens on these ports and did not before: each process once for a port, however many
/// sockets it has there, and however often the kernel lists one while others come and go.
///
/// # Errors
/// The thread is in the wrong namespace.
fn look(
    proc: &ProcFs,
    visitor: &Visitor,
    lookout: &mut Lookout,
    ports: &[u16],
    known: &mut HashSet<(u64, u64)>,
) -> Result<BTreeSet<Listener>, VisitError> {
    if ports.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (mut present, mut fresh) = (HashSet::new(), Vec::new());
    for namespace in lookout.look(proc, &mut HashSet::new()) {
        let listed = of_both(visitor, &namespace, Diag::listeners)?;
        for (port, inode) in listed.into_iter().filter(|(port, _)| ports.contains(port)) {
            present.insert((namespace.inode, inode));
            if !known.contains(&(namespace.inode, inode)) {
                fresh.push((port, inode));
            }
        }
    }
    *known = present;
    let mut found = BTreeSet::new();
    let mut fds_left = SOCKET_FDS_MAX;
    for pid in lookout.pids().filter(|_| !fresh.is_empty()) {
        let open = open_sockets(proc, pid, &mut fds_left);
        let ports = fresh.iter().filter(|(_, inode)| open.contains(inode));
        found.extend(ports.map(|(port, _)| Listener { pid, port: *port }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, path::Path};

    use super::*;

    #[test]
    fn a_listener_is_found_once_as_long_as_it_listens() {
        let proc = ProcFs::new(Path::new("/proc"));
        let looked = thread::spawn(move || {
            let visitor = Visitor::new().unwrap();
            let (mut lookout, mut known) = (Lookout::default(), HashSet::new());
            for host in ["127.0.0.1:0", "[::1]:0"] {
                let socket = TcpListener::bind(host).unwrap();
                let port = socket.local_addr().unwrap().port();
                let expected = Listener { pid: std::process::id(), port };
                let mut look = || look(&proc, &visitor, &mut lookout, &[port], &mut known).unwrap();
                assert_eq!(look(), BTreeSet::from([expected]), "{host}");
                assert_eq!(look(), BTreeSet::new(), "{host}");
            }
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = socket.local_addr().unwrap().port();
            let _second = TcpListener::bind(("::1", port)).unwrap();
            let expected = Listener { pid: std::process::id(), port };
            let found = look(&proc, &visitor, &mut lookout, &[port], &mut known).unwrap();
            assert_eq!(found, BTreeSet::from([expected]));
        });
        looked.join().unwrap();
    }
}
