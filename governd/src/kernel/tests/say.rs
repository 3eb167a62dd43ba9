//! What a governed process says to a server, byte for byte, and what of it arrives.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
};

use governd_common::{
    address::Address,
    key::BindingKey,
    table::{Binding, BoundSet},
};
use zerocopy::FromZeros;

use super::{host::Host, image::AGENT};

/// What a client gets whose bytes did not all arrive.
pub(super) const LOST: &str = "errno 110";

/// Sends pieces, and waits until the server has said that it has them all. The server answers every
/// piece with the number of bytes that it has so far.
pub(super) const SAY: &str = r#"
import socket, struct, sys, threading, time
mode, host, port, path = sys.argv[1:]
pieces = [bytes.fromhex(line) for line in open(path)]
total = sum(len(piece) for piece in pieces)
family = socket.AF_INET6 if ":" in host else socket.AF_INET
address = (host, int(port))
def serve(listener):
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=answer, args=(peer,), daemon=True).start()
def answer(peer):
    seen = 0
    while True:
        data = peer.recv(65536)
        if not data: return
        seen += len(data)
        peer.sendall(seen.to_bytes(4, "big"))
def sent(s):
    s.settimeout(0.9)
    seen = 0
    try:
        while seen < total:
            data = s.recv(4)
            if not data: return 104
            while len(data) < 4: data += s.recv(4 - len(data))
            seen = int.from_bytes(data, "big")
    except TimeoutError:
        return 110
    return 0
def run():
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    if mode == "tfo":
        with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as file: file.write("3")
        listener = socket.socket()
        listener.setsockopt(socket.IPPROTO_TCP, 23, 16)
        listener.bind(address); listener.listen()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        # The first connection gets the cookie.
        first = socket.socket()
        first.sendto(pieces[0], 0x20000000, address)
        time.sleep(0.2)
        first.close()
        s.sendto(pieces[0], 0x20000000, address)
        rest = pieces[1:]
    else:
        s.connect(address)
        rest = pieces
    if mode == "repair":
        s.close()
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setsockopt(socket.IPPROTO_TCP, 19, 1)
        s.connect(address)
        # Without a window nothing would be sent.
        window = struct.pack("5I", 0, 65535, 65535, 65535, 0)
        s.setsockopt(socket.IPPROTO_TCP, 29, window)
        s.setsockopt(socket.IPPROTO_TCP, 19, -1)
    for piece in rest:
        if mode == "urgent": s.send(piece, socket.MSG_OOB)
        else: s.sendall(piece)
        if len(rest) > 1 and mode != "fast": time.sleep(0.002)
    return sent(s)
try:
    print(run())
except OSError as error:
    print(error.errno)
"#;

/// A server that answers as [`SAY`] wants it, for as long as the test runs.
pub(super) fn serve(at: &str) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut seen: u32 = 0;
                let mut buffer = vec![0; 65_536];
                while let Ok(len @ 1..) = peer.read(&mut buffer) {
                    seen += u32::try_from(len).unwrap();
                    if peer.write_all(&seen.to_be_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Says the pieces as the agent; the outcome is `ok`, [`LOST`] or an error of the connection.
pub(super) fn say(host: &Host, to: SocketAddr, pieces: &[Vec<u8>]) -> String {
    say_by(host, "plain", to, pieces)
}

pub(super) fn say_by(host: &Host, mode: &str, to: SocketAddr, pieces: &[Vec<u8>]) -> String {
    let hex = |piece: &Vec<u8>| piece.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let pieces: Vec<String> = pieces.iter().map(hex).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pieces.join("\n").as_bytes()).unwrap();
    let step = format!("say {mode} {} {} {}", to.ip(), to.port(), file.path().display());
    let script = if mode == "tfo" { format!("netns;{step}") } else { step };
    host.one(&script)
}

/// Binds an address to sets for the agent, as DNS answers would.
pub(super) fn bind(host: &mut Host, address: &str, sets: &[u32]) {
    let address = Address::from(address.parse::<std::net::IpAddr>().unwrap());
    let mut binding = Binding::new_zeroed();
    for (place, set) in binding.sets.iter_mut().zip(sets) {
        *place = BoundSet { expires_ns: u64::MAX, set: *set, reserved: 0 };
    }
    host.kernel.rebind(&[(BindingKey { subject: AGENT, address }, binding)]).unwrap();
}

fn number(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap().to_be_bytes()
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len())[..], bytes].concat()
}

pub(super) fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(body)].concat()
}

pub(super) fn server_name(name: &str) -> Vec<u8> {
    let entry = [&[0][..], &prefixed(name.as_bytes())].concat();
    extension(0, &prefixed(&entry))
}

/// A ClientHello with these extensions, in records of at most `record` bytes.
pub(super) fn hello(extensions: &[Vec<u8>], record: usize) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(prefixed(&[0x13, 0x01]));
    body.extend([1, 0]);
    body.extend(prefixed(&extensions.concat()));
    let len = number(body.len());
    let message = [&[1, 0][..], &len, &body].concat();
    let whole = |part: &[u8]| [&[22, 3, 1][..], &prefixed(part)].concat();
    message.chunks(record).map(whole).collect::<Vec<_>>().concat()
}

/// The hello of an ordinary client.
pub(super) fn hello_to(name: &str) -> Vec<u8> {
    hello(&[server_name(name)], 16_384)
}
