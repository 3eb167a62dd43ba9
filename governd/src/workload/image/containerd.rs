//! containerd's answer: gRPC, which is protocol buffers in HTTP/2 (PROTOCOL-HTTP2.md of gRPC), over
//! its local socket. Messages have the fields of api/services/{containers,images}/v1 that are used.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::UnixStream, runtime, time::timeout};

use super::{image, pod};
use crate::{
    core::workload::Told,
    workload::limits::{IMAGE_ANSWER_BYTES_MAX, IMAGE_TIMEOUT_MS},
};

/// Namespaces of containerd in which containers are looked for: those of the kubelet, of nerdctl
/// and of Docker.
const NAMESPACES: [&str; 3] = ["k8s.io", "default", "moby"];
/// What is before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Codes of gRPC.
const OK: &str = "0";
const NOT_FOUND: &str = "5";

/// Asks for a container by its id, or for an image by its name.
#[derive(Clone, PartialEq, Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    key: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerAnswer {
    #[prost(message, optional, tag = "1")]
    container: Option<ContainerEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerEntry {
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageAnswer {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageEntry {
    #[prost(message, optional, tag = "3")]
    target: Option<Descriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct Descriptor {
    #[prost(string, tag = "2")]
    digest: String,
}

/// What containerd says of a container; `None` if it does not know it.
pub(super) fn told(socket: &Path, id: &str) -> io::Result<Option<Told>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async { timeout(Duration::from_millis(IMAGE_TIMEOUT_MS), ask(socket, id)).await };
    runtime.block_on(asked).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn ask(socket: &Path, id: &str) -> io::Result<Option<Told>> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
    // It ends with the sender, or with the runtime.
    tokio::spawn(connection);
    for namespace in NAMESPACES {
        let path = "/containerd.services.containers.v1.Containers/Get";
        let found: Option<ContainerAnswer> = get(&mut sender, namespace, path, id).await?;
        let Some(container) = found.and_then(|found| found.container) else { continue };
        let path = "/containerd.services.images.v1.Images/Get";
        let found: Option<ImageAnswer> =
            get(&mut sender, namespace, path, &container.image).await?;
        let target = found.and_then(|found| found.image?.target);
        let digest = target.map(|target| target.digest);
        let label = |name: &str| container.labels.get(name).map(String::as_str);
        let image = image(Some(&container.image), digest.as_deref());
        return Ok(Some(Told { image, pod: pod(label) }));
    }
    Ok(None)
}

async fn get<A: Message + Default>(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    namespace: &str,
    path: &str,
    key: &str,
) -> io::Result<Option<A>> {
    let message = GetRequest { key: key.to_owned() }.encode_to_vec();
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let body = [&[0], &length.to_be_bytes()[..], &message].concat();
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("containerd-namespace", namespace)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    // An answer without a message has its status in the head.
    let early = answer.headers().get("grpc-status").cloned();
    let read = Limited::new(answer.into_body(), IMAGE_ANSWER_BYTES_MAX).collect().await;
    let read = read.map_err(io::Error::other)?;
    let late = read.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let status = late.or(early);
    match status.as_ref().and_then(|status| status.to_str().ok()) {
        Some(OK) => {}
        Some(NOT_FOUND) => return Ok(None),
        status => return Err(io::Error::other(format!("gRPC status {}", status.unwrap_or("-")))),
    }
    let bytes = read.to_bytes();
    match bytes.split_at_checked(PREFIX_BYTES) {
        Some(([0, length @ ..], message)) if is_length(length, message.len()) => {
            A::decode(message).map(Some).map_err(io::Error::other)
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn is_length(field: &[u8], length: usize) -> bool {
    let field = <[u8; 4]>::try_from(field).map(u32::from_be_bytes);
    field.is_ok_and(|field| usize::try_from(field) == Ok(length))
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready, sync::mpsc, thread, time::Instant};

    use http_body_util::combinators::BoxBody;
    use hyper::{
        HeaderMap, Response, body::Incoming, server::conn::http2 as server, service::service_fn,
    };
    use tokio::net::UnixListener;

    use super::*;
    use crate::core::workload::Image;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const IMAGE: &str = "registry.acme.example/bot:3";

    /// What a server answers: the message if there is one, and the status behind it.
    type Answer = fn(path: &str, namespace: &str, key: &str) -> (Option<Vec<u8>>, &'static str);

    /// A server of gRPC on a local socket, which lives as long as the test.
    fn serve(socket: &Path, answer: Answer) {
        let (socket, (ready, is_ready)) = (socket.to_owned(), mpsc::channel());
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let service = service_fn(move |request| respond(request, answer));
                    let builder = server::Builder::new(TokioExecutor::new());
                    tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
                }
            });
        });
        is_ready.recv().unwrap();
    }

    async fn respond(
        request: Request<Incoming>,
        answer: Answer,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
        let path = request.uri().path().to_owned();
        let namespace = request.headers()["containerd-namespace"].to_str().unwrap().to_owned();
        assert_eq!(request.headers()["content-type"], "application/grpc");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let asked = GetRequest::decode(&body[PREFIX_BYTES..]).unwrap();
        let (message, status) = answer(&path, &namespace, &asked.key);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let body = Full::new(Bytes::from(message.unwrap_or_default()));
        let body = body.with_trailers(ready(Some(Ok(trailers)))).boxed();
        Ok(Response::new(body))
    }

    fn framed(message: &impl Message) -> Vec<u8> {
        let bytes = message.encode_to_vec();
        [&[0], &(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
    }

    fn container(image: &str) -> Vec<u8> {
        let labels =
            [("io.kubernetes.pod.namespace", "agents"), ("io.kubernetes.pod.name", "bot-0")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        framed(&ContainerAnswer {
            container: Some(ContainerEntry { labels, image: image.to_owned() }),
        })
    }

    fn of_default(path: &str, namespace: &str, key: &str) -> (Option<Vec<u8>>, &'static str) {
        match (path.rsplit('/').nth(1).unwrap(), namespace, key) {
            ("containerd.services.containers.v1.Containers", "default", ID) => {
                (Some(container(IMAGE)), OK)
            }
            ("containerd.services.images.v1.Images", "default", IMAGE) => {
                let target = Some(Descriptor { digest: format!("sha256:{ID}") });
                (Some(framed(&ImageAnswer { image: Some(ImageEntry { target }) })), OK)
            }
            _ => (None, NOT_FOUND),
        }
    }

    #[test]
    fn image_digest_and_pod_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("containerd.sock");
        serve(&socket, of_default);
        let image = Image { name: IMAGE.into(), digest: Some(format!("sha256:{ID}").into()) };
        let pod = Some(("agents".into(), "bot-0".into()));
        let expected = Told { image: Some(image), pod };
        assert_eq!(told(&socket, ID).unwrap(), Some(expected));
        assert_eq!(told(&socket, &"ab".repeat(32)).unwrap(), None);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let rows: [(&str, Answer); 5] = [
            ("another status", |_, _, _| (None, "14")),
            ("a status that is none", |_, _, _| (Some(container(IMAGE)), "")),
            ("a short message", |_, _, _| (Some(vec![0, 0, 0, 0, 9, 1]), OK)),
            ("no message", |_, _, _| (None, OK)),
            ("a long message", |_, _, _| (Some(vec![0; 2 * IMAGE_ANSWER_BYTES_MAX]), OK)),
        ];
        for (what, answer) in rows {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("containerd.sock");
            serve(&socket, answer);
            assert!(told(&socket, ID).is_err(), "{what}");
        }
    }

    #[test]
    fn a_socket_that_hangs_takes_no_longer_than_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("containerd.sock");
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let started = Instant::now();
        let error = told(&socket, ID).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(IMAGE_TIMEOUT_MS));
    }
}
