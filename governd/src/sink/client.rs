//! One connection: who it is, and its requests, each within limits of time and memory.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::TcpStream,
    sync::{OnceCell, Semaphore, mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    answer::Answer,
    authority::fingerprint,
    counts::Counts,
    doorkeeper::{Place, SentAway},
    keeper::{Ask, Call, Fingerprint},
    pack::{self, PackError},
    wire,
};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long who has no certificate may stay.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is asked over HTTP/2 whether a client is still there, and how long it may take to
/// say so.
const ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const ALIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may take, and how long nothing of it may come.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body of a small request, in bytes.
const SMALL_BYTES_MAX: usize = 4_096;
/// Longest of one to be let in, in bytes: a log has 256 keys at most, and each a proof.
const ENROLL_BYTES_MAX: usize = 1 << 20;
/// Of these, beyond small ones, at once.
const LONG_ENROLLS_MAX: usize = 4;
/// Requests of one connection at once.
const STREAMS_MAX: u32 = 4;
/// Longest header of a request, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1_024;

/// Bodies in memory at once, by the length that is announced, in KiB: 64 MiB.
const BODIES_KIB_MAX: usize = 64 * 1_024;
/// Batches at once that are taken apart and wait for the store: more take memory, and no host is
/// served earlier for it.
const BATCHES_MAX: usize = 4;
const KIB: usize = 1_024;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Limits {
    bodies: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    long_enrolls: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(BODIES_KIB_MAX)),
            batches: Arc::new(Semaphore::new(BATCHES_MAX)),
            long_enrolls: Arc::new(Semaphore::new(LONG_ENROLLS_MAX)),
        }
    }
}

/// One connection.
#[derive(Clone)]
pub(super) struct Client {
    calls: mpsc::Sender<Call>,
    limits: Limits,
    address: IpAddr,
    who: Fingerprint,
    /// The name of the host, once it is known that it is one.
    host: Arc<OnceCell<String>>,
    counts: Arc<Counts>,
}

impl Client {
    pub(super) fn new(
        calls: mpsc::Sender<Call>,
        limits: Limits,
        address: IpAddr,
        counts: Arc<Counts>,
    ) -> Self {
        Self { calls, limits, address, who: None, host: Arc::default(), counts }
    }

    /// Speaks until the client has gone. It has left the door once it has shown a certificate.
    pub(super) async fn converse(
        mut self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        (place, sent_away): (Place, SentAway),
        leave: mpsc::UnboundedSender<Place>,
    ) {
        let stranger = async {
            let failure = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let own = certificates.and_then(|chain| chain.first());
                    self.who = own.map(|own| fingerprint(own));
                    if self.who.is_some() {
                        return Some(stream);
                    }
                    timeout(STRANGER_TIMEOUT, self.serve(stream)).await.ok();
                    return None;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it took too long".to_owned(),
            };
            let detail = format!("no connection came about: {failure}");
            self.tell("handshake", &detail).await;
            None
        };
        let known = tokio::select! {
            known = stranger => known,
            _ = sent_away => {
                let (what, detail) = ("busy", "others came while it had shown no certificate");
                self.counts.refused(what);
                // What does not fit waits for its next turn: it will not be alone.
                self.calls.try_send(Call::refused(self.address.to_string(), what, detail)).ok();
                None
            }
        };
        leave.send(place).ok();
        if let Some(stream) = known {
            self.serve(stream).await;
        }
    }

    async fn serve(&self, stream: tokio_rustls::server::TlsStream<TcpStream>) {
        let service = service_fn(|request| {
            let client = self.clone();
            async move { Ok::<_, hyper::Error>(client.answer(request).await) }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        server
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX as u32)
            .keep_alive_interval(ALIVE_INTERVAL)
            .keep_alive_timeout(ALIVE_TIMEOUT);
        if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a client's connection ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answer = match self.ask(request).await {
            Ok(answer) | Err(answer) => answer,
        };
        if let Some((what, detail)) = &answer.refused {
            self.tell(what, detail).await;
        }
        answer.into()
    }

    /// Has it recorded that something was refused.
    async fn tell(&self, what: &str, detail: &str) {
        self.counts.refused(what);
        let who = self.host.get().cloned().unwrap_or_else(|| self.address.to_string());
        // It ends with the sink.
        self.calls.send(Call::refused(who, what, detail)).await.ok();
    }

    async fn ask(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let is_post = request.method() == Method::POST;
        let path = request.uri().path().to_owned();
        if path != wire::ENROLL {
            self.identify().await?;
        }
        match path.as_str() {
            wire::ENROLL if is_post => {
                let body = self.read_enroll(request).await?;
                self.call(Ask::Enroll(parse(&body)?)).await
            }
            wire::RENEW if is_post => {
                let body = self.read(request, SMALL_BYTES_MAX).await?;
                self.call(Ask::Renew(parse(&body)?)).await
            }
            wire::APPEND if is_post => self.append(request).await,
            wire::STATE if request.method() == Method::GET => self.call(Ask::State).await,
            wire::KEYS if request.method() == Method::GET => self.call(Ask::Keys).await,
            _ => {
                let error = format!("there is no {path} to be asked like this");
                Err(Answer::refused(StatusCode::NOT_FOUND, "path", &error))
            }
        }
    }

    /// Who is no host is told so before anything of it is read.
    async fn identify(&self) -> Result<(), Answer> {
        let Some(who) = self.who else {
            return Err(Answer::certificate());
        };
        let name = async || {
            let (reply, name) = oneshot::channel();
            let call = Call::Name { who, reply };
            self.calls.send(call).await.map_err(|_| Answer::unavailable())?;
            let name = name.await.map_err(|_| Answer::unavailable())?;
            name?.ok_or_else(Answer::certificate)
        };
        self.host.get_or_try_init(name).await.map(|_| ())
    }

    async fn append(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let announced = request.body().size_hint().upper();
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = announced.unwrap_or(wire::BODY_BYTES_MAX);
        if bytes > wire::BODY_BYTES_MAX {
            return Err(too_large(&format!(
                "the body is longer than {} bytes",
                wire::BODY_BYTES_MAX
            )));
        }
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        let room = self.limits.bodies.acquire_many(kib).await;
        let room = room.map_err(|_| Answer::unavailable())?;
        let body = self.read(request, bytes).await?;
        let place = Arc::clone(&self.limits.batches).acquire_owned().await;
        let place = place.map_err(|_| Answer::unavailable())?;
        let unpacked = spawn_blocking(move || pack::unpack(&body).map(|batch| (batch, body)));
        let unpacked = unpacked.await.map_err(|_| Answer::unavailable())?;
        let (batch, body) = unpacked.map_err(|error| match error {
            PackError::TooLong => too_large(&error),
            _ => Answer::malformed(&error),
        })?;
        let answer = self.call(Ask::Append(batch, body)).await;
        drop((place, room));
        answer
    }

    async fn call(&self, what: Ask) -> Result<Answer, Answer> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Ask { who: self.who, what, reply };
        self.calls.send(call).await.map_err(|_| Answer::unavailable())?;
        answer.await.map_err(|_| Answer::unavailable())
    }

    /// A request to be let in. It is long where the log's key was replaced often; few of those are
    /// read at once, since anybody may send one.
    async fn read_enroll(&self, request: Request<Incoming>) -> Result<Bytes, Answer> {
        let announced = request.body().size_hint().upper();
        let is_small = announced.is_some_and(|bytes| bytes <= SMALL_BYTES_MAX as u64);
        if is_small {
            return self.read(request, SMALL_BYTES_MAX).await;
        }
        let place = self.limits.long_enrolls.acquire().await;
        let _place = place.map_err(|_| Answer::unavailable())?;
        self.read(request, ENROLL_BYTES_MAX).await
    }

    /// A body of at most so many bytes.
    async fn read(&self, request: Request<Incoming>, limit: usize) -> Result<Bytes, Answer> {
        let mut body = request.into_body();
        let deadline = Instant::now() + BODY_TIMEOUT;
        let mut bytes = Vec::new();
        let slow = || {
            let error = format!(
                "the body took longer than {BODY_TIMEOUT:?}, or nothing of it came for \
                 {STALL_TIMEOUT:?}"
            );
            Answer::refused(StatusCode::REQUEST_TIMEOUT, "timeout", &error)
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(STALL_TIMEOUT);
            let Some(frame) = timeout(left, body.frame()).await.map_err(|_| slow())? else {
                return Ok(bytes.into());
            };
            let frame = frame.map_err(|error| Answer::malformed(&error))?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > limit {
                    return Err(too_large(&format!("the body is longer than {limit} bytes")));
                }
                bytes.extend_from_slice(data);
            }
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|error| Answer::malformed(&error))
}

fn too_large(error: &dyn std::fmt::Display) -> Answer {
    Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error)
}
