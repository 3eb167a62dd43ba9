//! Filters of traffic control at the qdisc `clsact` (tc-bpf(8)), by rtnetlink(7).

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink,
    recv, send, socket_with,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Behind the filters of who names no place for them, as programs at links are behind others.
const PRIORITY: u32 = 0xfff0;
/// `ETH_P_ALL` (include/uapi/linux/if_ether.h), as it is sent.
const EVERY_PROTOCOL: u16 = 3_u16.to_be();
/// Of the qdisc, and of its two sides (include/uapi/linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

/// Messages (include/uapi/linux/rtnetlink.h), and what is in them (pkt_cls.h).
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's return value is the verdict.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Of an attribute's type, beside its number.
const NLA_F_NESTED: u16 = 0x8000;
const ANSWER_BYTES_MAX: usize = 32 * 1_024;
/// How names of governd's filters begin, and how those end whose qdisc is to go with them.
const OWN: &[u8] = b"governd-";
const MADE: &str = "+clsact";

/// `struct nlmsghdr`.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Header {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct tcmsg`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Message {
    family: u32,
    index: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

/// Where a filter of governd is, at the interface of an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) index: u32,
    /// Tells governd's filters apart.
    pub(super) handle: u32,
}

impl Spot {
    fn message(self) -> Message {
        let Self { index, handle } = self;
        let info = PRIORITY << 16 | u32::from(EVERY_PROTOCOL);
        Message { family: 0, index, handle, parent: EGRESS, info }
    }

    fn qdisc(self) -> Message {
        let (index, handle, parent) = (self.index, CLSACT_HANDLE, CLSACT);
        Message { family: 0, index, handle, parent, info: 0 }
    }

    /// What the kernel says of a filter that is there, from its handle on: whoever is told of
    /// filters can leave out this one.
    pub(super) fn mark(self) -> [u8; 12] {
        let Message { handle, parent, info, .. } = self.message();
        zerocopy::transmute!([handle, parent, info])
    }
}

/// A filter of governd, as the kernel tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) spot: Spot,
    /// The number of its program.
    pub(super) program: u32,
    has_made_qdisc: bool,
}

/// A socket that speaks for the network namespace in which it was made.
#[derive(Debug)]
pub(super) struct TrafficControl {
    socket: OwnedFd,
    /// Of the last request.
    sequence: AtomicU32,
}

impl TrafficControl {
    pub(super) fn open() -> io::Result<Self> {
        // The kernel has answered when a request is sent.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: AtomicU32::new(0) })
    }

    /// Puts a filter there: in one step, if governd has one there already.
    pub(super) fn put(&self, spot: Spot, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let kind = attribute(TCA_KIND, b"clsact\0");
        let is_made =
            match self.change(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, spot.qdisc(), &kind) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !self.clsacts()?.contains(&spot.index) {
                        // Its filters see what comes in, whichever side they name.
                        return Err(io::Error::other("the qdisc `ingress` has the place"));
                    }
                    self.of_interface(spot.index)?.iter().any(|found| found.has_made_qdisc)
                }
                Err(error) => return Err(error),
            };
        let put = self.put_in(spot, program, name, is_made);
        if put.is_err() && is_made {
            self.remove_unused(spot).ok();
        }
        put
    }

    fn put_in(
        &self,
        spot: Spot,
        program: BorrowedFd<'_>,
        name: &str,
        is_made: bool,
    ) -> io::Result<()> {
        // What somebody else has in that place is not replaced.
        let exclusive = if self.look(spot)?.is_some() { 0 } else { NLM_F_EXCL };
        let name = [OWN, name.as_bytes(), if is_made { MADE.as_bytes() } else { b"" }, b"\0"];
        let options = [
            attribute(TCA_BPF_FD, program.as_raw_fd().as_bytes()),
            attribute(TCA_BPF_NAME, &name.concat()),
            attribute(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT.as_bytes()),
        ];
        let body = [attribute(TCA_KIND, b"bpf\0"), attribute(TCA_OPTIONS, &options.concat())];
        self.change(RTM_NEWTFILTER, NLM_F_CREATE | exclusive, spot.message(), &body.concat())
    }

    /// The filter that is there, if it is one of governd's.
    pub(super) fn look(&self, spot: Spot) -> io::Result<Option<Found>> {
        let sequence = self.ask(RTM_GETTFILTER, 0, spot.message(), &[])?;
        let mut found = None;
        let answered = self.answers(sequence, |payload| found = found_in(payload));
        match answered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => Ok(found),
            // No filter, no qdisc, no interface.
            Err((Some(libc::ENOENT | libc::EINVAL | libc::ENODEV), _)) => Ok(None),
            Err((_, error)) => Err(error),
        }
    }

    /// Takes off what is there, if it is governd's, and the qdisc with it if governd made that and
    /// nobody uses it.
    pub(super) fn clear(&self, spot: Spot) -> io::Result<()> {
        let Some(found) = self.look(spot)? else { return Ok(()) };
        self.change(RTM_DELTFILTER, 0, spot.message(), &[])?;
        if found.has_made_qdisc { self.remove_unused(spot) } else { Ok(()) }
    }

    /// The filters of governd in the namespace, whoever put them there.
    pub(super) fn all(&self) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for index in self.clsacts()? {
            all.extend(self.of_interface(index)?);
        }
        Ok(all)
    }

    /// The interfaces that have the qdisc.
    fn clsacts(&self) -> io::Result<Vec<u32>> {
        let every = Message { family: 0, index: 0, handle: 0, parent: 0, info: 0 };
        let mut interfaces = Vec::new();
        self.dump(RTM_GETQDISC, every, |payload| interfaces.extend(with_clsact(payload)))?;
        Ok(interfaces)
    }

    fn of_interface(&self, index: u32) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        let every = Spot { index, handle: 0 }.message();
        self.dump(RTM_GETTFILTER, every, |payload| all.extend(found_in(payload)))?;
        Ok(all)
    }

    /// Removes the qdisc if it has no filters.
    fn remove_unused(&self, spot: Spot) -> io::Result<()> {
        for side in [INGRESS, EGRESS] {
            let every = Message { handle: 0, parent: side, info: 0, ..spot.message() };
            let mut is_used = false;
            self.dump(RTM_GETTFILTER, every, |_| is_used = true)?;
            if is_used {
                return Ok(());
            }
        }
        self.change(RTM_DELQDISC, 0, spot.qdisc(), &[])
    }

    fn change(&self, kind: u16, flags: u16, message: Message, body: &[u8]) -> io::Result<()> {
        let sequence = self.ask(kind, flags | NLM_F_ACK, message, body)?;
        self.answers(sequence, |_| {})
    }

    fn dump(&self, kind: u16, message: Message, take: impl FnMut(&[u8])) -> io::Result<()> {
        let sequence = self.ask(kind, NLM_F_DUMP, message, &[])?;
        self.answers(sequence, take)
    }

    /// Sends a request, and gives its number.
    fn ask(&self, kind: u16, flags: u16, message: Message, body: &[u8]) -> io::Result<u32> {
        let len = (size_of::<Header>() + size_of::<Message>() + body.len()) as u32;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let header = Header { len, kind, flags: flags | NLM_F_REQUEST, sequence, port: 0 };
        let request = [header.as_bytes(), message.as_bytes(), body].concat();
        send(&self.socket, &request, SendFlags::empty())?;
        Ok(sequence)
    }

    /// Reads what the kernel answered to a request, up to its end: filters and qdiscs go to `take`.
    fn answers(&self, sequence: u32, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        loop {
            let (len, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..len).unwrap_or_default();
            while let Ok((header, _)) = Header::read_from_prefix(rest) {
                let end = header.len as usize;
                let Some(payload) = rest.get(size_of::<Header>()..end) else { break };
                rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
                if header.sequence != sequence {
                    continue;
                }
                match header.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return outcome(payload),
                    RTM_NEWTFILTER | RTM_NEWQDISC => take(payload),
                    _ => {}
                }
                // What is asked for alone has no end but itself.
                if header.kind == RTM_NEWTFILTER && header.flags & NLM_F_MULTI == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// `struct nlmsgerr`: 0 acknowledges.
fn outcome(payload: &[u8]) -> io::Result<()> {
    match i32::read_from_prefix(payload) {
        Ok((0, _)) => Ok(()),
        Ok((code, _)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The filter that a message tells of, if it is governd's.
fn found_in(payload: &[u8]) -> Option<Found> {
    let (Message { index, handle, .. }, attributes) = Message::read_from_prefix(payload).ok()?;
    let options = value(attributes, TCA_OPTIONS)?;
    let (program, _) = u32::read_from_prefix(value(options, TCA_BPF_ID)?).ok()?;
    let name = CStr::from_bytes_until_nul(value(options, TCA_BPF_NAME)?).ok()?.to_bytes();
    let has_made_qdisc = name.ends_with(MADE.as_bytes());
    let spot = Spot { index, handle };
    name.starts_with(OWN).then_some(Found { spot, program, has_made_qdisc })
}

/// The interface whose `clsact` a message tells of.
fn with_clsact(payload: &[u8]) -> Option<u32> {
    let (Message { index, .. }, attributes) = Message::read_from_prefix(payload).ok()?;
    (value(attributes, TCA_KIND)? == b"clsact\0").then_some(index)
}

/// `struct nlattr` with its value and what pads it.
fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let len = (2 * size_of::<u16>() + value.len()) as u16;
    let mut bytes = [len.as_bytes(), number.as_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The value of an attribute among others.
fn value(mut bytes: &[u8], number: u16) -> Option<&[u8]> {
    loop {
        let ([len, kind], _) = <[u16; 2]>::read_from_prefix(bytes).ok()?;
        let len = usize::from(len);
        let value = bytes.get(4..len)?;
        if kind & !NLA_F_NESTED == number {
            return Some(value);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}
