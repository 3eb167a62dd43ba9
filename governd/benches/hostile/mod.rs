//! Those who would hurt a sink: connections that say nothing, bodies that come a byte at a time,
//! that are too large, and that become too large, and batches that were sent before.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use governd::{
    app::uplink::client::Client,
    sink::wire::{self, Appended},
};
use rustix::net::{AddressFamily, SocketType};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use super::{BATCH, Sink, batches, enroll};

/// Connections that are open at the same time and say nothing.
const CONNECTIONS: usize = 10_000;
/// Who opens them, each from so many addresses: few may come from one at the same time.
const OPENERS: usize = 4;
const SOURCES: usize = 40;
/// How long they may take for it.
const OPENING: Duration = Duration::from_secs(30);
/// They are other machines: here they take what the sink and its hosts leave of the processor.
const NICE: i32 = 19;
const SLOW: usize = 20;
const BOMB_BYTES: usize = 1 << 30;
const PAUSE: Duration = Duration::from_millis(100);

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Who they are: a host that the sink let in.
pub(crate) struct Hostile {
    address: String,
    config: Arc<ClientConfig>,
    bomb: Arc<Vec<u8>>,
    /// What is said again and again, and who says so.
    replayed: Arc<Vec<u8>>,
    ca: String,
    identity: String,
}

/// What they do until it ends.
pub(crate) struct Siege {
    is_over: Arc<AtomicBool>,
    threads: Vec<(&'static str, Arc<AtomicU64>, JoinHandle<()>)>,
}

impl Hostile {
    pub(crate) fn new(sink: &Sink) -> Self {
        let (mut client, signer, identity) = enroll(sink, 77);
        let replayed = batches(&signer, 77, BATCH, BATCH).0.pop().unwrap();
        client.post::<Appended>(wire::APPEND, replayed.clone()).unwrap();
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
        // It does not say what it becomes.
        bomb.extend(zstd::stream::encode_all(&*vec![b'a'; BOMB_BYTES], 1).unwrap());
        Self {
            address: sink.address.clone(),
            config: Arc::new(config),
            bomb: Arc::new(bomb),
            replayed: Arc::new(replayed),
            ca,
            identity,
        }
    }

    pub(crate) fn begin(&self) -> Siege {
        let mut siege = Siege { is_over: Arc::default(), threads: Vec::new() };
        self.connect(&mut siege);
        siege.wait_for_connections();
        self.be_slow(&mut siege);
        self.send_too_much(&mut siege);
        self.replay(&mut siege);
        siege
    }

    fn connect(&self, siege: &mut Siege) {
        for first in 0..OPENERS {
            let address = self.address.clone();
            siege.add("connections", move |is_over, count| {
                let mut open = Vec::with_capacity(CONNECTIONS / OPENERS);
                while !is_over() {
                    if open.len() >= CONNECTIONS / OPENERS {
                        thread::sleep(PAUSE);
                        continue;
                    }
                    open.extend(connect_from(first * SOURCES + open.len() % SOURCES, &address));
                    count();
                }
            });
        }
    }

    fn be_slow(&self, siege: &mut Siege) {
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
    }

    fn send_too_much(&self, siege: &mut Siege) {
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
    }

    fn replay(&self, siege: &mut Siege) {
        let own = Some((self.identity.as_str(), self.identity.as_str()));
        let mut client = Client::new(&self.address, &self.ca, own).unwrap();
        let replayed = Arc::clone(&self.replayed);
        siege.add("replays", move |is_over, count| {
            while !is_over() {
                // While silent clients hold all places at the door, nobody new is let in.
                if client.post::<Appended>(wire::APPEND, replayed.to_vec()).is_ok() {
                    count();
                }
                thread::sleep(PAUSE);
            }
        });
    }
}

/// A connection from one of many addresses of this host.
fn connect_from(source: usize, to: &str) -> Option<TcpStream> {
    let [high, low] = u16::try_from(source).ok()?.to_be_bytes();
    let source = SocketAddr::from(([127, 1, high, low], 0));
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
    rustix::net::bind(&socket, &source).ok()?;
    rustix::net::connect(&socket, &to.parse::<SocketAddr>().ok()?).ok()?;
    Some(socket.into())
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
            rustix::process::nice(NICE).unwrap();
            act(&|| is_over.load(Ordering::Relaxed), &|| {
                counted.fetch_add(1, Ordering::Relaxed);
            });
        });
        self.threads.push((what, count, thread));
    }

    /// Waits until all connections were tried, or as many as can be in a time.
    fn wait_for_connections(&self) {
        let deadline = Instant::now() + OPENING;
        let tried = || -> u64 {
            self.threads.iter().map(|(_, count, _)| count.load(Ordering::Relaxed)).sum()
        };
        while tried() < CONNECTIONS as u64 && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
    }

    /// Ends it, and says how much of what there was.
    pub(crate) fn end(self) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let mut counts = BTreeMap::<_, u64>::new();
        for (what, count, thread) in self.threads {
            thread.join().unwrap();
            *counts.entry(what).or_default() += count.load(Ordering::Relaxed);
        }
        let said = counts.into_iter().map(|(what, count)| format!("{count} {what}"));
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
