//! The programs and user space agree on DNS, over random rules, questions and answers: what may be
//! asked, what is delivered, and what is learned, over UDP and over TCP in random pieces.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

use governd_common::{
    address::Address,
    decide::Tables as _,
    dns::{Dns, DnsRefusal, dns_type},
    repeat::Plain,
    table::{Binding, subject_flag},
    verdict::{Mode, Reason, Verdict},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tempfile::NamedTempFile;
use zerocopy::FromZeros as _;

use super::{
    dns::hex,
    dns_tcp::{SILENCE, framed, own_address, read_message, step},
    host::{EPERM, Host, TestCgroup, is_root, with_and_without_loops},
    image::{AGENT, Policy},
};
use crate::{
    kernel::{KernelOptions, RawEvent},
    policy::tables::ImageTables,
};

const PATTERNS: [&str; 4] = ["api.example.com", "*.example.com", "no.example.com", "example.org"];
const NAMES: [&str; 6] = [
    "api.example.com",
    "no.example.com",
    "a.b.example.com",
    "API.Example.com",
    "example.org",
    "example.net",
];
const TYPES: [u16; 6] = [1, 1, 28, 16, dns_type::HTTPS, dns_type::SVCB];
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 12];

fn resolver() -> SocketAddr {
    SocketAddr::new(own_address(117).parse().unwrap(), 53)
}

/// A change of a byte, by a place that is taken modulo the length.
type Flip = Option<(usize, u8)>;

/// A question, its answer, and how they travel.
#[derive(Clone, Debug)]
struct Exchange {
    question: Vec<u8>,
    answer: Vec<u8>,
    /// Places where a stream is cut; a datagram if there is none.
    cuts: Option<Vec<usize>>,
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    [labels.collect::<Vec<_>>().concat(), vec![0]].concat()
}

fn flipped(mut message: Vec<u8>, flip: Flip) -> Vec<u8> {
    if let Some((at, bits)) = flip {
        let at = at % message.len();
        message[at] ^= bits;
    }
    message
}

/// What follows the question: nothing, EDNS with an option, or bytes.
fn tail() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let option = |code: u8, data: &[u8]| {
        let len = data.len() as u8;
        let fixed = [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, len + 4, 0, code, 0, len];
        (1, [&fixed[..], data].concat())
    };
    prop_oneof![
        6 => Just((0, vec![])),
        1 => Just(option(12, &[0; 30])),
        1 => Just(option(12, &[7; 3])),
        1 => Just(option(10, &[9; 8])),
        1 => Just(option(10, &[9; 9])),
        1 => Just((1, vec![0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0])),
        1 => Just((0, b"data".to_vec())),
    ]
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let owner = prop_oneof![
        3 => Just(POINTER_TO_QUESTION.to_vec()),
        1 => select(NAMES.as_slice()).prop_map(wire),
        1 => Just(wire("edge.cdn.example")),
    ];
    let data = prop_oneof![
        6 => (1_u8..4).prop_map(|last| (1, vec![203, 0, 113, last])),
        2 => (1_u8..4).prop_map(|last| (28, [&[0x20; 15][..], &[last]].concat())),
        3 => Just((5, wire("edge.cdn.example"))),
        1 => Just((16, b"\x04text".to_vec())),
        1 => Just((dns_type::HTTPS, vec![0, 1, 0])),
    ];
    (owner, data).prop_map(|(owner, (kind, data))| {
        let fixed = [kind.to_be_bytes(), 1_u16.to_be_bytes(), [0, 0], [0, 60]].concat();
        [owner, fixed, (data.len() as u16).to_be_bytes().to_vec(), data].concat()
    })
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let flip = || prop::option::weighted(0.15, (any::<usize>(), 1_u8..=255));
    let question = (select(NAMES.as_slice()), select(TYPES.as_slice()), tail(), flip());
    let answer = (vec(record(), 0..6), flip(), prop::option::weighted(0.1, any::<usize>()));
    let cuts = prop::option::of(vec(any::<usize>(), 0..5));
    (question, answer, cuts).prop_map(
        |((name, kind, (additional, tail), flip), (records, answer_flip, cut), cuts)| {
            let asked = [wire(name), kind.to_be_bytes().to_vec(), vec![0, 1]].concat();
            let head = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
            let question = flipped([&head[..], &asked, &tail].concat(), flip);
            let id = [question[0], question[1]];
            let count = records.len() as u8;
            let head = [id[0], id[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
            let answer = flipped([&head[..], &asked, &records.concat()].concat(), answer_flip);
            let len = cut.map_or(answer.len(), |cut| cut % answer.len() + 1);
            Exchange { question, answer: answer[..len].to_vec(), cuts }
        },
    )
}

#[derive(Clone, Debug)]
struct Case {
    verdicts: Vec<Verdict>,
    flags: u16,
    exchanges: Vec<Exchange>,
}

fn case() -> impl Strategy<Value = Case> {
    let verdict = any::<bool>().prop_map(|is| if is { Verdict::Allow } else { Verdict::Deny });
    let flags = select(vec![0, subject_flag::DNS_RESTRICT]);
    (vec(verdict, PATTERNS.len()), flags, vec(exchange(), 1..7)).prop_map(
        |(verdicts, flags, mut exchanges)| {
            // Answers are found by the question, which its number makes one of its kind.
            for (number, exchange) in exchanges.iter_mut().enumerate() {
                exchange.question[0] ^= number as u8;
                exchange.answer[0] ^= number as u8;
            }
            Case { verdicts, flags, exchanges }
        },
    )
}

// Servers have threads of their own; the test writes before anybody asks.
type Answers = Arc<Mutex<HashMap<Vec<u8>, Exchange>>>;

/// A resolver that knows the answer to each question, and one for those that it does not know.
fn serve() -> Answers {
    let answers = Answers::default();
    let (datagrams, streams) = (Arc::clone(&answers), Arc::clone(&answers));
    let socket = UdpSocket::bind(resolver()).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((len, client)) = socket.recv_from(&mut buffer) {
            if let Some(found) = find(&datagrams, &buffer[..len]) {
                socket.send_to(&found.answer, client).ok();
            }
        }
    });
    let listener = TcpListener::bind(resolver()).unwrap();
    thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            // One that was refused never ends.
            let answers = Arc::clone(&streams);
            thread::spawn(move || answer(peer, &answers));
        }
    });
    answers
}

fn find(answers: &Answers, question: &[u8]) -> Option<Exchange> {
    answers.lock().unwrap().get(question).cloned()
}

fn answer(mut peer: TcpStream, answers: &Answers) {
    peer.set_nodelay(true).unwrap();
    let question = read_message(&mut peer);
    let Some(found) = question.and_then(|question| find(answers, &question)) else { return };
    for piece in cut(&framed(&found.answer), found.cuts.as_deref().unwrap_or_default()) {
        peer.write_all(&piece).ok();
    }
    // Until the client has closed.
    read_message(&mut peer);
}

fn cut(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let starts = std::iter::once(0).chain(ends.clone());
    let pieces = starts.zip(ends).map(|(start, end)| bytes[start..end].to_vec());
    pieces.filter(|piece| !piece.is_empty()).collect()
}

fn dns(message: &[u8]) -> Dns {
    let mut dns = Dns::new_zeroed();
    dns.bytes[..message.len()].copy_from_slice(message);
    dns.len = message.len() as u32;
    dns
}

/// What user space makes of an exchange.
struct Expected {
    is_asked: bool,
    is_delivered: bool,
    reason: Option<Reason>,
    learned: Vec<(Address, u32)>,
}

fn expect(case: &Case, tables: &ImageTables<'_>, exchange: &Exchange) -> Expected {
    let set_of = |dns: &Dns| tables.name_set(dns.name.as_str()).unwrap_or(0);
    let mut question = dns(&exchange.question);
    let is_question = question.query::<Plain>().is_ok();
    let name_set = if is_question { set_of(&question) } else { 0 };
    let may_ask = tables.block(AGENT, name_set).is_some_and(|block| block.speaks_for());
    let is_restricted = case.flags & subject_flag::DNS_RESTRICT != 0;
    let is_binding = is_question && dns_type::is_service_binding(question.question_type);
    let is_plain = is_question && question.carries_nothing_else::<Plain>().is_ok();
    let reason = if is_restricted && !(is_plain && may_ask) {
        Some(Reason::DnsName)
    } else {
        is_binding.then_some(Reason::DnsRecord)
    };
    let nothing = Expected { is_asked: false, is_delivered: false, reason, learned: Vec::new() };
    if reason.is_some() {
        return nothing;
    }
    let mut answer = dns(&exchange.answer);
    let outcome = answer.answer::<Plain>();
    let is_read = matches!(outcome, Ok(()) | Err(DnsRefusal::Rcode));
    let has_bindings =
        answer.service_bindings != 0 || dns_type::is_service_binding(answer.question_type);
    if is_read && has_bindings {
        return Expected { is_asked: true, reason: Some(Reason::DnsRecord), ..nothing };
    }
    let repeats = is_question
        && (answer.id, answer.question_type) == (question.id, question.question_type)
        && answer.name.as_str() == question.name.as_str();
    let set = set_of(&answer);
    let teaches = outcome.is_ok() && repeats && set != 0;
    let addresses = answer.addresses().iter().map(|found| (found.address, set));
    let learned = if teaches { addresses.collect() } else { Vec::new() };
    Expected { is_asked: true, is_delivered: true, reason: None, learned }
}

#[test]
fn the_programs_judge_questions_and_learn_answers_as_user_space_does() {
    if !is_root() {
        return;
    }
    let answers = serve();
    for layout in with_and_without_loops() {
        let host = Host::on(TestCgroup::new(), KernelOptions::default(), layout);
        let host = RefCell::new(host);
        // A case that fails waits for what does not come, so it is not shrunk.
        let config = Config {
            cases: 16,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Config::default()
        };
        let outcome = TestRunner::new(config)
            .run(&case(), |case| compare(&mut host.borrow_mut(), &answers, &case));
        outcome.unwrap();
    }
}

fn compare(host: &mut Host, answers: &Answers, case: &Case) -> Result<(), TestCaseError> {
    let policy = Policy::of_cgroup(host.cgroup.id(), Mode::Enforce)
        .subject(Mode::Enforce, Verdict::Deny, case.flags)
        .resolver(&own_address(117));
    let rules = case.verdicts.iter().zip(PATTERNS);
    let policy = rules.fold(policy, |policy, (verdict, pattern)| policy.name(*verdict, pattern));
    let bound = host.kernel.bindings().unwrap().into_iter();
    let none: Vec<_> = bound.map(|(key, _)| (key, Binding::new_zeroed())).collect();
    host.kernel.rebind(&none).unwrap();
    host.kernel.install(&policy.image).unwrap();
    let tables = ImageTables::new(&policy.image);
    let known = case.exchanges.iter().map(|each| (each.question.clone(), each.clone()));
    *answers.lock().unwrap() = known.collect();
    let (mut steps, mut outcomes, mut files) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reasons, mut learned) = (Vec::new(), BTreeSet::new());
    for exchange in &case.exchanges {
        let expected = expect(case, &tables, exchange);
        reasons.extend(expected.reason);
        learned.extend(expected.learned.into_iter().map(|(address, set)| (address.bytes, set)));
        let Some(cuts) = &exchange.cuts else {
            steps.push(format!("ask {} {}", resolver(), hex(&exchange.question)));
            outcomes.push(match (expected.is_asked, expected.is_delivered) {
                (true, true) => "ok",
                (true, false) => "errno 11",
                (false, _) => EPERM,
            });
            continue;
        };
        let pieces = cut(&framed(&exchange.question), cuts);
        let lines: Vec<String> = pieces.iter().map(|piece| hex(piece)).collect();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(lines.join("\n").as_bytes()).unwrap();
        let answers = usize::from(expected.is_delivered);
        steps.push(step("plain", resolver(), answers, file.path()));
        outcomes.push(if expected.is_delivered { "ok" } else { SILENCE });
        files.push(file);
    }
    host.drain();
    prop_assert_eq!(host.run(&steps.join(";")), outcomes);
    let refused = host.drain().into_iter().filter_map(|event| match event {
        RawEvent::Dns(dns) if dns.reason != 0 => Reason::from_byte(dns.reason),
        _ => None,
    });
    prop_assert_eq!(refused.collect::<Vec<_>>(), reasons);
    let bindings = host.kernel.bindings().unwrap();
    let bound = bindings.iter().flat_map(|(key, binding)| {
        let sets = binding.sets.iter().filter(|bound| bound.expires_ns != 0);
        sets.map(|bound| (key.address.bytes, bound.set)).collect::<Vec<_>>()
    });
    prop_assert_eq!(bound.collect::<BTreeSet<_>>(), learned);
    Ok(())
}
