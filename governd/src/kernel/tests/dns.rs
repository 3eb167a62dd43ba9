//! Names: what an answer teaches, whom, and what it does not.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use governd_common::{
    address::Address,
    event::DnsEvent,
    key::BindingKey,
    limits::BINDING_TTL_MIN_S,
    table::{Binding, subject_flag},
    verdict::{Loss, Mode, Reason, Verdict},
};

use zerocopy::FromZeros as _;

use super::{
    host::{Host, is_root},
    image::{AGENT, FIRST_SET, Policy},
};
use crate::kernel::{KernelOptions, RawEvent};

const PORT_DNS: u16 = 53;
const ADDRESS: &str = "203.0.113.9";
const TTL_S: u32 = 5;

/// Answers one question with these bytes, from port 53 of an address.
pub(super) fn answer_once(address: &str, answer: Vec<u8>) -> JoinHandle<()> {
    let socket = bind(address);
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    thread::spawn(move || {
        let (_, client) = socket.recv_from(&mut [0; 512]).unwrap();
        socket.send_to(&answer, client).unwrap();
    })
}

/// Port 53 of an address; another run of these tests may have it for a moment.
fn bind(address: &str) -> UdpSocket {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match UdpSocket::bind((address, PORT_DNS)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other.unwrap(),
        }
    }
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').flat_map(|label| {
        std::iter::once(label.len() as u8).chain(label.bytes()).collect::<Vec<u8>>()
    });
    labels.chain([0]).collect()
}

pub(super) fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let fixed = [kind.to_be_bytes(), 1_u16.to_be_bytes()].concat();
    let len = (data.len() as u16).to_be_bytes();
    [&name(owner), &fixed, &TTL_S.to_be_bytes()[..], &len[..], data].concat()
}

/// An answer to a question for the address of a name.
pub(super) fn message(question: &str, records: &[Vec<u8>]) -> Vec<u8> {
    let counts = [1, records.len() as u16, 0, 0].map(u16::to_be_bytes).concat();
    let header = [&[0x12, 0x34, 0x81, 0x80], counts.as_slice()].concat();
    let question = [name(question), [0, 1, 0, 1].to_vec()].concat();
    [header, question, records.concat()].concat()
}

pub(super) fn v4(owner: &str) -> Vec<u8> {
    record(owner, 1, &[203, 0, 113, 9])
}

pub(super) fn query(question: &str) -> Vec<u8> {
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], &name(question), &[0, 1, 0, 1]].concat()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lets the agent ask for a name, and returns the learned answer.
fn ask(host: &mut Host, resolver: &str, asked: &str, answer: Vec<u8>) -> Option<DnsEvent> {
    let server = answer_once(resolver, answer);
    let to = SocketAddr::new(resolver.parse().unwrap(), PORT_DNS);
    assert_eq!(host.one(&format!("ask {to} {}", hex(&query(asked)))), "ok");
    server.join().unwrap();
    host.drain().into_iter().find_map(|event| match event {
        RawEvent::Dns(dns) => Some(*dns),
        _ => None,
    })
}

fn host_with(resolver: &str, patterns: &[&str]) -> Host {
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce).resolver(resolver);
    let policy =
        patterns.iter().fold(policy, |policy, pattern| policy.name(Verdict::Allow, pattern));
    // So that the questions to others than the resolver can be asked at all.
    let policy = policy.network(Verdict::Allow, "127.0.0.0/8", (PORT_DNS, PORT_DNS), 17);
    host.kernel.install(&policy.image).unwrap();
    host
}

fn reach(host: &Host) -> bool {
    host.one(&format!("udp-connect {ADDRESS}:443")) != "EACCES"
}

#[test]
fn an_answer_of_the_resolver_opens_the_address_to_a_name_rule() {
    if !is_root() {
        return;
    }
    for (resolver, asked, patterns) in [
        ("127.0.0.101", "api.example.com", ["api.example.com"]),
        ("127.0.0.101", "API.Example.COM", ["*.example.com"]),
        ("127.0.0.101", "a.b.example.com", ["*.example.com"]),
        ("::1", "api.example.com", ["api.example.com"]),
    ] {
        let mut host = host_with(resolver, &patterns);
        assert!(!reach(&host), "before the answer");
        let event = ask(&mut host, resolver, asked, message(asked, &[v4(asked)])).unwrap();
        assert!(reach(&host), "{asked} {patterns:?} {resolver}");
        assert_eq!(event.set, FIRST_SET);
        assert_eq!(IpAddr::from(event.resolver), resolver.parse::<IpAddr>().unwrap());
        assert_eq!(event.name[..usize::from(event.name_len)], *asked.to_lowercase().as_bytes());
        assert_eq!((event.header.subject, event.question_type), (AGENT, 1));
        assert_ne!(event.header.tgid, 0);
        assert_eq!(event.addresses_len, 1);
        assert_eq!(IpAddr::from(event.addresses[0].address), ADDRESS.parse::<IpAddr>().unwrap());
        assert_eq!(event.addresses[0].ttl_s, TTL_S);
        let bindings = host.kernel.bindings().unwrap();
        let [(key, binding)] = bindings.as_slice() else { panic!("one binding: {bindings:?}") };
        let address = Address::from(ADDRESS.parse::<IpAddr>().unwrap());
        assert_eq!(*key, BindingKey { subject: AGENT, address });
        let lives_ns = binding.sets[0].expires_ns - event.header.time_ns;
        assert_eq!(lives_ns, u64::from(BINDING_TTL_MIN_S) * 1_000_000_000);
        assert!(binding.sets[1..].iter().all(|bound| bound.set == 0));
    }
}

#[test]
fn a_chain_of_aliases_binds_to_the_name_in_the_question() {
    if !is_root() {
        return;
    }
    let mut host = host_with("127.0.0.102", &["api.example.com"]);
    let alias = record("api.example.com", 5, &name("edge.cdn.example"));
    let answer = message("api.example.com", &[alias, v4("edge.cdn.example")]);
    assert!(ask(&mut host, "127.0.0.102", "api.example.com", answer).is_some());
    assert!(reach(&host));
}

#[test]
fn what_is_not_an_answer_of_the_resolver_about_the_name_teaches_nothing() {
    if !is_root() {
        return;
    }
    let resolver = "127.0.0.103";
    let good = message("api.example.com", &[v4("api.example.com")]);
    let mut query = good.clone();
    query[2] &= 0x7f;
    let mut refused = good.clone();
    refused[3] |= 5;
    let asked = "api.example.com";
    let mut other_id = good.clone();
    other_id[0] ^= 1;
    let mut other_type = good.clone();
    other_type[12 + 17 + 1] = 28;
    let rows: [(&str, &str, Vec<u8>, u64); 10] = [
        ("another id", resolver, other_id, 0),
        ("another type", resolver, other_type, 0),
        ("another server", "127.0.0.104", good.clone(), 0),
        ("a question", resolver, query, 0),
        ("an error", resolver, refused, 0),
        (
            "a record of another name",
            resolver,
            message("api.example.com", &[v4("other.example")]),
            0,
        ),
        ("another name", resolver, message("example.com", &[v4("example.com")]), 0),
        ("a cut message", resolver, good[..good.len() - 1].to_vec(), 1),
        ("a header alone", resolver, good[..5].to_vec(), 1),
        ("too long a message", resolver, [good.clone(), vec![0; 5_000]].concat(), 1),
    ];
    for (what, server, answer, malformed) in rows {
        let mut host = host_with(resolver, &["api.example.com", "*.example.com"]);
        let event = ask(&mut host, server, asked, answer);
        assert!(!reach(&host), "{what}");
        assert_eq!(host.kernel.bindings().unwrap(), [], "{what}");
        assert_eq!(host.lost(Loss::Dns), malformed, "{what}");
        assert!(event.is_none_or(|event| event.set == 0), "{what}");
    }
}

/// A restricted agent that may ask for one name.
fn restricted(resolver: &str, mode: Mode) -> Host {
    let mut host = Host::new(KernelOptions::default());
    let policy = Policy::of_cgroup(host.cgroup.id(), mode)
        .subject(mode, Verdict::Deny, subject_flag::DNS_RESTRICT)
        .resolver(resolver)
        .name(Verdict::Allow, "api.example.com")
        .name(Verdict::Deny, "no.example.com")
        .network(Verdict::Allow, "127.0.0.0/8", (0, u16::MAX), 17);
    host.kernel.install(&policy.image).unwrap();
    host
}

/// What is refused on its way out.
const EPERM: &str = "errno 1";

fn refusals(host: &mut Host) -> Vec<DnsEvent> {
    let events = host.drain().into_iter().filter_map(|event| match event {
        RawEvent::Dns(dns) if dns.reason != 0 => Some(*dns),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_restricted_agent_asks_for_names_of_its_rules_and_nothing_else() {
    if !is_root() {
        return;
    }
    let resolver = "127.0.0.107";
    let mut host = restricted(resolver, Mode::Enforce);
    let allowed = "api.example.com";
    let mut with_type = query(allowed);
    *with_type.iter_mut().rev().nth(2).unwrap() = 65;
    let mut with_option = query(allowed);
    with_option[11] = 1;
    with_option.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 6, 0xfd, 0xe9, 0, 2, 7, 7]);
    let mut with_bit = query(allowed);
    with_bit[3] |= 0x40;
    let mut twice = query(allowed);
    twice[5] = 2;
    let mut label = query("api.example.com");
    label[12 + 6] = b'.';
    let (name, record) = (Reason::DnsName, Reason::DnsRecord);
    let rows: [(&str, Vec<u8>, Reason, &str); 9] = [
        ("another name", query("data.example.net"), name, "data.example.net"),
        ("a name below", query("data.api.example.com"), name, "data.api.example.com"),
        ("a denied name", query("no.example.com"), name, "no.example.com"),
        ("a service binding", with_type, record, allowed),
        ("an option", with_option, name, allowed),
        ("a reserved bit", with_bit, name, allowed),
        ("several questions", twice, name, ""),
        ("a dot in a label", label, name, "api.e"),
        ("no message", b"data".to_vec(), name, ""),
    ];
    for (what, message, reason, asked) in rows {
        assert_eq!(host.one(&format!("ask {resolver}:53 {}", hex(&message))), EPERM, "{what}");
        let refused = refusals(&mut host);
        let [event] = refused.as_slice() else { panic!("{what}: {refused:?}") };
        assert_eq!((event.reason, event.header.subject), (reason as u8, AGENT), "{what}");
        assert_eq!(&event.name[..usize::from(event.name_len)], asked.as_bytes(), "{what}");
        assert_ne!((event.cookie, event.header.tgid), (0, 0));
    }
    let upper = "API.example.com";
    assert!(ask(&mut host, resolver, upper, message(upper, &[v4(upper)])).is_some());
    assert!(reach(&host));
    // In monitor mode it would be refused, and is not.
    let mut host = restricted(resolver, Mode::Monitor);
    let asked = "data.example.net";
    ask(&mut host, resolver, asked, message(asked, &[v4(asked)]));
    assert_eq!(host.kernel.bindings().unwrap(), []);
}

#[test]
fn an_answer_with_service_bindings_does_not_reach_an_enforced_agent() {
    if !is_root() {
        return;
    }
    let (resolver, asked) = ("127.0.0.108", "api.example.com");
    for (mode, outcome) in [(Mode::Enforce, "errno 11"), (Mode::Monitor, "ok")] {
        let mut host = restricted(resolver, mode);
        let binding = record(asked, 65, &[0, 1, 0]);
        let server = answer_once(resolver, message(asked, &[v4(asked), binding]));
        let step = format!("ask {resolver}:53 {}", hex(&query(asked)));
        assert_eq!(host.one(&step), outcome);
        server.join().unwrap();
        let refused = refusals(&mut host);
        assert_eq!(refused[0].reason, Reason::DnsRecord as u8);
        assert_eq!(host.kernel.bindings().unwrap().is_empty(), mode == Mode::Enforce);
    }
}

#[test]
fn nobody_teaches_himself() {
    if !is_root() {
        return;
    }
    let (resolver, asked) = ("127.0.0.109", "api.example.com");
    let answer = hex(&message(asked, &[v4(asked)]));
    let step = format!("ask-oneself {resolver} {} {answer}", hex(&query(asked)));
    let mut host = restricted(resolver, Mode::Enforce);
    assert_eq!(host.run(&format!("netns; {step}")), [EPERM]);
    assert_eq!(refusals(&mut host)[0].reason, Reason::DnsAnswer as u8);
    // In monitor mode the answer arrives. It is root's in a namespace of root's alone.
    for (namespace, is_learned) in [("netns", true), ("userns", false)] {
        let host = restricted(resolver, Mode::Monitor);
        assert_eq!(host.run(&format!("{namespace}; {step}")), ["ok"], "{namespace}");
        assert_eq!(!host.kernel.bindings().unwrap().is_empty(), is_learned, "{namespace}");
        assert_eq!(host.lost(Loss::Unasked), u64::from(!is_learned), "{namespace}");
    }
}

#[test]
fn an_answer_teaches_only_the_subject_that_asked() {
    if !is_root() {
        return;
    }
    let resolver = "127.0.0.105";
    let mut host = host_with(resolver, &["api.example.com"]);
    let answer = || message("api.example.com", &[v4("api.example.com")]);
    // The same cgroup under a policy in which nobody is the agent.
    let mut others = Policy::empty().resolver(resolver).name(Verdict::Allow, "api.example.com");
    others = others.subject(Mode::Enforce, Verdict::Deny, 0);
    host.kernel.install(&others.image).unwrap();
    let event = ask(&mut host, resolver, "api.example.com", answer()).unwrap();
    assert_eq!(event.header.subject, 0);
    assert_ne!(event.header.tgid, 0, "sockets to port 53 have an owner");
    let bindings = host.kernel.bindings().unwrap();
    assert!(bindings.iter().all(|(key, _)| key.subject == 0) && bindings.len() == 1);
    let agents = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .resolver(resolver)
        .name(Verdict::Allow, "api.example.com");
    host.kernel.install(&agents.image).unwrap();
    assert!(!reach(&host));
}

#[test]
fn what_a_resolver_process_learns_counts_for_the_whole_host() {
    if !is_root() {
        return;
    }
    let (resolver, name) = ("127.0.0.107", "api.example.com");
    let mut host = Host::with_own_exe(KernelOptions::default());
    let exe = host.agent_exe();
    let agent = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce);
    let agent = agent.resolver(resolver).name(Verdict::Allow, name);
    let mut nobody = Policy::empty().resolver(resolver).name(Verdict::Allow, name);
    nobody = nobody.subject(Mode::Enforce, Verdict::Deny, 0);
    for (mut asking, exes, learner) in [
        (nobody.clone(), vec![], 0),
        (nobody.clone(), vec![(exe.0, exe.1 + 1)], 0),
        // An agent may run what resolves for the host, and is an agent.
        (agent.clone(), vec![exe], AGENT),
        (nobody, vec![exe], BindingKey::HOST),
    ] {
        asking.image.resolver_exes = exes;
        host.kernel.install(&asking.image).unwrap();
        let event = ask(&mut host, resolver, name, message(name, &[v4(name)])).unwrap();
        assert_eq!(event.header.subject, learner);
        let bindings = host.kernel.bindings().unwrap();
        let is_bound = |key: &BindingKey| bindings.iter().any(|(bound, _)| bound == key);
        let address = Address::from(ADDRESS.parse::<IpAddr>().unwrap());
        assert!(is_bound(&BindingKey { subject: learner, address }), "{bindings:?}");
        assert_eq!(
            is_bound(&BindingKey { subject: BindingKey::HOST, address }),
            learner == BindingKey::HOST
        );
        // What the agent learned itself is not what this is about.
        let own = BindingKey { subject: AGENT, address };
        let forgotten = bindings.into_iter().filter(|(key, _)| *key == own);
        let forgotten = forgotten.map(|(key, _)| (key, Binding::new_zeroed())).collect::<Vec<_>>();
        host.kernel.rebind(&forgotten).unwrap();
        host.kernel.install(&agent.image).unwrap();
        assert_eq!(reach(&host), learner == BindingKey::HOST, "{learner}");
    }
}

#[test]
fn an_address_keeps_the_names_it_had() {
    if !is_root() {
        return;
    }
    let resolver = "127.0.0.106";
    let names: Vec<String> = (0..9).map(|number| format!("n{number}.example.com")).collect();
    let patterns: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut host = host_with(resolver, &patterns);
    for asked in &names {
        assert!(ask(&mut host, resolver, asked, message(asked, &[v4(asked)])).is_some());
    }
    let bindings = host.kernel.bindings().unwrap();
    let mut sets: Vec<u32> = bindings[0].1.sets.iter().map(|bound| bound.set).collect();
    sets.sort_unstable();
    // Sets are numbered in the order of the patterns; the first one had to go.
    assert_eq!(sets, (FIRST_SET + 1..FIRST_SET + 9).collect::<Vec<u32>>());
}
