//! The side of the command line: blocking, one request a connection.

use std::{
    io::{self, BufRead, BufReader, Lines, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::protocol::{ErrorKind, Reply, Request};

/// How long the daemon may take for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers at {}", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What connecting gave.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon at {} did not answer", path.display())]
    NoReply {
        /// The socket.
        path: PathBuf,
        /// What reading or writing gave.
        #[source]
        source: io::Error,
    },
    /// The daemon refused.
    #[error("{message}")]
    Refused {
        /// What it said.
        message: String,
        /// What it advised.
        hint: Option<String>,
        /// What kind of failure it is.
        kind: ErrorKind,
    },
}

/// The lines after a `watch` request.
pub type Events = Lines<BufReader<UnixStream>>;

/// Asks one question.
///
/// # Errors
/// Nobody listens, the connection breaks, or the daemon refuses.
pub fn call(path: &Path, request: &Request) -> Result<Value, ClientError> {
    open(path, request).map(|(value, _)| value)
}

/// Asks for events.
///
/// # Errors
/// Nobody listens, the connection breaks, or the daemon refuses.
pub fn watch(path: &Path, since: Option<u64>) -> Result<Events, ClientError> {
    let (_, events) = open(path, &Request::Watch { since })?;
    events.get_ref().set_read_timeout(None).map_err(|source| no_reply(path, source))?;
    Ok(events.lines())
}

/// Asks the daemon to end, and waits until it has.
///
/// # Errors
/// Nobody listens, the daemon refuses, or it does not end within `limit`.
pub fn stop(path: &Path, detach: bool, limit: Duration) -> Result<(), ClientError> {
    let stream = UnixStream::connect(path)
        .map_err(|source| ClientError::NotRunning { path: path.to_path_buf(), source })?;
    match exchange(stream, &Request::Stop { detach }, limit) {
        // Its end is the answer, also to who asked when it was ending already.
        Err(error) if is_end(&error) => Ok(()),
        Err(source) => Err(no_reply(path, source)),
        Ok((Reply::Ok(_), _)) => Ok(()),
        Ok((Reply::Error { message, hint, kind }, _)) => {
            Err(ClientError::Refused { message, hint, kind })
        }
    }
}

/// A request that nobody read any more is a reset connection (unix(7)).
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn open(path: &Path, request: &Request) -> Result<(Value, BufReader<UnixStream>), ClientError> {
    let stream = UnixStream::connect(path)
        .map_err(|source| ClientError::NotRunning { path: path.to_path_buf(), source })?;
    exchange(stream, request, REPLY_TIMEOUT).map_err(|source| no_reply(path, source)).and_then(
        |(reply, events)| match reply {
            Reply::Ok(value) => Ok((value, events)),
            Reply::Error { message, hint, kind } => {
                Err(ClientError::Refused { message, hint, kind })
            }
        },
    )
}

fn exchange(
    mut stream: UnixStream,
    request: &Request,
    limit: Duration,
) -> io::Result<(Reply, BufReader<UnixStream>)> {
    stream.set_read_timeout(Some(limit))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reader = BufReader::new(stream);
    let mut reply = String::new();
    if reader.read_line(&mut reply)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_str(&reply)?, reader))
}

fn no_reply(path: &Path, source: io::Error) -> ClientError {
    ClientError::NoReply { path: path.to_path_buf(), source }
}
