//! Messages of netlink(7), as include/uapi/linux/netlink.h has them.

use std::{io, os::fd::OwnedFd};

use rustix::net::{
    AddressFamily, Protocol, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, socket_with,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
/// What the kernel sends in one message at most when it lists (`NLMSG_GOODSIZE` and above).
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// Bits of an attribute's type that are not its number (`NLA_TYPE_MASK`).
const ATTRIBUTE_FLAGS: u16 = 0xc000;

#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) port: u32,
}

/// A socket that never waits and gets what the kernel tells these groups, a bit each; no protocol
/// is `NETLINK_ROUTE`.
pub(super) fn listen(
    kind: SocketType,
    protocol: Option<Protocol>,
    groups: u32,
) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The first message of some bytes, and what is behind it.
pub(super) fn split(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let (header, _) = Header::read_from_prefix(bytes).ok()?;
    let len = header.len as usize;
    let payload = bytes.get(size_of::<Header>()..len)?;
    let after = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((header, payload, after))
}

/// `struct nlmsgerr`: 0 acknowledges.
pub(super) fn error(payload: &[u8]) -> io::Result<()> {
    match i32::read_from_prefix(payload) {
        Ok((0, _)) => Ok(()),
        Ok((code, _)) => Err(io::Error::from_raw_os_error(-code)),
        Err(_) => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

/// The value of an attribute among others (`struct nlattr`).
pub(super) fn attribute(mut bytes: &[u8], number: u16) -> Option<&[u8]> {
    loop {
        let ([len, kind], _) = <[u16; 2]>::read_from_prefix(bytes).ok()?;
        let len = usize::from(len);
        let value = bytes.get(4..len)?;
        if kind & !ATTRIBUTE_FLAGS == number {
            return Some(value);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_lies_about_its_length_is_not_read() {
        let header = |len| Header { len, kind: 20, flags: 0, sequence: 1, port: 0 };
        for len in [0, 15, 21, u32::MAX] {
            let bytes = [header(len).as_bytes(), &[7; 4]].concat();
            assert!(split(&bytes).is_none(), "{len}");
        }
        let bytes = [header(18).as_bytes(), &[7; 4], header(16).as_bytes()].concat();
        let (_, payload, after) = split(&bytes).unwrap();
        assert_eq!((payload, after.len()), ([7; 2].as_slice(), 16));
        assert!(split(after).unwrap().1.is_empty());
    }

    #[test]
    fn attributes_are_found_behind_others_and_not_beyond_the_end() {
        let bytes = [5, 0, 3, 0, b'x', 0, 0, 0, 6, 0, 18, 0x80, b'y', b'z'];
        assert_eq!(attribute(&bytes, 3), Some(b"x".as_slice()));
        assert_eq!(attribute(&bytes, 18), Some(b"yz".as_slice()));
        assert_eq!(attribute(&bytes, 4), None);
        for cut in [[9, 0, 3, 0], [0, 0, 3, 0], [3, 0, 3, 0]] {
            assert_eq!(attribute(&cut, 3), None);
        }
    }
}
