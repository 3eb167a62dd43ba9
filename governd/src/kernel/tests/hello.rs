//! Names in the first bytes of connections, over real sockets.

use std::net::SocketAddr;

use governd_common::{
    event::{InitialEvent, NameEvent, NameSource},
    key::QuicKey,
    table::{entry_flag, quic_id},
    verdict::{Mode, Reason, Verdict},
};

use super::{
    egress::hold,
    host::{Host, is_root},
    image::{AGENT, FIRST_SET, Policy},
    say::{LOST, bind, extension, hello, hello_to, say, say_by, serve, server_name},
};
use crate::kernel::{KernelOptions, QuicVerdict, RawEvent};

const GOOD: &str = "api.example.com";
const BAD: &str = "evil.example.net";

/// An enforced agent that may reach [`GOOD`], bound to an address, and `*.example.org`.
fn host_with(flags: u8, address: &str) -> Host {
    let mut host = Host::new(KernelOptions::default());
    let image = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .verified_by(flags)
        .name(Verdict::Allow, GOOD)
        .name(Verdict::Allow, "*.example.org")
        .image;
    host.kernel.install(&image).unwrap();
    bind(&mut host, address, &[FIRST_SET]);
    host
}

fn events(host: &mut Host) -> (Vec<NameEvent>, Vec<Reason>) {
    let mut names = Vec::new();
    let mut reasons = Vec::new();
    for event in host.drain() {
        match event {
            RawEvent::Name(name) => names.push(*name),
            RawEvent::Flow(flow) if flow.verdict == Verdict::Deny as u8 => {
                reasons.push(Reason::from_byte(flow.reason).unwrap());
            }
            _ => {}
        }
    }
    (names, reasons)
}

fn text(event: &NameEvent) -> String {
    String::from_utf8(event.name[..usize::from(event.name_len)].to_vec()).unwrap()
}

/// `count` bytes of an extension that nobody looks at.
fn filler(count: usize) -> Vec<u8> {
    extension(21, &vec![0; count])
}

fn bytes(data: &[u8], piece: usize) -> Vec<Vec<u8>> {
    data.chunks(piece).map(<[u8]>::to_vec).collect()
}

#[test]
fn an_allowed_name_passes_and_another_does_not_however_the_hello_is_cut() {
    if !is_root() {
        return;
    }
    let mut host = host_with(0, "127.0.0.2");
    let to = serve("127.0.0.2:0");
    let shapes = |name: &str| {
        let name = server_name(name);
        let ech = extension(0xfe0d, &[0; 200]);
        let last = hello(&[filler(1_700), extension(10, &[0; 8]), name.clone()], 16_384);
        let plain = hello(std::slice::from_ref(&name), 16_384);
        [
            ("one segment", vec![plain.clone()]),
            ("segments of one byte", bytes(&plain, 1)),
            ("many records", vec![hello(&[name.clone(), filler(100)], 7)]),
            ("records and segments", bytes(&hello(&[filler(90), name.clone()], 5), 11)),
            ("as large as post-quantum", vec![hello(&[name.clone(), filler(1_800)], 16_384)]),
            ("the name at the end", vec![last.clone()]),
            ("the name at the end, cut", bytes(&last, 1_000)),
            ("near the limit", vec![hello(&[filler(15_000), name.clone()], 16_384)]),
            ("ECH", vec![hello(&[ech, name], 16_384)]),
            ("with what follows", vec![[plain, vec![23; 9_000]].concat()]),
        ]
    };
    for (what, pieces) in shapes(GOOD) {
        assert_eq!(say(&host, to, &pieces), "ok", "{what}");
        let (names, reasons) = events(&mut host);
        assert_eq!((names.len(), reasons), (1, vec![]), "{what}");
        assert_eq!((text(&names[0]).as_str(), names[0].set), (GOOD, FIRST_SET), "{what}");
        assert_eq!(names[0].source, NameSource::Tls as u8);
        assert_eq!(names[0].has_ech == 1, what == "ECH");
    }
    for (what, pieces) in shapes(BAD) {
        assert_eq!(say(&host, to, &pieces), LOST, "{what}");
        let (names, reasons) = events(&mut host);
        assert_eq!(reasons, [Reason::ServerName], "{what}");
        assert_eq!((text(&names[0]).as_str(), names[0].verdict), (BAD, 0), "{what}");
        assert_eq!(names[0].header.subject, AGENT);
    }
}

#[test]
fn what_names_no_server_is_refused() {
    if !is_root() {
        return;
    }
    let mut host = host_with(0, "127.0.0.3");
    let to = serve("127.0.0.3:0");
    let twice = [server_name(GOOD), server_name(GOOD)];
    let rows = [
        ("no name", hello(&[filler(30)], 16_384)),
        ("an address", hello_to("192.0.2.1")),
        ("two names", hello(&twice, 16_384)),
        ("a NUL", hello_to("api.example.com\0.example.net")),
        ("not ASCII", hello_to("äpi.example.com")),
        ("too long", hello(&[filler(16_000), filler(600), server_name(GOOD)], 16_384)),
        ("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("plaintext", format!("GET / HTTP/1.1\r\nHost: {GOOD}\r\n\r\n").into_bytes()),
    ];
    for (what, data) in rows {
        assert_eq!(say(&host, to, &[data]), LOST, "{what}");
        assert_eq!(events(&mut host).1, [Reason::NoServerName], "{what}");
    }
    assert_eq!(say_by(&host, "urgent", to, &bytes(&hello_to(GOOD), 40)), LOST);
    assert_eq!(events(&mut host).1, [Reason::NoServerName]);
}

#[test]
fn the_address_and_the_name_have_to_belong_together() {
    if !is_root() {
        return;
    }
    let v6 = || Ok::<_, ()>(serve("[::1]:0"));
    let mapped = |to: SocketAddr| SocketAddr::new("::ffff:127.0.0.4".parse().unwrap(), to.port());
    let to = serve("127.0.0.4:0");
    let rows = [
        // The set that is bound, how names are verified, the name that is said, the outcome.
        (FIRST_SET, 0, GOOD, "ok"),
        (FIRST_SET, 0, "a.example.org", LOST),
        (FIRST_SET + 1, 0, GOOD, LOST),
        (FIRST_SET + 1, 0, "a.example.org", "ok"),
        (99, 0, GOOD, "EACCES"),
        (99, entry_flag::VERIFY_SNI, GOOD, "ok"),
        (99, entry_flag::VERIFY_SNI, BAD, LOST),
        (99, entry_flag::VERIFY_DNS, GOOD, "EACCES"),
        (FIRST_SET, entry_flag::VERIFY_DNS, BAD, "ok"),
        (FIRST_SET, entry_flag::VERIFY_SNI, "a.example.org", "ok"),
    ];
    for (set, flags, name, outcome) in rows {
        let mut host = host_with(flags, "127.0.0.4");
        bind(&mut host, "127.0.0.4", &[set]);
        bind(&mut host, "::1", &[set]);
        for to in [to, mapped(to), v6().unwrap()] {
            let said = say(&host, to, &[hello_to(name)]);
            assert_eq!(said, outcome, "{set} {flags} {name} {to}");
        }
    }
}

#[test]
fn every_request_of_a_plaintext_connection_names_an_allowed_host() {
    if !is_root() {
        return;
    }
    let mut host = host_with(entry_flag::PLAINTEXT, "127.0.0.5");
    let to = serve("127.0.0.5:0");
    let get = |name: &str| format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
    let post =
        |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: {GOOD}\r\n{fields}\r\n{body}");
    let long = "x".repeat(70_000);
    let length = post("Content-Length: 70000\r\n", &long);
    let chunks = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let chunked = post("Transfer-Encoding: chunked\r\n", &chunks);
    let allowed = [get(GOOD), get(GOOD).repeat(3), length.clone(), chunked.clone()];
    for request in &allowed {
        let said = say(&host, to, &[request.clone().into_bytes(), get(GOOD).into_bytes()]);
        assert_eq!(said, "ok", "{}", &request[..60.min(request.len())]);
        let (names, reasons) = events(&mut host);
        assert_eq!(reasons, []);
        assert!(names.iter().all(|name| text(name) == GOOD && name.source == 2));
        let said = say(&host, to, &[request.clone().into_bytes(), get(BAD).into_bytes()]);
        assert_eq!(said, LOST, "{}", &request[..60.min(request.len())]);
        assert_eq!(events(&mut host).1, [Reason::ServerName]);
    }
    let connect = |name: &str| format!("CONNECT {name}:443 HTTP/1.1\r\n\r\n");
    let tunnel = [connect(GOOD).into_bytes(), hello_to(BAD)];
    assert_eq!(say(&host, to, &tunnel), "ok");
    let rows = [
        (get(BAD), Reason::ServerName),
        (connect(BAD), Reason::ServerName),
        (format!("GET http://{BAD}/ HTTP/1.1\r\nHost: {BAD}\r\n\r\n"), Reason::ServerName),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), Reason::NoServerName),
        (format!("{}{}", connect(GOOD), get(BAD)), Reason::ServerName),
        (format!("{}{}", get(GOOD), "junk"), Reason::NoServerName),
    ];
    events(&mut host);
    for (request, reason) in rows {
        assert_eq!(say(&host, to, &bytes(request.as_bytes(), 5)), LOST, "{request}");
        assert_eq!(events(&mut host).1, [reason], "{request}");
    }
}

#[test]
fn data_in_a_syn_is_read_and_a_stream_without_a_beginning_is_refused() {
    if !is_root() {
        return;
    }
    let mut host = host_with(0, "127.0.0.1");
    let to: SocketAddr = "127.0.0.1:7443".parse().unwrap();
    assert_eq!(say_by(&host, "tfo", to, &[hello_to(GOOD), vec![23; 50]]), "ok");
    assert_eq!(events(&mut host).0.len(), 2);
    assert_eq!(say_by(&host, "tfo", to, &[hello_to(BAD)]), LOST);
    assert!(events(&mut host).1.contains(&Reason::ServerName));
    let to = serve("127.0.0.1:0");
    assert_ne!(say_by(&host, "repair", to, &[hello_to(GOOD)]), "ok");
    assert_eq!(events(&mut host).1, [Reason::NoServerName]);
}

#[test]
fn a_denied_name_is_refused_where_everything_else_is_allowed() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let flags = governd_common::table::subject_flag::NAME_DENIALS;
    let image = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .subject(Mode::Enforce, Verdict::Allow, flags)
        .name(Verdict::Deny, BAD)
        .image;
    host.kernel.install(&image).unwrap();
    let to = serve("127.0.0.6:0");
    for (data, outcome) in [
        (hello_to(BAD), LOST),
        (hello_to(GOOD), "ok"),
        (format!("GET / HTTP/1.1\r\nHost: {BAD}\r\n\r\n").into_bytes(), LOST),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "ok"),
        (hello(&[filler(30)], 16_384), "ok"),
    ] {
        assert_eq!(say(&host, to, &[data.clone(), vec![23; 5]]), outcome, "{data:x?}");
    }
}

#[test]
fn monitor_mode_reports_what_it_would_refuse() {
    if !is_root() {
        return;
    }
    let mut host = Host::new(KernelOptions::default());
    let image = Policy::of_cgroup(host.cgroup.id(), Mode::Monitor)
        .verified_by(0)
        .name(Verdict::Allow, GOOD)
        .image;
    host.kernel.install(&image).unwrap();
    bind(&mut host, "127.0.0.7", &[FIRST_SET]);
    let to = serve("127.0.0.7:0");
    assert_eq!(say(&host, to, &[hello_to(BAD), vec![23; 50]]), "ok");
    let (names, reasons) = events(&mut host);
    assert_eq!((text(&names[0]).as_str(), reasons), (BAD, vec![Reason::ServerName]));
}

#[test]
fn beginnings_of_quic_connections_wait_until_a_name_is_allowed() {
    if !is_root() {
        return;
    }
    let mut host = host_with(entry_flag::QUIC, "127.0.0.8");
    let server = std::net::UdpSocket::bind("127.0.0.8:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let to = server.local_addr().unwrap();
    let arrived = || std::iter::from_fn(|| server.recv(&mut [0; 2_000]).ok()).count();
    let allow: fn(u64) -> QuicVerdict =
        |generation| QuicVerdict::Allow { generation, id: quic_id(&[0xaa; 8]) };
    let allow_by_another: fn(u64) -> QuicVerdict =
        |generation| QuicVerdict::Allow { generation: generation + 1, id: quic_id(&[0xaa; 8]) };
    let wait: fn(u64) -> QuicVerdict = |_| QuicVerdict::Wait;
    let refuse: fn(u64) -> QuicVerdict = |_| QuicVerdict::Refuse;
    // What one socket sends before and after user space has said something: first bytes (in
    // hexadecimal, to which the datagram is filled up), the error of the last, datagrams that
    // arrive, and those that are shown.
    let first = "c00000000108aaaaaaaaaaaaaaaa00";
    let short = "40aaaaaaaaaaaaaaaa";
    let rows = [
        (vec![first, first], None, vec![], "ok", 0, 2),
        (vec![first], Some(allow), vec![first, short], "ok", 2, 2),
        (vec![first], Some(allow_by_another), vec![first, short], "ok", 0, 2),
        (vec![first], Some(wait), vec![first, short], "ok", 0, 2),
        (vec![first], Some(refuse), vec![short], "errno 1", 0, 1),
        (vec![short], None, vec![], "errno 1", 0, 0),
        (vec!["c000000009"], None, vec![], "errno 1", 0, 0),
        // The server's id, and then that of another connection.
        (
            vec![first],
            Some(allow),
            vec!["e00000000104bbbbbbbb00", "c00000000108aaaaaaaaaaaaaaab00"],
            "ok",
            1,
            3,
        ),
    ];
    for (before, verdict, after, outcome, passes, shown) in rows {
        host.drain();
        let path = host.cgroup.path.clone();
        let mut all = 0;
        let steps = format!("{} / {}", before.join(" "), after.join(" "));
        let ended = hold(&path, &format!("quic {} {} {steps}", to.ip(), to.port()), || {
            let events = host.drain();
            all += initials(&events).len();
            let Some(verdict) = verdict else { return };
            let Some(event) = initials(&events).first().copied() else { return };
            let InitialEvent { cookie, address, port, .. } = *event;
            let key = QuicKey { cookie, address, port, reserved: [0; 3] };
            host.kernel.judge_quic(key, verdict(event.header.generation)).unwrap();
        });
        all += initials(&host.drain()).len();
        assert_eq!((ended.as_str(), arrived(), all), (outcome, passes, shown), "{steps}");
    }
}

fn initials(events: &[RawEvent]) -> Vec<&InitialEvent> {
    let mut initials = Vec::new();
    for event in events {
        if let RawEvent::Initial(event) = event {
            initials.push(&**event);
        }
    }
    initials
}
