//! The servers: HTTPS, HTTP, echo and discard on every address of the lab, and an exact count of
//! what they accepted. One thread accepts and counts; a connection gets a thread of its own.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{
    certificate::Authority,
    http,
    namespace::{Namespaces, within},
    site::{self, PORT_DISCARD, PORT_ECHO, PORT_HTTP, PORT_HTTPS},
};

/// Connections that wait for being accepted, so that a burst is not refused.
const BACKLOG: i32 = 4096;
/// A client that stays silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
const DATAGRAM_BYTES_MAX: usize = 65_536;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    connections: u64,
    datagrams: u64,
}

/// Shared because tests read the counts while the accepting thread, which owns the sockets, adds
/// to them; the lock is held for one addition or one read.
type Counts = Arc<Mutex<HashMap<IpAddr, Count>>>;

/// The servers; stopped when dropped.
#[derive(Debug)]
pub struct Servers {
    counts: Counts,
    stop: Option<UnixStream>,
    accepting: Option<JoinHandle<()>>,
}

impl Servers {
    /// Binds every port in the servers' namespace and starts to accept.
    ///
    /// # Errors
    ///
    /// Fails if a port cannot be bound.
    pub fn start(namespaces: &Namespaces, authority: &Authority) -> Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let sockets = within(&namespaces.server(), || Sockets::bind(stopped))?;
        let counts = Counts::default();
        let (shared, tls) = (Arc::clone(&counts), authority.server());
        let accepting = thread::spawn(move || {
            if let Err(error) = sockets.accept_all(&shared, &tls) {
                eprintln!("lab: the servers stopped: {error}");
            }
        });
        Ok(Self { counts, stop: Some(stop), accepting: Some(accepting) })
    }

    /// Connections and datagrams that an address has got.
    pub fn counts(&self, address: IpAddr) -> (u64, u64) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&address).copied().unwrap_or_default();
        (count.connections, count.datagrams)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(accepting) = self.accepting.take()
            && accepting.join().is_err()
        {
            eprintln!("lab: the servers panicked");
        }
    }
}

struct Sockets {
    stopped: UnixStream,
    listeners: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Sockets {
    fn bind(stopped: UnixStream) -> Result<Self> {
        let mut listeners = Vec::new();
        for port in [PORT_HTTPS, PORT_HTTP, PORT_ECHO, PORT_DISCARD] {
            // Takes IPv4 as well, as mapped addresses.
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .with_context(|| format!("binding TCP port {port}"))?;
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        let mut addresses: Vec<IpAddr> =
            site::ALL.iter().flat_map(|site| site.addresses()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut datagrams = Vec::new();
        // One socket per address, so that an answer comes from the address that was asked.
        for address in addresses {
            let socket = UdpSocket::bind((address, PORT_ECHO))
                .with_context(|| format!("binding UDP {address}:{PORT_ECHO}"))?;
            socket.set_nonblocking(true)?;
            datagrams.push(socket);
        }
        Ok(Self { stopped, listeners, datagrams })
    }

    fn accept_all(&self, counts: &Counts, tls: &Arc<ServerConfig>) -> io::Result<()> {
        loop {
            let mut ready = vec![PollFd::new(&self.stopped, PollFlags::IN)];
            ready.extend(self.listeners.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
            ready.extend(self.datagrams.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
            poll(&mut ready, None)?;
            if ready.first().is_some_and(|stopped| !stopped.revents().is_empty()) {
                return Ok(());
            }
            for listener in &self.listeners {
                while let Some((stream, _)) = if_ready(listener.accept())? {
                    // A client that is already gone counts: it was connected.
                    let local = stream.local_addr()?;
                    add(counts, local.ip(), |count| count.connections += 1);
                    serve(stream, local, tls);
                }
            }
            for socket in &self.datagrams {
                let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
                while let Some((bytes, from)) = if_ready(socket.recv_from(&mut buffer))? {
                    add(counts, socket.local_addr()?.ip(), |count| count.datagrams += 1);
                    // A client that is gone does not get its answer.
                    buffer.get(..bytes).map(|data| socket.send_to(data, from).ok());
                }
            }
        }
    }
}

fn if_ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn add(counts: &Counts, address: IpAddr, change: impl FnOnce(&mut Count)) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    change(counts.entry(address.to_canonical()).or_default());
}

fn serve(stream: TcpStream, local: SocketAddr, tls: &Arc<ServerConfig>) {
    if local.port() == PORT_DISCARD {
        return;
    }
    let tls = Arc::clone(tls);
    thread::spawn(move || {
        // A client that breaks off says so itself.
        converse(stream, local.port(), tls).ok();
    });
}

fn converse(mut stream: TcpStream, port: u16, tls: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    match port {
        PORT_HTTPS => {
            let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
            http::serve(StreamOwned::new(connection, stream))
        }
        PORT_HTTP => http::serve(stream),
        _ => loop {
            let mut buffer = [0; 4096];
            let bytes = stream.read(&mut buffer)?;
            if bytes == 0 {
                return Ok(());
            }
            stream.write_all(buffer.get(..bytes).unwrap_or_default())?;
        },
    }
}
