//! The measured program: xtask itself, started again in the cgroup and namespace of a variant. It
//! reads `WORK SAMPLES` from its input, a line each, and answers with the median of the samples in
//! nanoseconds of one operation: what a busy machine does to single samples does not move it.

use std::{
    io::{self, BufRead as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, sendto, socket_with, sockopt,
};

use super::stats;

/// The address that is reached: on the loopback device of the bench's namespace, and no loopback
/// address, which a policy might treat in another way.
pub(super) const TARGET: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Datagrams that are timed together: a single one takes little longer than reading the clock.
const DATAGRAMS: u32 = 16;
const DATAGRAM: &[u8] = &[7; 64];

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
    /// A process that runs `true`, to its end
    ForkExec,
}

impl Work {
    /// What is measured while all variants are attached, each to a cgroup of its own.
    pub(super) const BESIDE: [Self; 5] =
        [Self::TcpConnect, Self::TcpCycle, Self::TcpRoundTrip, Self::UdpSendto, Self::UdpSend];

    /// Its word in the protocol and in names of files.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::TcpConnect => "tcp-connect",
            Self::TcpCycle => "tcp-cycle",
            Self::TcpRoundTrip => "tcp-round-trip",
            Self::UdpSendto => "udp-sendto",
            Self::UdpSend => "udp-send",
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
            Self::ForkExec => "fork, exec, exit",
        }
    }

    /// Samples of one batch: some milliseconds, so that all variants have the same minute.
    pub(super) const fn samples(self) -> u32 {
        match self {
            Self::ForkExec => 20,
            Self::UdpSendto | Self::UdpSend => 100,
            Self::TcpConnect | Self::TcpCycle | Self::TcpRoundTrip => 200,
        }
    }
}

/// Answers requests until its input ends.
pub(crate) fn run() -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (word, samples) = line.split_once(' ').context("a request is `WORK SAMPLES`")?;
        let work = Work::from_str(word, false).map_err(anyhow::Error::msg)?;
        let median =
            measure(work, samples.parse()?).with_context(|| format!("measuring {word}"))?;
        writeln!(io::stdout(), "{median}")?;
    }
    Ok(())
}

fn measure(work: Work, samples: u32) -> Result<f64> {
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
        Work::ForkExec => {
            for _ in 0..samples {
                let began = Instant::now();
                let status = Command::new("/bin/true").status()?;
                times.push(nanoseconds(began.elapsed()));
                ensure!(status.success(), "`true` ended with {status}");
            }
        }
    }
    stats::median(&times).context("no samples")
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
