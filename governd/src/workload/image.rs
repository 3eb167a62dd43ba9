//! Images of containers and names of their pods, asked of the runtime that made them, by a thread
//! of its own.
//!
//! Docker, Podman and CRI-O answer HTTP on a local socket, containerd gRPC. Where Podman and CRI-O
//! do not answer, their store has a file. An answer takes at most [`IMAGE_TIMEOUT_MS`] and
//! [`IMAGE_ANSWER_BYTES_MAX`]. A runtime that does not answer in time is left alone for a while.
//! Nobody waits for an answer. Only what root's runtimes say counts: who runs containers of their
//! own could name any image.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::Value;

use super::{
    limits::{IMAGE_ANSWER_BYTES_MAX, IMAGE_NAME_BYTES_MAX, IMAGE_TIMEOUT_MS, IMAGES_WAITING_MAX},
    worker::Worker,
};
use crate::core::workload::{Container, Image, Runtime, Told};

mod containerd;
mod storage;

/// How long a runtime that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// What a runtime said of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The container's id.
    pub container: String,
    /// `None` if the runtime does not know it or cannot be asked.
    pub told: Option<Told>,
}

/// Where runtimes listen.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Docker Engine.
    pub docker: PathBuf,
    /// Podman's service.
    pub podman: PathBuf,
    /// CRI-O.
    pub crio: PathBuf,
    /// containerd; k3s has one of its own.
    pub containerd: Vec<PathBuf>,
    /// Directory in which Podman and CRI-O keep what they run.
    pub storage: PathBuf,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            docker: "/run/docker.sock".into(),
            podman: "/run/podman/podman.sock".into(),
            crio: "/run/crio/crio.sock".into(),
            containerd: vec![
                "/run/containerd/containerd.sock".into(),
                "/run/k3s/containerd/containerd.sock".into(),
            ],
            storage: "/var/lib/containers/storage".into(),
        }
    }
}

/// The thread.
pub type Images = Worker<Container, Answer>;

impl Images {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(sockets: Sockets) -> io::Result<Self> {
        let mut asker = Asker { sockets, paused: HashMap::new() };
        Self::spawn("images", IMAGES_WAITING_MAX, move |container| {
            let told = asker.told(&container);
            Some(Answer { container: container.id, told })
        })
    }
}

struct Asker {
    sockets: Sockets,
    paused: HashMap<PathBuf, Instant>,
}

impl Asker {
    fn told(&mut self, container: &Container) -> Option<Told> {
        // It becomes a part of a path.
        if !container.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let Sockets { docker, podman, crio, containerd, storage } = self.sockets.clone();
        let id = &container.id;
        let api = format!("/containers/{id}/json");
        let of_storage = || storage::told(&storage, id);
        match container.runtime {
            Runtime::Docker => self.http(&docker, &api),
            Runtime::Podman => self.http(&podman, &api).or_else(of_storage),
            Runtime::Crio => self.http(&crio, &format!("/containers/{id}")).or_else(of_storage),
            Runtime::Containerd => self.grpc(&containerd, id),
            Runtime::Unknown => self
                .http(&docker, &api)
                .or_else(|| self.http(&podman, &api))
                .or_else(|| self.grpc(&containerd, id))
                .or_else(of_storage),
            Runtime::Lxc | Runtime::Machine => None,
        }
    }

    fn http(&mut self, socket: &Path, path: &str) -> Option<Told> {
        let answer = self.ask(socket, |socket| get(socket, path))??;
        told_of(&serde_json::from_slice(&answer).ok()?)
    }

    fn grpc(&mut self, sockets: &[PathBuf], id: &str) -> Option<Told> {
        sockets.iter().find_map(|socket| self.ask(socket, |socket| containerd::told(socket, id))?)
    }

    /// Asks a runtime, unless it did not answer just now.
    fn ask<T>(&mut self, socket: &Path, ask: impl Fn(&Path) -> io::Result<T>) -> Option<T> {
        if self.paused.get(socket).is_some_and(|since| since.elapsed() < PAUSE) {
            return None;
        }
        match ask(socket) {
            Ok(answer) => {
                self.paused.remove(socket);
                Some(answer)
            }
            Err(error) => {
                let is_absent = error.kind() == io::ErrorKind::NotFound;
                if !is_absent {
                    tracing::warn!(%error, socket = %socket.display(), "a runtime does not answer");
                }
                self.paused.insert(socket.to_owned(), Instant::now());
                None
            }
        }
    }
}

/// The body of an answer with status 200; `None` for another status.
fn get(socket: &Path, path: &str) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + Duration::from_millis(IMAGE_TIMEOUT_MS);
    let mut stream = open(socket)?;
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    // Version 1.0, so that the answer ends with the connection and comes in one piece.
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1_024];
    loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if answer.len() > IMAGE_ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    let head = answer.get(..end).unwrap_or_default();
    let is_found = head.split(|byte| *byte == b' ').nth(1) == Some(b"200");
    Ok(is_found.then(|| answer.split_off(end + 4)))
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Connects without waiting: a listener whose queue is full gives an error at once.
fn open(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Docker and Podman: `Config.Image`, `Image` and `Config.Labels` (Engine API, ContainerInspect);
/// CRI-O: `image`, `image_ref` and `labels` (server/inspect.go).
fn told_of(answer: &Value) -> Option<Told> {
    let text = |pointer: &str| answer.pointer(pointer)?.as_str();
    let name = text("/Config/Image").or_else(|| text("/image"));
    let digest = text("/Image").or_else(|| text("/image_ref"));
    let labels = answer.pointer("/Config/Labels").or_else(|| answer.get("labels"));
    let label = |name: &str| labels?.get(name)?.as_str();
    let told = Told { image: image(name, digest), pod: pod(label) };
    (told != Told::default()).then_some(told)
}

/// An image, if its name is one; a digest that is none is left out.
fn image(name: Option<&str>, digest: Option<&str>) -> Option<Image> {
    let name = word(name?)?;
    let digest = digest.and_then(|digest| {
        let digest = digest.rsplit('@').next()?;
        let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
        let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| format!("sha256:{digits}").into())
    });
    Some(Image { name, digest })
}

/// Namespace and name of the pod, by the labels that the kubelet gives to its containers
/// (pkg/kubelet/types/labels.go).
fn pod<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Option<(Arc<str>, Arc<str>)> {
    let namespace = word(label("io.kubernetes.pod.namespace")?)?;
    Some((namespace, word(label("io.kubernetes.pod.name")?)?))
}

/// A text that may be shown and kept.
fn word(text: &str) -> Option<Arc<str>> {
    let is_fine = (1..=IMAGE_NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_fine.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, io::BufReader, os::unix::net::UnixListener, thread};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// An HTTP server on a Unix socket, which answers every request with what `answer` makes of
    /// its path.
    fn serve(path: &Path, answer: fn(&str) -> Vec<u8>) {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                reader.read_line(&mut line).unwrap();
                while reader.read_line(&mut String::new()).unwrap() > 2 {}
                let path = line.split(' ').nth(1).unwrap().to_owned();
                // The asker may have gone because it heard enough.
                stream.write_all(&answer(&path)).ok();
            }
        });
    }

    fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").into_bytes()
    }

    fn docker(path: &str) -> Vec<u8> {
        if path != format!("/containers/{ID}/json") {
            return b"HTTP/1.0 404 Not Found\r\n\r\n{\"message\":\"No such container\"}".to_vec();
        }
        ok(&format!(
            r#"{{"Image":"sha256:{ID}","Config":{{"Image":"ghcr.io/acme/bot:1.2","Labels":{{}}}}}}"#
        ))
    }

    fn crio(path: &str) -> Vec<u8> {
        assert_eq!(path, format!("/containers/{ID}"));
        let labels = r#"{"io.kubernetes.pod.namespace":"ns","io.kubernetes.pod.name":"bot-0"}"#;
        let image = format!(r#""image":"quay.io/a/b","image_ref":"quay.io/a/b@sha256:{ID}""#);
        ok(&format!(r#"{{{image},"labels":{labels}}}"#))
    }

    fn asker(dir: &Path) -> Asker {
        let sockets = Sockets {
            docker: dir.join("docker.sock"),
            podman: dir.join("podman.sock"),
            crio: dir.join("crio.sock"),
            containerd: vec![dir.join("containerd.sock")],
            storage: dir.join("storage"),
        };
        Asker { sockets, paused: HashMap::new() }
    }

    fn container(runtime: Runtime) -> Container {
        Container { runtime, id: ID.to_owned() }
    }

    fn told(name: &str) -> Told {
        let image = Image { name: name.into(), digest: Some(format!("sha256:{ID}").into()) };
        Told { image: Some(image), pod: None }
    }

    #[test]
    fn runtimes_tell_name_and_digest() {
        let dir = tempfile::tempdir().unwrap();
        let mut asker = asker(dir.path());
        serve(&asker.sockets.docker, docker);
        serve(&asker.sockets.crio, crio);
        for runtime in [Runtime::Docker, Runtime::Unknown] {
            assert_eq!(asker.told(&container(runtime)), Some(told("ghcr.io/acme/bot:1.2")));
        }
        let pod = Some(("ns".into(), "bot-0".into()));
        let expected = Some(Told { pod, ..told("quay.io/a/b") });
        assert_eq!(asker.told(&container(Runtime::Crio)), expected);
        for runtime in [Runtime::Podman, Runtime::Containerd, Runtime::Lxc] {
            assert_eq!(asker.told(&container(runtime)), None);
        }
        let other = Container { runtime: Runtime::Docker, id: "ab".repeat(32) };
        assert_eq!(asker.told(&other), None);
        let path = Container { runtime: Runtime::Docker, id: "../images".into() };
        assert_eq!(asker.told(&path), None);
        assert!(!asker.paused.contains_key(&asker.sockets.docker));
    }

    #[test]
    fn answers_that_are_none_are_no_image() {
        for answer in [
            |_: &str| Vec::new(),
            |_: &str| b"nonsense".to_vec(),
            |_: &str| ok("nonsense"),
            |_: &str| ok("{}"),
            |_: &str| ok(r#"{"Config":{"Image":""}}"#),
            |_: &str| ok(r#"{"Config":{"Image":"a\nb"}}"#),
            |_: &str| ok(&format!(r#"{{"Config":{{"Image":"{}"}}}}"#, "x".repeat(2_000_000))),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut asker = asker(dir.path());
            serve(&asker.sockets.docker, answer);
            assert_eq!(asker.told(&container(Runtime::Docker)), None);
        }
    }

    #[test]
    fn a_socket_that_hangs_is_left_alone_after_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut asker = asker(dir.path());
        // Nobody accepts: the kernel's queue takes the connection, and nobody answers.
        let _listener = UnixListener::bind(&asker.sockets.docker).unwrap();
        let started = Instant::now();
        assert_eq!(asker.told(&container(Runtime::Docker)), None);
        let took = started.elapsed();
        let limit = Duration::from_millis(IMAGE_TIMEOUT_MS);
        assert!(took >= limit && took < 2 * limit, "{took:?}");
        let started = Instant::now();
        for _ in 0..100 {
            assert_eq!(asker.told(&container(Runtime::Docker)), None);
        }
        assert!(started.elapsed() < limit, "{:?}", started.elapsed());
    }

    #[test]
    fn the_thread_answers() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = asker(dir.path()).sockets;
        serve(&sockets.docker, docker);
        let images = Images::start(sockets).unwrap();
        assert!(images.ask(container(Runtime::Docker)));
        let started = Instant::now();
        let answer = loop {
            match images.next() {
                Some(answer) => break answer,
                None => thread::sleep(Duration::from_millis(1)),
            }
            assert!(started.elapsed() < Duration::from_secs(10));
        };
        assert_eq!((&*answer.container, answer.told), (ID, Some(told("ghcr.io/acme/bot:1.2"))));
    }
}
