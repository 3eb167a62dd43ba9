//! The measured program: xtask itself, started again in the cgroup and namespace of a variant. It
//! reads `WORD COUNT` from its input, a line each. A [`Work`] is answered with the median of so
//! many samples in nanoseconds of one operation, since what a busy machine does to single samples
//! does not move that; a [`Chore`] when it is done, with how long it took.

use std::{
    io::{self, BufRead as _, Write as _},
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, sendto, socket_with, sockopt,
};

use super::{
    client::{Client, Route, TRANSFER_BYTES},
    dns,
    site::{MANY, MANY_ADDRESSES, RESOLVER, TARGET},
    stats,
};

/// Datagrams that are timed together: a single one takes little longer than reading the clock.
const DATAGRAMS: u32 = 16;
const DATAGRAM: &[u8] = &[7; 64];
/// How long the way to the server may take to come up: some proxies take seconds to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Work {
    /// `connect(2)` of a TCP socket alone
    TcpConnect,
    /// Socket, connect, accept, and close on both sides
    TcpCycle,
    /// A byte there and back on an open TCP connection
    TcpRoundTrip,
    /// `sendto(2)` of a datagram
    UdpSendto,
    /// `send(2)` on a connected UDP socket
    UdpSend,
    /// A name resolved, a connection and a handshake, a small request and its answer, the end
    HttpsConnection,
    /// 1 MiB from the server on an open connection
    HttpsDownload,
    /// 1 MiB to the server on an open connection
    HttpsUpload,
    /// A process that runs `true`, to its end
    ForkExec,
}

impl Work {
    /// What is measured of the network, of every variant.
    pub(super) const NETWORK: [Self; 8] = [
        Self::TcpConnect,
        Self::TcpCycle,
        Self::TcpRoundTrip,
        Self::UdpSendto,
        Self::UdpSend,
        Self::HttpsConnection,
        Self::HttpsDownload,
        Self::HttpsUpload,
    ];
    /// What proxies can be asked for.
    pub(super) const HTTPS: [Self; 3] =
        [Self::HttpsConnection, Self::HttpsDownload, Self::HttpsUpload];

    /// Its word in the protocol and in names of files.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::TcpConnect => "tcp-connect",
            Self::TcpCycle => "tcp-cycle",
            Self::TcpRoundTrip => "tcp-round-trip",
            Self::UdpSendto => "udp-sendto",
            Self::UdpSend => "udp-send",
            Self::HttpsConnection => "https-connection",
            Self::HttpsDownload => "https-download",
            Self::HttpsUpload => "https-upload",
            Self::ForkExec => "fork-exec",
        }
    }

    /// Its title in the report.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::TcpConnect => "TCP connect()",
            Self::TcpCycle => "TCP socket, connect, accept, close",
            Self::TcpRoundTrip => "TCP round trip of 1 byte",
            Self::UdpSendto => "UDP sendto()",
            Self::UdpSend => "UDP send(), connected",
            Self::HttpsConnection => "new HTTPS connection, name resolved",
            Self::HttpsDownload => "HTTPS throughput: 1 MiB received",
            Self::HttpsUpload => "HTTPS throughput: 1 MiB sent",
            Self::ForkExec => "fork, exec, exit",
        }
    }

    /// Samples of one batch: some milliseconds, so that all variants have the same minute.
    pub(super) const fn samples(self) -> u32 {
        match self {
            Self::ForkExec => 20,
            Self::UdpSendto | Self::UdpSend => 100,
            Self::TcpConnect | Self::TcpCycle | Self::TcpRoundTrip => 200,
            Self::HttpsConnection => 20,
            Self::HttpsDownload | Self::HttpsUpload => 16,
        }
    }

    /// Operations of one batch.
    pub(super) fn operations(self) -> f64 {
        let of_sample = match self {
            Self::UdpSendto | Self::UdpSend => DATAGRAMS,
            _ => 1,
        };
        f64::from(self.samples() * of_sample)
    }
}

/// What is done besides.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Chore {
    /// HTTPS connections are tried until one passes
    Ready,
    /// What must pass passes, and what must be refused is
    Judged,
    /// Questions for many addresses each, of names that nobody asked for before
    AskNew,
    /// Such questions of one name
    AskAgain,
    /// A UDP socket is connected, again and again, each of which is a decision
    Decide,
}

impl Chore {
    /// Its word in the protocol.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Judged => "judged",
            Self::AskNew => "ask-new",
            Self::AskAgain => "ask-again",
            Self::Decide => "decide",
        }
    }
}

/// Answers requests until its input ends.
pub(crate) fn run(route: &Route) -> Result<()> {
    let mut names = 0..u32::from(u16::MAX);
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (word, count) = line.split_once(' ').context("a request is `WORD COUNT`")?;
        let count = count.parse()?;
        let answer = match Work::from_str(word, false) {
            Ok(work) => measure(work, count, route),
            Err(_) => {
                let chore = Chore::from_str(word, false).map_err(anyhow::Error::msg)?;
                let began = Instant::now();
                act(chore, count, route, &mut names).map(|()| nanoseconds(began.elapsed()))
            }
        };
        let answer = answer.with_context(|| format!("doing {word}"))?;
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn act(
    chore: Chore,
    count: u32,
    route: &Route,
    names: &mut impl Iterator<Item = u32>,
) -> Result<()> {
    match chore {
        Chore::Ready => ready(route),
        Chore::Judged => Client::new(route)?.judged(),
        Chore::AskNew => ask(count, || names.next().context("every name was asked for")),
        Chore::AskAgain => ask(count, || Ok(u32::from(u16::MAX))),
        Chore::Decide => {
            let socket = UdpSocket::bind((TARGET, 0))?;
            for number in 0..count {
                // None like another: a daemon that is behind makes one record of those.
                let port = 1_000 + (number % 60_000) as u16;
                connect(&socket, &SocketAddr::from((TARGET, port)))?;
            }
            Ok(())
        }
    }
}

fn ready(route: &Route) -> Result<()> {
    let began = Instant::now();
    loop {
        // Certificates of a proxy may be among what is not there yet.
        match Client::new(route).and_then(|client| client.connection()) {
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(50)),
            Ok(()) => return Ok(()),
        }
    }
}

fn ask(count: u32, mut name: impl FnMut() -> Result<u32>) -> Result<()> {
    let socket = UdpSocket::bind((TARGET, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.connect((RESOLVER, 53))?;
    let mut buffer = [0; 1_500];
    for number in 0..count {
        let query = dns::query(number as u16, &format!("n{}.{MANY}", name()?));
        socket.send(&query)?;
        let bytes = socket.recv(&mut buffer).context("a question was not answered")?;
        let addresses = dns::answered(&query, buffer.get(..bytes).unwrap_or_default());
        ensure!(addresses.map(u32::from) == Some(MANY_ADDRESSES), "{addresses:?} addresses");
    }
    Ok(())
}

fn measure(work: Work, samples: u32, route: &Route) -> Result<f64> {
    let mut times = Vec::new();
    match work {
        Work::TcpConnect => tcp(samples, |began, connected, _| {
            times.push(nanoseconds(connected - began));
        })?,
        Work::TcpCycle => tcp(samples, |began, _, closed| {
            times.push(nanoseconds(closed - began));
        })?,
        Work::TcpRoundTrip => round_trips(samples, &mut times)?,
        Work::UdpSendto => {
            let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, CLOEXEC, None)?;
            datagrams(samples, &mut times, |to| sendto(&socket, DATAGRAM, NO_FLAGS, &to))?;
        }
        Work::UdpSend => {
            let socket = UdpSocket::bind((TARGET, 0))?;
            let mut connected = false;
            datagrams(samples, &mut times, |to| {
                if !connected {
                    connect(&socket, &to)?;
                    connected = true;
                }
                send(&socket, DATAGRAM, NO_FLAGS)
            })?;
        }
        Work::HttpsConnection => {
            let client = Client::new(route)?;
            timed(samples, &mut times, || client.connection())?;
        }
        Work::HttpsDownload => {
            let client = Client::new(route)?;
            let mut stream = client.open()?;
            timed(samples, &mut times, || client.download(&mut stream, TRANSFER_BYTES))?;
        }
        Work::HttpsUpload => {
            let client = Client::new(route)?;
            let (mut stream, body) = (client.open()?, vec![b'x'; TRANSFER_BYTES]);
            timed(samples, &mut times, || client.upload(&mut stream, &body))?;
        }
        Work::ForkExec => timed(samples, &mut times, || {
            let status = Command::new("/bin/true").status()?;
            ensure!(status.success(), "`true` ended with {status}");
            Ok(())
        })?,
    }
    stats::median(&times).context("no samples")
}

fn timed(samples: u32, times: &mut Vec<f64>, mut one: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..samples {
        let began = Instant::now();
        one()?;
        times.push(nanoseconds(began.elapsed()));
    }
    Ok(())
}

const CLOEXEC: SocketFlags = SocketFlags::CLOEXEC;
const NO_FLAGS: SendFlags = SendFlags::empty();

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Makes connections, and says of each when it began, was connected, and both ends were closed.
fn tcp(samples: u32, mut said: impl FnMut(Instant, Instant, Instant)) -> Result<()> {
    let listener = TcpListener::bind((TARGET, 0))?;
    let to = listener.local_addr()?;
    for _ in 0..samples {
        let began = Instant::now();
        let client = socket_with(AddressFamily::INET, SocketType::STREAM, CLOEXEC, None)?;
        // A reset at its end, so that no port stays in TIME-WAIT.
        sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
        let connecting = Instant::now();
        connect(&client, &to)?;
        let connected = Instant::now();
        let (server, _) = listener.accept()?;
        drop::<OwnedFd>(client);
        drop(server);
        let closed = Instant::now();
        // The time until the connect began counts for the whole, not for the connect.
        let before = connecting - began;
        said(connecting, connected, closed + before);
    }
    Ok(())
}

fn round_trips(samples: u32, times: &mut Vec<f64>) -> Result<()> {
    let listener = TcpListener::bind((TARGET, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let pass = |from: &TcpStream, to: &TcpStream| -> io::Result<()> {
        io::Write::write_all(&mut &*from, b"x")?;
        io::Read::read_exact(&mut &*to, &mut [0])
    };
    for _ in 0..samples {
        let began = Instant::now();
        pass(&client, &server)?;
        pass(&server, &client)?;
        times.push(nanoseconds(began.elapsed()));
    }
    Ok(())
}

fn datagrams(
    samples: u32,
    times: &mut Vec<f64>,
    mut send: impl FnMut(SocketAddr) -> rustix::io::Result<usize>,
) -> Result<()> {
    let receiver = UdpSocket::bind(SocketAddrV4::new(TARGET, 0))?;
    receiver.set_read_timeout(Some(Duration::from_secs(10)))?;
    let to = receiver.local_addr()?;
    for _ in 0..samples {
        let began = Instant::now();
        for _ in 0..DATAGRAMS {
            send(to)?;
        }
        times.push(nanoseconds(began.elapsed()) / f64::from(DATAGRAMS));
        for _ in 0..DATAGRAMS {
            receiver.recv(&mut [0; DATAGRAM.len()]).context("a datagram did not arrive")?;
        }
    }
    Ok(())
}
