//! Those who would hurt a sink: connections that say nothing, bodies that come a byte at a time,
//! that are too large, and that become too large.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use governd::sink::wire;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use super::{Sink, enroll};

/// Connections that are open at the same time and say nothing.
const CONNECTIONS: usize = 10_000;
/// As many as one process may have open beside what else it needs.
const OF_PROCESS: usize = 10_000;
const SLOW: usize = 20;
const BOMB_BYTES: usize = 1 << 30;
const PAUSE: Duration = Duration::from_millis(100);

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Who they are: a host that the sink let in.
pub(crate) struct Hostile {
    address: String,
    config: Arc<ClientConfig>,
    bomb: Arc<Vec<u8>>,
}

/// What they do until it ends.
pub(crate) struct Siege {
    is_over: Arc<AtomicBool>,
    threads: Vec<(&'static str, Arc<AtomicU64>, JoinHandle<()>)>,
}

impl Hostile {
    pub(crate) fn new(sink: &Sink) -> Self {
        let (_, _, identity) = enroll(sink, 77);
        let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
        };
        let mut roots = RootCertStore::empty();
        let ca = fs::read_to_string(sink.place.path().join("ca.pem")).unwrap();
        roots.add_parsable_certificates(certificates(&ca));
        let key = PrivateKeyDer::from_pem_slice(identity.as_bytes()).unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(certificates(&identity), key)
                .unwrap();
        let mut bomb = b"{\"first\":0,\"checkpoint\":\"\"}\n".to_vec();
        bomb.extend(zstd::bulk::compress(&vec![b'a'; BOMB_BYTES], 1).unwrap());
        Self { address: sink.address.clone(), config: Arc::new(config), bomb: Arc::new(bomb) }
    }

    pub(crate) fn begin(&self) -> Siege {
        let is_over = Arc::<AtomicBool>::default();
        let address = self.address.clone();
        let mut siege = Siege { is_over, threads: Vec::new() };
        // Those that are closed are opened again.
        siege.add("connections", move |is_over, count| {
            let mut open = Vec::with_capacity(OF_PROCESS);
            while !is_over() {
                if open.len() >= CONNECTIONS {
                    thread::sleep(PAUSE);
                    continue;
                }
                open.extend(TcpStream::connect(&address).ok());
                count();
            }
        });
        let (address, config) = (self.address.clone(), Arc::clone(&self.config));
        siege.add("slow bodies", move |is_over, count| {
            let mut slow: Vec<Stream> =
                (0..SLOW).map(|_| begin(&address, &config, 200_000)).collect();
            slow.iter().for_each(|_| count());
            while !is_over() {
                for stream in &mut slow {
                    if stream.write_all(b"{").and_then(|()| stream.flush()).is_err() {
                        *stream = begin(&address, &config, 200_000);
                        count();
                    }
                }
                thread::sleep(PAUSE);
            }
        });
        let (address, config, bomb) =
            (self.address.clone(), Arc::clone(&self.config), Arc::clone(&self.bomb));
        siege.add("bombs", move |is_over, count| {
            while !is_over() {
                let mut stream = begin(&address, &config, bomb.len());
                stream.write_all(&bomb).ok();
                answer(&mut stream);
                count();
                thread::sleep(PAUSE);
            }
        });
        let (address, config) = (self.address.clone(), Arc::clone(&self.config));
        siege.add("bodies of 1 GiB", move |is_over, count| {
            while !is_over() {
                answer(&mut begin(&address, &config, 1 << 30));
                count();
                thread::sleep(PAUSE);
            }
        });
        siege
    }
}

impl Siege {
    fn add(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&dyn Fn() -> bool, &dyn Fn()) + Send + 'static,
    ) {
        let (is_over, count) = (Arc::clone(&self.is_over), Arc::<AtomicU64>::default());
        let counted = Arc::clone(&count);
        let thread = thread::spawn(move || {
            act(&|| is_over.load(Ordering::Relaxed), &|| {
                counted.fetch_add(1, Ordering::Relaxed);
            });
        });
        self.threads.push((what, count, thread));
    }

    /// Ends it, and says how much of what there was.
    pub(crate) fn end(self) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let said = self.threads.into_iter().map(|(what, count, thread)| {
            thread.join().unwrap();
            format!("{} {what}", count.load(Ordering::Relaxed))
        });
        said.collect::<Vec<_>>().join(", ")
    }
}

/// A request to store a body of so many bytes, of which nothing has come yet.
fn begin(address: &str, config: &Arc<ClientConfig>, bytes: usize) -> Stream {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let head =
        format!("POST {} HTTP/1.1\r\nhost: sink\r\ncontent-length: {bytes}\r\n\r\n", wire::APPEND);
    stream.write_all(head.as_bytes()).ok();
    stream
}

/// Reads what the sink says.
fn answer(stream: &mut Stream) {
    stream.sock.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 4_096];
    // What it says matters as little as how much of it comes.
    let _read = stream.read(&mut answer);
}
