//! What the service manager is told, where there is one (sd_notify(3)).
//!
//! Who does not read what it is told keeps nobody waiting: the daemon's looks and its events are on
//! the thread that tells.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The variable with the address of its socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// The policy is in force, and requests are answered.
    Ready,
    /// The daemon still works.
    Alive,
    /// It ends.
    Stopping,
}

/// Tells the service manager. Without one nothing happens.
pub fn tell(news: News) {
    let Some(address) = env::var_os(SOCKET) else { return };
    if let Err(error) = send(address.as_bytes(), news) {
        tracing::warn!(%error, ?news, "the service manager is not told");
    }
}

/// To an address as the variable has it: a path, or a name behind `@`.
fn send(address: &[u8], news: News) -> io::Result<()> {
    let address = match address.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
    };
    let state = match news {
        News::Ready => "READY=1\n",
        News::Alive => "WATCHDOG=1\n",
        News::Stopping => "STOPPING=1\n",
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than any socket holds (net.unix.max_dgram_qlen).
    const MANY: usize = 100_000;

    #[test]
    fn who_reads_is_told_and_who_does_not_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("governd-{}", std::process::id());
        let name_address = SocketAddr::from_abstract_name(&name).unwrap();
        let rows = [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str().as_bytes().to_vec()),
            (UnixDatagram::bind_addr(&name_address).unwrap(), format!("@{name}").into_bytes()),
        ];
        for (manager, address) in rows {
            for (news, expected) in [(News::Ready, "READY=1\n"), (News::Alive, "WATCHDOG=1\n")] {
                send(&address, news).unwrap();
                let mut said = [0; 64];
                let len = manager.recv(&mut said).unwrap();
                assert_eq!(&said[..len], expected.as_bytes());
            }
            let refused = (0..MANY).find_map(|_| send(&address, News::Alive).err());
            assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
            drop(manager);
            assert!(send(&address, News::Stopping).is_err());
        }
    }
}
