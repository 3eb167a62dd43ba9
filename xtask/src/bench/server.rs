//! The far end: an HTTPS server and a resolver, in a process and a cgroup of their own, where no
//! program of governd is attached. xtask itself, started again.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{
    client::PORT,
    dns, put,
    site::{NAME, NAMES, RESOLVER, SERVER, UNNAMED, addresses},
};
use crate::{run, say};

/// What it says when its sockets are bound.
pub(super) const READY: &str = "ready";
const CHUNK_BYTES: usize = 1 << 16;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where its certificate is
    files: PathBuf,
}

/// The certificate of the authority, of those that [`certificates`] makes.
pub(super) fn authority(files: &Path) -> PathBuf {
    files.join("ca.pem")
}

/// An authority of the bench's own, and the server's certificate by it.
pub(super) fn certificates(files: &Path) -> Result<()> {
    let names = NAMES.map(|name| format!("DNS:{name}")).join(",");
    let settings = format!(
        "[req]\ndistinguished_name = subject\n[subject]\n\
         [ca]\nbasicConstraints = critical,CA:TRUE\n\
         keyUsage = critical,keyCertSign\nsubjectKeyIdentifier = hash\n\
         [server]\nsubjectAltName = {names}\n"
    );
    put(&files.join("openssl.cnf"), &settings)?;
    let make = |file: &str, name: &str, more: &[&str]| -> Result<()> {
        let mut command = run::command("openssl")?;
        command.current_dir(files).args(["req", "-x509", "-newkey", "ec", "-noenc", "-days", "30"]);
        command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-config", "openssl.cnf"]);
        command.args(["-subj", &format!("/CN={name}"), "-extensions", file]);
        command.args(["-keyout", &format!("{file}.key"), "-out", &format!("{file}.pem")]);
        run::read(command.args(more)).map(drop)
    };
    make("ca", "governd bench", &[])?;
    make("server", NAME, &["-CA", "ca.pem", "-CAkey", "ca.key"])
}

/// Serves until its input ends.
pub(crate) fn serve(arguments: &Arguments) -> Result<()> {
    let tls = Arc::new(configuration(&arguments.files)?);
    for address in [SERVER, UNNAMED] {
        let listener = TcpListener::bind((address, PORT))
            .with_context(|| format!("binding {address}:{PORT}"))?;
        let tls = Arc::clone(&tls);
        thread::spawn(move || accept(&listener, &tls));
    }
    let resolver = UdpSocket::bind((RESOLVER, 53)).context("binding the resolver's port")?;
    thread::spawn(move || resolve(&resolver));
    say::line(READY);
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

fn configuration(files: &Path) -> Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(&fs::read(files.join("server.pem"))?)?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(files.join("server.key"))?)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    // Nobody resumes.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn accept(listener: &TcpListener, tls: &Arc<ServerConfig>) {
    while let Ok((socket, _)) = listener.accept() {
        let tls = Arc::clone(tls);
        // A client that breaks off says so itself.
        thread::spawn(move || converse(socket, tls).ok());
    }
}

fn resolve(socket: &UdpSocket) {
    let mut buffer = [0; 1_500];
    while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
        let query = buffer.get(..bytes).unwrap_or_default();
        if let Some(answer) = dns::answer(query, addresses) {
            // A client that is gone does not get its answer.
            socket.send_to(&answer, from).ok();
        }
    }
}

/// `GET /N` is answered with N bytes, anything else with none.
fn converse(socket: TcpStream, tls: Arc<ServerConfig>) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(tls)?, socket));
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let (mut line, mut body_bytes) = (String::new(), 0_u64);
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                body_bytes = value.trim().parse()?;
            }
        }
        io::copy(&mut stream.by_ref().take(body_bytes), &mut io::sink())?;
        let path = request.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
        let bytes = path.map_or(Ok(0), str::parse)?;
        respond(stream.get_mut(), bytes)?;
    }
}

fn respond(stream: &mut impl Write, bytes: usize) -> Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    let mut body = head.into_bytes();
    let first = bytes.min(CHUNK_BYTES);
    body.resize(body.len() + first, b'x');
    stream.write_all(&body)?;
    let chunk = [b'x'; CHUNK_BYTES];
    let mut left = bytes - first;
    while left > 0 {
        let part = chunk.get(..left.min(CHUNK_BYTES)).unwrap_or_default();
        stream.write_all(part)?;
        left -= part.len();
    }
    stream.flush()?;
    Ok(())
}
