//! Replays the captures under `tests/captures` and compares the names with what independent tools
//! found in them (see the README there).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking, as the test itself does"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use governd::{
    app::replay::KernelReader,
    capture::{
        self, Flow, Found, Kind, Parsers, Proto, Reader, Seen, Told,
        engine::Engine,
        file::{Frame, Frames},
    },
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

/// A name in a frame, with its addresses in order.
type Name = (u64, String, String, BTreeSet<IpAddr>);

/// Bytes of a connection's beginning that are kept: more than a hello may have.
const STREAM_BYTES_MAX: usize = 17_000;
/// Frames of one capture that are damaged together.
const FRAMES_DAMAGED: usize = 8;

#[derive(Debug)]
struct Row {
    file: String,
    name: Name,
    kind: String,
}

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures")
}

fn expected() -> Vec<Row> {
    let table = fs::read_to_string(captures().join("expected.tsv")).unwrap();
    table.lines().skip(1).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.split('\t').collect();
    let [file, frame, proto, name, addresses, kind] = cells[..] else {
        panic!("a row has six cells: {line}");
    };
    let addresses = addresses.split(',').filter_map(|text| text.parse().ok()).collect();
    let name = (frame.parse().unwrap(), proto.to_owned(), name.to_owned(), addresses);
    Row { file: file.to_owned(), name, kind: kind.to_owned() }
}

fn replayed(file: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let outcome = capture::replay(&captures().join(file), &mut |name| found.push(name));
    outcome.unwrap_or_else(|error| panic!("{file}: {error}"));
    found
}

fn names(found: Vec<Found>) -> Vec<Name> {
    let seen = found.into_iter().filter(|found| found.proto != Proto::Http);
    seen.map(|f| (f.frame, f.proto.word().to_owned(), f.name, f.addresses.into_iter().collect()))
        .collect()
}

/// The loaded programs, once for all tests here; `None` without root, and in CI that is a failure.
fn kernel() -> Option<MutexGuard<'static, KernelReader>> {
    static KERNEL: OnceLock<Mutex<KernelReader>> = OnceLock::new();
    if !rustix::process::geteuid().is_root() {
        assert!(env::var("CI").is_err(), "these tests need root, and CI must run them");
        eprintln!("skipped: needs root");
        return None;
    }
    let kernel = KERNEL.get_or_init(|| Mutex::new(KernelReader::load().unwrap()));
    Some(kernel.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What a reader finds in frames, without QUIC, which is the same code for both.
fn read<R: Reader>(reader: R, frames: &[Frame]) -> Vec<Name> {
    let mut found = Vec::new();
    let mut sink = |seen| match seen {
        Seen::Name(name) if name.proto != Proto::Quic => found.push(name),
        _ => {}
    };
    let mut engine = Engine::new(reader, &mut sink);
    for frame in frames {
        engine.frame(frame).unwrap();
    }
    engine.finish(false).unwrap();
    names(found)
}

fn frames(file: &str) -> Vec<Frame> {
    let bytes = fs::read(captures().join(file)).unwrap();
    let mut frames = Frames::open(bytes.as_slice()).unwrap();
    std::iter::from_fn(|| frames.next_frame().unwrap()).collect()
}

/// Keeps what connections begin with.
#[derive(Default)]
struct Recorder {
    streams: BTreeMap<Flow, (Kind, Vec<u8>)>,
}

impl Reader for &mut Recorder {
    type Error = Infallible;

    fn begin(&mut self, flow: Flow, kind: Kind) -> Result<(), Infallible> {
        self.streams.entry(flow).or_insert((kind, Vec::new()));
        Ok(())
    }

    fn feed(&mut self, flow: Flow, bytes: &[u8]) -> Result<Vec<Told>, Infallible> {
        if let Some((_, stream)) = self.streams.get_mut(&flow) {
            stream.extend_from_slice(bytes);
            stream.truncate(STREAM_BYTES_MAX);
        }
        Ok(Vec::new())
    }

    fn end(&mut self, _: Flow) -> Result<(), Infallible> {
        Ok(())
    }

    fn datagram(&mut self, _: Flow, _: &[u8]) -> Result<Vec<Told>, Infallible> {
        Ok(Vec::new())
    }
}

/// The beginnings of all connections.
fn streams() -> Vec<(Flow, Kind, Vec<u8>)> {
    let mut recorder = Recorder::default();
    for file in files() {
        read(&mut recorder, &frames(&file));
    }
    let streams = recorder.streams.into_iter();
    streams.map(|(flow, (kind, bytes))| (flow, kind, bytes)).collect()
}

/// What a reader says first about a stream that comes in pieces.
fn first_told<R: Reader>(mut reader: R, flow: Flow, kind: Kind, pieces: &[&[u8]]) -> Option<Told> {
    reader.begin(flow, kind).unwrap();
    // The programs count the DNS answers that teach nothing, and do not report them.
    let is_reported = |told: &Told| !matches!(told, Told::NoDns(_));
    let told = pieces.iter().find_map(|piece| {
        reader.feed(flow, piece).unwrap().into_iter().find(|told| is_reported(told))
    });
    reader.end(flow).unwrap();
    told
}

/// Cuts bytes into pieces of these lengths, and a last one.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths {
        let Some((piece, rest)) = bytes.split_at_checked(*length) else { break };
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn files() -> Vec<String> {
    let directories = fs::read_dir(captures()).unwrap().map(|entry| entry.unwrap().path());
    let files = directories
        .filter(|path| path.is_dir())
        .flat_map(|directory| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
    let root = captures();
    let captures = files.filter(|file| file.extension().is_some_and(|kind| kind != "md"));
    let name = |file: PathBuf| file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    captures.map(name).collect()
}

#[test]
fn every_expected_name_is_found_and_no_other() {
    let mut expected_by_file: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in expected() {
        expected_by_file.entry(row.file.clone()).or_default().push(row);
    }
    let (mut faults, mut compared) = (Vec::new(), 0);
    for file in files() {
        let mut found = names(replayed(&file));
        for row in expected_by_file.remove(&file).unwrap_or_default() {
            let place = found.iter().position(|name| *name == row.name);
            match (place, row.kind.as_str()) {
                (Some(index), "must" | "may") => {
                    found.swap_remove(index);
                    compared += 1;
                }
                (None, "must") => faults.push(format!("{file}: missing {:?}", row.name)),
                (Some(_), kind) => faults.push(format!("{file}: {:?} is {kind}", row.name)),
                (None, _) => {}
            }
        }
        faults.extend(found.iter().map(|name| format!("{file}: unexpected {name:?}")));
    }
    faults.extend(expected_by_file.keys().map(|file| format!("{file}: no such capture")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(compared > 600, "only {compared} names were compared");
}

#[test]
fn hosts_of_plaintext_requests_are_found() {
    let found = replayed("suricata-verify/ips-state-1__input.pcap");
    let hosts = found.iter().filter(|found| found.proto == Proto::Http);
    let hosts: Vec<_> = hosts.map(|found| (found.frame, found.name.as_str())).collect();
    assert_eq!(hosts, [(4, "testmyids.evebox.org"), (53, "evebox.org")]);
}

#[test]
fn offered_protocols_and_ech_are_kept() {
    let found = replayed("captured/chrtcp-a.pcap");
    let first = found.iter().find(|found| found.proto == Proto::Tls).unwrap();
    assert_eq!((first.name.as_str(), first.has_ech), ("accounts.google.com", true));
    assert_eq!(first.alpn, ["h2", "http/1.1"]);
}

#[test]
fn both_engines_find_the_same_names() {
    let Some(mut kernel) = kernel() else { return };
    let mut compared = 0;
    for file in files() {
        let frames = frames(&file);
        kernel.forget().unwrap();
        let (by_kernel, by_user) = (read(&mut *kernel, &frames), read(Parsers::default(), &frames));
        assert_eq!(by_kernel, by_user, "{file}");
        compared += by_user.len();
    }
    assert!(compared > 550, "only {compared} names were compared");
}

#[test]
fn both_engines_find_the_same_names_in_damaged_packets() {
    let Some(kernel) = kernel() else { return };
    let kernel = std::cell::RefCell::new(kernel);
    let captures = files().into_iter().map(|file| frames(&file));
    let captures: Vec<_> = captures.filter(|frames| !frames.is_empty()).collect();
    let frames = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    // Behind the addresses of Ethernet and IP.
    let damage = proptest::collection::vec((34..1_500_usize, any::<u8>()), 0..4);
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(frames, damage), |((capture, first), damage)| {
        let capture = capture.get(&captures);
        let mut frames = capture.clone();
        frames.drain(..first.index(frames.len()));
        frames.truncate(FRAMES_DAMAGED);
        for (at, byte) in damage {
            for frame in frames.iter_mut() {
                if let Some(place) = frame.bytes.get_mut(at) {
                    *place = byte;
                }
            }
        }
        let mut kernel = kernel.borrow_mut();
        kernel.forget().unwrap();
        prop_assert_eq!(read(&mut **kernel, &frames), read(Parsers::default(), &frames));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn both_engines_say_the_same_about_damaged_streams_in_any_pieces() {
    let Some(kernel) = kernel() else { return };
    let kernel = std::cell::RefCell::new(kernel);
    let streams = streams();
    // The first byte says what the rest is read as.
    let lengths = proptest::collection::vec(prop_oneof![1..8_usize, 1..2_000_usize], 0..40);
    let damage = proptest::collection::vec((1..600_usize, any::<u8>()), 0..3);
    let stream = any::<prop::sample::Index>();
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(stream, lengths, damage), |case| {
        let (stream, lengths, damage) = case;
        let (flow, kind, mut bytes) = stream.get(&streams).clone();
        for (at, byte) in damage {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let pieces = cut(&bytes, &lengths);
        let by_kernel = first_told(&mut **kernel.borrow_mut(), flow, kind, &pieces);
        prop_assert_eq!(by_kernel, first_told(Parsers::default(), flow, kind, &pieces));
        Ok(())
    });
    outcome.unwrap();
}
