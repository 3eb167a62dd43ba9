//! Questions about sockets to the kernel, by sock_diag(7), in one network namespace.
//!
//! Messages are those of include/uapi/linux/{netlink,sock_diag,inet_diag,packet_diag}.h.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, big_endian::U16};

use crate::workload::{
    limits::{DIAG_MESSAGES_MAX, DIAG_TIMEOUT_MS, SOCKETS_MAX},
    netlink::{
        ANSWER_BYTES_MAX, Header, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
        attribute, error, split,
    },
    netns::{NetworkNamespace, VisitError, Visitor},
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// `AF_INET`, as messages carry it.
pub(super) const INET: u8 = 2;
/// `AF_INET6`.
pub(super) const INET6: u8 = 10;
const TCP: u8 = 6;
/// `TCP_LISTEN` (include/net/tcp_states.h).
const STATE_LISTEN: u8 = 10;
/// States of a TCP connection that carries data or did (include/net/tcp_states.h): not those of a
/// listener, and nothing that is only a memory of a connection.
const STATES_OPEN: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// `INET_DIAG_INFO`, an attribute of an answer that has to be asked for.
const INFO: u16 = 2;
/// `tcpi_bytes_acked` and `tcpi_bytes_received` in `struct tcp_info`.
const INFO_ACKED_AT: usize = 120;
const INFO_RECEIVED_AT: usize = 128;
/// `AF_PACKET`.
const PACKET: u8 = 17;

/// `struct inet_diag_sockid`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub(super) struct SocketId {
    pub(super) source_port: U16,
    pub(super) port: U16,
    source: [u8; 16],
    address: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

impl SocketId {
    /// The socket's cookie, as programs see it.
    pub(super) fn cookie(&self) -> u64 {
        let [low, high] = self.cookie;
        u64::from(high) << 32 | u64::from(low)
    }

    fn peer(&self, family: u8) -> SocketAddr {
        let [a, b, c, d, ..] = self.address;
        let ip = if family == INET { IpAddr::from([a, b, c, d]) } else { self.address.into() };
        SocketAddr::new(ip.to_canonical(), self.port.get())
    }

    /// Every socket with this destination port; 0 is any.
    fn to_port(port: u16) -> Self {
        Self {
            source_port: U16::ZERO,
            port: U16::new(port),
            source: [0; 16],
            address: [0; 16],
            interface: 0,
            cookie: [u32::MAX; 2],
        }
    }
}

/// `struct inet_diag_req_v2`.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct InetRequest {
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: SocketId,
}

/// `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct InetSocket {
    pub(super) family: u8,
    pub(super) state: u8,
    timer: u8,
    retransmissions: u8,
    pub(super) id: SocketId,
    expires: u32,
    queues: [u32; 2],
    uid: u32,
    pub(super) inode: u32,
}

/// A TCP connection with what went through it, or a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Measured {
    pub(super) inode: u64,
    pub(super) cookie: u64,
    pub(super) is_listener: bool,
    pub(super) port: u16,
    pub(super) peer: SocketAddr,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

impl Measured {
    fn read(payload: &[u8]) -> Option<Self> {
        let (socket, attributes) = InetSocket::read_from_prefix(payload).ok()?;
        let info = attribute(attributes, INFO)?;
        let counter = |at: usize| {
            let bytes = info.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_ne_bytes(bytes))
        };
        Some(Self {
            inode: u64::from(socket.inode),
            cookie: socket.id.cookie(),
            is_listener: socket.state == STATE_LISTEN,
            port: socket.id.source_port.get(),
            peer: socket.id.peer(socket.family),
            sent_bytes: counter(INFO_ACKED_AT)?,
            received_bytes: counter(INFO_RECEIVED_AT)?,
        })
    }
}

/// `struct packet_diag_req`.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct PacketRequest {
    family: u8,
    protocol: u8,
    pad: u16,
    inode: u32,
    show: u32,
    cookie: [u32; 2],
}

/// `struct packet_diag_msg`.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct PacketSocket {
    family: u8,
    kind: u8,
    protocol: u16,
    inode: u32,
}

/// A socket to ask with, in the network namespace that the thread was in when it was made.
#[derive(Debug)]
pub(super) struct Diag {
    socket: OwnedFd,
    sequence: u32,
}

/// What the kernel lists in a namespace for IPv4 and then for IPv6; nothing where that cannot be
/// entered, or it does not tell.
///
/// # Errors
/// The thread is in the wrong namespace.
pub(super) fn of_both<T>(
    visitor: &Visitor,
    namespace: &NetworkNamespace,
    list: impl Fn(&mut Diag, u8) -> io::Result<Vec<T>>,
) -> Result<Vec<T>, VisitError> {
    let listed = visitor.within(namespace, || {
        let mut diag = Diag::open()?;
        let mut all = list(&mut diag, INET)?;
        all.extend(list(&mut diag, INET6)?);
        io::Result::Ok(all)
    });
    match listed {
        Ok(listed) => Ok(listed.unwrap_or_default()),
        Err(VisitError::Enter(_)) => Ok(Vec::new()),
        Err(error @ VisitError::Return(_)) => Err(error),
    }
}

impl Diag {
    /// In the thread's present network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let kind = SocketType::RAW;
        let protocol = Some(netlink::SOCK_DIAG);
        let socket = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, protocol)?;
        let timeout = Some(Duration::from_millis(DIAG_TIMEOUT_MS));
        set_socket_timeout(&socket, Timeout::Recv, timeout)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Connections of a protocol in some states (bits by number of the state), to a port if it is
    /// not 0; the first for which `is_wanted`.
    pub(super) fn find(
        &mut self,
        (family, protocol): (u8, u8),
        states: u32,
        port: u16,
        is_wanted: impl Fn(&InetSocket) -> bool,
    ) -> io::Result<Option<InetSocket>> {
        let id = SocketId::to_port(port);
        let request = InetRequest { family, protocol, extensions: 0, pad: 0, states, id };
        let mut found = None;
        self.list(&request, |payload| {
            if let Ok((socket, _)) = InetSocket::read_from_prefix(payload)
                && found.is_none()
                && is_wanted(&socket)
            {
                found = Some(socket);
            }
        })?;
        Ok(found)
    }

    /// Every connection of a protocol in some states for which `is_wanted`, at most `SOCKETS_MAX`.
    pub(super) fn every(
        &mut self,
        (family, protocol): (u8, u8),
        states: u32,
        is_wanted: impl Fn(&InetSocket) -> bool,
    ) -> io::Result<Vec<InetSocket>> {
        let id = SocketId::to_port(0);
        let request = InetRequest { family, protocol, extensions: 0, pad: 0, states, id };
        let mut found = Vec::new();
        self.list(&request, |payload| {
            if let Ok((socket, _)) = InetSocket::read_from_prefix(payload)
                && found.len() < SOCKETS_MAX
                && is_wanted(&socket)
            {
                found.push(socket);
            }
        })?;
        Ok(found)
    }

    /// Ports and inodes of the TCP listeners of a family.
    pub(super) fn listeners(&mut self, family: u8) -> io::Result<Vec<(u16, u64)>> {
        let (protocol, states) = (TCP, 1 << STATE_LISTEN);
        let id = SocketId::to_port(0);
        let request = InetRequest { family, protocol, extensions: 0, pad: 0, states, id };
        let mut found = Vec::new();
        self.list(&request, |payload| {
            if let Ok((socket, _)) = InetSocket::read_from_prefix(payload)
                && found.len() < SOCKETS_MAX
            {
                found.push((socket.id.source_port.get(), u64::from(socket.inode)));
            }
        })?;
        Ok(found)
    }

    /// The open TCP connections of a family and its listeners, at most `SOCKETS_MAX`.
    pub(super) fn measured(&mut self, family: u8) -> io::Result<Vec<Measured>> {
        let (protocol, states, extensions) =
            (TCP, STATES_OPEN | 1 << STATE_LISTEN, 1 << (INFO - 1));
        let id = SocketId::to_port(0);
        let request = InetRequest { family, protocol, extensions, pad: 0, states, id };
        let mut found = Vec::new();
        self.list(&request, |payload| {
            if found.len() < SOCKETS_MAX {
                found.extend(Measured::read(payload));
            }
        })?;
        Ok(found)
    }

    /// Aborts a connection: whoever waits on it gets `ECONNABORTED`. The kernel compares the
    /// cookie, so that no other socket can be meant.
    pub(super) fn destroy(&mut self, protocol: u8, socket: &InetSocket) -> io::Result<()> {
        let InetSocket { family, state, id, .. } = *socket;
        let states = 1 << state;
        let request = InetRequest { family, protocol, extensions: 0, pad: 0, states, id };
        self.ask(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, &request)?;
        self.read_answers(|_| {})
    }

    /// Inodes of the packet sockets.
    pub(super) fn packet_inodes(&mut self) -> io::Result<Vec<u64>> {
        let cookie = [u32::MAX; 2];
        let request =
            PacketRequest { family: PACKET, protocol: 0, pad: 0, inode: 0, show: 0, cookie };
        let mut inodes = Vec::new();
        self.list(&request, |payload| {
            let socket = PacketSocket::read_from_prefix(payload).ok();
            inodes.extend(socket.map(|(socket, _)| u64::from(socket.inode)));
        })?;
        Ok(inodes)
    }

    fn list(
        &mut self,
        request: &(impl IntoBytes + Immutable),
        each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.ask(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, request)?;
        self.read_answers(each)
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        request: &(impl IntoBytes + Immutable),
    ) -> io::Result<()> {
        self.sequence += 1;
        let body = request.as_bytes();
        let len = (size_of::<Header>() + body.len()) as u32;
        let header = Header { len, kind, flags, sequence: self.sequence, port: 0 };
        send(&self.socket, &[header.as_bytes(), body].concat(), SendFlags::empty())?;
        Ok(())
    }

    /// Reads the payloads of the answers up to the last one.
    fn read_answers(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        for _ in 0..DIAG_MESSAGES_MAX {
            let (len, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..len).unwrap_or_default();
            while let Some((header, payload, after)) = split(rest) {
                rest = after;
                if header.sequence != self.sequence {
                    continue;
                }
                match header.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return error(payload),
                    _ => each(payload),
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::TimedOut))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_found_by_its_cookie_whatever_its_family() {
        for host in ["127.0.0.1", "::1"] {
            let listener = TcpListener::bind((host, 0)).unwrap();
            let to = listener.local_addr().unwrap();
            let client = TcpStream::connect(to).unwrap();
            let cookie = rustix::net::sockopt::socket_cookie(&client).unwrap();
            let family = if to.is_ipv4() { INET } else { INET6 };
            for port in [to.port(), 0] {
                let found = Diag::open()
                    .unwrap()
                    .find((family, 6), u32::MAX, port, |socket| socket.id.cookie() == cookie)
                    .unwrap()
                    .unwrap();
                assert_eq!((found.family, found.state), (family, 1));
                assert_eq!(found.id.port.get(), to.port());
                assert_eq!(found.id.source_port.get(), client.local_addr().unwrap().port());
            }
        }
    }
}
