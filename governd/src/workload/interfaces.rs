//! Network interfaces that appear in a network namespace, by rtnetlink(7).
//!
//! The kernel tells of each as it is made, so that one which is gone a moment later is known as
//! well. Not for: what an interface is attached to or carries.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netdevice, recv, send, socket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    limits::INTERFACES_MAX,
    netlink::{ANSWER_BYTES_MAX, Header, NLM_F_DUMP, NLM_F_REQUEST, attribute, listen, split},
};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
/// The group that is told of interfaces (`RTMGRP_LINK`).
const GROUP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// Kinds that send what they carry to another host, inside packets of the kernel's own
/// (drivers/net, net/ipv4, net/ipv6: `struct rtnl_link_ops`).
const TUNNELS: [&str; 21] = [
    "amt",
    "bareudp",
    "batadv",
    "erspan",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "ip6erspan",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "macsec",
    "ovpn",
    "pfcp",
    "ppp",
    "sit",
    "vti",
    "vti6",
    "vxlan",
];
const OTHER_TUNNELS: [&str; 2] = ["wireguard", "xfrm"];
/// Interfaces that the kernel makes by itself when a kind of tunnel is first used, and that carry
/// nothing as they are (net.core.fb_tunnels_only_for_init_net).
const FALLBACKS: [&str; 9] =
    ["tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0"];

/// A network interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Its index in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is, such as `vxlan`; empty for hardware and the loopback.
    pub kind: String,
}

impl Interface {
    /// Whether it sends what it carries inside packets of the kernel's own.
    pub fn is_tunnel(&self) -> bool {
        let kind = self.kind.as_str();
        let is_kind = TUNNELS.contains(&kind) || OTHER_TUNNELS.contains(&kind);
        is_kind && !FALLBACKS.contains(&self.name.as_str())
    }

    /// Whether somebody made it: it is no hardware.
    pub fn is_made(&self) -> bool {
        !self.kind.is_empty() && !FALLBACKS.contains(&self.name.as_str())
    }
}

/// `struct ifinfomsg`.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct LinkMessage {
    family: u8,
    pad: u8,
    kind: u16,
    index: u32,
    flags: u32,
    change: u32,
}

/// Memory for one message, for any number of listeners.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; ANSWER_BYTES_MAX])
    }
}

/// Listens in one network namespace. It keeps the namespace alive.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    known: HashSet<u32>,
    /// Interfaces came or went since somebody asked for that.
    has_changes: bool,
}

impl Listener {
    /// In the thread's present network namespace, with the interfaces that are there.
    ///
    /// # Errors
    /// The kernel gives no socket, or no list.
    pub fn open(buffer: &mut Buffer) -> io::Result<(Self, Vec<Interface>)> {
        let socket = listen(SocketType::RAW, None, GROUP)?;
        let mut listener = Self { socket, known: HashSet::new(), has_changes: true };
        listener.ask()?;
        let present = listener.news(buffer)?;
        Ok((listener, present))
    }

    /// Whether interfaces came or went since the last call, by what [`Listener::news`] was told.
    pub fn take_changes(&mut self) -> bool {
        std::mem::take(&mut self.has_changes)
    }

    fn ask(&self) -> io::Result<()> {
        let body = LinkMessage { family: 0, pad: 0, kind: 0, index: 0, flags: 0, change: 0 };
        let len = (size_of::<Header>() + size_of::<LinkMessage>()) as u32;
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        let header = Header { len, kind: RTM_GETLINK, flags, sequence: 1, port: 0 };
        send(&self.socket, &[header.as_bytes(), body.as_bytes()].concat(), SendFlags::empty())?;
        Ok(())
    }

    /// Interfaces that appeared since, gone or not; never waits.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub fn news(&mut self, buffer: &mut Buffer) -> io::Result<Vec<Interface>> {
        let mut news = Vec::new();
        while news.len() < INTERFACES_MAX {
            let len = match recv(&self.socket, &mut buffer.0[..], RecvFlags::empty()) {
                Ok((len, _)) => len,
                Err(rustix::io::Errno::AGAIN) => break,
                // There was more than the socket holds: what is still there is listed again.
                Err(rustix::io::Errno::NOBUFS) => {
                    self.has_changes = true;
                    self.ask()?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut rest = buffer.0.get(..len).unwrap_or_default();
            while let Some((header, payload, after)) = split(rest) {
                rest = after;
                news.extend(self.take(header.kind, payload));
            }
        }
        Ok(news)
    }

    /// The interface that a message tells of, if it is new.
    fn take(&mut self, message: u16, payload: &[u8]) -> Option<Interface> {
        let (link, attributes) = LinkMessage::read_from_prefix(payload).ok()?;
        match message {
            RTM_DELLINK => {
                self.has_changes = true;
                self.known.remove(&link.index);
                None
            }
            RTM_NEWLINK if self.known.insert(link.index) => {
                self.has_changes = true;
                let words = |bytes: Option<&[u8]>| {
                    let bytes = bytes.unwrap_or_default();
                    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
                    String::from_utf8_lossy(bytes).into_owned()
                };
                let what = attribute(attributes, IFLA_LINKINFO)
                    .and_then(|what| attribute(what, IFLA_INFO_KIND));
                let name = words(attribute(attributes, IFLA_IFNAME));
                Some(Interface { index: link.index, name, kind: words(what) })
            }
            _ => None,
        }
    }
}

/// The indices of those in the thread's present namespace, at most `INTERFACES_MAX`.
///
/// # Errors
/// They cannot be listed.
pub fn present() -> io::Result<HashMap<u32, String>> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let listed = fs::read_to_string("/proc/thread-self/net/dev")?;
    let names = listed.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    // An interface may go between the two.
    let indexed =
        names.filter_map(|name| Some((netdevice::name_to_index(&any, name).ok()?, name.into())));
    Ok(indexed.take(INTERFACES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, kind: &str) -> Interface {
        Interface { index: 7, name: name.to_owned(), kind: kind.to_owned() }
    }

    #[test]
    fn what_is_listed_is_known_and_the_loopback_was_made_by_nobody() {
        let mut buffer = Buffer::default();
        let (mut listener, present) = Listener::open(&mut buffer).unwrap();
        let loopback = present.iter().find(|interface| interface.name == "lo").unwrap();
        assert!(!loopback.is_made() && !loopback.is_tunnel(), "{loopback:?}");
        assert!(listener.known.contains(&loopback.index));
        let again = listener.news(&mut buffer).unwrap();
        assert!(!again.iter().any(|interface| interface.name == "lo"), "{again:?}");
    }

    #[test]
    fn an_interface_is_news_once_until_it_goes() {
        let (mut listener, _) = Listener::open(&mut Buffer::default()).unwrap();
        let link =
            LinkMessage { family: 0, pad: 0, kind: 1, index: 4_000_000, flags: 0, change: 0 };
        let name = [[8, 0, 3, 0].as_slice(), b"wg1\0"].concat();
        let kind = [[14, 0, 1, 0].as_slice(), b"wireguard\0", &[0; 2]].concat();
        let what = [[20, 0, 18, 0].as_slice(), &kind].concat();
        let payload = [link.as_bytes(), &name, &what].concat();
        let found = listener.take(RTM_NEWLINK, &payload).unwrap();
        assert_eq!(found, Interface { index: 4_000_000, ..row("wg1", "wireguard") });
        assert!(found.is_tunnel() && listener.take_changes());
        assert_eq!(listener.take(RTM_NEWLINK, &payload), None);
        assert!(!listener.take_changes());
        assert_eq!(listener.take(RTM_DELLINK, &payload), None);
        assert!(listener.take_changes() && !listener.take_changes());
        assert!(listener.take(RTM_NEWLINK, &payload).is_some());
        assert_eq!(listener.take(RTM_NEWLINK, &[1, 2]), None);
    }

    #[test]
    fn tunnels_are_told_from_others() {
        let rows = [
            ("bpv", "vxlan", true, true),
            ("x", "xfrm", true, true),
            ("ve0", "veth", false, true),
            ("sit0", "sit", false, false),
            ("sit1", "sit", true, true),
            ("eth0", "", false, false),
        ];
        for (name, kind, is_tunnel, is_made) in rows {
            let row = row(name, kind);
            assert_eq!((row.is_tunnel(), row.is_made()), (is_tunnel, is_made), "{row:?}");
        }
    }

    #[test]
    fn the_loopback_is_present() {
        let index = fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        assert!(present().unwrap().contains_key(&index.trim().parse().unwrap()));
    }
}
