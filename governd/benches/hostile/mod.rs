//! Those who would hurt a sink: connections that say nothing, bodies that come a byte at a time,
//! that are too large, and that become too large, and batches that were sent before.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
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
/// How long each waits between two: all of them open 2,000 a second.
const OPENING_PAUSE: Duration = Duration::from_millis(2);
/// They are other machines: here they take what the sink and its hosts leave of the processor.
const NICE: i32 = 19;
const SLOW: usize = 20;
const SLOW_BYTES: usize = 200_000;
const BOMB_BYTES: usize = 1 << 30;
const PAUSE: Duration = Duration::from_millis(100);
/// How long a turn takes until it is one: what was on its way is not there any more.
const SETTLING: Duration = Duration::from_millis(300);

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

/// What they do, in turns with nothing.
pub(crate) struct Siege {
    is_on: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    threads: Vec<Attacker>,
}

struct Attacker {
    what: &'static str,
    count: Arc<AtomicU64>,
    /// Whether it does nothing at the moment, and holds nothing.
    rests: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What one thread of them does.
trait Attack: Send + 'static {
    /// Something, and how often it did it.
    fn act(&mut self) -> u64;

    /// Lets go of what it holds.
    fn rest(&mut self) {}
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

    /// All of them, at rest.
    pub(crate) fn gather(&self) -> Siege {
        let mut siege =
            Siege { is_on: Arc::default(), is_over: Arc::default(), threads: Vec::new() };
        for number in 0..OPENERS {
            let address = self.address.clone();
            siege.add("connections", Silent { number, address, open: VecDeque::new(), next: 0 });
        }
        let request = |bytes: usize| Request {
            address: self.address.clone(),
            config: Arc::clone(&self.config),
            bytes,
        };
        siege.add("slow bodies", Slow { request: request(SLOW_BYTES), open: Vec::new() });
        let bomb = Arc::clone(&self.bomb);
        siege.add("bombs", TooMuch { request: request(bomb.len()), body: bomb });
        let nothing = Arc::default();
        siege.add("bodies of 1 GiB", TooMuch { request: request(1 << 30), body: nothing });
        let own = Some((self.identity.as_str(), self.identity.as_str()));
        let client = Client::new(&self.address, &self.ca, own).unwrap();
        siege.add("replays", Replays { client, batch: Arc::clone(&self.replayed) });
        siege
    }
}

/// Opens connections that say nothing.
struct Silent {
    number: usize,
    address: String,
    open: VecDeque<TcpStream>,
    next: usize,
}

impl Attack for Silent {
    fn act(&mut self) -> u64 {
        thread::sleep(OPENING_PAUSE);
        if self.open.len() >= CONNECTIONS / OPENERS {
            self.open.pop_front();
        }
        self.next = (self.next + 1) % SOURCES;
        let stream = connect_from(self.number * SOURCES + self.next, &self.address);
        let count = stream.iter().len();
        self.open.extend(stream);
        count as u64
    }

    fn rest(&mut self) {
        self.open.clear();
    }
}

/// Sends bodies a byte at a time.
struct Slow {
    request: Request,
    open: Vec<Stream>,
}

impl Attack for Slow {
    fn act(&mut self) -> u64 {
        thread::sleep(PAUSE);
        let says = |stream: &mut Stream| stream.write_all(b"{").and_then(|()| stream.flush());
        self.open.retain_mut(|stream| says(stream).is_ok());
        let missing = SLOW - self.open.len();
        self.open.extend((0..missing).map(|_| self.request.begin()));
        missing as u64
    }

    fn rest(&mut self) {
        self.open.clear();
    }
}

/// Sends a body that is too much, or only says that it comes.
struct TooMuch {
    request: Request,
    body: Arc<Vec<u8>>,
}

impl Attack for TooMuch {
    fn act(&mut self) -> u64 {
        thread::sleep(PAUSE);
        let mut stream = self.request.begin();
        stream.write_all(&self.body).ok();
        answer(&mut stream);
        1
    }
}

/// Sends what the sink has already.
struct Replays {
    client: Client,
    batch: Arc<Vec<u8>>,
}

impl Attack for Replays {
    fn act(&mut self) -> u64 {
        thread::sleep(PAUSE);
        // While silent clients hold all places at the door, nobody new is let in.
        self.client.post::<Appended>(wire::APPEND, self.batch.to_vec()).map_or(0, |_| 1)
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
    fn add(&mut self, what: &'static str, mut attack: impl Attack) {
        let (is_on, is_over) = (Arc::clone(&self.is_on), Arc::clone(&self.is_over));
        let (count, rests) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, resting) = (Arc::clone(&count), Arc::clone(&rests));
        let thread = thread::spawn(move || {
            rustix::process::nice(NICE).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                if is_on.load(Ordering::Relaxed) {
                    resting.store(false, Ordering::Relaxed);
                    counted.fetch_add(attack.act(), Ordering::Relaxed);
                } else {
                    attack.rest();
                    resting.store(true, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            }
        });
        self.threads.push(Attacker { what, count, rests, thread });
    }

    /// Goes on, and is at work when this returns.
    pub(crate) fn go_on(&self) {
        self.is_on.store(true, Ordering::Relaxed);
        self.wait(|attacker| !attacker.rests.load(Ordering::Relaxed));
        thread::sleep(SETTLING);
    }

    /// Stops for a while; the sink has nothing more to do with it when this returns.
    pub(crate) fn pause(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.wait(|attacker| attacker.rests.load(Ordering::Relaxed));
        thread::sleep(SETTLING);
    }

    fn wait(&self, is_so: impl Fn(&Attacker) -> bool) {
        while !self.threads.iter().all(&is_so) {
            thread::sleep(OPENING_PAUSE);
        }
    }

    /// Ends it, and says how much of what there was.
    pub(crate) fn end(self) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let mut counts = BTreeMap::<_, u64>::new();
        for Attacker { what, count, thread, .. } in self.threads {
            thread.join().unwrap();
            *counts.entry(what).or_default() += count.load(Ordering::Relaxed);
        }
        let said = counts.into_iter().map(|(what, count)| format!("{count} {what}"));
        said.collect::<Vec<_>>().join(", ")
    }
}

/// A request to store a body of so many bytes.
struct Request {
    address: String,
    config: Arc<ClientConfig>,
    bytes: usize,
}

impl Request {
    /// One of which nothing has come yet.
    fn begin(&self) -> Stream {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(&self.address).unwrap());
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: sink\r\ncontent-length: {}\r\n\r\n",
            wire::APPEND,
            self.bytes
        );
        stream.write_all(head.as_bytes()).ok();
        stream
    }
}

/// Reads what the sink says.
fn answer(stream: &mut Stream) {
    stream.sock.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 4_096];
    // What it says matters as little as how much of it comes.
    let _read = stream.read(&mut answer);
}
