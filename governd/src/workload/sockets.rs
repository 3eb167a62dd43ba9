//! TCP sockets that exist already: who listens, and who is connected where.
//!
//! The kernel's programs see what happens from their attachment on; this sweep finds what was
//! there before. Each network namespace's table is read once (/proc/PID/net/tcp and tcp6,
//! Documentation/networking/proc_net_tcp.rst), and file descriptors lead from a socket's inode to
//! its processes.

pub mod destroy;
mod diag;
pub mod listeners;
pub mod open;
pub mod unseen;

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{
    limits::{NETWORK_NAMESPACES_MAX, SOCKET_FDS_MAX, SOCKET_TABLE_BYTES_MAX, SOCKETS_MAX},
    proc::{ProcFs, bracketed},
    read,
};

/// A TCP socket of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct TcpSocket {
    /// A process that has it open.
    pub pid: u32,
    /// Own address; an IPv4 address of an IPv6 socket is an IPv4 address here.
    pub local: SocketAddr,
    /// The peer, or `None` for a listener.
    pub peer: Option<SocketAddr>,
}

/// Lists listeners and connections of every process, at most `SOCKETS_MAX`. What cannot be read
/// is left out.
pub fn tcp(proc: &ProcFs) -> Vec<TcpSocket> {
    let pids = proc.pids();
    let mut namespaces = HashSet::new();
    let mut sockets: HashMap<u64, (SocketAddr, Option<SocketAddr>)> = HashMap::new();
    for pid in &pids {
        let Some(namespace) = proc.namespace(*pid, "net") else { continue };
        if namespaces.len() >= NETWORK_NAMESPACES_MAX || !namespaces.insert(namespace) {
            continue;
        }
        for table in ["net/tcp", "net/tcp6"] {
            let text = read::text(&proc.file(*pid, table), SOCKET_TABLE_BYTES_MAX);
            sockets.extend(text.iter().flat_map(|text| text.lines().filter_map(line)));
        }
    }
    let mut found = Vec::new();
    let mut fds_left = SOCKET_FDS_MAX;
    for pid in pids {
        for inode in open_sockets(proc, pid, &mut fds_left) {
            if let Some((local, peer)) = sockets.get(&inode)
                && found.len() < SOCKETS_MAX
            {
                found.push(TcpSocket { pid, local: *local, peer: *peer });
            }
        }
    }
    found
}

/// Inodes of the sockets that a process has open, each once.
fn open_sockets(proc: &ProcFs, pid: u32, fds_left: &mut usize) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(proc.file(pid, "fd")).into_iter().flatten().filter_map(Result::ok) {
        if *fds_left == 0 {
            break;
        }
        *fds_left -= 1;
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let text = target.to_str().filter(|text| text.starts_with("socket:["));
        inodes.extend(text.and_then(bracketed));
    }
    inodes
}

/// States of a connection that carries data or is being made, and of a listener
/// (include/net/tcp_states.h).
const ESTABLISHED: u8 = 0x01;
const SYN_SENT: u8 = 0x02;
const CLOSE_WAIT: u8 = 0x08;
const LISTEN: u8 = 0x0a;

fn line(line: &str) -> Option<(u64, (SocketAddr, Option<SocketAddr>))> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let peer = address(fields.next()?)?;
    let peer = match u8::from_str_radix(fields.next()?, 16).ok()? {
        ESTABLISHED | SYN_SENT | CLOSE_WAIT => Some(peer),
        LISTEN => None,
        _ => return None,
    };
    let inode = fields.nth(5)?.parse().ok().filter(|inode| *inode != 0)?;
    Some((inode, (local, peer)))
}

/// `0100007F:1F90`: words of 32 bits in the host's byte order, and the port.
fn address(field: &str) -> Option<SocketAddr> {
    let (words, port) = field.split_once(':')?;
    let word = |at: usize| {
        let text = words.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes)
    };
    let ip: IpAddr = match words.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        path::Path,
        process,
    };

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_tables_are_read() {
        let rows = [
            (
                "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 77 1",
                Some((77, "127.0.0.1:8080", None)),
            ),
            (
                "  1: 0A00000A:9C40 08080808:01BB 01 00000000:00000000 00:00000000 00000000  0 0 78 1",
                Some((78, "10.0.0.10:40000", Some("8.8.8.8:443"))),
            ),
            (
                "  2: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000200007F:0051 08 \
                 0:0 00:0 0  0 0 79 1",
                Some((79, "127.0.0.1:80", Some("127.0.0.2:81"))),
            ),
            (
                "  3: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                 0:0 00:0 0  0 0 80 1",
                Some((80, "[::1]:80", None)),
            ),
            ("  4: 0100007F:1F90 0100007F:1F91 06 0:0 0:0 0 0 0 81 1", None),
            ("  5: 0100007F:1F90 0100007F:1F91 01 0:0 0:0 0 0 0 0 1", None),
            ("  sl  local_address rem_address   st tx_queue", None),
            ("  6: 01007F:1F90 0100007F:1F91 01 0:0 0:0 0 0 0 82 1", None),
            ("  7: é00007F:1F90 0100007F:1F91 01", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|(inode, local, peer): (_, &str, Option<&str>)| {
                (inode, (local.parse().unwrap(), peer.map(|peer| peer.parse().unwrap())))
            });
            assert_eq!(line(text), expected, "{text}");
        }
    }

    #[test]
    fn this_process_has_its_listener_and_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let found = tcp(&ProcFs::new(Path::new("/proc")));
        let pid = process::id();
        let has = |local, peer| found.contains(&TcpSocket { pid, local, peer });
        assert!(has(address, None));
        assert!(has(client.local_addr().unwrap(), Some(address)));
    }

    #[test]
    fn a_directory_without_processes_has_no_sockets() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tcp(&ProcFs::new(dir.path())), []);
    }
}
