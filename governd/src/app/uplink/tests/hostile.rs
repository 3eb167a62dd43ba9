//! Clients that are slow, many, or send what never ends.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use super::*;

/// Idle connections of one client; `GOVERND_TEST_CONNECTIONS` tries another number.
const CONNECTIONS: usize = 300;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection as a host, on which anything can be said in HTTP/1.1.
fn raw(sink: &Sink, state: &Path) -> Stream {
    let read = |name: &str| fs::read_to_string(state.join("sink").join(name)).unwrap();
    let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
    };
    let (ca, identity) = (read("ca.pem"), read("identity.pem"));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&ca));
    let key = PrivateKeyDer::from_pem_slice(identity.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(super::super::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&identity), key)
        .unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(sink.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection, stream)
}

fn head(length: &str) -> String {
    format!("POST {} HTTP/1.1\r\nhost: sink\r\n{length}\r\n\r\n", wire::APPEND)
}

/// The answer's beginning: the sink closes what it does not read to its end.
fn answer(stream: &mut Stream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    while !text.contains('}') {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    text
}

#[test]
fn a_body_without_end_is_refused_and_costs_no_memory() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    append(&journal(state.path()), 0..3);
    enroll(state.path(), &sink.token("first")).unwrap();
    let mut announced = raw(&sink, state.path());
    announced.write_all(head("content-length: 1073741824").as_bytes()).unwrap();
    let said = answer(&mut announced);
    assert!(said.starts_with("HTTP/1.1 413 ") && said.contains("too-large"), "{said}");

    let mut endless = raw(&sink, state.path());
    endless.write_all(head("transfer-encoding: chunked").as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b'a'; 1 << 20], b"\r\n"].concat();
    // It is refused on the way: the sink may have gone before the last is written.
    let limit = wire::BODY_BYTES_MAX >> 20;
    let written = (0..64).take_while(|_| endless.write_all(&chunk).is_ok()).count();
    assert!(written >= limit, "{written} MiB of {limit}");
    let notice = sink.wait_for_notice(Weight::Refused, "too-large");
    assert_eq!(notice.who, HOST);
}

#[test]
fn who_is_slow_or_many_does_not_keep_others_waiting() {
    let sink = Sink::new();
    let state = tempfile::tempdir().unwrap();
    let journal = journal(state.path());
    enroll(state.path(), &sink.token("first")).unwrap();
    append(&journal, 0..3);
    let uplink = Uplink::start(state.path(), &journal).unwrap();
    sink.wait_for(journal.progress().durable());

    let count = std::env::var("GOVERND_TEST_CONNECTIONS").ok().and_then(|text| text.parse().ok());
    let count: usize = count.unwrap_or(CONNECTIONS);
    let mut slow: Vec<Stream> = (0..20).map(|_| raw(&sink, state.path())).collect();
    for stream in &mut slow {
        // With the answer it is known to be a host's: one that the sink has not come to yet gives
        // way to those below.
        let request = format!("GET {} HTTP/1.1\r\nhost: sink\r\n\r\n", wire::STATE);
        stream.write_all(request.as_bytes()).unwrap();
        let said = answer(stream);
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        stream.write_all(head("content-length: 200000").as_bytes()).unwrap();
        stream.write_all(b"{").unwrap();
    }
    let silent: Vec<TcpStream> =
        (0..count).map_while(|_| TcpStream::connect(sink.address).ok()).collect();
    assert_eq!(silent.len(), count);
    append(&journal, 3..40);
    sink.wait_for(journal.progress().durable());
    sink.wait_for_notice(Weight::Refused, "busy");
    for stream in &mut slow {
        let said = answer(stream);
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("timeout"), "{said}");
    }
    drop((silent, uplink));
    sink.check();
}

/// Two that are enrolled, with records of their own.
fn two_hosts(sink: &Sink) -> [(TempDir, Journal); 2] {
    let host = |token: &str, records: std::ops::Range<u32>| {
        let state = tempfile::tempdir().unwrap();
        let journal = journal(state.path());
        append(&journal, records);
        enroll(state.path(), token).unwrap();
        (state, journal)
    };
    [host(&sink.token("first"), 0..30), host(&sink.token_of("host-b", "second"), 500..503)]
}

/// One host can have all that one may have, for as long as a body may take.
#[test]
fn a_host_that_holds_all_it_may_leaves_room_for_others() {
    let sink = Sink::new();
    let [(state, journal), (other, _others)] = two_hosts(&sink);

    // Twice as much as all hosts together may have.
    let count = 2 * (64 << 20) / wire::BODY_BYTES_MAX;
    let length = format!("content-length: {}", wire::BODY_BYTES_MAX);
    let mut held: Vec<Stream> = (0..count).map(|_| raw(&sink, other.path())).collect();
    for stream in &mut held {
        stream.write_all(format!("{}{{", head(&length)).as_bytes()).unwrap();
    }
    let uplink = Uplink::start(state.path(), &journal).unwrap();
    let size = journal.progress().durable();
    until("records of the other", || {
        sink.store().hosts().unwrap().iter().any(|host| (&*host.name, host.size) == (HOST, size))
    });
    // They hold on to it still: the sink has answered none of those that it reads.
    let answered = |stream: &mut Stream| {
        stream.sock.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).is_ok()
    };
    assert!(!held.iter_mut().any(answered));
    drop((uplink, held));
    sink.check();
}

#[test]
fn a_host_that_writes_as_another_is_refused_and_found() {
    let sink = Sink::new();
    let [(state, journal), (other, others)] = two_hosts(&sink);

    let size = journal.progress().durable();
    let log = state.path().join("log");
    let mut reader = Reader::new(Disk, &log, 0);
    let mut lines = Vec::new();
    while let Some(line) = reader.read().unwrap() {
        lines.extend(line.bytes);
        lines.push(b'\n');
    }
    let checkpoint = log::note_after(&Disk, &log, size - 1, size).unwrap().unwrap().text;
    let head = Head { first: 0, checkpoint, before: None, session: None, lines_bytes: None };
    let batch = pack::pack(&head, &lines).unwrap();
    let read = |name: &str| fs::read_to_string(other.path().join("sink").join(name)).unwrap();
    let (ca, identity) = (read("ca.pem"), read("identity.pem"));
    let own = Some((identity.as_str(), identity.as_str()));
    let mut stranger = Client::new(&sink.address.to_string(), &ca, own).unwrap();
    assert_eq!(refused(stranger.post::<Appended>(wire::APPEND, batch.clone())), "signature");
    assert_eq!(sink.wait_for_notice(Weight::Alarm, "signature").who, "host-b");

    let sizes = || -> Vec<(String, u64)> {
        let hosts = sink.store().hosts().unwrap();
        hosts.into_iter().map(|host| (host.name, host.size)).collect()
    };
    assert_eq!(sizes(), [(HOST.to_owned(), 0), ("host-b".to_owned(), 0)]);
    // Neither is kept from what is its own.
    let uplinks = [(&state, &journal), (&other, &others)]
        .map(|(state, journal)| Uplink::start(state.path(), journal).unwrap().unwrap());
    let wanted = [(HOST.to_owned(), size), ("host-b".to_owned(), others.progress().durable())];
    until("records of both", || sizes() == wanted);
    assert_eq!(refused(stranger.post::<Appended>(wire::APPEND, batch)), "signature");
    drop(uplinks);
    let found = sink.store().findings().unwrap();
    assert_eq!((found.len(), found[0].host.as_str(), found[0].count), (1, "host-b", 2));
}
