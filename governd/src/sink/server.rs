//! The server: connections with TLS, requests within limits, one thread that owns the store.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    authority::{Authority, fingerprint},
    store::{AppendError, EnrollError, Store, StoreError},
    wire::{self, Appended, Enroll, Enrolled, Head, Refused, State},
};
use crate::audit::{
    checkpoint::Verifier,
    witness::{Batch, Refusal},
};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// Requests whose bodies are in memory at once: with the longest body, what memory is bounded by.
const REQUESTS_MAX: usize = 4;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest body of who shows no certificate, in bytes.
const ENROLL_BYTES_MAX: usize = 4_096;
/// How long a failed accept keeps from the next one, such as without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
const JSON: &str = "application/json";

type Fingerprint = Option<[u8; 32]>;

/// What the store's thread is asked.
struct Call {
    who: Fingerprint,
    what: Ask,
    reply: oneshot::Sender<Answer>,
}

enum Ask {
    Enroll(Enroll),
    State,
    Append(Bytes),
}

/// A status and a body of JSON.
struct Answer(StatusCode, String);

impl Answer {
    fn of(body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(text) => Self(StatusCode::OK, text),
            Err(error) => Self::refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error),
        }
    }

    fn refused(status: StatusCode, what: &str, error: &dyn std::fmt::Display) -> Self {
        let refused = Refused { error: error.to_string(), what: what.to_owned() };
        Self(status, serde_json::to_string(&refused).unwrap_or_default())
    }
}

/// Serves until the future is dropped.
///
/// # Errors
/// If no thread can be had for the store.
pub async fn serve(
    listener: TcpListener,
    authority: Arc<Authority>,
    store: Store,
) -> io::Result<()> {
    let (calls, queue) = mpsc::channel(REQUESTS_MAX);
    let acceptor = TlsAcceptor::from(authority.server());
    thread::Builder::new()
        .name("sink-store".to_owned())
        .spawn(move || Keeper { store, authority }.run(queue))?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let bodies = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let client = Client { calls: calls.clone(), bodies: Arc::clone(&bodies), who: None };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            client.converse(stream, acceptor).await;
            drop(place);
        });
    }
}

/// One connection.
#[derive(Clone)]
struct Client {
    calls: mpsc::Sender<Call>,
    bodies: Arc<Semaphore>,
    who: Fingerprint,
}

impl Client {
    async fn converse(mut self, stream: TcpStream, acceptor: TlsAcceptor) {
        let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else {
            tracing::debug!("a client's handshake failed");
            return;
        };
        let certificates = stream.get_ref().1.peer_certificates();
        self.who = certificates.and_then(|chain| chain.first()).map(|own| fingerprint(own));
        let service = service_fn(move |request| {
            let client = self.clone();
            async move { Ok::<_, hyper::Error>(client.answer(request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a client's connection ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Answer(status, body) = match self.ask(request).await {
            Ok(answer) | Err(answer) => answer,
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(JSON));
        response
    }

    async fn ask(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let is_post = request.method() == Method::POST;
        let path = request.uri().path().to_owned();
        if self.who.is_none() && path != wire::ENROLL {
            let error = "this needs a certificate of the sink; enroll first";
            return Err(Answer::refused(StatusCode::FORBIDDEN, "certificate", &error));
        }
        let room = self.bodies.acquire().await;
        let room = room.map_err(|_| unavailable())?;
        let what = match path.as_str() {
            wire::ENROLL if is_post => {
                let body = read(request, ENROLL_BYTES_MAX).await?;
                Ask::Enroll(serde_json::from_slice(&body).map_err(|error| malformed(&error))?)
            }
            wire::APPEND if is_post => Ask::Append(read(request, wire::BODY_BYTES_MAX).await?),
            wire::STATE if request.method() == Method::GET => Ask::State,
            _ => {
                let error = format!("there is no {path} to be asked like this");
                return Err(Answer::refused(StatusCode::NOT_FOUND, "path", &error));
            }
        };
        let (reply, answer) = oneshot::channel();
        let call = Call { who: self.who, what, reply };
        self.calls.send(call).await.map_err(|_| unavailable())?;
        let answer = answer.await.map_err(|_| unavailable());
        drop(room);
        answer
    }
}

async fn read(request: Request<Incoming>, limit: usize) -> Result<Bytes, Answer> {
    let body = Limited::new(request.into_body(), limit).collect();
    match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let error = format!("the body is longer than {limit} bytes");
            Err(Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", &error))
        }
        Ok(Err(error)) => Err(malformed(&error)),
        Err(_) => {
            let error = format!("the body took longer than {BODY_TIMEOUT:?}");
            Err(Answer::refused(StatusCode::REQUEST_TIMEOUT, "timeout", &error))
        }
    }
}

fn malformed(error: &dyn std::fmt::Display) -> Answer {
    Answer::refused(StatusCode::BAD_REQUEST, "malformed", error)
}

fn unavailable() -> Answer {
    Answer::refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &"the sink is stopping")
}

/// The owner of the store.
struct Keeper {
    store: Store,
    authority: Arc<Authority>,
}

impl Keeper {
    fn run(mut self, mut queue: mpsc::Receiver<Call>) {
        while let Some(Call { who, what, reply }) = queue.blocking_recv() {
            let answer = self.handle(who, what);
            // A client that is gone asks again.
            reply.send(answer).ok();
        }
    }

    fn handle(&mut self, who: Fingerprint, what: Ask) -> Answer {
        let result = match what {
            Ask::Enroll(request) => Ok(self.enroll(&request)),
            Ask::State => self.known(who).map(|host| match host {
                Ok(host) => Answer::of(&State { size: host.size }),
                Err(answer) => answer,
            }),
            Ask::Append(body) => self.known(who).map(|host| match host {
                Ok(host) => self.append(&host, &body),
                Err(answer) => answer,
            }),
        };
        result.unwrap_or_else(|error| failed(&error))
    }

    fn known(&self, who: Fingerprint) -> Result<Result<super::store::Host, Answer>, StoreError> {
        let host = match who {
            Some(who) => self.store.host_of(&who)?,
            None => None,
        };
        let error = "no host has this certificate; enroll again";
        Ok(host.ok_or_else(|| Answer::refused(StatusCode::FORBIDDEN, "certificate", &error)))
    }

    fn enroll(&mut self, request: &Enroll) -> Answer {
        let Enroll { secret, log_key, public_key } = request;
        let Ok(key) = Verifier::parse(log_key) else {
            return malformed(&"log_key is no key in signed-note form");
        };
        let Ok(point) = BASE64.decode(public_key) else {
            return malformed(&"public_key is not base64");
        };
        let authority = Arc::clone(&self.authority);
        let issue = |host: &str| authority.issue(host, &point);
        match self.store.enroll(secret, &key, now_s(), issue) {
            Ok(certificate) => {
                let witness = self.authority.cosigner().witness().to_string();
                Answer::of(&Enrolled { certificate, witness })
            }
            Err(EnrollError::Store(error)) => failed(&error),
            Err(EnrollError::Authority(error)) => malformed(&error),
            Err(error @ EnrollError::Token) => {
                Answer::refused(StatusCode::FORBIDDEN, "token", &error)
            }
            Err(error) => Answer::refused(StatusCode::CONFLICT, "host", &error),
        }
    }

    fn append(&mut self, host: &super::store::Host, body: &[u8]) -> Answer {
        let Ok(text) = std::str::from_utf8(body) else {
            return malformed(&"the body is not UTF-8");
        };
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let head = lines.next().unwrap_or_default();
        let head: Head = match serde_json::from_str(head) {
            Ok(head) => head,
            Err(error) => return malformed(&error),
        };
        let lines: Vec<&str> = lines.collect();
        let batch = Batch { first: head.first, lines: &lines, note: &head.checkpoint };
        match self.store.append(host, batch, self.authority.cosigner(), now_s()) {
            Ok(receipt) => Answer::of(&Appended { receipt }),
            Err(AppendError::Store(error)) => failed(&error),
            Err(AppendError::Refused(refusal)) => {
                if refusal.is_alarming() {
                    tracing::error!(host = host.name, %refusal, "a host's log is not what it was");
                }
                Answer::refused(status(&refusal), refusal.word(), &refusal)
            }
        }
    }
}

const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Bounds { .. } => StatusCode::BAD_REQUEST,
        Refusal::Gap { .. } | Refusal::Fork { .. } | Refusal::Root { .. } => StatusCode::CONFLICT,
        Refusal::Note(_) => StatusCode::FORBIDDEN,
    }
}

fn failed(error: &StoreError) -> Answer {
    tracing::error!(%error, "the sink's store failed");
    Answer::refused(StatusCode::SERVICE_UNAVAILABLE, "store", error)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
