//! Requests to the sink: HTTP/2 over TLS, over one connection that is made anew after trouble.

use std::{fmt, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, body::Bytes, client::conn::http2, header::USER_AGENT};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde::de::DeserializeOwned;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::sink::{
    validity::{End, Whose},
    wire::Refused,
};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take in all: the sink makes it durable before it answers.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How often a connection is asked whether it is alive while a request is under way, and how long
/// it may take to say so.
const ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;
const AGENT: &str = concat!("governd/", env!("CARGO_PKG_VERSION"));

/// Why a request came to nothing.
#[derive(Debug)]
pub enum Trouble {
    /// The sink cannot be reached, or does not answer as a sink does.
    Unreachable(String),
    /// The sink refuses.
    Refused(Refused),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "the sink cannot be reached: {reason}"),
            Self::Refused(Refused { error, .. }) => write!(f, "the sink refuses: {error}"),
        }
    }
}

/// A connection to one sink, and nobody else in its place.
pub struct Client {
    runtime: Runtime,
    tls: TlsConnector,
    name: ServerName<'static>,
    address: String,
    open: Option<Open>,
    /// When the certificate ends that the sink showed last.
    server: Option<End>,
}

struct Open {
    sender: http2::SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
    server: Option<End>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // What is on its way ends with the connection, and is asked again over the next.
        self.connection.abort();
    }
}

impl Client {
    /// For the sink at `name:port` that has a certificate of an authority; the own certificate and
    /// key, in PEM, if there are any.
    ///
    /// # Errors
    /// The address or what the sink gave cannot be used.
    pub fn new(sink: &str, ca: &str, own: Option<(&str, &str)>) -> Result<Self, String> {
        let address = sink.trim().to_owned();
        let (host, _) = address.rsplit_once(':').ok_or("the sink's address has no port")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(Arc::new(config(ca, own)?));
        Ok(Self { runtime, tls, name, address, open: None, server: None })
    }

    /// When the certificate ends that the sink showed last, if it showed any.
    pub(super) const fn server(&self) -> Option<End> {
        self.server
    }

    /// Asks for something.
    ///
    /// # Errors
    /// The sink cannot be reached, or refuses.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Trouble> {
        self.request(Method::GET, path, Vec::new())
    }

    /// Sends something.
    ///
    /// # Errors
    /// The sink cannot be reached, or refuses.
    pub fn post<T: DeserializeOwned>(&mut self, path: &str, body: Vec<u8>) -> Result<T, Trouble> {
        self.request(Method::POST, path, body)
    }

    /// One request. After trouble with the connection the next request makes another one.
    fn request<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Trouble> {
        let Self { runtime, tls, name, address, open, server } = self;
        let before = open.take().filter(|open| !open.sender.is_closed());
        let asked = runtime.block_on(async {
            let mut open = match before {
                Some(open) => open,
                None => {
                    let connected = connect(tls, name.clone(), address);
                    let slow = |_| "no connection in time".to_owned();
                    timeout(CONNECT_TIMEOUT, connected).await.map_err(slow)??
                }
            };
            let uri = format!("https://{address}{path}");
            let request = Request::builder().method(method).uri(uri).header(USER_AGENT, AGENT);
            let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
            let slow = |_| "no answer in time".to_owned();
            let answer = timeout(TIMEOUT, ask(&mut open, request)).await.map_err(slow)??;
            Ok::<_, String>((open, answer))
        });
        let (before, (is_success, body)) = asked.map_err(Trouble::Unreachable)?;
        *server = before.server;
        *open = Some(before);
        let unreadable = |error: serde_json::Error| Trouble::Unreachable(error.to_string());
        if is_success {
            return serde_json::from_slice(&body).map_err(unreadable);
        }
        Err(Trouble::Refused(serde_json::from_slice(&body).map_err(unreadable)?))
    }
}

async fn connect(
    tls: &TlsConnector,
    name: ServerName<'static>,
    address: &str,
) -> Result<Open, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| text(&error))?;
    stream.set_nodelay(true).map_err(|error| text(&error))?;
    let stream = tls.connect(name, stream).await.map_err(|error| text(&error))?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let server = shown.and_then(|shown| End::of(Whose::Server, shown));
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(ALIVE_INTERVAL)
        .keep_alive_timeout(ALIVE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| chain(&error))?;
    let connection = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the sink ended");
        }
    });
    Ok(Open { sender, connection, server })
}

/// Whether the answer is one of success, and its body.
async fn ask(open: &mut Open, request: Request<Full<Bytes>>) -> Result<(bool, Bytes), String> {
    open.sender.ready().await.map_err(|error| chain(&error))?;
    let answer = open.sender.send_request(request).await.map_err(|error| chain(&error))?;
    let is_success = answer.status().is_success();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok((is_success, body.map_err(|error| error.to_string())?.to_bytes()))
}

/// An error with what is behind it: hyper's own words say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn config(ca: &str, own: Option<(&str, &str)>) -> Result<ClientConfig, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let certificates = |pem: &str| {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        found.map_err(|error| error.to_string())
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca)?);
    let builder = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key =
                PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| text(&error))?;
            builder
                .with_client_auth_cert(certificates(chain)?, key)
                .map_err(|error| text(&error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
