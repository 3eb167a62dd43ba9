//! DNS over TCP: the rules of DNS over UDP hold however the messages are cut.

use std::{
    fs,
    io::{Read, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use governd_common::{
    event::DnsEvent,
    limits::DNS_MESSAGE_BYTES_MAX,
    table::{Binding, subject_flag},
    verdict::{Loss, Mode, Reason, Verdict},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketType, sockopt::Timeout},
};
use zerocopy::FromZeros as _;

use super::{
    agent::unhex,
    dns::{hex, message, query, record, v4},
    egress::hold,
    host::{Host, is_root},
    image::{AGENT, FIRST_SET, Policy},
};
use crate::kernel::{KernelOptions, RawEvent};

const PORT_DNS: u16 = 53;
const GOOD: &str = "api.example.com";
const BAD: &str = "data.example.net";
const ADDRESS: &str = "203.0.113.9";
/// What a client gets that is not answered.
pub(super) const SILENCE: &str = "errno 110";
/// How long who expects no answer waits for one.
const WAIT_FOR_NOTHING: Duration = Duration::from_millis(300);
const WAIT_FOR_ANSWER: Duration = Duration::from_secs(60);
/// So that each piece is a packet.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);
/// Both ends, on every socket, from the first connection on (ip-sysctl).
const FAST_OPEN_WITHOUT_COOKIES: &str = "0x607";
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// As the agent: sends pieces, and waits for so many answers for so many milliseconds each.
pub(super) fn ask_tcp(arguments: &str) -> Result<(), Errno> {
    let [mode, to, wait_ms, answers, path] =
        arguments.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let to: SocketAddr = to.parse().unwrap();
    let text = fs::read_to_string(path).unwrap();
    let mut pieces = text.lines().map(unhex);
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    if mode == "tfo" {
        fs::write("/proc/sys/net/ipv4/tcp_fastopen", FAST_OPEN_WITHOUT_COOKIES).unwrap();
        let flags = SendFlags::from_bits_retain(MSG_FASTOPEN);
        // Its SYN is not answered, and what it waits for is no connection.
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(WAIT_FOR_NOTHING))?;
        let first = pieces.next().unwrap_or_default();
        return rustix::net::sendto(&socket, &first, flags, &to).map(drop);
    }
    rustix::net::connect(&socket, &to)?;
    let mut stream = TcpStream::from(socket);
    let flags = if mode == "urgent" { SendFlags::OOB } else { SendFlags::empty() };
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let sent = rustix::net::send(&stream, rest, flags)?;
            rest = &rest[sent..];
        }
        thread::sleep(BETWEEN_PIECES);
    }
    let wait = Duration::from_millis(wait_ms.parse().unwrap());
    stream.set_read_timeout(Some(wait)).unwrap();
    for _ in 0..answers.parse().unwrap() {
        read_message(&mut stream).ok_or(Errno::TIMEDOUT)?;
    }
    Ok(())
}

// Connections have threads of their own; the test reads and writes in between.
type Messages = Arc<Mutex<Vec<Vec<u8>>>>;

/// An address of this host that no other run of these tests uses at the same time.
pub(super) fn own_address(number: u8) -> String {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{number}", high | 0x80)
}

/// A resolver that sends these pieces after the first whole question of each connection.
struct Server {
    address: SocketAddr,
    /// The questions that came.
    asked: Messages,
    replies: Messages,
}

impl Server {
    fn at(address: &str) -> Self {
        let address = SocketAddr::new(address.parse().unwrap(), PORT_DNS);
        let listener = TcpListener::bind(address).unwrap();
        let (asked, replies) = (Arc::default(), Arc::default());
        let server = Self { address, asked: Arc::clone(&asked), replies: Arc::clone(&replies) };
        thread::spawn(move || {
            for mut peer in listener.incoming().flatten() {
                let (asked, replies) = (Arc::clone(&asked), Arc::clone(&replies));
                thread::spawn(move || {
                    peer.set_nodelay(true).unwrap();
                    let mut replies: Vec<Vec<u8>> = replies.lock().unwrap().clone();
                    while let Some(question) = read_message(&mut peer) {
                        asked.lock().unwrap().push(question);
                        for reply in replies.drain(..) {
                            peer.write_all(&reply).ok();
                            thread::sleep(Duration::from_millis(2));
                        }
                    }
                    peer.shutdown(Shutdown::Both).ok();
                });
            }
        });
        server
    }

    fn answering(address: &str, pieces: Vec<Vec<u8>>) -> Self {
        let server = Self::at(address);
        server.reply(pieces);
        server
    }

    /// What it sends on the next connections.
    fn reply(&self, pieces: Vec<Vec<u8>>) {
        *self.replies.lock().unwrap() = pieces;
    }

    /// Questions that came since the last look.
    fn asked(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

pub(super) fn read_message(peer: &mut impl Read) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    peer.read_exact(&mut len).ok()?;
    let mut message = vec![0; u16::from_be_bytes(len).into()];
    peer.read_exact(&mut message).ok()?;
    Some(message)
}

pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

fn cut(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
    bytes.chunks(piece).map(<[u8]>::to_vec).collect()
}

/// What the agent does for it, with pieces from a file.
pub(super) fn step(mode: &str, to: SocketAddr, answers: usize, path: &Path) -> String {
    let wait = if answers == 0 { WAIT_FOR_NOTHING } else { WAIT_FOR_ANSWER };
    let (wait_ms, answers, path) = (wait.as_millis(), answers.max(1), path.display());
    format!("ask-tcp {mode} {to} {wait_ms} {answers} {path}")
}

/// Asks as the agent, and waits for so many answers. Who expects none does not wait long.
fn ask(host: &Host, mode: &str, to: SocketAddr, pieces: &[Vec<u8>], answers: usize) -> String {
    let lines: Vec<String> = pieces.iter().map(|piece| hex(piece)).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    let step = step(mode, to, answers, file.path());
    host.one(&if mode == "tfo" { format!("netns;{step}") } else { step })
}

/// An agent with rules about names and the resolver's port.
fn agent(resolver: &str, mode: Mode, flags: u16) -> Host {
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), mode)
        .subject(mode, Verdict::Deny, flags)
        .resolver(resolver)
        .name(Verdict::Allow, GOOD);
    host.kernel.install(&policy.image).unwrap();
    host
}

fn answer() -> Vec<u8> {
    message(GOOD, &[v4(GOOD)])
}

fn dns_events(host: &mut Host) -> Vec<DnsEvent> {
    let events = host.drain().into_iter().filter_map(|event| match event {
        RawEvent::Dns(dns) => Some(*dns),
        _ => None,
    });
    events.collect()
}

/// Reasons and names of what was refused.
fn refusals(host: &mut Host) -> Vec<(Reason, String)> {
    let refused = dns_events(host).into_iter().filter(|event| event.reason != 0);
    let told = refused.map(|event| {
        assert_eq!((event.protocol, event.header.subject), (6, AGENT));
        assert_ne!((event.cookie, event.header.tgid), (0, 0));
        let name = event.name[..usize::from(event.name_len)].to_vec();
        (Reason::from_byte(event.reason).unwrap(), String::from_utf8(name).unwrap())
    });
    told.collect()
}

fn reach(host: &Host) -> bool {
    host.one(&format!("udp-connect {ADDRESS}:443")) != "EACCES"
}

/// A question with an option of zeroes that makes it so long.
pub(super) fn padded(len: usize) -> Vec<u8> {
    let mut query = query(GOOD);
    query[11] = 1;
    let padding = len - query.len() - 15;
    let number = |value: usize| (value as u16).to_be_bytes();
    query.extend([0, 0, 41, 16, 0, 0, 0, 0, 0]);
    query.extend(number(padding + 4));
    query.extend([0, 12]);
    query.extend(number(padding));
    query.resize(len, 0);
    query
}

#[test]
fn a_restricted_agent_asks_over_tcp_for_names_of_its_rules_however_they_are_cut() {
    if !is_root() {
        return;
    }
    let server = Server::answering(&own_address(111), vec![framed(&answer())]);
    let mut host = agent(&own_address(111), Mode::Enforce, subject_flag::DNS_RESTRICT);
    let good = framed(&query(GOOD));
    let upper = framed(&query("API.Example.COM"));
    let longest = framed(&padded(DNS_MESSAGE_BYTES_MAX));
    let rows = [
        ("one segment", vec![good.clone()], 1),
        ("one byte at a time", cut(&good, 1), 1),
        ("upper case", vec![upper], 1),
        ("two in one segment", vec![good.repeat(2)], 2),
        ("two that do not end with their segments", cut(&good.repeat(2), 13), 2),
        // One run takes some thirty; the rest is sent again.
        ("more than are read at once", vec![good.repeat(70)], 70),
        ("the longest", vec![longest.clone()], 1),
        ("the longest, cut", cut(&longest, 700), 1),
    ];
    for (what, pieces, questions) in rows {
        assert_eq!(ask(&host, "plain", server.address, &pieces, 1), "ok", "{what}");
        assert_eq!(refusals(&mut host), [], "{what}");
        let end = Instant::now() + Duration::from_secs(60);
        let mut asked = 0;
        while asked < questions {
            asked += server.asked().len();
            assert!(Instant::now() < end, "{what}: {asked}");
            thread::sleep(Duration::from_millis(2));
        }
    }
    let bad = framed(&query(BAD));
    let mut option = query(GOOD);
    option[11] = 1;
    option.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 6, 0xfd, 0xe9, 0, 2, 7, 7]);
    let mut binding = query(GOOD);
    *binding.iter_mut().rev().nth(2).unwrap() = 65;
    let junk = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), good.clone()].concat();
    let name = Reason::DnsName;
    let nameless = || (name, String::new());
    let whose = |reason, name: &str| (reason, name.to_owned());
    let rows = [
        ("another name", vec![bad.clone()], whose(name, BAD)),
        ("another name, one byte at a time", cut(&bad, 1), whose(name, BAD)),
        ("after an allowed one", vec![[good.clone(), bad.clone()].concat()], whose(name, BAD)),
        ("later", vec![good.clone(), bad.clone()], whose(name, BAD)),
        ("across segments", cut(&[good.clone(), bad.clone()].concat(), 21), whose(name, BAD)),
        ("behind many", vec![[good.repeat(40), bad].concat()], whose(name, BAD)),
        ("an option", vec![framed(&option)], whose(name, GOOD)),
        ("a service binding", vec![framed(&binding)], whose(Reason::DnsRecord, GOOD)),
        ("no DNS", vec![junk], nameless()),
        ("no message", vec![vec![0, 0]], nameless()),
        ("too long", vec![framed(&padded(DNS_MESSAGE_BYTES_MAX + 1))], nameless()),
    ];
    for (what, pieces, refused) in rows {
        host.drain();
        server.asked();
        let answers = usize::from(matches!(what, "later" | "across segments"));
        let outcome = ask(&host, "plain", server.address, &pieces, answers);
        assert_eq!(outcome, if answers == 0 { SILENCE } else { "ok" }, "{what}");
        let end = Instant::now() + Duration::from_secs(60);
        let mut found = Vec::new();
        while found.is_empty() && Instant::now() < end {
            found = refusals(&mut host);
        }
        assert_eq!(found, [refused], "{what}");
        let is_allowed = |question: &Vec<u8>| *question == query(GOOD);
        assert!(server.asked().iter().all(is_allowed), "{what}");
    }
}

#[test]
fn what_is_not_read_from_the_beginning_is_refused_to_a_restricted_agent() {
    if !is_root() {
        return;
    }
    let resolver = &own_address(112);
    let server = Server::answering(resolver, vec![framed(&answer())]);
    let pieces = cut(&framed(&query(GOOD)), 9);
    let reasons = |host: &mut Host| -> Vec<Reason> {
        refusals(host).into_iter().map(|(reason, _)| reason).collect()
    };
    for (mode, flags, expected) in [
        (Mode::Enforce, subject_flag::DNS_RESTRICT, vec![Reason::DnsName]),
        (Mode::Monitor, subject_flag::DNS_RESTRICT, vec![Reason::DnsName]),
        (Mode::Enforce, 0, vec![]),
    ] {
        // Connected before there is a policy.
        let mut host = Host::new(KernelOptions::default());
        let policy = Policy::of_cgroup(host.cgroup.id(), mode);
        let policy = policy.subject(mode, Verdict::Deny, flags).resolver(resolver);
        let step = format!("tcp {resolver} {PORT_DNS}");
        let path = host.cgroup.path.clone();
        hold(&path, &step, || host.kernel.install(&policy.image).map(drop).unwrap());
        assert_eq!(reasons(&mut host), expected, "an older connection");
        ask(&host, "urgent", server.address, &pieces, 0);
        assert_eq!(reasons(&mut host), expected, "urgent bytes");
    }
}

#[test]
fn a_question_in_a_syn_is_read() {
    if !is_root() {
        return;
    }
    let flags = subject_flag::DNS_RESTRICT;
    let to = SocketAddr::new("127.0.0.1".parse().unwrap(), PORT_DNS);
    for (asked, expected) in [(GOOD, vec![]), (BAD, vec![(Reason::DnsName, BAD.to_owned())])] {
        let mut host = agent("127.0.0.1", Mode::Enforce, flags);
        ask(&host, "tfo", to, &[framed(&query(asked))], 0);
        assert_eq!(refusals(&mut host), expected);
    }
}

#[test]
fn who_may_ask_for_every_name_says_over_tcp_what_he_likes() {
    if !is_root() {
        return;
    }
    let server = Server::answering(&own_address(113), vec![framed(&answer())]);
    let host = agent(&own_address(113), Mode::Enforce, 0);
    let long = framed(&[query(GOOD), vec![7; 9_000]].concat());
    let pieces = [long, framed(&[]), framed(&query(BAD)), framed(&query(GOOD))].concat();
    assert_eq!(ask(&host, "plain", server.address, &cut(&pieces, 5_000), 1), "ok");
    let all = vec![pieces];
    assert_eq!(ask(&host, "plain", server.address, &all, 1), "ok");
    // The answer came to the first question, and repeats the last.
    assert!(reach(&host));
}

#[test]
fn answers_over_tcp_teach_however_they_are_cut() {
    if !is_root() {
        return;
    }
    let server = Server::at(&own_address(114));
    let good = framed(&answer());
    let many: Vec<Vec<u8>> = (0..130).map(|_| v4(GOOD)).collect();
    let long = framed(&message(GOOD, &many));
    let mut other = answer();
    other[0] ^= 1;
    let other = framed(&other);
    let too_long = framed(&vec![7; 9_000]);
    let elsewhere = framed(&message(GOOD, &[v4("other.example")]));
    let cut_short = framed(&answer()[..answer().len() - 1]);
    // The pieces, the answers that come, whether they teach, and what is counted.
    let rows = [
        ("one segment", vec![good.clone()], 1, true, [0, 0]),
        ("one byte at a time", cut(&good, 1), 1, true, [0, 0]),
        ("a long one", vec![long.clone()], 1, true, [0, 0]),
        ("a long one, cut", cut(&long, 999), 1, true, [0, 0]),
        ("behind another", vec![[other.clone(), good.clone()].concat()], 2, true, [0, 1]),
        ("twice", vec![good.repeat(2)], 2, true, [0, 1]),
        ("behind one that is too long", vec![too_long.clone(), good.clone()], 2, true, [1, 0]),
        ("another id", vec![other], 1, false, [0, 1]),
        ("addresses of another name", vec![elsewhere], 1, false, [0, 0]),
        ("malformed", vec![cut_short], 1, false, [1, 0]),
        ("too long", cut(&too_long, 2_000), 1, false, [1, 0]),
    ];
    let mut host = agent(&own_address(114), Mode::Enforce, subject_flag::DNS_RESTRICT);
    let kinds = [Loss::Dns, Loss::Unasked, Loss::DnsStream];
    for (what, pieces, answers, teaches, [malformed, unasked]) in rows {
        let bound = host.kernel.bindings().unwrap().into_iter();
        let none: Vec<_> = bound.map(|(key, _)| (key, Binding::new_zeroed())).collect();
        host.kernel.rebind(&none).unwrap();
        assert!(!reach(&host), "{what}");
        let before = kinds.map(|loss| host.lost(loss));
        server.reply(pieces);
        let question = [framed(&query(GOOD))];
        assert_eq!(ask(&host, "plain", server.address, &question, answers), "ok", "{what}");
        assert_eq!(reach(&host), teaches, "{what}");
        let [before_malformed, before_unasked, before_lost] = before;
        let counted = [before_malformed + malformed, before_unasked + unasked, before_lost];
        assert_eq!(kinds.map(|loss| host.lost(loss)), counted, "{what}");
        let events = dns_events(&mut host);
        assert_eq!(events.len(), usize::from(teaches), "{what}");
        for event in events {
            assert_eq!((event.protocol, event.set, event.header.subject), (6, FIRST_SET, AGENT));
            assert_eq!(IpAddr::from(event.resolver), server.address.ip());
        }
    }
}

#[test]
fn an_answer_over_tcp_with_service_bindings_ends_the_connection_of_an_enforced_agent() {
    if !is_root() {
        return;
    }
    let binding = message(GOOD, &[v4(GOOD), record(GOOD, 65, &[0, 1, 0])]);
    let pieces = vec![framed(&binding), framed(&answer())];
    let server = Server::answering(&own_address(115), pieces);
    for (mode, answers, outcome) in [(Mode::Enforce, 0, SILENCE), (Mode::Monitor, 2, "ok")] {
        let mut host = agent(&own_address(115), mode, 0);
        let question = [framed(&query(GOOD))];
        assert_eq!(ask(&host, "plain", server.address, &question, answers), outcome);
        assert_eq!(refusals(&mut host), [(Reason::DnsRecord, GOOD.to_owned())]);
        assert_eq!(host.kernel.bindings().unwrap().is_empty(), mode == Mode::Enforce);
    }
}

#[test]
fn what_nobody_learns_over_tcp_is_nobodys() {
    if !is_root() {
        return;
    }
    let server = Server::answering(&own_address(116), vec![framed(&answer())]);
    let mut host = Host::new(KernelOptions::default());
    let mut others = Policy::empty().resolver(&own_address(116)).name(Verdict::Allow, GOOD);
    others = others.subject(Mode::Enforce, Verdict::Deny, 0);
    host.kernel.install(&others.image).unwrap();
    // More than are read at once: the connection teaches nothing after those, and goes on.
    let questions = vec![framed(&query(GOOD)).repeat(70), framed(&query(GOOD))];
    assert_eq!(ask(&host, "plain", server.address, &questions, 1), "ok");
    let bindings = host.kernel.bindings().unwrap();
    assert!(bindings.iter().all(|(key, _)| key.subject == 0) && bindings.len() == 1);
    assert_eq!(host.lost(Loss::DnsStream), 1);
}
