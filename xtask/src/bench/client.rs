//! The client of HTTPS: what a program does to reach a name, from asking for its address on.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use super::site::{NAME, NAME_REFUSED, SERVER, UNNAMED};

pub(super) const PORT: u16 = 443;
/// Nothing here takes so long.
const SILENCE: Duration = Duration::from_secs(20);
/// Bytes of a transfer.
pub(super) const TRANSFER_BYTES: usize = 1 << 20;
/// Body of the answer to a single request.
const ANSWER_BYTES: usize = 256;

/// Where it goes, and by what way.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Route {
    /// The name
    #[arg(long, default_value = NAME)]
    pub(super) name: String,
    /// Certificates that are trusted, PEM
    #[arg(long, value_name = "FILE")]
    pub(super) ca: PathBuf,
    /// A proxy that is asked for it (HTTP `CONNECT`)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) proxy: Option<SocketAddr>,
}

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

pub(super) struct Client {
    route: Route,
    config: Arc<ClientConfig>,
}

impl Client {
    pub(super) fn new(route: &Route) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let ca = &route.ca;
        let certificate = CertificateDer::from_pem_file(ca)
            .with_context(|| format!("reading {}", ca.display()))?;
        roots.add(certificate)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every connection is a new one.
        config.resumption = Resumption::disabled();
        Ok(Self { route: route.clone(), config: Arc::new(config) })
    }

    /// Resolves, connects, shakes hands, sends a request, reads the answer, closes.
    pub(super) fn connection(&self) -> Result<()> {
        let mut stream = self.open()?;
        self.download(&mut stream, ANSWER_BYTES)?;
        let stream = stream.get_mut();
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(())
    }

    /// A connection that stays open.
    pub(super) fn open(&self) -> Result<Stream> {
        let Route { name, proxy, .. } = &self.route;
        match proxy {
            None => {
                let mut addresses = (name.as_str(), PORT).to_socket_addrs()?;
                self.shake(connect(addresses.next().context("no address")?)?, name)
            }
            Some(proxy) => {
                let mut socket = connect(*proxy)?;
                let host = format!("{name}:{PORT}");
                socket.write_all(
                    format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
                )?;
                // The server says nothing before the client does, so nothing is lost with this.
                head(&mut BufReader::new(&socket))?;
                self.shake(socket, name)
            }
        }
    }

    fn shake(&self, socket: TcpStream, name: &str) -> Result<Stream> {
        let name = ServerName::try_from(name.to_owned())?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(BufReader::new(StreamOwned::new(connection, socket)))
    }

    /// Asks for so many bytes and reads them.
    pub(super) fn download(&self, stream: &mut Stream, bytes: usize) -> Result<()> {
        let request = format!("GET /{bytes} HTTP/1.1\r\nHost: {}\r\n\r\n", self.route.name);
        stream.get_mut().write_all(request.as_bytes())?;
        let length = head(stream)?;
        ensure!(length == bytes, "the server answers with {length} bytes, not {bytes}");
        let mut left = length;
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let part = buffer.get_mut(..left.min(1 << 16)).unwrap_or_default();
            match stream.read(part)? {
                0 => bail!("the server closed {left} bytes before the end"),
                read => left -= read,
            }
        }
        Ok(())
    }

    /// Sends so many bytes and waits until the server has them.
    pub(super) fn upload(&self, stream: &mut Stream, body: &[u8]) -> Result<()> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.route.name,
            body.len()
        );
        let writer = stream.get_mut();
        writer.write_all(request.as_bytes())?;
        writer.write_all(body)?;
        writer.flush()?;
        ensure!(head(stream)? == 0, "the server answers with a body");
        Ok(())
    }

    /// Fails unless the allowed name passes, and neither another name at its address does, nor it
    /// at an address that no answer bound to it: so that both DNS and the handshake are judged.
    pub(super) fn judged(&self) -> Result<()> {
        self.connection().context("the allowed name does not pass")?;
        let try_at = |address, name| -> Result<()> {
            self.download(&mut self.shake(connect((address, PORT).into())?, name)?, ANSWER_BYTES)
        };
        for (address, name) in [(SERVER, NAME_REFUSED), (UNNAMED, NAME)] {
            ensure!(try_at(address, name).is_err(), "{name} at {address} is not refused");
        }
        Ok(())
    }
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_write_timeout(Some(SILENCE))?;
    Ok(socket)
}

/// Reads the head of an answer and says how long its body is.
fn head(stream: &mut impl std::io::BufRead) -> Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line.split(' ').nth(1) == Some("200"), "the server says {line:?}");
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(length) };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
}
