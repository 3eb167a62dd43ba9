//! Serves the metrics over HTTP to who may open the socket: on this host, and nowhere else.

use std::{
    fmt, fs, io, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf, str::FromStr,
    sync::Arc, time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::families;
use crate::control::{
    protocol::{self, Reply, StatusReport},
    server::{Answer, Call},
};

const PATH: &str = "/metrics";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Clients served at once; more wait to be accepted.
const CLIENTS_MAX: usize = 8;
/// How long a client may take to ask, and the owner task to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a failed accept keeps from the next one, such as without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
const SOCKET_MODE: u32 = 0o660;

/// Where metrics are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// An address of this host alone.
    Loopback(SocketAddr),
}

/// A text is no such address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    /// It is none at all.
    #[error("neither `unix:` and an absolute path nor an address with a port")]
    Unreadable,
    /// Others could reach it.
    #[error("metrics are served to this host alone: use 127.0.0.1 or [::1], or a Unix socket")]
    NotLoopback,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return path.is_absolute().then_some(Self::Unix(path)).ok_or(AddressError::Unreadable);
        }
        let address: SocketAddr = text.parse().map_err(|_| AddressError::Unreadable)?;
        let is_loopback = address.ip().is_loopback();
        is_loopback.then_some(Self::Loopback(address)).ok_or(AddressError::NotLoopback)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Loopback(address) => address.fmt(f),
        }
    }
}

/// The metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics at {address}")]
pub struct MetricsError {
    address: Address,
    source: io::Error,
}

/// Where the text of the metrics comes from.
pub trait Source: Clone + Send + Sync + 'static {
    /// The text; `None` if there is none now.
    fn text(&self) -> impl Future<Output = Option<String>> + Send;
}

impl Source for mpsc::Sender<Call> {
    async fn text(&self) -> Option<String> {
        families::text(&report(self).await?).ok()
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Server {
    /// Binds the address. A Unix socket of that name which nobody serves is replaced.
    ///
    /// # Errors
    /// The address is taken, or the file system refuses.
    pub fn bind(address: &Address) -> Result<Self, MetricsError> {
        let bound = match address {
            Address::Unix(path) => unix(path).map(Listener::Unix),
            Address::Loopback(address) => tcp(*address).map(Listener::Tcp),
        };
        let failed = |source| MetricsError { address: address.clone(), source };
        Ok(Self { listener: bound.map_err(failed)? })
    }

    /// Where it listens, should the address have left the port open.
    ///
    /// # Errors
    /// The system does not tell, or it is no TCP address.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Answers until the task is ended.
    pub async fn serve(self, source: impl Source) {
        let room = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            // It is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let source = source.clone();
            let accepted = match &self.listener {
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(async move {
                        answer(stream, source).await;
                        drop(permit);
                    })
                }),
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(async move {
                        answer(stream, source).await;
                        drop(permit);
                    })
                }),
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "metrics cannot be served");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn unix(path: &std::path::Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: S, source: impl Source) {
    let service = service_fn(move |request| {
        let source = source.clone();
        async move { respond(&request, &source).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a scrape ended early");
    }
}

async fn respond(
    request: &Request<Incoming>,
    source: &impl Source,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let plain = |status: StatusCode, text: &'static str| {
        Response::builder().status(status).body(Full::from(text))
    };
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "metrics are read with GET\n");
    }
    let text = timeout(TIMEOUT, source.text()).await.ok().flatten();
    match text {
        Some(text) => Response::builder().header(CONTENT_TYPE, OPENMETRICS).body(Full::from(text)),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon does not answer\n"),
    }
}

/// What `governd status` shows, from the owner task.
async fn report(calls: &mpsc::Sender<Call>) -> Option<StatusReport> {
    let (answer, answered) = oneshot::channel();
    calls.send(Call { request: protocol::Request::Status, peer: None, answer }).await.ok()?;
    match answered.await.ok()? {
        Answer::Reply(Reply::Ok(value)) => serde_json::from_value(value).ok(),
        Answer::Reply(Reply::Error { .. }) | Answer::Events { .. } => None,
    }
}
