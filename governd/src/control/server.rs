//! The daemon's side: accepts, reads one request, hands it to the owner task, writes the reply.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{broadcast, mpsc, oneshot},
    time::timeout,
};

use super::protocol::{ErrorKind, REQUEST_BYTES_MAX, Reply, Request};

/// How long a client may take to write its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients served at once; more wait to be accepted.
const CLIENTS_MAX: usize = 64;
/// Group whose members may use the socket.
const GROUP: &str = "governd";

/// An event for watchers.
#[derive(Clone, Debug)]
pub struct Line {
    /// Index of the record in the log.
    pub index: u64,
    /// The record, without the newline.
    pub text: Arc<str>,
}

/// Records that the log already had; read while they are sent.
pub type Past = Box<dyn Iterator<Item = Line> + Send>;

/// The process at the other end of the socket.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its process id, where the kernel says it.
    pub pid: Option<u32>,
}

/// A request and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks; nobody, if it is the daemon itself.
    pub peer: Option<Peer>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// What the owner task answers.
pub enum Answer {
    /// One reply.
    Reply(Reply),
    /// A reply, these records, and then events as they happen; those that are in both come once.
    Events {
        /// Records that the log already had.
        past: Past,
        /// Events to come.
        coming: broadcast::Receiver<Line>,
    },
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reply(reply) => f.debug_tuple("Reply").field(reply).finish(),
            Self::Events { .. } => f.debug_struct("Events").finish_non_exhaustive(),
        }
    }
}

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another daemon answers on it.
    #[error("another daemon already answers at {}", .0.display())]
    InUse(PathBuf),
    /// The file system refused.
    #[error("cannot make the control socket {}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket, 0660 and of the group `governd` where that exists. A socket that a dead
    /// daemon left behind is replaced. Who connects before it is served waits.
    ///
    /// # Errors
    /// Another daemon answers, or the file system refuses.
    pub fn bind(path: &Path, group_id: Option<u32>) -> Result<Self, ServerError> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ServerError::InUse(path.to_path_buf()));
        }
        let bound = || -> io::Result<UnixListener> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
            if let Some(gid) = group_id {
                std::os::unix::fs::chown(path, None, Some(gid))?;
            }
            Ok(listener)
        };
        match bound() {
            Ok(listener) => Ok(Self { listener, path: path.to_path_buf() }),
            Err(source) => Err(ServerError::Bind { path: path.to_path_buf(), source }),
        }
    }

    /// Name of the group whose members may use the socket.
    pub const fn group() -> &'static str {
        GROUP
    }

    /// Serves until it is dropped.
    pub async fn serve(self, calls: mpsc::Sender<Call>) {
        let places = Arc::new(tokio::sync::Semaphore::new(CLIENTS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let calls = calls.clone();
                    tokio::spawn(async move {
                        let served = serve_client(stream, calls).await;
                        if let Err(error) = served {
                            tracing::debug!(%error, "control client went away");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "control socket was already gone");
        }
    }
}

async fn serve_client(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let is_root = stream.peer_cred()?.uid() == 0;
    let credentials = stream.peer_cred()?;
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    let peer = Some(Peer { uid: credentials.uid(), pid });
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX as u64));
    let read = timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await;
    read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => return write_reply(&mut writer, &bad_request(&error)).await,
    };
    let is_for_root =
        matches!(request, Request::Stop { .. } | Request::Erase { .. } | Request::RotateKey);
    if is_for_root && !is_root {
        return write_reply(&mut writer, &not_root()).await;
    }
    let (answer, answered) = oneshot::channel();
    if calls.send(Call { request, peer, answer }).await.is_err() {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    match answered.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))? {
        Answer::Reply(reply) => write_reply(&mut writer, &reply).await,
        Answer::Events { past, coming } => {
            write_reply(&mut writer, &Reply::Ok(serde_json::Value::Null)).await?;
            let mut next = 0;
            for line in past {
                next = line.index + 1;
                write_line(&mut writer, &line.text).await?;
            }
            stream_events(reader, writer, coming, next).await
        }
    }
}

async fn stream_events(
    mut reader: impl tokio::io::AsyncRead + Unpin,
    mut writer: OwnedWriteHalf,
    mut coming: broadcast::Receiver<Line>,
    next: u64,
) -> io::Result<()> {
    let mut closed = [0_u8; 1];
    loop {
        tokio::select! {
            event = coming.recv() => match event {
                Ok(line) if line.index < next => {}
                Ok(line) => write_line(&mut writer, &line.text).await?,
                Err(broadcast::error::RecvError::Lagged(skipped)) => {
                    let notice = format!("{{\"skipped\":{skipped}}}");
                    write_line(&mut writer, &notice).await?;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            read = reader.read(&mut closed) => if read? == 0 { return Ok(()) },
        }
    }
}

fn bad_request(error: &serde_json::Error) -> Reply {
    Reply::Error {
        message: format!("the request is not understood: {error}"),
        hint: Some("use the governd of the same version as the daemon".into()),
        kind: ErrorKind::BadRequest,
    }
}

fn not_root() -> Reply {
    Reply::Error {
        message: "only root may do this".into(),
        hint: Some("run it as root".into()),
        kind: ErrorKind::BadRequest,
    }
}

async fn write_reply(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    write_line(writer, &serde_json::to_string(reply)?).await
}

async fn write_line(writer: &mut OwnedWriteHalf, line: &str) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    writer.write_all(&bytes).await
}
