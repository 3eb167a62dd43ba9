//! The process that a test governs: this test binary again, told what to do by a script.
//!
//! A script is a list of steps, separated by `;`. Each step prints one line, its outcome: `ok`,
//! `EACCES` or the number of another error. Steps that start another process let it run the rest of
//! the script.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{FileExt as _, PermissionsExt as _},
    },
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto},
};

const SCRIPT: &str = "GOVERND_TEST_SCRIPT";
const MARK: &str = "outcome ";
/// Where the agent finds its Python interpreter.
const PYTHON: &str = "GOVERND_TEST_PYTHON";
/// How this binary is made to run a script and nothing else.
pub(super) const ARGUMENTS: [&str; 4] =
    ["--exact", "kernel::tests::agent::act", "--nocapture", "--test-threads=1"];

/// Runs a script in a cgroup and returns its outcomes.
pub(super) fn run(exe: &Path, cgroup: &Path, script: &str) -> Vec<String> {
    // The shell moves itself, and becomes the agent by exec.
    let output = Command::new("sh")
        .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
        .arg(cgroup)
        .arg(exe)
        .args(ARGUMENTS)
        .env(SCRIPT, script)
        .env(PYTHON, interpreter())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}: {output:?}");
    text.lines().filter_map(|line| line.split_once(MARK)).map(|(_, rest)| rest.to_owned()).collect()
}

/// The Python interpreter itself. What a search path has under its name may be a script that starts
/// other programs first, and those would be the agent's, too.
pub(super) fn interpreter() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        let program = "import sys; print(sys.executable)";
        let output = Command::new("python3").args(["-c", program]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

/// Not a test of its own: what [`run`] starts.
#[test]
fn act() {
    let Ok(script) = env::var(SCRIPT) else { return };
    let mut steps = script.split(';').map(str::trim).filter(|step| !step.is_empty());
    while let Some(step) = steps.next() {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        if let Some(mut command) = start(verb) {
            let script: Vec<&str> = steps.collect();
            let status = command.args(ARGUMENTS).env(SCRIPT, script.join(";")).status().unwrap();
            assert!(status.success(), "{step}");
            return;
        }
        if verb == "repeat" {
            println!("{MARK}refused {}", repeat(rest));
            continue;
        }
        if verb == "irregular" {
            println!("{MARK}ok {}", irregular(rest));
            continue;
        }
        let outcome = match attempt(verb, rest) {
            Ok(()) => "ok".to_owned(),
            Err(Errno::ACCESS) => "EACCES".to_owned(),
            Err(errno) => format!("errno {}", errno.raw_os_error()),
        };
        println!("{MARK}{outcome}");
    }
}

/// Ways to start another process of this binary.
fn start(verb: &str) -> Option<Command> {
    let exe = env::current_exe().unwrap();
    let through_shell = |text: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", text]).arg(&exe);
        shell
    };
    Some(match verb {
        "child" => Command::new(exe),
        "setsid" => {
            let mut command = Command::new("setsid");
            command.arg("--wait").arg(exe);
            command
        }
        // A network namespace of its own, in which everybody may have ping sockets.
        "netns" => {
            let mut command = Command::new("unshare");
            let range = "/proc/sys/net/ipv4/ping_group_range";
            let text = format!(
                "echo 0 2147483647 > {range} && ip link set lo up \
                && ip addr add 192.0.2.2 dev lo && ip addr add 192.0.2.3 dev lo && \"$0\" \"$@\""
            );
            command.args(["--net", "sh", "-c", &text]).arg(exe);
            command
        }
        // The same in a user namespace of its own, as anybody can make one.
        "userns" => {
            let mut command = Command::new("unshare");
            let text = "ip link set lo up && \"$0\" \"$@\"";
            command.args(["--user", "--map-root-user", "--net", "sh", "-c", text]).arg(exe);
            command
        }
        // The middle process ends at once; the pipe shows when the orphan has ended.
        "orphan" => through_shell("(\"$0\" \"$@\" & ) | cat"),
        "copy" => {
            let path = env::temp_dir().join(format!("governd-test-copy-{}", std::process::id()));
            fs::copy(&exe, &path).unwrap();
            let mut shell = Command::new("sh");
            shell.args(["-c", "\"$0\" \"$@\"; code=$?; rm \"$0\"; exit $code"]).arg(path);
            shell
        }
        "memfd" => {
            let flags = rustix::fs::MemfdFlags::empty();
            let fd = rustix::fs::memfd_create("governd-test", flags).unwrap();
            let mut file = fs::File::from(fd);
            file.write_all(&fs::read(&exe).unwrap()).unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
            let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            // An open file for writing cannot be executed; the descriptor below only reads.
            let read = fs::File::open(&path).unwrap();
            drop(file);
            let path = format!("/proc/{}/fd/{}", std::process::id(), read.as_raw_fd());
            std::mem::forget(read);
            Command::new(path)
        }
        _ => return None,
    })
}

/// Runs a Python program that prints the number of its error, or 0.
fn python(program: &str, arguments: &str) -> Result<(), Errno> {
    let known = env::var(PYTHON);
    let mut python = Command::new(known.as_deref().unwrap_or_else(|_| interpreter()));
    // Without what a host adds to every interpreter's start.
    let output =
        python.args(["-I", "-S", "-c", program]).args(arguments.split(' ')).output().unwrap();
    match String::from_utf8_lossy(&output.stdout).trim().parse() {
        Ok(0) => Ok(()),
        Ok(code) => Err(Errno::from_raw_os_error(code)),
        Err(_) => panic!("{output:?}"),
    }
}

/// A socket that is ready before the file `go` appears, and sends after it.
const HOLD: &str = r#"
import os, socket, sys, time
directory, kind, host, port, *rest = sys.argv[1:]
address = (host, int(port))
error = 0
def send_each(datagrams):
    global error
    for datagram in filter(None, datagrams):
        error = 0
        try:
            s.send(bytes.fromhex(datagram).ljust(1200, b"\0"))
        except OSError as refused:
            error = refused.errno
if kind == "tcp":
    s = socket.create_connection(address)
elif kind.startswith("raw-protocol-"):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(kind.rsplit("-", 1)[1]))
elif kind == "raw-icmp":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
elif kind == "raw-udp":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(address)
if kind == "options":
    s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01" * 4)
if rest:
    between = rest.index("/")
    send_each(rest[:between])
open(directory + "/ready", "w").close()
while not os.path.exists(directory + "/go"):
    time.sleep(0.002)
if rest:
    send_each(rest[between + 1:])
    print(error)
    sys.exit()
data = bytes([8, 0, 0xf7, 0xff] + [0] * 4)
try:
    s.sendto(data, address) if kind.startswith("raw") else s.send(data)
    print(0)
except OSError as error:
    print(error.errno)
"#;

/// A resolver and who asks it, in one process.
const ASK_ONESELF: &str = r#"
import socket, sys
host, query, answer = sys.argv[1:]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((host, 53))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.connect((host, 53))
try:
    client.send(bytes.fromhex(query))
    _, peer = server.recvfrom(512)
    server.sendto(bytes.fromhex(answer), peer)
    client.recv(512)
    print(0)
except OSError as error:
    print(error.errno)
"#;

/// A server that answers one connection, and writes its port to the file `ready`.
const SERVE: &str = r#"
import os, socket, sys
directory, = sys.argv[1:]
s = socket.create_server(("127.0.0.1", 0))
with open(directory + "/new", "w") as file:
    file.write(str(s.getsockname()[1]))
os.rename(directory + "/new", directory + "/ready")
peer, _ = s.accept()
peer.sendall(peer.recv(100))
peer.close()
print(0)
"#;

/// A server and its client, at addresses of their own; the server speaks first.
const ACCEPT: &str = r#"
import errno, socket, sys
server = socket.create_server((sys.argv[1], 0))
client = socket.create_connection(server.getsockname(), 5, (sys.argv[2], 0))
peer, _ = server.accept()
peer.sendall(b"token")
client.settimeout(0.7)
try:
    client.recv(5)
    print(0)
except TimeoutError:
    print(errno.ETIMEDOUT)
"#;

/// Sends over UDP and IPv6 with extension headers that an ordinary socket may ask for: none, hop
/// by hop, destination, or a routing header (RFC 8200 section 4), by its type.
const HEADERS: &str = r#"
import socket, sys
kind, host, port = sys.argv[1:]
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
padding = bytes([0, 0, 1, 4, 0, 0, 0, 0])
address = socket.inet_pton(socket.AF_INET6, host)
headers = {
    "plain": None,
    "hop-by-hop": (54, padding),
    "destination": (59, padding),
    "routing-2": (57, bytes([0, 2, 2, 1, 0, 0, 0, 0]) + address),
    "routing-4": (57, bytes([0, 2, 4, 0, 0, 0, 0, 0]) + address),
}
try:
    if headers[kind]:
        s.setsockopt(socket.IPPROTO_IPV6, *headers[kind])
    s.sendto(b"x", (host, int(port)))
    print(0)
except OSError as error:
    print(error.errno)
"#;

/// Reaches for a local socket: `connect`s a stream, `datagram` connects one and sends, `sendto`
/// sends without. `@` stands for the NUL that abstract names begin with.
const UNIX: &str = r#"
import os, socket, sys
how, path, directory = sys.argv[1:]
os.chdir(directory)
path = path.replace("@", "\0")
kind = socket.SOCK_STREAM if how == "connect" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_UNIX, kind)
try:
    if how == "sendto":
        s.sendto(b"x", path)
    else:
        s.connect(path)
    print(0)
except OSError as error:
    print(error.errno)
"#;

/// Opens a file.
const OPEN: &str = r#"
import os, sys
try:
    os.open(sys.argv[1], os.O_RDWR)
    print(0)
except OSError as error:
    print(error.errno)
"#;

/// Makes a character device.
const MKNOD: &str = r#"
import os, stat, sys
path, major, minor = sys.argv[1:]
try:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(int(major), int(minor)))
    print(0)
except OSError as error:
    print(error.errno)
"#;

/// Sends with a socket that another process connected. How it comes here: `inherited` as a
/// descriptor; `scm` and `splice`, `sendfile`, `uring` over the local socket of that number;
/// `pidfd` out of the process itself.
const USE: &str = r#"
import ctypes, mmap, os, socket, struct, sys, tempfile, time
how, number, pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
def uring(fd, data):
    # A ring whose kernel thread (IORING_SETUP_SQPOLL) sends.
    params = bytearray(120)
    struct.pack_into("IIIII", params, 0, 0, 0, 2, 0, 1000)
    buffer = (ctypes.c_char * 120).from_buffer(params)
    ring = call(425, 4, buffer)
    entries, _, _, _, _, features = struct.unpack_from("IIIIII", params, 0)
    head, tail, mask, count, flags, dropped, array = struct.unpack_from("7I", params, 40)
    rings = mmap.mmap(ring, 4096, offset=0)
    sqes = mmap.mmap(ring, 4096, offset=0x10000000)
    text = ctypes.create_string_buffer(data, len(data))
    struct.pack_into("BBHiQQI", sqes, 0, 26, 0, 0, fd, 0, ctypes.addressof(text), len(data))
    struct.pack_into("I", rings, array, 0)
    struct.pack_into("I", rings, tail, 1)
    call(426, ring, 0, 0, 2, None, 0)
    while struct.unpack_from("I", rings, head)[0] != 1:
        time.sleep(0.001)
    time.sleep(0.05)
if how == "inherited":
    fd = number
elif how == "pidfd":
    fd = call(438, os.pidfd_open(pid), number, 0)
else:
    fd = socket.recv_fds(socket.socket(fileno=number), 1, 1)[1][0]
data = b"token"
try:
    if how == "splice":
        reading, writing = os.pipe()
        os.write(writing, data)
        os.splice(reading, fd, len(data))
    elif how == "sendfile":
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            os.sendfile(fd, file.fileno(), 0, len(data))
    elif how == "uring":
        uring(fd, data)
    else:
        os.write(fd, data)
    print(0)
except OSError as error:
    print(error.errno)
"#;

/// A server that sends back all it gets on one connection, and writes its port to the file `ready`.
const ECHO: &str = r#"
import os, socket, sys
directory, = sys.argv[1:]
s = socket.create_server(("127.0.0.1", 0))
with open(directory + "/new", "w") as file:
    file.write(str(s.getsockname()[1]))
os.rename(directory + "/new", directory + "/ready")
peer, _ = s.accept()
while data := peer.recv(65536):
    peer.sendall(data)
print(0)
"#;

/// A process whose first thread ends by the system call, while a second one connects after it.
const WITHOUT_LEADER: &str = r#"
import ctypes, os, socket, sys, threading, time
def go():
    status = f"/proc/{os.getpid()}/stat"
    while open(status).read().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.002)
    code = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(("127.0.0.1", int(sys.argv[1])))
    os.write(1, str(code).encode())
    os._exit(0)
threading.Thread(target=go).start()
ctypes.CDLL(None).syscall(60, 0)
"#;

fn attempt(verb: &str, rest: &str) -> Result<(), Errno> {
    let address = || -> SocketAddr { rest.parse().unwrap() };
    match verb {
        "tcp" => connect(SocketType::STREAM, address()).map(drop),
        // Sends so many bytes, and reads to the end.
        "exchange" => {
            let (bytes, address) = rest.split_once(' ').unwrap();
            let socket = connect(SocketType::STREAM, address.parse().unwrap())?;
            let mut stream = std::net::TcpStream::from(socket);
            stream.write_all(&vec![0; bytes.parse().unwrap()]).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            Ok(())
        }
        // Reads what stands at the end of a process's stack, and writes it there again.
        "read-memory" => memory(rest, false),
        "write-memory" => memory(rest, true),
        "udp-connect" => {
            let socket = connect(SocketType::DGRAM, address())?;
            rustix::net::send(&socket, b"x", SendFlags::empty()).map(drop)
        }
        "udp-sendto" => {
            let socket = socket(family(address()), SocketType::DGRAM, None)?;
            rustix::net::sendto(&socket, b"x", SendFlags::empty(), &address()).map(drop)
        }
        "udp-connect-sendto" => {
            let (first, second) = rest.split_once(' ').unwrap();
            let socket = connect(SocketType::DGRAM, first.parse().unwrap())?;
            let second: SocketAddr = second.parse().unwrap();
            rustix::net::sendto(&socket, b"x", SendFlags::empty(), &second).map(drop)
        }
        "socket" => {
            let (family, kind) = rest.split_once(' ').unwrap();
            let family = if family == "v4" { AddressFamily::INET } else { AddressFamily::INET6 };
            let (kind, protocol) = match kind {
                "raw" => (SocketType::RAW, Some(ipproto::UDP)),
                "ping" if family == AddressFamily::INET => (SocketType::DGRAM, Some(ipproto::ICMP)),
                "ping" => (SocketType::DGRAM, Some(ipproto::ICMPV6)),
                "udplite" => (SocketType::DGRAM, Some(ipproto::UDPLITE)),
                "mptcp" => (SocketType::STREAM, Some(ipproto::MPTCP)),
                "udp" => (SocketType::DGRAM, None),
                other => panic!("unknown socket {other}"),
            };
            socket(family, kind, protocol).map(drop)
        }
        "ask" => {
            let (address, question) = rest.split_once(' ').unwrap();
            let socket = connect(SocketType::DGRAM, address.parse().unwrap())?;
            rustix::net::send(&socket, &unhex(question), SendFlags::empty())?;
            let wait = Some(std::time::Duration::from_secs(2));
            rustix::net::sockopt::set_socket_timeout(
                &socket,
                rustix::net::sockopt::Timeout::Recv,
                wait,
            )?;
            let mut answer = [0; 4_096];
            rustix::net::recv(&socket, &mut answer, RecvFlags::empty()).map(drop)
        }
        "udp-open" => connect(SocketType::DGRAM, address()).map(drop),
        // One that changes nothing.
        "signal" => {
            let pid = rustix::process::Pid::from_raw(rest.parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::CONT)
        }
        "is-there" => {
            let pid = rustix::process::Pid::from_raw(rest.parse().unwrap()).unwrap();
            rustix::process::test_kill_process(pid)
        }
        "memory" => fs::File::open(format!("/proc/{rest}/mem"))
            .map(drop)
            .map_err(|error| Errno::from_io_error(&error).unwrap()),
        "bpf" => match aya::programs::loaded_programs().next().unwrap() {
            Ok(_) => Ok(()),
            Err(aya::programs::ProgramError::SyscallError(error)) => {
                Err(Errno::from_io_error(&error.io_error).unwrap())
            }
            Err(error) => panic!("{error}"),
        },
        "without-leader" => python(WITHOUT_LEADER, rest),
        "hold" => python(HOLD, rest),
        "ask-oneself" => python(ASK_ONESELF, rest),
        "use" => python(USE, rest),
        "accept" => python(ACCEPT, "192.0.2.2 192.0.2.3"),
        "headers" => python(HEADERS, rest),
        "unix" => python(UNIX, rest),
        "open" => python(OPEN, rest),
        "mknod" => python(MKNOD, rest),
        "echo" => python(ECHO, rest),
        "ask-tcp" => super::dns_tcp::ask_tcp(rest),
        "say" => python(super::say::SAY, rest),
        "serve" => python(SERVE, rest),
        "true" => {
            Command::new("true").stdout(Stdio::null()).status().unwrap();
            Ok(())
        }
        other => panic!("unknown step {other}"),
    }
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Connects many times, in bursts so that other work comes between them, and returns how often it
/// was refused.
fn repeat(rest: &str) -> u32 {
    const BURST: u32 = 4;
    let (count, address) = rest.split_once(' ').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let refused = (0..count.parse::<u32>().unwrap()).filter(|number| {
        if number % BURST == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        matches!(connect(SocketType::DGRAM, address), Err(Errno::ACCESS))
    });
    refused.count() as u32
}

/// Connects so many times, after pauses of up to 300 us that no reader's step is like.
fn irregular(rest: &str) -> u32 {
    let (count, address) = rest.split_once(' ').unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let connected = (0..count.parse::<u32>().unwrap()).filter(|number| {
        let pause = std::time::Duration::from_nanos(u64::from(number * 7_919 % 300_007));
        let begun = std::time::Instant::now();
        while begun.elapsed() < pause {
            std::hint::spin_loop();
        }
        connect(SocketType::DGRAM, address).is_ok()
    });
    connected.count() as u32
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<rustix::net::Protocol>,
) -> Result<OwnedFd, Errno> {
    rustix::net::socket(family, kind, protocol)
}

fn connect(kind: SocketType, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(family(address), kind, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

fn memory(pid: &str, writes: bool) -> Result<(), Errno> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
    let (_, end) = stack.split_whitespace().next().unwrap().split_once('-').unwrap();
    let at = u64::from_str_radix(end, 16).unwrap() - 8;
    let memory =
        fs::File::options().read(true).write(writes).open(format!("/proc/{pid}/mem")).unwrap();
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, at).unwrap();
    if writes {
        memory.write_all_at(&bytes, at).unwrap();
    }
    Ok(())
}
