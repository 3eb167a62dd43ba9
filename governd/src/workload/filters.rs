//! Changes of what handles packets in a network namespace: rules of nftables, and filters of
//! traffic control.
//!
//! Either may rewrite, copy or send on what an agent sends, behind the hooks that judge it. Not
//! for: what the rules say.

use std::{collections::BTreeSet, io, os::fd::OwnedFd};

use rustix::net::{RecvFlags, SocketType, netlink, recv};

use super::netlink::{attribute, listen, split};

/// The group that is told of nftables (`NFNLGRP_NFTABLES`), as a bit.
const GROUP_NFTABLES: u32 = 1 << 6;
/// The group that is told of traffic control (`RTNLGRP_TC`), likewise.
const GROUP_TC: u32 = 1 << 3;
/// `NFT_MSG_NEWGEN` of `NFNL_SUBSYS_NFTABLES`, which ends each change: Linux 4.15 says whose it is.
const NEW_GENERATION: u16 = 10 << 8 | 15;
const NFTA_GEN_PROC_PID: u16 = 2;
/// `struct nfgenmsg`.
const NETFILTER_HEADER_BYTES: usize = 4;
const RTM_NEWTFILTER: u16 = 44;
/// The filter's place in `struct tcmsg`: from its handle on.
const PLACE: std::ops::Range<usize> = 8..20;
/// Messages that are read at most at once; the rest is read the next time.
const MESSAGES_MAX: usize = 1_024;
const MESSAGE_BYTES_MAX: usize = 8_192;

/// What was changed since the last look.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Threads that changed rules of nftables.
    pub nftables: BTreeSet<u32>,
    /// Whether filters of traffic control were added, by whomever but governd.
    pub traffic_control: bool,
}

/// Listens in one network namespace.
#[derive(Debug)]
pub struct Filters {
    /// `None` where the kernel has no netfilter.
    nftables: Option<OwnedFd>,
    traffic_control: OwnedFd,
    /// Where governd's own filter is, if it has one: somebody else who puts one there puts it in
    /// the place of that, which is found otherwise.
    own: Option<[u8; 12]>,
}

impl Filters {
    /// In the thread's present network namespace.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open(own: Option<[u8; 12]>) -> io::Result<Self> {
        let nftables = listen(SocketType::RAW, Some(netlink::NETFILTER), GROUP_NFTABLES);
        let traffic_control = listen(SocketType::RAW, None, GROUP_TC)?;
        Ok(Self { nftables: nftables.ok(), traffic_control, own })
    }

    /// What was changed since; never waits.
    pub fn news(&self) -> Changes {
        let mut changes = Changes::default();
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        if let Some(nftables) = &self.nftables {
            each(nftables, &mut buffer, |kind, payload| {
                changes.nftables.extend(changer(kind, payload));
            });
        }
        each(&self.traffic_control, &mut buffer, |kind, payload| {
            changes.traffic_control |= is_added(kind, payload, self.own.as_ref());
        });
        changes
    }
}

/// Goes through the messages that wait. What the socket had no place for is missed.
fn each(socket: &OwnedFd, buffer: &mut [u8], mut take: impl FnMut(u16, &[u8])) {
    for _ in 0..MESSAGES_MAX {
        let len = match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((len, _)) => len,
            Err(rustix::io::Errno::NOBUFS) => continue,
            Err(_) => return,
        };
        let mut rest = buffer.get(..len).unwrap_or_default();
        while let Some((header, payload, after)) = split(rest) {
            rest = after;
            take(header.kind, payload);
        }
    }
}

/// Whether a message tells of a filter that is not governd's own.
fn is_added(kind: u16, payload: &[u8], own: Option<&[u8; 12]>) -> bool {
    let is_own = own.is_some_and(|own| payload.get(PLACE) == Some(own.as_slice()));
    kind == RTM_NEWTFILTER && !is_own
}

/// The thread that changed the rules, if a message tells of that.
fn changer(kind: u16, payload: &[u8]) -> Option<u32> {
    if kind != NEW_GENERATION {
        return None;
    }
    let attributes = payload.get(NETFILTER_HEADER_BYTES..)?;
    let thread = attribute(attributes, NFTA_GEN_PROC_PID)?;
    Some(u32::from_be_bytes(thread.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changed_rules_is_read_from_the_end_of_the_change() {
        let generation = [8, 0, 1, 0, 0, 0, 0, 9];
        let process = [8, 0, 2, 0, 0, 0, 3, 4];
        let payload = [[0; 4].as_slice(), &generation, &process].concat();
        assert_eq!(changer(NEW_GENERATION, &payload), Some(0x304));
        assert_eq!(changer(NEW_GENERATION - 1, &payload), None);
        assert_eq!(changer(NEW_GENERATION, &payload[..14]), None);
        assert_eq!(changer(NEW_GENERATION, &[]), None);
    }

    #[test]
    fn governds_own_filter_is_no_news_and_one_beside_it_is() {
        let own = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let message = |place: [u8; 12]| [&[0; 8][..], &place, b"more"].concat();
        let mut beside = own;
        beside[0] = 9;
        assert!(!is_added(RTM_NEWTFILTER, &message(own), Some(&own)));
        assert!(is_added(RTM_NEWTFILTER, &message(beside), Some(&own)));
        assert!(is_added(RTM_NEWTFILTER, &message(own), None));
        assert!(is_added(RTM_NEWTFILTER, &[1, 2], Some(&own)));
        assert!(!is_added(RTM_NEWTFILTER + 1, &message(beside), Some(&own)));
    }

    #[test]
    fn nothing_is_news_where_nothing_changes() {
        assert_eq!(Filters::open(None).unwrap().news(), Changes::default());
    }
}
