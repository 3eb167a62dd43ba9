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
    sync::{OnceCell, mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    answer::Answer,
    authority::fingerprint,
    counts::Counts,
    doorkeeper::{Place, SentAway},
    keeper::{Again, Ask, Call, Fingerprint},
    paced::Pace,
    pack::{self, PackError, Parts},
    refusals::Refusals,
    shares::{Share, Shares},
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
/// Requests of one connection at once.
const STREAMS_MAX: u32 = 4;
/// Longest header of a request, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1_024;

/// What all connections share.
#[derive(Default)]
pub(super) struct Common {
    pub(super) counts: Arc<Counts>,
    pub(super) refusals: Arc<Refusals>,
    shares: Shares,
    handshakes: Pace,
}

impl Common {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self { counts, ..Self::default() }
    }
}

/// Which host a client is.
struct Name {
    host: String,
    share: Arc<Share>,
}

/// One connection.
#[derive(Clone)]
pub(super) struct Client {
    calls: mpsc::Sender<Call>,
    common: Arc<Common>,
    address: IpAddr,
    who: Fingerprint,
    /// Which host it is, once it is known that it is one.
    name: Arc<OnceCell<Name>>,
}

impl Client {
    pub(super) fn new(calls: mpsc::Sender<Call>, common: Arc<Common>, address: IpAddr) -> Self {
        Self { calls, common, address, who: None, name: Arc::default() }
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
            let handshake = self.common.handshakes.go(acceptor.accept(stream));
            let failure = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
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
                self.tell(what, detail).await;
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
        self.common.counts.refused(what);
        let address;
        let who = match self.name.get() {
            Some(name) => &name.host,
            None => {
                address = self.address.to_string();
                &address
            }
        };
        if let Some(notice) = self.common.refusals.count(who, what, detail) {
            // It ends with the sink.
            self.calls.send(Call::Refused(notice)).await.ok();
        }
    }

    async fn ask(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let is_post = request.method() == Method::POST;
        let path = request.uri().path().to_owned();
        if path == wire::ENROLL && is_post {
            let body = self.read_enroll(request).await?;
            return self.call(Ask::Enroll(parse(&body)?)).await;
        }
        let name = self.identify().await?;
        match path.as_str() {
            wire::RENEW if is_post => {
                let body = self.read(request, SMALL_BYTES_MAX).await?;
                self.call(Ask::Renew(parse(&body)?)).await
            }
            wire::APPEND if is_post => self.append(request, &name.share).await,
            wire::STATE if request.method() == Method::GET => self.call(Ask::State).await,
            wire::KEYS if request.method() == Method::GET => self.call(Ask::Keys).await,
            _ => {
                let error = format!("there is no {path} to be asked like this");
                Err(Answer::refused(StatusCode::NOT_FOUND, "path", &error))
            }
        }
    }

    /// Who is no host is told so before anything of it is read.
    async fn identify(&self) -> Result<&Name, Answer> {
        let Some(who) = self.who else {
            return Err(Answer::certificate());
        };
        let name = async || {
            let (reply, name) = oneshot::channel();
            let call = Call::Name { who, reply };
            self.calls.send(call).await.map_err(|_| Answer::unavailable())?;
            let name = name.await.map_err(|_| Answer::unavailable())?;
            let host = name?.ok_or_else(Answer::certificate)?;
            let share = self.common.shares.of(&host);
            Ok(Name { host, share })
        };
        self.name.get_or_try_init(name).await
    }

    async fn append(&self, request: Request<Incoming>, share: &Share) -> Result<Answer, Answer> {
        let announced = request.body().size_hint().upper();
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = announced.unwrap_or(wire::BODY_BYTES_MAX);
        if bytes > wire::BODY_BYTES_MAX {
            return Err(too_large(&format!(
                "the body is longer than {} bytes",
                wire::BODY_BYTES_MAX
            )));
        }
        let shares = &self.common.shares;
        let _room = shares.body(share, bytes).await.ok_or_else(Answer::unavailable)?;
        let body = self.read(request, bytes).await?;
        let parts = pack::parts(&body).map_err(|error| malformed(&error))?;
        let _turn = share.turn().await.ok_or_else(Answer::unavailable)?;
        let size = parts.head.size();
        if size.is_some_and(|size| share.may_know(size))
            && let Some(answer) = self.again(&parts, &body).await?
        {
            return Ok(answer);
        }
        let _place = shares.batch(parts.plain).await.ok_or_else(Answer::unavailable)?;
        let unpacked = spawn_blocking(move || parts.unpack(&body).map(|batch| (batch, body)));
        let unpacked = unpacked.await.map_err(|_| Answer::unavailable())?;
        let (batch, body) = unpacked.map_err(|error| malformed(&error))?;
        let answer = self.call(Ask::Append(batch, body)).await?;
        if answer.refused.is_none() {
            size.into_iter().for_each(|size| share.reached(size));
        }
        Ok(answer)
    }

    /// The answer to a batch that is one from before, byte for byte.
    async fn again(&self, parts: &Parts, body: &Bytes) -> Result<Option<Answer>, Answer> {
        let (reply, answer) = oneshot::channel();
        let batch = Again {
            first: parts.head.first,
            note: parts.head.checkpoint.clone(),
            frame: body.slice(parts.frame.clone()),
            bytes: body.len(),
        };
        let call = Call::Again { who: self.who, batch, reply };
        self.calls.send(call).await.map_err(|_| Answer::unavailable())?;
        answer.await.map_err(|_| Answer::unavailable())
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
        let place = self.common.shares.long_enroll().await;
        let _place = place.ok_or_else(Answer::unavailable)?;
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

fn malformed(error: &PackError) -> Answer {
    match error {
        PackError::TooLong | PackError::TooMany => too_large(error),
        _ => Answer::malformed(error),
    }
}

fn too_large(error: &dyn std::fmt::Display) -> Answer {
    Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error)
}
