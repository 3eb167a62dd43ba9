//! Proof that what is denied is refused: sockets of governd's own that the programs must stop.
//!
//! A socket belongs to whom its storage says, so the daemon gives a few of its own to a subject for
//! which everything but loopback is denied, and tries with them what each hook has to refuse. No
//! process is governed for it, and nothing leaves the host if it is not refused: the destinations
//! are of the ranges for documentation, and the sockets are bound to the loopback interface.
//!
//! Programs see sockets by the cgroup that they were made in. Where the daemon is not in the
//! governed cgroup itself, a child enters it, makes the sockets and hands them over.
//!
//! A TCP socket of the same kind is lent to agents, to try what the kernel would say to them. It is
//! in repair mode (`TCP_REPAIR`): it is connected without a packet, and without anybody at the
//! other end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    path::Path,
    process::Command,
};

use aya::maps::{MapData, SkStorage};
use governd_common::{
    names::program,
    table::{SocketOwner, Subject, socket_flag, subject_flag},
    verdict::{Mode, Verdict},
};
use rustix::{
    io::Errno,
    net::{
        self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, ipproto,
        sockopt,
    },
};

use super::{Kernel, KernelError, cgroup, pod::Shared};

/// Where the sockets try to send: nobody has these addresses (RFC 5737, RFC 3849).
const REFUSED_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REFUSED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The discard service (RFC 863).
const PORT: u16 = 9;
const PROTOCOL_UDP: u8 = 17;
const INTERFACE: &[u8] = b"lo";
/// What a child ends with that has handed its sockets over.
const HANDED_OVER: Errno = Errno::CANCELED;

/// A way to send, which one program has to refuse.
#[derive(Clone, Copy, Debug)]
enum Attempt {
    /// `connect`.
    Connect(IpAddr),
    /// A datagram with a destination.
    Send(IpAddr),
    /// A datagram on a connected socket.
    Further,
}

/// The programs that are tried, each with what it has to refuse.
const ATTEMPTS: [(&str, Attempt); 5] = [
    (program::CONNECT4, Attempt::Connect(IpAddr::V4(REFUSED_V4))),
    (program::CONNECT6, Attempt::Connect(IpAddr::V6(REFUSED_V6))),
    (program::SENDMSG4, Attempt::Send(IpAddr::V4(REFUSED_V4))),
    (program::SENDMSG6, Attempt::Send(IpAddr::V6(REFUSED_V6))),
    (program::SKB_EGRESS, Attempt::Further),
];

/// The settings of the subject that the sockets are given to.
pub(super) const SUBJECT: Subject = Subject {
    mode: Mode::Enforce as u8,
    default_verdict: Verdict::Deny as u8,
    flags: subject_flag::LOOPBACK,
    default_rule: 0,
    members: Subject::ALONE,
};

pub(super) type Owners = SkStorage<MapData, Shared<SocketOwner>>;

/// A kind of socket.
type Kind = (AddressFamily, SocketType);
/// Sockets of all kinds together.
const SOCKETS_MAX: usize = ATTEMPTS.len() + 1;

/// The sockets.
#[derive(Debug)]
pub(super) struct Canary {
    /// Each with the program that has to stop it.
    sockets: Vec<(&'static str, Attempt, OwnedFd)>,
    /// What is lent to agents: a TCP socket that sends no packet when it connects.
    lent: OwnedFd,
    /// Cookies of all.
    cookies: Vec<u64>,
}

impl Canary {
    /// Makes the sockets in a cgroup.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        let has_v6 = socket((AddressFamily::INET6, SocketType::DGRAM)).is_ok();
        let wanted: Vec<_> =
            ATTEMPTS.into_iter().filter(|(_, attempt)| has_v6 || !attempt.is_v6()).collect();
        let mut kinds = vec![(AddressFamily::INET, SocketType::STREAM)];
        kinds.extend(wanted.iter().map(|(_, attempt)| (attempt.family(), SocketType::DGRAM)));
        let made: Vec<OwnedFd> = if is_within(path)? {
            kinds.iter().map(|kind| socket(*kind)).collect::<Result<_, _>>()?
        } else {
            made_by_child(path, &kinds)?
        };
        let mut cookies = Vec::with_capacity(made.len());
        for socket in &made {
            set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, INTERFACE)?;
            cookies.push(sockopt::socket_cookie(socket)?);
        }
        let mut made = made.into_iter();
        let lent = made.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        set_option(lent.as_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, &1_i32.to_ne_bytes())?;
        let sockets = wanted.into_iter().zip(made);
        let sockets = sockets.map(|((name, way), socket)| (name, way, socket)).collect();
        Ok(Self { sockets, lent, cookies })
    }

    /// Connects for a subject; true if the programs let it pass.
    fn try_for(
        &self,
        owners: &mut Owners,
        subject: u32,
        to: SocketAddr,
    ) -> Result<bool, KernelError> {
        let own = std::process::id();
        give(owners, &self.lent, SocketOwner::unconnected(subject, own, own))?;
        let outcome = net::connect(&self.lent, &to);
        if outcome.is_ok() {
            net::connect_unspec(&self.lent).map_err(untried)?;
            // What the end of the connection left.
            sockopt::socket_error(&self.lent).map_err(untried)?.ok();
        }
        give(owners, &self.lent, unconnected())?;
        match outcome {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(errno) => Err(untried(errno)),
        }
    }

    /// Tries every socket; gives the programs that refused nothing.
    fn try_all(&self, owners: &mut Owners) -> Result<Vec<&'static str>, KernelError> {
        let mut open = Vec::new();
        for (name, attempt, socket) in &self.sockets {
            give(owners, socket, unconnected())?;
            let outcome = match attempt {
                Attempt::Connect(address) => net::connect(socket, &SocketAddr::new(*address, PORT)),
                Attempt::Send(address) => {
                    let to = SocketAddr::new(*address, PORT);
                    net::sendto(socket, b"governd", SendFlags::DONTWAIT, &to).map(|_| ())
                }
                Attempt::Further => further(owners, socket)?,
            };
            if !matches!(outcome, Err(Errno::ACCESS | Errno::PERM)) {
                open.push(*name);
            }
        }
        Ok(open)
    }
}

impl Attempt {
    const fn is_v6(self) -> bool {
        matches!(self, Self::Connect(IpAddr::V6(_)) | Self::Send(IpAddr::V6(_)))
    }

    const fn family(self) -> AddressFamily {
        if self.is_v6() { AddressFamily::INET6 } else { AddressFamily::INET }
    }
}

impl Kernel {
    /// Makes the sockets for [`Self::unrefused`], while a child may still be started. Where that
    /// fails, it says so when they are needed.
    pub fn make_canary(&mut self) {
        let made = Canary::make(self.cgroup());
        self.canary = made.inspect_err(|error| tracing::warn!(%error, "no canary's sockets")).ok();
    }

    /// Whether the programs refuse what they have to, tried now, under the policy in force. Gives
    /// what does not, in words; empty is the proof.
    ///
    /// # Errors
    /// It cannot be tried.
    pub fn unrefused(&mut self) -> Result<Vec<String>, KernelError> {
        let mut found = Vec::new();
        if !self.governs_its_path() {
            let path = self.cgroup().display();
            found.push(format!("{path} was removed, and what is there now is another cgroup"));
        }
        let canary = self.canary()?;
        let open = canary.try_all(&mut self.tables.owners);
        self.canary = Some(canary);
        found.extend(open?.into_iter().map(|name| format!("{name} lets pass what is denied")));
        Ok(found)
    }

    /// Whether the kernel lets a subject connect to a place over TCP, tried now with a socket that
    /// is lent to it. No packet is sent.
    ///
    /// # Errors
    /// It cannot be tried.
    pub fn lets_pass(&mut self, subject: u32, to: SocketAddr) -> Result<bool, KernelError> {
        let canary = self.canary()?;
        let passes = canary.try_for(&mut self.tables.owners, subject, to);
        self.canary = Some(canary);
        passes
    }

    /// Whether a decision is about a socket that is only tried with.
    pub fn is_trial(&self, cookie: u64) -> bool {
        self.canary.as_ref().is_some_and(|canary| canary.cookies.contains(&cookie))
    }

    fn canary(&mut self) -> Result<Canary, KernelError> {
        match self.canary.take() {
            Some(canary) => Ok(canary),
            None => Canary::make(self.cgroup()).map_err(|source| KernelError::Canary { source }),
        }
    }

    /// Whether the cgroup that the programs are attached to still has its name.
    fn governs_its_path(&self) -> bool {
        let held = self.directory.metadata().map(|held| held.ino());
        let there = fs::metadata(self.cgroup()).map(|there| there.ino());
        matches!((held, there), (Ok(held), Ok(there)) if held == there)
    }
}

/// Connects, and then makes the socket's storage say that it was to another place, as under an
/// earlier policy: the next packet is judged by that.
fn further(owners: &mut Owners, socket: &OwnedFd) -> Result<Result<(), Errno>, KernelError> {
    let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
    net::connect(socket, &here).map_err(untried)?;
    let owner = SocketOwner {
        protocol: PROTOCOL_UDP,
        port: PORT,
        address: IpAddr::V4(REFUSED_V4).into(),
        generation: SocketOwner::NOT_JUDGED,
        ..unconnected()
    };
    give(owners, socket, owner)?;
    let first = net::send(socket, b"governd", SendFlags::DONTWAIT).map(|_| ());
    // Nobody listens there: what an earlier attempt that was let through has left is an answer.
    Ok(match first {
        Err(Errno::CONNREFUSED) => net::send(socket, b"governd", SendFlags::DONTWAIT).map(|_| ()),
        other => other,
    })
}

fn untried(errno: Errno) -> KernelError {
    KernelError::Canary { source: errno.into() }
}

/// An owner whose datagrams only the hook before them refuses: the program at egress takes them for
/// told.
fn unconnected() -> SocketOwner {
    SocketOwner {
        flags: socket_flag::TRANSLATED,
        ..SocketOwner::unconnected(SocketOwner::CANARY, std::process::id(), 0)
    }
}

fn give(owners: &mut Owners, socket: &OwnedFd, owner: SocketOwner) -> Result<(), KernelError> {
    let written = owners.insert(socket, Shared(owner), 0);
    written.map_err(KernelError::map("write", governd_common::names::map::SOCKETS))
}

fn socket((family, kind): Kind) -> Result<OwnedFd, Errno> {
    let protocol = if kind == SocketType::STREAM { ipproto::TCP } else { ipproto::UDP };
    net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))
}

fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let (value, len) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
    // SAFETY: the value lives through the call, and has the length that is told.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether what this process makes belongs to a cgroup or to one below it.
fn is_within(path: &Path) -> io::Result<bool> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let below = cgroup::root().ok().and_then(|root| path.strip_prefix(root).ok());
    Ok(own.zip(below).is_some_and(|(own, below)| Path::new(own).starts_with(below)))
}

/// Makes sockets in a cgroup that this process is not in.
fn made_by_child(path: &Path, kinds: &[Kind]) -> io::Result<Vec<OwnedFd>> {
    let processes = OpenOptions::new().write(true).open(path.join("cgroup.procs"))?;
    let flags = SocketFlags::CLOEXEC;
    let (ours, its) = net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    let wanted = kinds.to_vec();
    let mut child = Command::new("/proc/self/exe");
    // SAFETY: between fork and its end the child makes system calls and nothing else: it
    // allocates nothing, and takes no lock.
    unsafe { child.pre_exec(move || Err(hand_over(&processes, its.as_fd(), &wanted).into())) };
    // It never executes anything: what it gives is an error.
    match child.spawn() {
        Err(error) if error.raw_os_error() == Some(HANDED_OVER.raw_os_error()) => {}
        Err(error) => return Err(error),
        Ok(mut child) => {
            child.wait()?;
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
    let made = received(ours.as_fd())?;
    if made.len() == kinds.len() { Ok(made) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What the child does, and how it came out.
fn hand_over(mut processes: &File, to: BorrowedFd<'_>, kinds: &[Kind]) -> Errno {
    // 0 is who writes.
    if let Err(error) = processes.write_all(b"0") {
        return Errno::from_io_error(&error).unwrap_or(Errno::IO);
    }
    let mut made = [const { None }; SOCKETS_MAX];
    for (place, kind) in made.iter_mut().zip(kinds) {
        match socket(*kind) {
            Ok(socket) => *place = Some(socket),
            Err(errno) => return errno,
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights: [BorrowedFd<'_>; SOCKETS_MAX] =
        std::array::from_fn(|at| made.get(at).and_then(Option::as_ref).map_or(to, |it| it.as_fd()));
    let rights = rights.get(..kinds.len()).unwrap_or_default();
    if !control.push(SendAncillaryMessage::ScmRights(rights)) {
        return Errno::NOBUFS;
    }
    let sent = net::sendmsg(to, &[IoSlice::new(b"s")], &mut control, SendFlags::DONTWAIT);
    sent.map_or_else(|errno| errno, |_| HANDED_OVER)
}

fn received(from: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    net::recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut control, flags)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    Ok(rights.flatten().collect())
}
