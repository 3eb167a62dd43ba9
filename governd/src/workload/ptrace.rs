//! Who traces whom, told by the kernel's connector of process events (drivers/connector/cn_proc.c).
//!
//! Whoever traces a process makes it do anything, and may be gone a moment later: what it left in
//! the process goes on. The kernel tells of each beginning as it happens, in the host's own
//! namespaces. Only that is asked for, which kernels can do since Linux 6.6; before, every fork of
//! the host would come along, and nothing is asked. Not for: who writes a process's memory without
//! tracing it.

use std::{io, os::fd::OwnedFd};

use rustix::net::{SendFlags, SocketType, netlink::CONNECTOR as PROTOCOL, send};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::netlink::{self, Header, NLMSG_DONE, split};

/// `CN_IDX_PROC` and `CN_VAL_PROC`: the connector's number, which is its group as well.
const CONNECTOR: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `PROC_EVENT_PTRACE`.
const EVENT_PTRACE: u32 = 0x100;
/// Since this release, one may ask for some events only.
const RELEASE_MIN: (u32, u32) = (6, 6);
/// Bytes of the longest message; one tells of one event.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

/// `struct cn_msg`, before what it carries.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Message {
    connector: u32,
    value: u32,
    sequence: u32,
    acknowledged: u32,
    len: u16,
    flags: u16,
}

/// `struct proc_event` of this kind; its packed 64-bit time is two words here.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Event {
    what: u32,
    cpu: u32,
    time: [u32; 2],
    traced_thread: u32,
    traced: u32,
    tracer_thread: u32,
    tracer: u32,
}

/// A process began to trace another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// Process id of who traces.
    pub tracer: u32,
    /// Process id of the other one.
    pub traced: u32,
}

/// A socket from which what [`attachments`] reads can be received. It never waits.
///
/// # Errors
/// The kernel is too old, was built without the connector, or does not let this process listen.
pub fn listen() -> io::Result<OwnedFd> {
    let release = rustix::system::uname();
    if !is_new_enough(&release.release().to_string_lossy()) {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let socket = netlink::listen(SocketType::DGRAM, Some(PROTOCOL), CONNECTOR)?;
    let body = [LISTEN, EVENT_PTRACE];
    let len = size_of_val(&body) as u16;
    let (connector, value) = (CONNECTOR, CONNECTOR);
    let message = Message { connector, value, sequence: 0, acknowledged: 0, len, flags: 0 };
    let bytes = size_of::<Header>() + size_of::<Message>() + size_of_val(&body);
    let header = Header { len: bytes as u32, kind: NLMSG_DONE, flags: 0, sequence: 0, port: 0 };
    let all = [header.as_bytes(), message.as_bytes(), body.as_bytes()].concat();
    send(&socket, &all, SendFlags::empty())?;
    Ok(socket)
}

/// The beginnings that received bytes tell of.
pub fn attachments(mut bytes: &[u8]) -> Vec<Attachment> {
    let mut all = Vec::new();
    while let Some((_, payload, after)) = split(bytes) {
        bytes = after;
        all.extend(attachment(payload));
    }
    all
}

/// What a message tells, if it is of one that begins: at the end nobody is named.
fn attachment(payload: &[u8]) -> Option<Attachment> {
    let (_, body) = Message::read_from_prefix(payload).ok()?;
    let (event, _) = Event::read_from_prefix(body).ok()?;
    let begins = event.what == EVENT_PTRACE && event.tracer != 0;
    begins.then_some(Attachment { tracer: event.tracer, traced: event.traced })
}

fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let number = numbers.next().flatten().zip(numbers.next().flatten());
    number.is_some_and(|number| number >= RELEASE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        let rows = [
            ("6.6.0-1-amd64", true),
            ("6.18.44", true),
            ("7.2.13+deb14-amd64", true),
            ("6.1.176", false),
            ("5.10.0", false),
            ("strange", false),
        ];
        for (release, expected) in rows {
            assert_eq!(is_new_enough(release), expected, "{release}");
        }
    }

    #[test]
    fn beginnings_are_told_from_ends_and_other_events() {
        let message = Message {
            connector: CONNECTOR,
            value: CONNECTOR,
            sequence: 1,
            acknowledged: 0,
            len: 32,
            flags: 0,
        };
        let event = |what, tracer| Event {
            what,
            cpu: 0,
            time: [1, 2],
            traced_thread: 8,
            traced: 7,
            tracer_thread: tracer,
            tracer,
        };
        let told = |event: Event| attachment(&[message.as_bytes(), event.as_bytes()].concat());
        assert_eq!(told(event(EVENT_PTRACE, 5)), Some(Attachment { tracer: 5, traced: 7 }));
        assert_eq!(told(event(EVENT_PTRACE, 0)), None);
        assert_eq!(told(event(1, 5)), None);
        assert_eq!(attachment(&[1, 2, 3]), None);
    }
}
